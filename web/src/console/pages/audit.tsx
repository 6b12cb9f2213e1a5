// Who did what, what was before, what is after.
import { useEffect, useState } from "preact/hooks";
import { differences } from "../data/diff.ts";
import { usePages } from "../data/poll.ts";
import { ask, href, route } from "../data/route.ts";
import type { AuditEntry } from "../data/types.ts";
import { has, t, word } from "../language.ts";
import { Empty, Heading, Moment, Panel, Skeleton, Trouble, Value, Words } from "../parts/basic.tsx";
import { More } from "../parts/table.tsx";

const FILTERS = ["actor", "action", "target"] as const;
const REST_MS = 300;
/** What changes by itself and says nothing about what somebody did. */
const LIVE = new Set(["waiting", "entered_last_minute", "estimated_seconds", "active", "stock", "state", "revision", "version"]);

export function Audit() {
  const asked = route.value.query;
  const values = Object.fromEntries(FILTERS.map((name) => [name, asked.get(name) ?? ""])) as Record<(typeof FILTERS)[number], string>;
  const [typed, setTyped] = useState(values);
  useEffect(() => {
    if (FILTERS.every((name) => typed[name].trim() === values[name])) return;
    const timer = setTimeout(() => ask(Object.fromEntries(FILTERS.map((name) => [name, typed[name].trim()]))), REST_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const { rows, more, busy, problem, refresh } = usePages<AuditEntry>("audit", "entries", values);
  return (
    <>
      <Heading
        title={t("audit.title")}
        aside={
          <button type="button" class="button" onClick={refresh}>
            {t("refresh")}
          </button>
        }
      />
      <Panel title={t("audit.newest")}>
        <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
          {FILTERS.map((name, at) => (
            <label key={name} class={at === 0 ? "search" : ""}>
              <span class="hidden">{t(`audit.${name}`)}</span>
              <input
                type="search"
                data-search={at === 0 ? "" : undefined}
                placeholder={t(`audit.${name}`)}
                autocomplete="off"
                spellcheck={false}
                value={typed[name]}
                onInput={(event) => setTyped({ ...typed, [name]: event.currentTarget.value })}
              />
            </label>
          ))}
        </form>
        <Trouble of={problem} />
        {rows === undefined ? (
          problem === undefined && <Skeleton rows={8} />
        ) : rows.length === 0 && problem === undefined ? (
          <Empty title={t("audit.none")} />
        ) : (
          <ol class="audit">
            {rows.map((entry) => (
              <Entry key={entry.id} entry={entry} />
            ))}
          </ol>
        )}
        <More more={more} busy={busy} />
      </Panel>
    </>
  );
}

/** Where the thing that was changed is. */
function target(entry: AuditEntry): string | null {
  const kind = entry.action.split(".")[0];
  if (kind === "zone") return href(["zones", entry.target]);
  if (kind === "offer") return href(["offers", entry.target]);
  if (kind === "webhook") return href(["webhooks", entry.target]);
  return kind === "claim" ? href(["claims", entry.target]) : null;
}

function Entry({ entry }: { entry: AuditEntry }) {
  const to = target(entry);
  const changes = differences(entry.before, entry.after).filter((change) => !LIVE.has(change.name.split(".")[0] ?? ""));
  const made = !entry.before && Boolean(entry.after);
  return (
    <li>
      <div class="audit-head">
        <Moment at={entry.at} />
        <b>{word("action", entry.action)}</b>
        {to === null ? <Words text={entry.target} /> : <a href={to}>{<Words text={entry.target} />}</a>}
        <span class="soft">
          <Words text={entry.actor} />
        </span>
        {entry.request_id !== null && (
          <span class="soft small request">
            {t("problem.request")} <code>{entry.request_id}</code>
          </span>
        )}
      </div>
      {made ? (
        <details>
          <summary>{t("audit.made")}</summary>
          <Rows changes={changes} of={entry.action} />
        </details>
      ) : (
        changes.length > 0 && <Rows changes={changes} of={entry.action} />
      )}
      {changes.length === 0 && entry.detail !== null && entry.detail !== undefined && (
        <p class="small">
          <code class="json">{JSON.stringify(entry.detail).slice(0, 1_000)}</code>
        </p>
      )}
    </li>
  );
}

function Rows({ changes, of }: { changes: ReturnType<typeof differences>; of: string }) {
  const kind = of.split(".")[0] ?? "";
  return (
    <dl class="changes">
      {changes.map(({ name, before, after }) => (
        <div key={name}>
          <dt>{has(`${kind}.${name}`) ? word(kind, name) : <code>{name}</code>}</dt>
          <dd>
            <del>
              <Value of={before} />
            </del>
            <span aria-hidden="true"> → </span>
            <ins>
              <Value of={after} />
            </ins>
          </dd>
        </div>
      ))}
    </dl>
  );
}
