// What stands on the slip. Everything is text that is set, never markup, so what operators write is shown as they wrote it.
import type { Place } from "@bunho/client";
import { countdown } from "./clock.ts";

export type Shown = Place["state"] | "joining" | "next" | "gone" | "left" | "in" | "unknown" | "proving" | "members";

export interface Data {
  zone: string;
  lang: string;
  texts: Record<string, string>;
  returnTo: string[];
  preview: boolean;
}

export function by(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no #${id}`);
  return found;
}

export const data = JSON.parse(by("data").textContent) as Data;
/** Where the page leads to in the end. */
export const link = by("go") as HTMLAnchorElement;

const number = new Intl.NumberFormat(data.lang);
/** Somebody who cannot see the page hears of changes of state at once, and of the rank at most so often. */
const SPEAK_EVERY_MS = 30_000;

export function text(key: string, values: Record<string, string> = {}): string {
  return (data.texts[key] ?? "").replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole);
}

function put(id: string, value: string | null): void {
  const element = by(id);
  const shown = value ?? "";
  // Untouched where nothing changed, so that what somebody has selected stays selected.
  if (element.textContent !== shown) element.textContent = shown;
  element.hidden = value === null;
}

function fact(id: string, value: string | null): void {
  put(id, value);
  by(`fact-${id}`).hidden = value === null;
}

/** Time from now, in words. */
export function span(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (seconds < 60) return text("span_seconds");
  if (minutes < 60) return text("span_minutes", { n: String(minutes) });
  return text("span_hours", { h: number.format(Math.floor(minutes / 60)), n: String(minutes % 60) });
}

/** A moment by this device's clock, which is the one that its owner looks at. */
function moment(at: Date): string {
  const soon = at.getTime() - Date.now() < 12 * 3_600_000;
  return new Intl.DateTimeFormat(data.lang, { hour: "numeric", minute: "2-digit", ...(soon ? {} : { month: "short", day: "numeric" }) }).format(at);
}

let spoken = "";
let spokenAt = 0;
let lastState: Shown | undefined;

function speak(state: Shown, words: string): void {
  const now = Date.now();
  if (words === spoken || (state === lastState && now - spokenAt < SPEAK_EVERY_MS)) return;
  lastState = state;
  spoken = words;
  spokenAt = now;
  by("live").textContent = words;
}

/** Shows a state, with the place where there is one. `progress` is 0 to 1. */
export function show(state: Shown, place?: Place, progress = 0): void {
  const shown: Shown = state === "waiting" && place?.rank === 1 ? "next" : state;
  by("slip").dataset["state"] = shown;
  put("state", text(`${shown}_title`));
  put("text", text(`${shown}_text`));
  put("message", place?.message ?? null);
  const waits = place !== undefined && ["waiting", "next", "not_open", "paused", "recovering"].includes(shown);
  const opensAt = shown === "not_open" && place?.opensAt ? Date.parse(place.opensAt) : undefined;
  const rank = place ? number.format(place.rank) : "";
  by("number").hidden = !waits;
  if (waits && opensAt === undefined) {
    put("label", text("number"));
    big(rank);
  }
  // Where the large number is another one, or none.
  fact("rank", place && ["not_open", "closed", "sold_out"].includes(shown) ? rank : null);
  fact("behind", waits && place.behind > 0 ? number.format(place.behind) : null);
  fact("remaining", place?.remaining != null && shown !== "sold_out" ? number.format(place.remaining) : null);
  left(shown, place, opensAt);
  by("bar").hidden = !["waiting", "next", "paused"].includes(shown);
  by("bar").setAttribute("aria-valuenow", String(Math.round(progress * 100)));
  (by("bar").firstElementChild as HTMLElement).style.width = `${(progress * 100).toFixed(2)}%`;
  by("again").hidden = !["gone", "left"].includes(shown);
  by("leave").hidden = place === undefined;
  link.hidden = shown !== "in" || !link.hasAttribute("href");
  const title = by("title").textContent;
  document.title = shown === "waiting" || shown === "next" ? `${rank} · ${title}` : `${text(`${shown}_title`)} · ${title}`;
  speak(shown, [text(`${shown}_title`), waits ? text("say", { n: rank }) : text(`${shown}_text`), by("left-span").textContent].join(" "));
}

/** When it will be one's turn, as a moment and as a span; before the opening, when that is. */
function left(shown: Shown, place: Place | undefined, opensAt: number | undefined): void {
  const dd = by("left");
  const seconds = shown === "waiting" || shown === "next" ? (place?.estimatedSeconds ?? null) : null;
  const waits = shown === "waiting" || shown === "next";
  by("fact-left").hidden = !waits && opensAt === undefined;
  (dd.previousElementSibling as HTMLElement).textContent = text(opensAt === undefined ? "left" : "opens_at");
  let at = text("span_unknown");
  if (opensAt !== undefined) at = moment(new Date(opensAt));
  else if (seconds !== null) at = text("moment", { time: moment(new Date(Date.now() + seconds * 1000)) });
  put("left-at", at);
  put("left-span", seconds === null ? "" : span(seconds));
}

function big(value: string): void {
  put("big", value);
  by("big").style.setProperty("--digits", String(value.length));
}

/** Shows how long it is until the opening. */
export function showCountdown(ms: number): void {
  put("label", text("opens_in"));
  big(countdown(ms, text("days")));
}

/** Shows what is in the way of asking, or that nothing is. */
export function trouble(kind: "offline" | "trouble" | null): void {
  put("trouble", kind === null ? null : text(kind));
  if (kind !== null) speak("joining", text(kind));
}
