// One call: JSON in, JSON out, every failure one of two errors.
import { NoAnswer, Problem } from "./problem.ts";

/** Where the server is and who asks. */
export interface Server {
  /** Its address, such as `https://line.example`; absent: the page's own. */
  url?: string;
  /** Sent with every call, such as `authorization`. */
  headers?: Record<string, string>;
  /** For services: the user whom they act for, in any script. */
  user?: string;
  /** Milliseconds after which a call without an answer is given up; 15,000 if absent. */
  timeoutMs?: number;
  fetch?: typeof globalThis.fetch;
}

/** What went out and what came back. */
export interface Answer<T> {
  body: T;
  headers: Headers;
}

export interface Call {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** The page goes away: the call is to be sent all the same. */
  keepalive?: boolean;
}

const TIMEOUT_MS = 15_000;

/** Headers carry bytes; user ids are UTF-8 in them. */
const asHeader = (text: string): string => String.fromCharCode(...new TextEncoder().encode(text));

export function request(server: Server, method: string, path: string, call: Call): Promise<Response> {
  const headers: Record<string, string> = { ...server.headers, ...call.headers };
  if (server.user !== undefined) headers["x-bunho-user"] = asHeader(server.user);
  const init: RequestInit = { method, headers, signal: call.signal ?? null };
  if (call.keepalive) init.keepalive = true;
  if (call.body !== undefined) {
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(call.body);
  }
  return (server.fetch ?? fetch)((server.url ?? "").replace(/\/+$/, "") + path, init);
}

/** Calls once. */
export async function once<T>(server: Server, method: string, path: string, call: Call = {}): Promise<Answer<T>> {
  // Not AbortSignal.any and .timeout: phones of some years ago have neither.
  const ending = new AbortController();
  const abort = () => ending.abort(call.signal?.reason);
  if (call.signal?.aborted) abort();
  call.signal?.addEventListener("abort", abort);
  const timer = setTimeout(() => ending.abort(), server.timeoutMs ?? TIMEOUT_MS);
  try {
    const response = await request(server, method, path, { ...call, signal: ending.signal });
    const text = await response.text();
    if (!response.ok) throw problem(response, text);
    return { body: (text === "" ? undefined : JSON.parse(text)) as T, headers: response.headers };
  } catch (error) {
    if (error instanceof Problem) throw error;
    call.signal?.throwIfAborted();
    throw new NoAnswer(`${method} ${path}: no answer`, { cause: error });
  } finally {
    clearTimeout(timer);
    call.signal?.removeEventListener("abort", abort);
  }
}

/** What a refusal says; one that is not the server's own (a proxy's page) has no code and shows as `http_<status>`. */
export function problem(response: Response, text: string): Problem {
  let fields: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null) fields = parsed as Record<string, unknown>;
  } catch {
    // Not ours.
  }
  const said = (name: string): string | undefined => (typeof fields[name] === "string" ? fields[name] : undefined);
  const seconds = Number.parseFloat(response.headers.get("retry-after") ?? "");
  const retryAfterMs = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
  const status = response.status;
  return new Problem(status, said("code") ?? `http_${status}`, said("detail") ?? said("title") ?? `HTTP ${status}`, retryAfterMs, fields);
}
