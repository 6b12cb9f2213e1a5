// Small things that every page is made of.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Refused, Unreachable } from "../data/api.ts";
import { stamp } from "../format.ts";
import { has, t, word, type Key } from "../language.ts";

/** What somebody else wrote: isolated from the text around it, so that right-to-left names turn nothing around, and cut by width, not by length. */
export function Words({ text, lines = 1 }: { text: string; lines?: 1 | 3 | 0 }) {
  const cut = lines === 0 ? "" : lines === 1 ? " cut" : " cut3";
  return (
    <bdi class={`words${cut}`} title={lines !== 0 && text.length > 24 ? text.slice(0, 1_000) : undefined}>
      {text}
    </bdi>
  );
}

export function State({ of }: { of: string }) {
  return <span class={`state state-${of}`}>{word("state", of)}</span>;
}

export function Moment({ at }: { at: string }) {
  return (
    <time dateTime={at} class="num">
      {stamp(at)}
    </time>
  );
}

/** Part of a whole, as a bar under words that say the same. */
export function Bar({ part, whole, over = false }: { part: number; whole: number | null; over?: boolean }) {
  const share = whole === null || whole === 0 ? 0 : Math.min(1, part / whole);
  return (
    <span class={over ? "bar bar-over" : "bar"} aria-hidden="true">
      <span style={{ transform: `scaleX(${share})` }} />
    </span>
  );
}

/** The last half hour in a line. Words beside it say what counts; it is for the eye. */
export function Spark({ values, label }: { values: number[]; label: string }) {
  const most = Math.max(1, ...values);
  const step = values.length > 1 ? 100 / (values.length - 1) : 100;
  const points = values.map((value, at) => `${(at * step).toFixed(1)},${(23 - (value / most) * 21).toFixed(1)}`);
  if (values.length < 2 || values.every((value) => value === 0)) {
    return (
      <svg class="spark spark-flat" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label}>
        <path d="M0,23 H100" class="spark-line" />
      </svg>
    );
  }
  return (
    <svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label={label}>
      <path d={`M0,24 L${points.join(" L")} L100,24 Z`} class="spark-area" />
      <path d={`M${points.join(" L")}`} class="spark-line" />
    </svg>
  );
}

export function Skeleton({ rows = 4 }: { rows?: number }) {
  return (
    <div class="skeleton" role="status">
      <span class="hidden">{t("loading")}</span>
      {Array.from({ length: rows }, (_, at) => (
        <span key={at} class="skeleton-row" aria-hidden="true" />
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** What went wrong and what to do about it, by the problem's code. */
export function Trouble({ of }: { of: Error | undefined }) {
  if (of === undefined) return null;
  if (of instanceof Unreachable) return <Note tone="bad" text={t("problem.unreachable")} />;
  if (!(of instanceof Refused)) return <Note tone="bad" text={t("problem.unexpected", { what: of.message })} />;
  const key = `problem.${of.code}`;
  const known = has(key);
  const wait = of.retryAfter === null ? "" : ` ${t("problem.retry_after", { n: of.retryAfter })}`;
  return (
    <div class="note note-bad" role="alert">
      <p>
        {known ? t(key) : t("problem.other", { code: of.code })}
        {wait}
      </p>
      {(!known || DETAILED.has(of.code)) && of.detail !== "" && (
        <p class="soft">
          <Words text={of.detail} lines={3} />
        </p>
      )}
      {of.fields.length > 0 && (
        <ul>
          {of.fields.slice(0, 20).map((field) => (
            <li key={field.field}>
              <code>{field.field}</code> {field.reason}
            </li>
          ))}
        </ul>
      )}
      {of.requestId !== null && (
        <p class="soft small">
          {t("problem.request")} <code>{of.requestId}</code>
        </p>
      )}
    </div>
  );
}

/** Codes whose detail says more than a translation could. */
const DETAILED = new Set(["in_use", "forbidden", "quantity_taken", "not_held", "invalid_request"]);

export function Note({ text, tone, children }: { text: string; tone: "good" | "warn" | "bad" | "plain"; children?: ComponentChildren }) {
  return (
    <div class={`note note-${tone}`} role={tone === "bad" ? "alert" : "status"}>
      <p>{text}</p>
      {children}
    </div>
  );
}

/** Copies something that is shown once. */
export function Copy({ text }: { text: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
    } catch {
      // Not allowed here; the text stands there to be marked by hand.
    }
  };
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 2_000);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <button type="button" class="small-button" onClick={() => void copy()}>
      {t(done ? "copied" : "copy")}
    </button>
  );
}

/** A page's heading: gets the focus when one comes here, so that keyboard and screen reader begin where the eye does. */
export function Heading({ children, title, aside }: { children?: ComponentChildren; title: string; aside?: ComponentChildren }) {
  const at = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title.slice(0, 80)} · Bunho`;
  }, [title]);
  return (
    <header class="heading">
      <div class="heading-words">
        <h1 tabIndex={-1} ref={at} data-heading>
          {children ?? title}
        </h1>
      </div>
      {aside !== undefined && <div class="heading-aside">{aside}</div>}
    </header>
  );
}

export function Panel({ title, aside, children, class: extra = "" }: { title: string; aside?: ComponentChildren; children: ComponentChildren; class?: string }) {
  return (
    <section class={`panel ${extra}`}>
      <div class="panel-head">
        <h2>{title}</h2>
        {aside !== undefined && <div class="panel-aside">{aside}</div>}
      </div>
      {children}
    </section>
  );
}

/** Numbers with their names. */
export function Figures({ of }: { of: { name: string; value: ComponentChildren; note?: ComponentChildren; tone?: string }[] }) {
  return (
    <dl class="figures">
      {of.map(({ name, value, note, tone }) => (
        <div key={name} class={tone === undefined ? "figure" : `figure figure-${tone}`}>
          <dt>{name}</dt>
          <dd class="num">{value}</dd>
          {note !== undefined && <dd class="figure-note">{note}</dd>}
        </div>
      ))}
    </dl>
  );
}

/** A setting's, column's or action's value as text: never markup. */
export function Value({ of }: { of: unknown }) {
  if (of === null || of === undefined) return <span class="soft">{t("none")}</span>;
  if (typeof of === "boolean") return <>{t(of ? "yes" : "no")}</>;
  if (typeof of === "number") return <span class="num">{of.toLocaleString()}</span>;
  if (typeof of === "string") return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(of) ? <Moment at={of} /> : <Words text={of.length > 400 ? `${of.slice(0, 400)}…` : of} lines={3} />;
  return <code class="json">{JSON.stringify(of).slice(0, 2_000)}</code>;
}

/** One of a few, as tabs of one bar that are links. */
export function Tabs({ of, current, label }: { of: { name: string; title: string; to: string }[]; current: string; label: string }) {
  return (
    <nav class="tabs" aria-label={label}>
      {of.map(({ name, title, to }) => (
        <a key={name} href={to} aria-current={name === current ? "page" : undefined}>
          {title}
        </a>
      ))}
    </nav>
  );
}

export const key = (text: string): Key => text as Key;
