// What is limited: looking at it, taking units, and standing by for those that come back.
import { once, type Answer, type Call, type Server } from "./http.ts";
import { randomKey, type CallOptions } from "./line.ts";
import { backOffMs, sleep } from "./pace.ts";
import { NoAnswer, Problem } from "./problem.ts";

/** An offer's numbers. `remaining + held + confirmed` is its quantity. */
export interface Stock {
  remaining: number;
  held: number;
  confirmed: number;
  standby: number;
  version: number;
  state: "not_open" | "open" | "sold_out" | "closed" | "suspended";
}

export interface Offer extends Stock {
  id: string;
  app: string;
  kind: "coupon" | "goods" | "booking";
  name: string;
  quantity: number;
  per_user_limit: number | null;
  min_per_claim: number;
  max_per_claim: number;
  hold_seconds: number;
  unit_price: number;
  opens_at: string | null;
  closes_at: string | null;
  zone: string | null;
  grants: string | null;
}

export interface Claim {
  id: string;
  offer: string;
  user: string;
  quantity: number;
  status: "held" | "confirmed" | "released" | "expired" | "returned";
  version: number;
  hold_expires_at: string | null;
  created_at: string;
  updated_at: string;
  attributes: Record<string, unknown>;
  granted: string[];
}

export interface Standby {
  id: string;
  offer: string;
  user: string;
  quantity: number;
  status: "waiting" | "served" | "left" | "passed";
  /** 1 for who is served next. */
  position: number;
  /** The claim it was served with. */
  claim: string | null;
  created_at: string;
  updated_at: string;
}

export interface RetryOptions extends CallOptions {
  /** Milliseconds after which retrying ends with the last error; 60,000 if absent. */
  giveUpAfterMs?: number;
  /** Hears of each try that failed and is made again. */
  onRetry?: (error: Problem | NoAnswer, retryInMs: number) => void;
}

export interface ClaimOptions extends RetryOptions {
  quantity?: number;
  /** Kept with the claim: an address, dates. */
  attributes?: Record<string, unknown>;
  /** A pass of the offer's zone, where it needs one. */
  pass?: string | undefined;
  /** The Idempotency-Key. Random if absent; give your own (an order's id) to go on with an attempt after a reload. */
  key?: string;
}

/** A claim, and the attempt that it came of. */
export interface Taken {
  claim: Claim;
  /** The Idempotency-Key of the attempt. */
  key: string;
  /** The server had answered this attempt before. */
  replayed: boolean;
}

export async function offers(server: Server, options: CallOptions = {}): Promise<Offer[]> {
  return (await once<{ offers: Offer[] }>(server, "GET", "/v1/offers", options)).body.offers;
}

export async function offer(server: Server, id: string, options: CallOptions = {}): Promise<Offer> {
  return (await once<Offer>(server, "GET", `/v1/offers/${part(id)}`, options)).body;
}

/**
 * Takes units. Tried again when no answer came or the server could not say (503, `indeterminate` too), always with the same Idempotency-Key, so that however
 * often it is sent it is one claim. A refusal is thrown at once.
 */
export async function claim(server: Server, offer: string, options: ClaimOptions = {}): Promise<Taken> {
  const key = options.key ?? randomKey();
  const headers = { "idempotency-key": key, ...(options.pass === undefined ? {} : { "bunho-pass": options.pass }) };
  const { quantity = 1, attributes } = options;
  const answer = await again<Claim>(server, "POST", `/v1/offers/${part(offer)}/claims`, { headers, body: { quantity, attributes } }, options, unsettled);
  return { claim: answer.body, key, replayed: answer.headers.get("idempotency-replayed") === "true" };
}

/** A claim as it stands now. */
export async function readClaim(server: Server, id: string, options: CallOptions = {}): Promise<Claim> {
  return (await once<Claim>(server, "GET", `/v1/claims/${part(id)}`, options)).body;
}

/** The caller's claims, newest first; with a service key `user` names whose. */
export async function claims(
  server: Server,
  query: { offer?: string; status?: Claim["status"]; user?: string; cursor?: string; limit?: number } = {},
  options: CallOptions = {},
): Promise<{ claims: Claim[]; next_cursor: string | null }> {
  const params = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  return (await once<{ claims: Claim[]; next_cursor: string | null }>(server, "GET", `/v1/claims?${params.toString()}`, options)).body;
}

/** Makes a hold final, after payment. Asking again changes nothing, so it is tried again as {@link claim} is. */
export async function confirm(server: Server, id: string, options: RetryOptions = {}): Promise<Claim> {
  return (await again<Claim>(server, "POST", `/v1/claims/${part(id)}/confirm`, {}, options, unsettled)).body;
}

/** Gives a hold back. */
export async function release(server: Server, id: string, options: RetryOptions = {}): Promise<Claim> {
  return (await again<Claim>(server, "POST", `/v1/claims/${part(id)}/release`, {}, options, unsettled)).body;
}

/** Joins an offer's standby. It has no Idempotency-Key, so it is tried again only where the server says that nothing happened. */
export async function standby(server: Server, offer: string, options: RetryOptions & { quantity?: number; pass?: string | undefined } = {}): Promise<Standby> {
  const headers = options.pass === undefined ? {} : { "bunho-pass": options.pass };
  const body = { quantity: options.quantity ?? 1 };
  return (await again<Standby>(server, "POST", `/v1/offers/${part(offer)}/standby`, { headers, body }, options, untouched)).body;
}

export async function readStandby(server: Server, id: string, options: CallOptions = {}): Promise<Standby> {
  return (await once<Standby>(server, "GET", `/v1/standby/${part(id)}`, options)).body;
}

/** Gives a place on standby up. */
export async function leaveStandby(server: Server, id: string, options: RetryOptions = {}): Promise<void> {
  await again(server, "DELETE", `/v1/standby/${part(id)}`, {}, options, untouched);
}

const GIVE_UP_AFTER_MS = 60_000;

/** No answer, or one that leaves open what happened. 502 and 504 come from a proxy that had no answer either. */
function unsettled(error: unknown): error is Problem | NoAnswer {
  return error instanceof NoAnswer || (error instanceof Problem && [502, 503, 504].includes(error.status));
}

/** The server says that nothing happened. */
function untouched(error: unknown): error is Problem {
  return error instanceof Problem && error.status === 503 && ["overloaded", "suspended", "recovering"].includes(error.code);
}

async function again<T>(
  server: Server,
  method: string,
  path: string,
  call: Call,
  options: RetryOptions,
  worth: (error: unknown) => error is Problem | NoAnswer,
): Promise<Answer<T>> {
  const end = Date.now() + (options.giveUpAfterMs ?? GIVE_UP_AFTER_MS);
  for (let failures = 1; ; failures += 1) {
    try {
      return await once<T>(server, method, path, { ...call, signal: options.signal });
    } catch (error) {
      if (!worth(error)) throw error;
      const ms = backOffMs(failures, error);
      if (Date.now() + ms > end) throw error;
      options.onRetry?.(error, ms);
      await sleep(ms, options.signal);
    }
  }
}

const part = encodeURIComponent;
