// Beside the scenes: what one has, and the calls behind it all.
import { calls, why, type CallLine } from "./calls.ts";
import { beSomebodyElse, me, mine, what } from "./mine.ts";
import { goOut } from "./visit.ts";
import { language, t, type Key } from "./words.ts";

const SHOWN = 12;

export function Mine() {
  return (
    <section class="card mine-list" aria-labelledby="mine">
      <h2 id="mine">{t("mine_head")}</h2>
      {mine.value.length === 0 ? (
        <p class="soft">{t("mine_none")}</p>
      ) : (
        <ul>
          {mine.value.slice(0, SHOWN).map((claim) => (
            <li key={claim.id}>
              <span class="what">{what(claim)}</span>
              <span class={`status ${claim.status}`}>{t(`status_${claim.status}` satisfies Key)}</span>
              <small class="soft">
                {typeof claim.attributes["check_in"] === "string" ? `${claim.attributes["check_in"]} · ` : ""}
                {new Date(claim.created_at).toLocaleTimeString(language.value)}
              </small>
              {typeof claim.attributes["note"] === "string" ? <small class="note">“{claim.attributes["note"]}”</small> : null}
            </li>
          ))}
        </ul>
      )}
      <p class="small soft">{t("mine_kept")}</p>
      <p class="who soft">
        {me.value === "" ? null : (
          <>
            {t("mine_user")} <code>{me.value}</code>
          </>
        )}
        <button
          type="button"
          class="plain"
          onClick={() => {
            goOut();
            void beSomebodyElse();
          }}
        >
          {t("mine_other")}
        </button>
      </p>
    </section>
  );
}

export function Calls() {
  return (
    <section class="card calls" aria-labelledby="calls">
      <h2 id="calls">{t("calls_head")}</h2>
      <p class="soft">
        {t("calls_lead")} <a href="/docs/">{t("calls_docs")}</a>
      </p>
      {calls.value.length === 0 ? (
        <p class="soft">{t("calls_none")}</p>
      ) : (
        <ol tabIndex={0} aria-labelledby="calls">
          {calls.value.map((line) => (
            <Call key={line.id} line={line} />
          ))}
        </ol>
      )}
    </section>
  );
}

function Call({ line }: { line: CallLine }) {
  const reason = why(line);
  return (
    <li class={line.by}>
      <span class="call-line">
        <b>{line.method}</b> <code>{short(line.path)}</code>
      </span>
      <span class="call-facts">
        <span class={line.status === 0 || line.status >= 500 ? "code bad" : line.status >= 400 ? "code warn" : "code good"}>{line.status === 0 ? t("no_answer") : line.status}</span>
        <span>{t("calls_ms", { ms: Math.round(line.ms) })}</span>
        {line.times > 1 ? <span>{t("calls_times", { count: line.times })}</span> : null}
      </span>
      <small class="soft">
        {t(line.by === "shop" ? "by_shop" : "by_browser")}
        {reason ? ` · ${t(reason)}` : ""}
      </small>
    </li>
  );
}

/** Ids are long, and only their end differs. */
const short = (path: string): string => path.replace(/\?$/, "").replace(/[0-9a-f]{8}-[0-9a-f-]{15,}([0-9a-f]{4})/g, "…$1");
