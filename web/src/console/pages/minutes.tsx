// A zone's history by the minute: to look at, and to take away as CSV.
import { useMemo, useState } from "preact/hooks";
import { path, query } from "../data/api.ts";
import { usePolled } from "../data/poll.ts";
import type { ZoneMinute } from "../data/types.ts";
import { count } from "../format.ts";
import { t } from "../language.ts";
import { Empty, Figures, Moment, Panel, Skeleton, Trouble } from "../parts/basic.tsx";
import { Chart } from "../parts/chart.tsx";
import { Table } from "../parts/table.tsx";

const RANGES = [1, 6, 24, 168] as const;
/** Rows of the table under the chart; the rest is in the CSV. */
const ROWS = 60;

export function Minutes({ id }: { id: string }) {
  const [hours, setHours] = useState<(typeof RANGES)[number]>(1);
  const [round, setRound] = useState(0);
  const asked = useMemo(() => {
    const to = new Date(Math.ceil(Date.now() / 60_000) * 60_000);
    return query({ from: new Date(to.getTime() - hours * 3_600_000).toISOString(), to: to.toISOString() });
  }, [hours, round]);
  const { data, problem } = usePolled<{ minutes: ZoneMinute[] }>(`${path("zones", id)}/minutes${asked}`, 0);
  const minutes = data?.minutes ?? [];
  const at = minutes.map((minute) => Date.parse(minute.minute) / 1_000);
  const sum = (of: (minute: ZoneMinute) => number) => minutes.reduce((total, minute) => total + of(minute), 0);
  return (
    <Panel
      title={t("zone.history")}
      aside={
        <>
          <span class="tabs" role="group" aria-label={t("zone.range")}>
            {RANGES.map((range) => (
              <button key={range} type="button" aria-pressed={range === hours} onClick={() => setHours(range)}>
                {range === 168 ? t("span.d", { n: 7 }) : t("span.h", { n: range })}
              </button>
            ))}
          </span>
          <button type="button" class="small-button" onClick={() => setRound((n) => n + 1)}>
            {t("refresh")}
          </button>
          <a class="small-button" download href={`/admin/api/${path("zones", id)}/minutes${asked}&format=csv`}>
            {t("zone.csv")}
          </a>
        </>
      }
    >
      <Trouble of={problem} />
      {data === undefined ? (
        problem === undefined && <Skeleton />
      ) : minutes.length === 0 ? (
        <Empty title={t("zone.history_empty")}>
          <p>{t("zone.history_empty_text")}</p>
        </Empty>
      ) : (
        <>
          <Figures
            of={[
              { name: t("zone.total_entered"), value: count(sum((minute) => minute.entered)) },
              { name: t("zone.most_waiting"), value: count(Math.max(...minutes.map((minute) => minute.waiting))) },
              { name: t("zone.total_dropped"), value: count(sum((minute) => minute.dropped ?? 0)) },
            ]}
          />
          <div class="charts">
            <Chart
              title={t("zone.chart.entered_minute")}
              at={at}
              series={[
                { name: t("zone.chart.entered_name"), values: minutes.map((minute) => minute.entered), color: "ink", shape: "bars" },
                { name: t("zone.chart.limit"), values: minutes.map((minute) => minute.entry_limit ?? null), color: "mark", shape: "limit" },
              ]}
            />
            <Chart
              title={t("zone.chart.waiting")}
              at={at}
              series={[
                { name: t("now.waiting"), values: minutes.map((minute) => minute.waiting), color: "ink", shape: "area" },
                { name: t("zone.chart.left_name"), values: minutes.map((minute) => minute.dropped ?? 0), color: "soft" },
              ]}
            />
          </div>
          <details>
            <summary>{t("zone.as_table")}</summary>
            <Table
              label={t("zone.history")}
              rows={[...minutes].reverse().slice(0, ROWS)}
              id={(minute) => minute.minute}
              columns={[
                { name: "minute", title: t("zone.minute"), head: true, cell: (minute) => <Moment at={minute.minute} /> },
                { name: "entered", title: t("zone.chart.entered_name"), number: true, cell: (minute) => count(minute.entered) },
                { name: "waiting", title: t("now.waiting"), number: true, cell: (minute) => count(minute.waiting) },
                { name: "dropped", title: t("zone.chart.left_name"), number: true, cell: (minute) => count(minute.dropped ?? 0) },
                { name: "limit", title: t("zone.chart.limit"), number: true, cell: (minute) => (minute.entry_limit === null || minute.entry_limit === undefined ? "∞" : count(minute.entry_limit)) },
              ]}
            />
          </details>
        </>
      )}
    </Panel>
  );
}
