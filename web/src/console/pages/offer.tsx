// An offer: what is left of it, how it sold, and what one can do about it.
import { useEffect, useState } from "preact/hooks";
import { admin, path, query } from "../data/api.ts";
import { OFFER_FIELDS, type Settings } from "../data/fields.ts";
import { useIds } from "../data/ids.ts";
import { usePages, usePolled } from "../data/poll.ts";
import { href } from "../data/route.ts";
import { may, session } from "../data/session.ts";
import type { Offer, OfferSettings, SalesPoint, StandbyPlace, Stock } from "../data/types.ts";
import { count, moment } from "../format.ts";
import { t, word } from "../language.ts";
import { Bar, Empty, Figures, Heading, Moment, Panel, Skeleton, State, Tabs, Trouble, Words } from "../parts/basic.tsx";
import { Chart } from "../parts/chart.tsx";
import { Confirm } from "../parts/dialog.tsx";
import { SettingsForm } from "../parts/settings.tsx";
import { More, Table } from "../parts/table.tsx";
import { UndoButton } from "../parts/undo.tsx";
import { wide } from "../parts/wide.ts";
import { closeWords, offerWords, restockWords } from "../words/offer.ts";
import { ClaimList } from "./claims.tsx";

const putOffer = (id: string) => (settings: Settings, revision: number) => admin<Offer>("PUT", path("offers", id), { body: settings, revision });

export function OfferPage({ id, tab }: { id: string; tab: string }) {
  const { data, problem, refresh } = usePolled<Offer>(path("offers", id), 5_000);
  const stock = useStock(id, data);
  const shown = tab === "" || (tab === "change" && wide.value) ? "live" : tab;
  const names = ["live", ...(wide.value ? [] : ["change"]), "claims", ...(data?.standby === true || (stock?.standby ?? 0) > 0 ? ["standby"] : [])] as const;
  const tabs = names.map((name) => ({ name, title: t(`offer.tab.${name as "live" | "change" | "claims" | "standby"}`), to: href(name === "live" ? ["offers", id] : ["offers", id, name]) }));
  return (
    <>
      <Heading title={data?.name ?? id} aside={data !== undefined && stock !== undefined && may("operator") && <Acts offer={data} stock={stock} done={refresh} />}>
        <a class="up" href="#/">
          {t("nav.now")}
        </a>{" "}
        <Words text={data?.name ?? id} lines={3} />{" "}
        {data !== undefined && data.name !== id && (
          <small class="soft id">
            <Words text={id} />
          </small>
        )}
      </Heading>
      <Tabs of={tabs} current={shown} label={t("offer.tabs")} />
      {data === undefined || stock === undefined ? (
        <>
          <Trouble of={problem} />
          {problem === undefined && <Skeleton rows={6} />}
        </>
      ) : shown === "claims" ? (
        <ClaimList offer={id} />
      ) : shown === "standby" ? (
        <Standby id={id} />
      ) : shown === "change" ? (
        <Change offer={data} stock={stock} done={refresh} />
      ) : (
        <div class="zone">
          <div class="zone-live">
            <Live offer={data} stock={stock} />
          </div>
          {wide.value && <Change offer={data} stock={stock} done={refresh} />}
        </div>
      )}
    </>
  );
}

/** The offer's numbers as they change; where the stream does not come, those of the last poll. */
function useStock(id: string, offer: Offer | undefined): Stock | undefined {
  const [streamed, setStreamed] = useState<Stock>();
  const open = session.value.is === "open";
  useEffect(() => {
    if (!open) return;
    const source = new EventSource(`/v1/${path("offers", id, "stock")}`);
    source.addEventListener("stock", (event) => setStreamed(JSON.parse((event as MessageEvent<string>).data) as Stock));
    return () => source.close();
  }, [id, open]);
  if (offer === undefined) return streamed;
  // A sale that was seen is never taken back by an older poll; a restored server may count from elsewhere, and then the poll is right.
  return streamed !== undefined && streamed.version >= offer.stock.version ? streamed : offer.stock;
}

function Live({ offer, stock }: { offer: Offer; stock: Stock }) {
  const from = new Date(Math.floor(Date.now() / 60_000) * 60_000 - 3_600_000).toISOString();
  const { data } = usePolled<{ points: SalesPoint[] }>(`${path("offers", offer.id)}/sales${query({ from })}`, 10_000);
  const points = data?.points ?? [];
  const at = points.map((point) => Date.parse(point.minute) / 1_000);
  const quantity = stock.remaining + stock.held + stock.confirmed;
  return (
    <>
      <Figures
        of={[
          { name: t("now.state"), value: <State of={stock.state} />, note: stateNote(offer, stock) },
          {
            name: t("now.remaining"),
            value: (
              <>
                {count(stock.remaining)} <span class="soft">/ {count(quantity)}</span>
              </>
            ),
            note: <Bar part={stock.remaining} whole={quantity} />,
          },
          { name: t("now.held"), value: count(stock.held), note: t("offer.held_note") },
          { name: t("now.confirmed"), value: count(stock.confirmed), note: quantity === 0 ? "" : t("offer.share", { percent: Math.round((stock.confirmed / quantity) * 100) }) },
          { name: t("now.standby"), value: count(stock.standby), note: t(offer.standby ? "offer.standby_note" : "offer.standby_none") },
        ]}
      />
      <div class="charts charts-one">
        <Chart
          title={t("offer.chart.sales")}
          at={at}
          height={220}
          series={[
            { name: t("offer.chart.claimed"), values: points.map((point) => point.claimed), color: "ink", shape: "bars" },
            { name: t("offer.chart.confirmed"), values: points.map((point) => point.confirmed), color: "mark" },
          ]}
        />
        <Chart
          title={t("offer.chart.back")}
          at={at}
          series={[
            { name: t("offer.chart.released"), values: points.map((point) => point.released), color: "soft" },
            { name: t("offer.chart.expired"), values: points.map((point) => point.expired), color: "warn" },
            { name: t("offer.chart.returned"), values: points.map((point) => point.returned), color: "good" },
          ]}
        />
      </div>
      <Facts offer={offer} />
    </>
  );
}

/** What ties the offer to other things. */
function Facts({ offer }: { offer: Offer }) {
  if (offer.zone === null && offer.grants === null) return null;
  return (
    <p class="soft">
      {offer.zone !== null && (
        <>
          {t("offer.zone")}: <a href={href(["zones", offer.zone])}>{offer.zone}</a>{" "}
        </>
      )}
      {offer.grants !== null && (
        <>
          {t("offer.grants")}: <a href={href(["offers", offer.grants])}>{offer.grants}</a>
        </>
      )}
    </p>
  );
}

function stateNote(offer: Offer, stock: Stock): string {
  const now = new Date();
  if (stock.state === "not_open" && offer.opens_at !== null) return t("zone.opens_at_note", { at: moment(new Date(offer.opens_at), now) });
  if (stock.state === "open" && offer.closes_at !== null) return t("zone.closes_at_note", { at: moment(new Date(offer.closes_at), now) });
  if (stock.state === "sold_out" && stock.held > 0) return t("offer.sold_out_held", { n: stock.held });
  return t(`state.${stock.state}.offer`);
}

function Change({ offer, stock, done }: { offer: Offer; stock: Stock; done: () => void }) {
  const allowed = may("operator");
  const ids = useIds(allowed);
  return (
    <Panel title={t("offer.change")} class="zone-change">
      <SettingsForm<Offer>
        of="offer"
        id={offer.id}
        fields={OFFER_FIELDS}
        view={offer}
        words={(before, after) => offerWords(before as unknown as OfferSettings, after as unknown as OfferSettings, stock, new Date())}
        put={putOffer(offer.id)}
        reread={() => admin<Offer>("GET", path("offers", offer.id))}
        onDone={done}
        ids={ids}
        allowed={allowed}
      />
    </Panel>
  );
}

function Acts({ offer, stock, done }: { offer: Offer; stock: Stock; done: () => void }) {
  const [open, setOpen] = useState<"restock" | "close" | "delete">();
  const shut = () => setOpen(undefined);
  const put = putOffer(offer.id);
  return (
    <>
      <button type="button" class="button" onClick={() => setOpen("restock")}>
        {t("offer.restock")}
      </button>
      <UndoButton
        of="offer"
        id={offer.id}
        revision={offer.revision}
        said={(undo) =>
          undo.by === "settings"
            ? offerWords(offer, undo.settings as unknown as OfferSettings, stock, new Date())
            : undo.by === "restock"
              ? restockWords(undo.delta, offer.quantity, stock).said
              : []
        }
        put={put}
        onDone={done}
      />
      {stock.state !== "closed" && (
        <button type="button" class="button danger-quiet" onClick={() => setOpen("close")}>
          {t("offer.close")}
        </button>
      )}
      {stock.held + stock.confirmed === 0 && (
        <button type="button" class="button danger-quiet" onClick={() => setOpen("delete")}>
          {t("delete")}
        </button>
      )}
      {open === "restock" && <Restock offer={offer} stock={stock} onClose={shut} done={done} />}
      {open === "close" && (
        <Confirm
          title={t("offer.close_title")}
          said={closeWords(stock)}
          yes={t("offer.close")}
          danger
          onClose={shut}
          act={async () => {
            await admin("POST", path("offers", offer.id, "close"));
            done();
          }}
        />
      )}
      {open === "delete" && (
        <Confirm
          title={t("offer.delete_title")}
          said={[{ text: t("offer.delete_text"), grave: true }]}
          yes={t("delete")}
          type={offer.id}
          danger
          onClose={shut}
          act={async () => {
            await admin("DELETE", path("offers", offer.id));
            window.location.hash = "#/";
          }}
        />
      )}
    </>
  );
}

function Restock({ offer, stock, onClose, done }: { offer: Offer; stock: Stock; onClose: () => void; done: () => void }) {
  const [text, setText] = useState("");
  const delta = Number(text.replace(/[,\s_]/g, ""));
  const valid = text.trim() !== "" && Number.isInteger(delta) && delta !== 0;
  const { possible, said } = valid ? restockWords(delta, stock.remaining + stock.held + stock.confirmed, stock) : { possible: false, said: [] };
  return (
    <Confirm
      title={t("offer.restock_title")}
      said={said}
      yes={t("offer.restock_go")}
      possible={possible}
      onClose={onClose}
      act={async () => {
        await admin("POST", path("offers", offer.id, "restock"), { body: { delta } });
        done();
      }}
    >
      <div class="field">
        <label for="restock-delta">{t("offer.delta")}</label>
        <input id="restock-delta" class="num" inputMode="text" autocomplete="off" placeholder="100" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        <p class="help">{t("offer.delta.help", { n: stock.remaining })}</p>
      </div>
    </Confirm>
  );
}

function Standby({ id }: { id: string }) {
  const { rows, more, busy, problem } = usePages<StandbyPlace>(`${path("offers", id)}/standby`, "standby", {});
  return (
    <Panel title={t("offer.standby_list")}>
      <Trouble of={problem} />
      {rows === undefined ? (
        <Skeleton />
      ) : rows.length === 0 ? (
        <Empty title={t("offer.standby_empty")} />
      ) : (
        <Table
          label={t("offer.standby_list")}
          rows={rows}
          id={(place) => place.id}
          columns={[
            { name: "position", title: t("offer.position"), number: true, cell: (place) => (place.position === null ? "–" : count(place.position)) },
            { name: "user", title: t("claim.user"), head: true, cell: (place) => <Words text={place.user} /> },
            { name: "quantity", title: t("claim.quantity"), number: true, cell: (place) => count(place.quantity) },
            { name: "status", title: t("claim.status"), cell: (place) => word("standby", place.status) },
            { name: "since", title: t("claim.created"), cell: (place) => <Moment at={place.created_at} /> },
          ]}
        />
      )}
      <More more={more} busy={busy} />
    </Panel>
  );
}
