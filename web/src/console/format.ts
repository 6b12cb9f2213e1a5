// Numbers, spans and moments as people of the chosen language write them. Moments are in the browser's time zone, which every form names.
import { language, t } from "./language.ts";

export const count = (n: number): string => n.toLocaleString(language.value);

const SHORT = new Map<string, Intl.DateTimeFormat>();
function formatter(name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${language.value} ${name}`;
  const made = SHORT.get(key) ?? new Intl.DateTimeFormat(language.value === "en" ? "en-GB" : language.value, { hourCycle: "h23", ...options });
  SHORT.set(key, made);
  return made;
}

/** 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h: two units say enough. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const units: [number, "span.d" | "span.h" | "span.m" | "span.s"][] = [
    [Math.floor(whole / 86_400), "span.d"],
    [Math.floor((whole % 86_400) / 3_600), "span.h"],
    [Math.floor((whole % 3_600) / 60), "span.m"],
    [whole % 60, "span.s"],
  ];
  const first = units.findIndex(([n]) => n > 0);
  if (first < 0) return t("span.s", { n: 0 });
  return units.slice(first, first + 2).filter(([n]) => n > 0).map(([n, key]) => t(key, { n })).join(" ");
}

/** 10:21, with the day where it is another one than `now`'s. */
export function moment(at: Date, now: Date = new Date()): string {
  const clock = formatter("clock", { hour: "2-digit", minute: "2-digit" }).format(at);
  return at.toDateString() === now.toDateString() ? clock : `${formatter("day", { month: "short", day: "numeric" }).format(at)} ${clock}`;
}

/** A moment to the second, for logs: the same in every language, so that columns of them stand in order. */
export const stamp = (at: string): string => toLocalInput(at).replace("T", " ");

export const seconds = (at: Date): string => formatter("seconds", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(at);

export function bytes(n: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let size = n;
  let unit = 0;
  while (size >= 1_024 && unit < units.length - 1) {
    size /= 1_024;
    unit += 1;
  }
  return `${size.toLocaleString(language.value, { maximumFractionDigits: size < 10 && unit > 0 ? 1 : 0 })} ${units[unit] ?? "B"}`;
}

/** What `datetime-local` holds: local time to the second. */
export function toLocalInput(at: string | null): string {
  if (at === null) return "";
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "";
  const two = (n: number) => String(n).padStart(2, "0");
  const day = `${String(date.getFullYear()).padStart(4, "0")}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Back again: RFC 3339 UTC with milliseconds, as the server writes it; null for nothing, undefined for nonsense. */
export function fromLocalInput(text: string): string | null | undefined {
  if (text.trim() === "") return null;
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

export const timeZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;
