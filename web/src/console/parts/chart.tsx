// Charts by uPlot, in the page's own colours, with a legend in words that follows the pointer and the newest point otherwise.
import { useComputed } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count, moment, seconds } from "../format.ts";
import { language, t } from "../language.ts";
import { dark } from "../theme.ts";

export interface Series {
  name: string;
  values: (number | null)[];
  /** Names of the colours in tokens.css. */
  color: "ink" | "mark" | "good" | "soft" | "warn";
  shape?: "line" | "bars" | "area" | "dots" | "limit";
}

interface ChartProps {
  title: string;
  /** Seconds since 1970. */
  at: number[];
  series: Series[];
  height?: number;
  show?: (value: number) => string;
  /** Whether seconds matter on the time axis. */
  fine?: boolean;
}

const color = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export function Chart({ title, at, series, height = 190, show = count, fine = false }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const look = useComputed(() => `${dark.value ? "dark" : "light"} ${language.value}`).value;
  const shape = series.map((one) => `${one.name} ${one.color} ${one.shape ?? ""}`).join("|");
  const data = useMemo(() => [at, ...series.map((one) => one.values)] as uPlot.AlignedData, [at, series]);
  const latest = useRef(data);
  latest.current = data;

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const made = new uPlot(options(series, element.clientWidth, height, fine, show, setPointed), latest.current, element);
    plot.current = made;
    const resize = new ResizeObserver(() => {
      if (element.clientWidth > 0) made.setSize({ width: element.clientWidth, height });
    });
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [look, shape, height, fine]);

  useEffect(() => plot.current?.setData(data), [data]);

  const index = pointed ?? at.length - 1;
  const when = at[index];
  const values = series.map((one) => ({ ...one, value: one.values[index] ?? null }));
  const words = values.map((one) => `${one.name} ${one.value === null ? "–" : show(one.value)}`).join(", ");
  return (
    <figure class="chart">
      <figcaption class="chart-head">
        <span class="chart-title">{title}</span>
        <span class="chart-legend">
          {values.map((one) => (
            <span key={one.name} class={`legend legend-${one.color} legend-${one.shape ?? "line"}`}>
              {one.name} <b class="num">{one.value === null ? "–" : show(one.value)}</b>
            </span>
          ))}
          {when !== undefined && <span class="soft num">{fine ? seconds(new Date(when * 1_000)) : moment(new Date(when * 1_000))}</span>}
        </span>
      </figcaption>
      <div class="chart-box" ref={box} role="img" aria-label={t("chart.label", { title, words })} />
      {at.length === 0 && <p class="chart-empty soft">{t("chart.empty")}</p>}
    </figure>
  );
}

/** Half a step of room at both ends, so that first and last bars are whole; a single point stands in the middle of a minute. (uPlot would give it a day.) */
function padded(at: ArrayLike<number>): [number, number] {
  const now = Date.now() / 1_000;
  const [from, to] = [at[0] ?? now - 60, at[at.length - 1] ?? now];
  const room = at.length > 1 && to > from ? (to - from) / (at.length - 1) / 2 : 30;
  return [from - room, to + room];
}

function options(series: Series[], width: number, height: number, fine: boolean, show: (value: number) => string, point: (index: number | null) => void): uPlot.Options {
  const clock = (at: number) => (fine ? seconds(new Date(at * 1_000)) : moment(new Date(at * 1_000)));
  const axis = { stroke: color("soft"), font: `11px ${color("font")}`, ticks: { show: false }, grid: { stroke: color("line"), width: 1 } };
  return {
    width: Math.max(width, 120),
    height,
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    padding: [8, 24, 0, 0],
    scales: { x: { time: true, range: (plot) => padded(plot.data[0]) }, y: { range: (_, __, most) => [0, Math.max(1, most) * 1.12] } },
    axes: [
      { ...axis, size: 28, grid: { show: false }, space: 84, values: (_, at) => at.map((one) => (Number.isFinite(one) ? clock(one) : "")) },
      // At first uPlot has no values, whatever its types say.
      { ...axis, size: (_, values: string[] | null) => 14 + 6.2 * Math.max(2, ...(values ?? []).map((text) => text.length)), space: 36, values: (_, at) => at.map((one) => (Number.isInteger(one) ? show(one) : "")) },
    ],
    series: [{}, ...series.map(drawn)],
    hooks: { setCursor: [(plot) => point(plot.cursor.idx ?? null)] },
  };
}

function drawn({ color: name, shape = "line" }: Series): uPlot.Series {
  const stroke = color(name);
  switch (shape) {
    case "bars": {
      const paths = uPlot.paths.bars?.({ size: [0.7, 40], align: 0 });
      return { stroke, fill: stroke, width: 0, points: { show: false }, ...(paths ? { paths } : {}) };
    }
    case "area":
      return { stroke, width: 1.5, fill: `${stroke}22`, points: { show: false } };
    case "dots":
      return { stroke, width: 0, paths: () => null, points: { show: true, size: 5, fill: stroke } };
    case "limit":
      return { stroke, width: 1.5, dash: [5, 4], points: { show: false } };
    default:
      return { stroke, width: 1.75, points: { show: false } };
  }
}
