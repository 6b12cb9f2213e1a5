// The waiting line: a place in it, and waiting until one is let in.
import { once, type Server } from "./http.ts";
import { backOffMs, pollMs, sleep } from "./pace.ts";
import { mayPass, Problem, type NoAnswer } from "./problem.ts";
import { solve } from "./work.ts";

export type LineState = "waiting" | "not_open" | "paused" | "closed" | "sold_out" | "recovering";

/** How a ticket stands. */
export interface Place {
  state: LineState;
  /** 1 for who is next. */
  rank: number;
  behind: number;
  estimatedSeconds: number | null;
  /** Milliseconds until the next poll. */
  pollingPeriod: number;
  /** What the operator says to everyone who waits. */
  message: string | null;
  opensAt: string | null;
  /** What is left of the zone's offer, where one is tied to it. */
  remaining: number | null;
}

/** Still waiting. */
export interface Waiting {
  canEnter: false;
  token: string;
  zoneId: string;
  waiting: Place;
}

/** In, with the proof of it. */
export interface Admitted {
  canEnter: true;
  token: string;
  zoneId: string;
  /** A JWT: header `Bunho-Pass`, or cookie `bunho_pass`. */
  pass: string;
  passExpiresAt: string;
}

export type Entry = Waiting | Admitted;

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface JoinOptions extends CallOptions {
  /** For zones that only known people join: what your own site has signed. */
  enqueueToken?: string | undefined;
  /** The zone asks for work, which takes 2^bits hashes on average and is done before this resolves. */
  onWork?: ((bits: number) => void) | undefined;
}

/** Challenges that are answered before one gives up: each answer may come too late. */
const CHALLENGES_MOST = 3;

/** Joins the line of a zone, or enters at once; does the work that it asks for. The same `key` gives the same place, however often; random if absent. */
export async function join(server: Server, zone: string, key: string = randomKey(), options: JoinOptions = {}): Promise<Entry> {
  const { signal, enqueueToken, onWork } = options;
  let shown: { challenge?: string; solution?: string } = {};
  for (let asked = 1; ; asked += 1) {
    try {
      return (await once<Entry>(server, "POST", "/traffic/wait", { signal, body: { zoneId: zone, clientAgent: "WEB", key, enqueueToken, ...shown } })).body;
    } catch (error) {
      if (!(error instanceof Problem && error.code === "challenge_required") || asked > CHALLENGES_MOST) throw error;
      const challenge = String(error.fields["challenge"]);
      const bits = Number(error.fields["bits"]);
      onWork?.(bits);
      shown = { challenge, solution: await solve(challenge, bits, signal) };
    }
  }
}

/** Asks how a ticket stands. */
export async function poll(server: Server, zone: string, ticket: string, options: CallOptions = {}): Promise<Entry> {
  return (await once<Entry>(server, "POST", "/traffic/entry", { ...options, body: { zoneId: zone, token: ticket } })).body;
}

/** Gives the place, or the place inside, up. Sent also while the page goes away. */
export async function leave(server: Server, zone: string, ticket: string): Promise<void> {
  await once(server, "POST", "/traffic/leave", { body: { zoneId: zone, token: ticket }, keepalive: true });
}

export interface WaitOptions extends JoinOptions {
  /** A stable key of one's own (a user, a device): whoever joins with it twice has one place. Random if absent. */
  key?: string;
  /** A ticket from before, to go on with. */
  ticket?: string | undefined;
  /** Hears of what went wrong and is tried again. */
  onTrouble?: (error: Problem | NoAnswer, retryInMs: number) => void;
}

/**
 * Joins and waits: each answer in turn, the last one with the pass. Asks as often as the server says, and goes on over outages for as long as it takes.
 * Throws what waiting cannot mend: `unknown_zone`, `ticket_gone` (join again, at the end of the line), `ticket_invalid`, or the signal's reason.
 *
 * ```ts
 * for await (const entry of wait(server, "summer")) {
 *   if (entry.canEnter) enter(entry.pass);
 *   else show(entry.waiting.rank);
 * }
 * ```
 */
export async function* wait(server: Server, zone: string, options: WaitOptions = {}): AsyncGenerator<Entry, void, void> {
  // A try that failed may have joined: the next one must find the same place.
  const key = options.key ?? randomKey();
  let ticket = options.ticket;
  let failures = 0;
  for (;;) {
    let ms: number;
    try {
      const entry: Entry = ticket === undefined ? await join(server, zone, key, options) : await poll(server, zone, ticket, options);
      ticket = entry.token;
      failures = 0;
      yield entry;
      if (entry.canEnter) return;
      ms = pollMs(entry.waiting.pollingPeriod);
    } catch (error) {
      if (!mayPass(error)) throw error;
      failures += 1;
      ms = backOffMs(failures, error);
      options.onTrouble?.(error, ms);
    }
    await sleep(ms, options.signal);
  }
}

/** As {@link wait}, for those who like a callback better: resolves with the pass. */
export async function admitted(server: Server, zone: string, options: WaitOptions & { onPlace?: (place: Place, ticket: string) => void } = {}): Promise<Admitted> {
  for await (const entry of wait(server, zone, options)) {
    if (entry.canEnter) return entry;
    options.onPlace?.(entry.waiting, entry.token);
  }
  throw new Error("the line ended without an answer");
}

/** 128 random bits as text. Not `randomUUID`, which browsers have on secure pages alone. */
export function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
