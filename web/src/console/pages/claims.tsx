// Claims: whose, of what, how they stand; one claim with its history and what it carried; taking one back.
import { useEffect, useState } from "preact/hooks";
import { admin, path } from "../data/api.ts";
import { usePages, usePolled } from "../data/poll.ts";
import { ask, href, route } from "../data/route.ts";
import { may } from "../data/session.ts";
import type { Claim, Offer } from "../data/types.ts";
import { count } from "../format.ts";
import { t, word } from "../language.ts";
import { Empty, Heading, Moment, Panel, Skeleton, Trouble, Words } from "../parts/basic.tsx";
import { Confirm } from "../parts/dialog.tsx";
import { More, Table } from "../parts/table.tsx";
import { returnWords } from "../words/offer.ts";

const STATUSES = ["held", "confirmed", "released", "expired", "returned"] as const;
/** How long typing must rest before it is searched for, milliseconds. */
const REST_MS = 300;

export function Claims() {
  return (
    <>
      <Heading title={t("claims.title")} />
      <ClaimList />
    </>
  );
}

/** Claims of one offer, or of all. */
export function ClaimList({ offer: fixed }: { offer?: string }) {
  const asked = route.value.query;
  const [typed, setTyped] = useState({ user: asked.get("user") ?? "", offer: asked.get("offer") ?? "" });
  const user = asked.get("user") ?? "";
  const offer = fixed ?? asked.get("offer") ?? "";
  const status = asked.get("status") ?? "";
  const search = (values: Record<string, string>) => ask({ user: typed.user.trim(), ...(fixed === undefined ? { offer: typed.offer.trim() } : {}), status, ...values });
  useEffect(() => {
    if (typed.user.trim() === user && (fixed !== undefined || typed.offer.trim() === offer)) return;
    const timer = setTimeout(() => search({}), REST_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  // The server finds by user or by offer; all claims of an installation are no list that anybody reads.
  const named = user !== "" || offer !== "";
  const { rows, more, busy, problem } = usePages<Claim>(named ? "claims" : null, "claims", { user, offer, status });
  return (
    <Panel title={t("claims.found")}>
      <form
        class="filters"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          search({});
        }}
      >
        <label class="search">
          <span class="hidden">{t("claims.user")}</span>
          <input data-search type="search" placeholder={t("claims.user")} autocomplete="off" spellcheck={false} value={typed.user} onInput={(event) => setTyped({ ...typed, user: event.currentTarget.value })} />
        </label>
        {fixed === undefined && (
          <label>
            <span class="hidden">{t("claims.offer")}</span>
            <input type="search" placeholder={t("claims.offer")} autocomplete="off" spellcheck={false} value={typed.offer} onInput={(event) => setTyped({ ...typed, offer: event.currentTarget.value })} />
          </label>
        )}
        <label>
          <span class="hidden">{t("claim.status")}</span>
          <select value={status} onChange={(event) => search({ status: event.currentTarget.value })}>
            <option value="">{t("claims.any_status")}</option>
            {STATUSES.map((one) => (
              <option key={one} value={one}>
                {t(`status.${one}`)}
              </option>
            ))}
          </select>
        </label>
      </form>
      <Trouble of={problem} />
      {!named ? (
        <Empty title={t("claims.ask")}>
          <p>{t("claims.none_text")}</p>
        </Empty>
      ) : rows === undefined ? (
        problem === undefined && <Skeleton rows={6} />
      ) : rows.length === 0 && problem === undefined ? (
        <Empty title={t("claims.none")}>
          <p>{t("claims.none_text")}</p>
        </Empty>
      ) : (
        <Table
          label={t("claims.found")}
          rows={rows}
          id={(claim) => claim.id}
          columns={[
            {
              name: "user",
              title: t("claim.user"),
              head: true,
              cell: (claim) => (
                <a class="row-name" href={href(["claims", claim.id])}>
                  <Words text={claim.user} />
                </a>
              ),
            },
            ...(fixed === undefined ? [{ name: "offer", title: t("claim.offer"), cell: (claim: Claim) => <a href={href(["offers", claim.offer])}>{claim.offer}</a> }] : []),
            { name: "quantity", title: t("claim.quantity"), number: true, cell: (claim) => count(claim.quantity), class: "col-number" },
            { name: "status", title: t("claim.status"), cell: (claim) => <Status of={claim.status} />, class: "col-state" },
            { name: "created", title: t("claim.created"), cell: (claim) => <Moment at={claim.created_at} /> },
            { name: "updated", title: t("claim.updated"), cell: (claim) => <Moment at={claim.updated_at} /> },
          ]}
        />
      )}
      <More more={more} busy={busy} />
    </Panel>
  );
}

export function Status({ of }: { of: string }) {
  return <span class={`state status-${of}`}>{word("status", of)}</span>;
}

export function ClaimPage({ id }: { id: string }) {
  const { data: claim, problem, refresh } = usePolled<Claim>(path("claims", id), 5_000);
  const [taking, setTaking] = useState(false);
  return (
    <>
      <Heading
        title={t("claim.title")}
        aside={
          claim?.status === "confirmed" &&
          may("operator") && (
            <button type="button" class="button danger-quiet" onClick={() => setTaking(true)}>
              {t("claim.return")}
            </button>
          )
        }
      >
        <a class="up" href="#/claims">
          {t("nav.claims")}
        </a>{" "}
        {t("claim.title")}{" "}
        <small class="soft id">
          <Words text={id} />
        </small>
      </Heading>
      {claim === undefined ? (
        <>
          <Trouble of={problem} />
          {problem === undefined && <Skeleton />}
        </>
      ) : (
        <div class="claim">
          <Panel title={t("claim.about")}>
            <dl class="facts">
              <Fact name={t("claim.user")}>
                <a href={href(["claims"], { user: claim.user })}>
                  <Words text={claim.user} lines={3} />
                </a>
              </Fact>
              <Fact name={t("claim.offer")}>
                <a href={href(["offers", claim.offer])}>{claim.offer}</a>
              </Fact>
              <Fact name={t("claim.quantity")}>{count(claim.quantity)}</Fact>
              <Fact name={t("claim.status")}>
                <Status of={claim.status} />
              </Fact>
              <Fact name={t("claim.created")}>
                <Moment at={claim.created_at} />
              </Fact>
              {claim.hold_expires_at !== null && (
                <Fact name={t("claim.expires")}>
                  <Moment at={claim.hold_expires_at} />
                </Fact>
              )}
              {claim.granted.map((granted) => (
                <Fact key={granted} name={t("claim.granted")}>
                  <a href={href(["claims", granted])}>{granted}</a>
                </Fact>
              ))}
            </dl>
          </Panel>
          <Panel title={t("claim.history")}>
            <ol class="history">
              {(claim.events ?? []).map((event) => (
                <li key={event.version}>
                  <Status of={event.status} />
                  <span class="num">× {count(event.quantity)}</span>
                  <Moment at={event.at} />
                  <span class="soft small num">v{event.version}</span>
                </li>
              ))}
            </ol>
          </Panel>
          <Panel title={t("claim.attributes")}>
            {claim.attributes !== null && typeof claim.attributes === "object" && Object.keys(claim.attributes).length > 0 ? (
              <>
                <p class="help">{t("claim.attributes_help")}</p>
                <pre class="code" dir="auto">
                  {JSON.stringify(claim.attributes, null, 2)}
                </pre>
              </>
            ) : (
              <p class="soft">{t("none")}</p>
            )}
          </Panel>
        </div>
      )}
      {taking && claim !== undefined && <TakeBack claim={claim} onClose={() => setTaking(false)} done={refresh} />}
    </>
  );
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function TakeBack({ claim, onClose, done }: { claim: Claim; onClose: () => void; done: () => void }) {
  const [restock, setRestock] = useState(true);
  const offer = usePolled<Offer>(path("offers", claim.offer), 0).data;
  return (
    <Confirm
      title={t("claim.return_title")}
      said={returnWords(claim, restock, offer?.stock)}
      yes={t("claim.return")}
      danger
      onClose={onClose}
      act={async () => {
        await admin("POST", path("claims", claim.id, "return"), { body: { restock } });
        done();
      }}
    >
      <fieldset class="conflict">
        <legend>{t("claim.restock")}</legend>
        <label>
          <input type="radio" name="restock" checked={restock} onChange={() => setRestock(true)} /> {t("claim.restock_yes")}
        </label>
        <label>
          <input type="radio" name="restock" checked={!restock} onChange={() => setRestock(false)} /> {t("claim.restock_no")}
        </label>
      </fieldset>
    </Confirm>
  );
}
