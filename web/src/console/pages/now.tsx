// Now: every zone and offer in one glance.
import { useMemo, useState } from "preact/hooks";
import { usePolled } from "../data/poll.ts";
import { ask, href, route } from "../data/route.ts";
import { may } from "../data/session.ts";
import type { OfferRow, Overview } from "../data/types.ts";
import { count, span } from "../format.ts";
import { t, word } from "../language.ts";
import { Bar, Empty, Figures, Heading, Panel, Skeleton, Spark, State, Trouble, Words } from "../parts/basic.tsx";
import { sorted, Table, type Column, type Sorting } from "../parts/table.tsx";

type ZoneRow = Overview["zones"][number];

/** What wants to be looked at stands above what does not. */
const STATE_ORDER = ["recovering", "paused", "sold_out", "not_open", "closed", "waiting"];
/** Rows shown at first; beyond that a person searches or sorts, and a browser has less to do every two seconds. */
const ROWS_AT_FIRST = 200;

function zoneColumns(): Column<ZoneRow>[] {
  return [
    {
      name: "zone",
      title: t("now.zone"),
      head: true,
      by: (zone) => zone.name.toLowerCase(),
      cell: (zone) => (
        <a class="row-name" href={href(["zones", zone.id])}>
          <Words text={zone.name} />
          <span class="soft small">
            {zone.id} · {zone.app}
          </span>
        </a>
      ),
    },
    { name: "state", title: t("now.state"), by: (zone) => STATE_ORDER.indexOf(zone.state), cell: (zone) => <State of={zone.state} />, class: "col-state" },
    { name: "waiting", title: t("now.waiting"), number: true, by: (zone) => zone.waiting, cell: (zone) => <b class={zone.waiting === 0 ? "zero" : ""}>{count(zone.waiting)}</b>, class: "col-number" },
    {
      name: "entered",
      title: t("now.entered"),
      number: true,
      by: (zone) => zone.entered_last_minute,
      cell: (zone) => (
        <span class="rate">
          <span>
            {count(zone.entered_last_minute)}
            <span class="soft"> / {zone.entry_limit_per_minute === null ? "∞" : count(zone.entry_limit_per_minute)}</span>
          </span>
          <Bar part={zone.entered_last_minute} whole={zone.entry_limit_per_minute} />
        </span>
      ),
      class: "col-rate",
    },
    {
      name: "eta",
      title: t("now.eta"),
      number: true,
      by: (zone) => zone.estimated_seconds ?? -1,
      cell: (zone) => (zone.estimated_seconds === null || zone.estimated_seconds === 0 ? <span class="zero">–</span> : span(zone.estimated_seconds)),
      class: "col-number",
    },
    {
      name: "trend",
      title: t("now.trend"),
      cell: (zone) => <Spark values={zone.minutes.map((minute) => minute.waiting)} label={t("now.trend_label", { n: Math.max(0, ...zone.minutes.map((minute) => minute.waiting)) })} />,
      class: "col-spark",
    },
  ];
}

function offerColumns(): Column<OfferRow>[] {
  return [
    {
      name: "offer",
      title: t("now.offer"),
      head: true,
      by: (offer) => offer.name.toLowerCase(),
      cell: (offer) => (
        <a class="row-name" href={href(["offers", offer.id])}>
          <Words text={offer.name} />
          <span class="soft small">
            {offer.id} · {word("offer.kind", offer.kind)}
          </span>
        </a>
      ),
    },
    { name: "state", title: t("now.state"), by: (offer) => offer.state, cell: (offer) => <State of={offer.state} />, class: "col-state" },
    {
      name: "remaining",
      title: t("now.remaining"),
      number: true,
      by: (offer) => offer.stock.remaining,
      cell: (offer) => (
        <span class="rate">
          <span>
            <b>{count(offer.stock.remaining)}</b>
            <span class="soft"> / {count(offer.quantity)}</span>
          </span>
          <Bar part={offer.stock.remaining} whole={offer.quantity} />
        </span>
      ),
      class: "col-rate",
    },
    { name: "held", title: t("now.held"), number: true, by: (offer) => offer.stock.held, cell: (offer) => count(offer.stock.held), class: "col-number" },
    { name: "confirmed", title: t("now.confirmed"), number: true, by: (offer) => offer.stock.confirmed, cell: (offer) => count(offer.stock.confirmed), class: "col-number" },
    { name: "standby", title: t("now.standby"), number: true, by: (offer) => offer.stock.standby, cell: (offer) => count(offer.stock.standby), class: "col-number" },
    {
      name: "sold",
      title: t("now.sold"),
      cell: (offer) => <Spark values={offer.sold.map((minute) => minute.units)} label={t("now.sold_label", { n: offer.sold.reduce((sum, minute) => sum + minute.units, 0) })} />,
      class: "col-spark",
    },
  ];
}

export function Now() {
  const { data, problem } = usePolled<Overview>("overview", 2_000);
  const search = route.value.query.get("q") ?? "";
  const app = route.value.query.get("app") ?? "";
  const zoneSorting: Sorting = { by: route.value.query.get("by") ?? "waiting", down: route.value.query.get("up") === null };
  const [offerSorting, setOfferSorting] = useState<Sorting>({ by: "", down: false });
  const [all, setAll] = useState(false);
  const change = (values: Record<string, string>) => ask({ ...Object.fromEntries(route.value.query), ...values });
  const apps = useMemo(() => [...new Set([...(data?.zones ?? []), ...(data?.offers ?? [])].map((one) => one.app))].sort(), [data]);
  const wanted = (one: { id: string; name: string; app: string }) => {
    const sought = search.toLowerCase();
    return (app === "" || one.app === app) && (sought === "" || one.id.toLowerCase().includes(sought) || one.name.toLowerCase().includes(sought));
  };
  const columns = zoneColumns();
  const zones = sorted((data?.zones ?? []).filter(wanted), columns, zoneSorting);
  const offers = sorted((data?.offers ?? []).filter(wanted), offerColumns(), offerSorting);
  const filtered = search !== "" || app !== "";
  return (
    <>
      <Heading
        title={t("now.title")}
        aside={
          may("operator") && (
            <>
              <a class="button primary" href="#/new/zone">
                {t("new.zone")}
              </a>
              <a class="button" href="#/new/offer">
                {t("new.offer")}
              </a>
            </>
          )
        }
      />
      {data !== undefined && <Glance overview={data} />}
      <div class="filters" role="search">
        <label class="search">
          <span class="hidden">{t("now.search")}</span>
          <input data-search type="search" placeholder={t("now.search")} value={search} onInput={(event) => change({ q: event.currentTarget.value })} />
        </label>
        <label>
          <span class="hidden">{t("now.app")}</span>
          <select value={app} onChange={(event) => change({ app: event.currentTarget.value })}>
            <option value="">{t("now.all_apps")}</option>
            {apps.map((one) => (
              <option key={one} value={one}>
                {one}
              </option>
            ))}
          </select>
        </label>
      </div>
      {data === undefined ? (
        <>
          <Trouble of={problem} />
          <Skeleton rows={8} />
        </>
      ) : (
        <div class="now">
          <Panel title={t("now.zones", { n: zones.length })}>
            {zones.length === 0 ? (
              filtered ? (
                <Empty title={t("now.none_found")} />
              ) : (
                <FirstZone />
              )
            ) : (
              <>
                <Table
                  label={t("now.zones", { n: zones.length })}
                  columns={columns}
                  rows={all ? zones : zones.slice(0, ROWS_AT_FIRST)}
                  id={(zone) => zone.id}
                  sorting={zoneSorting}
                  onSort={({ by, down }) => change({ by, up: down ? "" : "1" })}
                  class="zones"
                />
                {!all && zones.length > ROWS_AT_FIRST && (
                  <p class="more">
                    <button type="button" class="button" onClick={() => setAll(true)}>
                      {t("now.show_all", { n: zones.length })}
                    </button>
                  </p>
                )}
              </>
            )}
          </Panel>
          <Panel title={t("now.offers", { n: offers.length })}>
            {offers.length === 0 ? (
              filtered ? (
                <Empty title={t("now.none_found")} />
              ) : (
                <Empty title={t("now.no_offers")}>
                  <p>{t("now.no_offers_text")}</p>
                  {may("operator") && (
                    <a class="button" href="#/new/offer">
                      {t("new.offer")}
                    </a>
                  )}
                </Empty>
              )
            ) : (
              <Table label={t("now.offers", { n: offers.length })} columns={offerColumns()} rows={offers} id={(offer) => offer.id} sorting={offerSorting} onSort={setOfferSorting} class="offers" />
            )}
          </Panel>
        </div>
      )}
    </>
  );
}

/** The whole installation in four numbers. */
function Glance({ overview }: { overview: Overview }) {
  const sum = (of: (zone: ZoneRow) => number) => overview.zones.reduce((total, zone) => total + of(zone), 0);
  const held = overview.zones.filter((zone) => zone.waiting > 0 && zone.state !== "waiting").length;
  return (
    <Figures
      of={[
        { name: t("now.glance_waiting"), value: count(sum((zone) => zone.waiting)) },
        { name: t("now.glance_entered"), value: count(sum((zone) => zone.entered_last_minute)) },
        { name: t("now.glance_held"), value: count(held), ...(held > 0 ? { tone: "warn" } : {}) },
        { name: t("now.glance_left"), value: count(overview.offers.reduce((total, offer) => total + offer.stock.remaining, 0)) },
      ]}
    />
  );
}

/** How the first zone is made, for somebody who has never seen one. */
function FirstZone() {
  return (
    <Empty title={t("now.first_title")}>
      <ol class="steps">
        <li>{t("now.first_1")}</li>
        <li>{t("now.first_2")}</li>
        <li>{t("now.first_3")}</li>
      </ol>
      {may("operator") && (
        <a class="button primary" href="#/new/zone">
          {t("new.zone")}
        </a>
      )}
      <pre class="code">{`curl -X PUT ${window.location.origin}/admin/api/zones/first \\
  -H "Authorization: Bearer $BUNHO_ADMIN_KEY" -H "Content-Type: application/json" \\
  -d '{"name":"${t("now.first_name")}","entry_limit_per_minute":600}'`}</pre>
    </Empty>
  );
}
