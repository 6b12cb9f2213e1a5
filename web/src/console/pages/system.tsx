// Whether the machine under it all is well.
import { usePolled } from "../data/poll.ts";
import { href } from "../data/route.ts";
import type { SystemView } from "../data/types.ts";
import { bytes, count, span } from "../format.ts";
import { t, word } from "../language.ts";
import { Empty, Figures, Heading, Moment, Note, Panel, Skeleton, Trouble, Words } from "../parts/basic.tsx";
import { Table } from "../parts/table.tsx";

/** Records that the ledger may be behind while nobody needs to worry: about a second of full speed. */
const LAG_CALM = 50_000;

export function System() {
  const { data, problem } = usePolled<SystemView>("system", 2_000);
  return (
    <>
      <Heading title={t("system.title")} />
      {data === undefined ? (
        <>
          <Trouble of={problem} />
          {problem === undefined && <Skeleton rows={6} />}
        </>
      ) : (
        <Shown system={data} />
      )}
    </>
  );
}

function Shown({ system }: { system: SystemView }) {
  const ill = system.parts.filter((part) => !part.well);
  const now = Date.parse(system.now);
  const well = ill.length === 0 && system.parked.count === 0 && system.findings.length === 0;
  return (
    <>
      <Note tone={well ? "good" : "bad"} text={well ? t("system.well") : t("system.ill")} />
      <Figures
        of={[
          { name: t("system.shape"), value: word("shape", system.shape), note: t("system.version", { version: system.version }) },
          { name: t("system.up"), value: span((now - Date.parse(system.started_at)) / 1_000), note: <Words text={system.node} /> },
          ...(system.journal === null ? [] : [{ name: t("system.journal"), value: bytes(system.journal.backlog_bytes), note: t("system.journal_note", { n: system.journal.durable }) }]),
          ...(system.ledger === null
            ? []
            : [
                {
                  name: t("system.ledger"),
                  value: count(system.ledger.lag),
                  note: t("system.ledger_note", { kind: system.ledger.kind, n: system.ledger.projected }),
                  ...(system.ledger.lag > LAG_CALM ? { tone: "warn" } : {}),
                },
              ]),
          { name: t("system.parked"), value: count(system.parked.count), note: t("system.parked_note"), ...(system.parked.count > 0 ? { tone: "bad" } : {}) },
        ]}
      />
      <div class="two">
        <Panel title={t("system.parts")}>
          <ul class="parts">
            {system.parts.map((part) => (
              <li key={part.name}>
                <span class={part.well ? "state state-waiting" : "state state-recovering"}>{t(part.well ? "system.part_well" : "system.part_ill")}</span>
                <b>{word("part", part.name)}</b>
                {part.detail !== null && (
                  <span class="soft">
                    <Words text={part.detail} lines={3} />
                  </span>
                )}
              </li>
            ))}
          </ul>
        </Panel>
        <Panel title={t("system.nodes")}>
          <Table
            label={t("system.nodes")}
            rows={system.nodes}
            id={(node) => node.node}
            columns={[
              {
                name: "node",
                title: t("system.node"),
                head: true,
                cell: (node) => (
                  <>
                    <Words text={node.node} /> {node.self && <span class="soft small">{t("system.self")}</span>}
                  </>
                ),
              },
              { name: "version", title: t("system.version_head"), cell: (node) => node.version },
              { name: "up", title: t("system.up"), number: true, cell: (node) => span((now - Date.parse(node.started_at)) / 1_000) },
              { name: "seen", title: t("system.seen"), number: true, cell: (node) => t("ago", { span: span((now - Date.parse(node.last_seen_at)) / 1_000) }) },
            ]}
          />
        </Panel>
      </div>
      <Panel title={t("system.findings")}>
        {system.findings.length === 0 ? (
          <Empty title={t("system.no_findings")} />
        ) : (
          <ul class="sentences">
            {system.findings.map((finding) => (
              <li key={finding} class="grave">
                <Words text={finding} lines={0} />
              </li>
            ))}
          </ul>
        )}
      </Panel>
      <div class="two">
        <Panel title={t("system.parked_rows")}>
          {system.parked.events.length === 0 ? (
            <Empty title={t("system.no_parked")} />
          ) : (
            <Table
              label={t("system.parked_rows")}
              rows={system.parked.events}
              id={(row) => String(row.id)}
              columns={[
                { name: "at", title: t("system.at"), cell: (row) => <Moment at={row.at} /> },
                { name: "claim", title: t("claim.title"), head: true, cell: (row) => (row.claim === null ? "–" : <a href={href(["claims", row.claim])}>{row.claim}</a>) },
                { name: "offer", title: t("claim.offer"), cell: (row) => row.offer ?? "–" },
                { name: "reason", title: t("system.reason"), cell: (row) => <Words text={row.reason} lines={3} /> },
              ]}
            />
          )}
        </Panel>
        <Panel title={t("system.recoveries")}>
          {system.recoveries.length === 0 ? (
            <Empty title={t("system.no_recoveries")} />
          ) : (
            <Table
              label={t("system.recoveries")}
              rows={system.recoveries}
              id={(row) => `${row.at} ${row.target}`}
              columns={[
                { name: "at", title: t("system.at"), cell: (row) => <Moment at={row.at} /> },
                { name: "target", title: t("system.target"), head: true, cell: (row) => <Words text={row.target} /> },
                { name: "reason", title: t("system.reason"), cell: (row) => <Words text={row.reason} lines={3} /> },
              ]}
            />
          )}
        </Panel>
      </div>
    </>
  );
}
