// The waiting page: joins, asks as it is told to, shows what it hears and goes in by itself.
//
// Tabs of one browser have one place. Each asks when it is time, and each hears what another has heard (memory.ts), so that in effect one of them asks: the
// first to be awake. None leads, so none is missed when it is closed, frozen or throttled.
import { backOffMs, join, leave, poll, pollMs, Problem, type Admitted, type Entry, type Server } from "@bunho/client";
import { ServerClock } from "./clock.ts";
import { destination } from "./destination.ts";
import { cookie, fresh, Memory, setCookie, type Kept } from "./memory.ts";
import { preview } from "./preview.ts";
import { by, data, link, show, showCountdown, text, trouble, type Shown } from "./show.ts";
import "./style.css";

const { zone } = data;
const query = new URLSearchParams(location.search);
/** What the operator's site says of who comes. */
const enqueueToken = query.get("enqueue") ?? undefined;
const clock = new ServerClock();
const server: Server = {
  fetch: async (input, init) => {
    const sent = Date.now();
    const response = await fetch(input, init);
    clock.heard(response.headers.get("date"), sent, Date.now());
    return response;
  },
};

/** A tab that nobody looks at asks a little later, so that of two the one that is looked at does. */
const HIDDEN_LATER_MS = 700;
/** So near the front a stream tells at once what the next poll would. */
const STREAM_SECONDS = 20;
/** Streams that broke before polling is left alone. */
const STREAMS_BROKEN_MAX = 2;

const memory = new Memory(zone);
let kept: Kept;
let failures = 0;
let asking = false;
/** Nothing is asked any more. */
let ended = false;
let timer: ReturnType<typeof setTimeout> | undefined;
let stream: EventSource | undefined;
let broken = 0;

function schedule(ms: number): void {
  clearTimeout(timer);
  timer = setTimeout(() => void ask(), ms);
}

async function ask(): Promise<void> {
  if (asking || ended) return;
  asking = true;
  try {
    const token = kept.token;
    took(token === undefined ? await join(server, zone, kept.key, { enqueueToken, onWork: () => show("proving") }) : await poll(server, zone, token));
  } catch (error) {
    failed(error);
  } finally {
    asking = false;
  }
}

/** Heard from the server, by this tab. */
function took(entry: Entry): void {
  failures = 0;
  kept = memory.save({ ...kept, ...progress(entry), token: entry.token, entry, at: Date.now(), end: undefined });
  heard();
}

function progress(entry: Entry): Pick<Kept, "start" | "best"> {
  if (entry.canEnter || entry.waiting.state !== "waiting") return kept;
  const start = Math.max(kept.start, entry.waiting.rank);
  return { start, best: Math.max(kept.best, 1 - entry.waiting.rank / (start + 1)) };
}

/** Shows the last answer, whoever heard it, and plans the next question. */
function heard(): void {
  const { entry } = kept;
  if (!entry) return;
  trouble(null);
  if (entry.canEnter) {
    enter(entry);
    return;
  }
  const place = entry.waiting;
  show(place.state, place, kept.best);
  if (place.state === "not_open") tick();
  follow(entry);
  const later = document.hidden ? HIDDEN_LATER_MS : 0;
  schedule(stream ? place.pollingPeriod * 2 + 3_000 : pollMs(place.pollingPeriod) + later);
}

function failed(error: unknown): void {
  if (error instanceof Problem) {
    if (error.status === 410 || error.status === 401) { lost(); return; }
    if (error.status === 404) { end("unknown"); return; }
    if (error.code.startsWith("enqueue_token")) { end("members"); return; }
    // Another tab asked just before; or it was too eager after a reload.
    if (error.status === 429) { schedule(error.retryAfterMs ?? 1_000); return; }
  }
  failures += 1;
  if (failures > 1 || !navigator.onLine) trouble(navigator.onLine ? "trouble" : "offline");
  schedule(backOffMs(failures, error));
}

/** The ticket is worth nothing any more. Another tab may have another one by now. */
function lost(): void {
  const other = memory.read();
  if (other?.token !== undefined && other.token !== kept.token) {
    kept = other;
    schedule(0);
    return;
  }
  kept = memory.save({ ...fresh(), end: "gone" });
  end("gone");
}

function end(state: Shown): void {
  ended = true;
  clearTimeout(timer);
  closeStream();
  trouble(null);
  show(state);
}

/** Joins at the end of the line. */
function again(): void {
  ended = false;
  kept = memory.save(fresh());
  show("joining");
  void ask();
}

async function leaveLine(): Promise<void> {
  const { token } = kept;
  if (token === undefined || !confirm(text("leave_sure"))) return;
  try {
    await leave(server, zone, token);
  } catch (error) {
    // Whoever has no place has left.
    if (!(error instanceof Problem && error.status < 500)) { trouble(navigator.onLine ? "trouble" : "offline"); return; }
  }
  kept = memory.save({ ...fresh(), end: "left" });
  end("left");
}

function enter(entry: Admitted): void {
  if (ended) return;
  const seconds = (Date.parse(entry.passExpiresAt) - clock.now()) / 1000;
  setCookie("bunho_pass", entry.pass, seconds, "/");
  // A pass that is bound to this browser's key is worth nothing without it.
  if (isBound(entry.pass)) setCookie("bunho_key", kept.key, seconds, "/");
  const target = destination(query.get("return_to"), data.returnTo, location.href);
  if (target) {
    // Cookies reach neither another origin nor a browser that blocks them.
    if (target.origin !== location.origin || cookie("bunho_pass") !== entry.pass) target.searchParams.append("pass", entry.pass);
    link.href = target.href;
  } else if (query.has("return_to")) {
    console.warn("bunho: return_to is not below what the page of this zone allows, and was left out");
  }
  end("in");
  if (target) location.replace(target);
}

function isBound(pass: string): boolean {
  try {
    return atob((pass.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/")).includes('"ckh":');
  } catch {
    return false;
  }
}

/** The last stretch is told at once instead of being asked for. Whatever is in the way of that, polling goes on. */
function follow(entry: Entry): void {
  const near = !entry.canEnter && entry.waiting.state === "waiting" && (entry.waiting.estimatedSeconds ?? Infinity) <= STREAM_SECONDS;
  if (!near || document.hidden) { closeStream(); return; }
  if (stream || broken >= STREAMS_BROKEN_MAX) return;
  const opened = new EventSource(`/traffic/stream?zoneId=${encodeURIComponent(zone)}&token=${encodeURIComponent(entry.token)}`);
  const hear = (event: MessageEvent<string>) => {
    if (opened === stream) took(JSON.parse(event.data) as Entry);
  };
  const fall = () => {
    opened.close();
    if (opened !== stream) return;
    stream = undefined;
    broken += 1;
    schedule(pollMs(500));
  };
  opened.addEventListener("waiting", hear);
  opened.addEventListener("enter", hear);
  opened.addEventListener("problem", fall);
  opened.onerror = fall;
  stream = opened;
}

function closeStream(): void {
  stream?.close();
  stream = undefined;
}

let ticking: ReturnType<typeof setTimeout> | undefined;

/** Counts down to the opening by the server's clock. */
function tick(): void {
  clearTimeout(ticking);
  const { entry } = kept;
  if (ended || !entry || entry.canEnter || entry.waiting.state !== "not_open" || entry.waiting.opensAt === null) return;
  const ms = Date.parse(entry.waiting.opensAt) - clock.now();
  showCountdown(ms);
  if (ms > 0) ticking = setTimeout(tick, (ms % 1000) + 5);
}

/** The page is looked at again, or the network is back: what is shown may be old. */
function wake(): void {
  if (!ended && Date.now() - kept.at > 1_000) schedule(0);
}

function start(): void {
  memory.onChange((other) => {
    if (other.end !== undefined) {
      // What another tab gave up is gone here too.
      if (!ended) end(other.end);
      kept = other;
      return;
    }
    const own = kept.entry;
    const better = other.token === kept.token || own === undefined || own.canEnter || (other.entry && !other.entry.canEnter && other.entry.waiting.rank < own.waiting.rank);
    if (!better && kept.end === undefined && kept.token !== undefined) return;
    // Two places, for all the care: the later one is given up.
    if (own?.canEnter === false && own.token !== other.token) void leave(server, zone, own.token).catch(() => undefined);
    ended = false;
    kept = { ...other, best: Math.max(kept.best, other.best) };
    failures = 0;
    heard();
  });
  by("again").addEventListener("click", again);
  by("leave").addEventListener("click", () => void leaveLine());
  addEventListener("online", wake);
  addEventListener("pageshow", (event) => event.persisted && wake());
  addEventListener("offline", () => !ended && trouble("offline"));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      closeStream();
      if (!ended && kept.entry) schedule(HIDDEN_LATER_MS);
    } else wake();
  });
  const begin = () => {
    kept = memory.load(Date.now());
    resume();
  };
  // One tab after the other, so that the second finds what the first has kept. Only pages that came by https have locks.
  const locks = navigator.locks as LockManager | undefined;
  if (locks) void locks.request(`bunho:${zone}`, begin);
  else begin();
}

/** Goes on with what is kept, or begins. */
function resume(): void {
  const { entry, at } = kept;
  // Just reloaded: the last answer is as good as a new one, and asking at each reload would be too fast.
  if (entry && !entry.canEnter && Date.now() - at < entry.waiting.pollingPeriod / 2) heard();
  else void ask();
}

/** Languages: the one that was chosen stays chosen. */
function languages(): void {
  const name = "bunho:lang";
  try {
    const chosen = localStorage.getItem(name);
    const asked = query.get("lang");
    if (asked !== null) localStorage.setItem(name, asked);
    else if (chosen !== null && chosen !== data.lang && by("languages").querySelector(`[hreflang="${CSS.escape(chosen)}"]`)) {
      query.set("lang", chosen);
      location.replace(`?${query.toString()}${location.hash}`);
    }
  } catch {
    // Blocked: the browser's own language it is.
  }
  for (const anchor of by("languages").querySelectorAll("a")) {
    query.set("lang", anchor.hreflang);
    anchor.href = `?${query.toString()}${location.hash}`;
  }
}

languages();
if (data.preview) preview();
else start();
