// What the page will look like, for the console: it frames this page, sends settings that nobody has saved yet, and nothing joins any line.
import type { Place } from "@bunho/client";
import { by, data, link, show, showCountdown, trouble, type Shown } from "./show.ts";

/** Sent by the console. `page` is as in `GET /admin/api/zones/{id}/page`. */
interface Message {
  bunho: "preview";
  state?: Shown | "offline" | "trouble";
  lang?: string;
  page?: {
    title?: Record<string, string> | null;
    logo?: string | null;
    colors?: Record<"paper" | "slip" | "ink" | "mark", string> | null;
    texts?: Record<string, Record<string, string>> | null;
  };
  /** What the operator says to everyone who waits. */
  message?: string | null;
}

export function preview(): void {
  const texts = data.texts;
  const title = by("title").textContent;
  addEventListener("message", (event: MessageEvent<Message | null>) => {
    if (event.origin !== location.origin || event.data?.bunho !== "preview") return;
    const { page = {}, lang = data.lang, message = null } = event.data;
    if (lang !== data.lang && by("languages").querySelector(`[hreflang="${CSS.escape(lang)}"]`)) {
      // Says that it is ready once it speaks that language, and is sent all of this again.
      location.replace(`?preview=1&lang=${encodeURIComponent(lang)}`);
      return;
    }
    data.texts = { ...texts, ...page.texts?.[data.lang] };
    by("title").textContent = page.title?.[data.lang] ?? title;
    const logo = by("logo") as HTMLImageElement;
    logo.hidden = !page.logo;
    if (page.logo) logo.src = page.logo;
    paint(page.colors ?? null);
    sample(event.data.state ?? "waiting", message);
  });
  sample("waiting", null);
  parent.postMessage({ bunho: "preview-ready", lang: data.lang }, location.origin);
}

/** As the server writes it into the page's style. */
function paint(colors: Record<string, string> | null): void {
  const style = document.documentElement.style;
  for (const name of ["paper", "slip", "ink", "mark"]) style.setProperty(`--${name}`, colors?.[name] ?? "");
  for (const name of ["soft", "edge", "good", "warn", "bad", "focus"]) style.setProperty(`--${name}`, colors?.["ink"] ?? "");
  style.setProperty("--line", colors?.["ink"] ? `${colors["ink"]}33` : "");
}

function sample(state: Shown | "offline" | "trouble", message: string | null): void {
  const shown = state === "offline" || state === "trouble" ? "waiting" : state;
  const place: Place = {
    state: shown === "next" ? "waiting" : (shown as Place["state"]),
    rank: shown === "next" ? 1 : 1234,
    behind: 5678,
    estimatedSeconds: shown === "next" ? 2 : 420,
    pollingPeriod: 3000,
    message,
    opensAt: shown === "not_open" ? new Date(Date.now() + 600_000).toISOString() : null,
    remaining: shown === "sold_out" ? 0 : 420,
  };
  link.href = "#";
  show(place.state, ["gone", "left", "in", "unknown", "joining", "proving", "members"].includes(shown) ? undefined : place, 0.62);
  if (shown === "not_open") showCountdown(600_000);
  trouble(shown === state ? null : (state as "offline" | "trouble"));
}
