// Every call to the server, and what is known of the way to it.
import { signal } from "@preact/signals";

/** Whether the server answers. */
export const link = signal<{ up: true } | { up: false; since: number }>({ up: true });

/** Called when the server no longer knows who asks. */
let whenUnknown: () => void = () => undefined;
export function onUnknown(hear: () => void): void {
  whenUnknown = hear;
}

export interface FieldProblem {
  field: string;
  reason: string;
}

/** An answer that is not what was asked for: RFC 9457 with a stable code. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly requestId: string | null,
    readonly fields: FieldProblem[],
    readonly retryAfter: number | null,
    readonly body: Record<string, unknown>,
  ) {
    super(detail);
  }
}

/** No answer at all. */
export class Unreachable extends Error {}

export type Method = "GET" | "POST" | "PUT" | "DELETE";

export interface CallOptions {
  body?: unknown;
  /** The revision that the change was made from. */
  revision?: number | undefined;
  stop?: AbortSignal;
}

/** Longest wait for an answer. Without it a dead connection looks like a slow one for minutes. */
const PATIENCE_MS = 20_000;

export async function call<T>(method: Method, path: string, options: CallOptions = {}): Promise<T> {
  // Sent with changes it proves that a script of this origin made them.
  const headers: Record<string, string> = { accept: "application/json", "x-requested-with": "bunho" };
  if (options.body !== undefined) headers["content-type"] = "application/json";
  if (options.revision !== undefined) headers["if-match"] = `"${options.revision}"`;
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const stop = options.stop ? AbortSignal.any([options.stop, patience]) : patience;
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, { method, headers, signal: stop, cache: "no-store", ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }) });
    text = await response.text();
  } catch (error) {
    if (options.stop?.aborted) throw error;
    lost();
    throw new Unreachable();
  }
  // A proxy whose server is away answers by itself.
  if (response.status === 502 || response.status === 504) {
    lost();
    throw new Unreachable();
  }
  if (!link.value.up) link.value = { up: true };
  if (!response.ok) throw refusal(response, text, path);
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

export const admin = <T>(method: Method, path: string, options?: CallOptions): Promise<T> => call<T>(method, `/admin/api/${path}`, options);

function lost(): void {
  if (link.value.up) link.value = { up: false, since: Date.now() };
}

function refusal(response: Response, text: string, path: string): Refused {
  let body: Record<string, unknown> = {};
  try {
    body = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // Not ours: something between here and the server answered.
  }
  const string = (value: unknown) => (typeof value === "string" ? value : null);
  const code = string(body["code"]) ?? `http_${response.status}`;
  const fields = Array.isArray(body["errors"]) ? (body["errors"] as FieldProblem[]) : [];
  const wait = Number(response.headers.get("retry-after"));
  if (response.status === 401 && code === "unauthenticated" && path !== "/admin/api/session") whenUnknown();
  return new Refused(response.status, code, string(body["detail"]) ?? response.statusText, string(body["request_id"]), fields, wait > 0 ? wait : null, body);
}

/** A path of encoded parts: ids may have dots and colons, and users' texts anything. */
export const path = (...parts: string[]): string => parts.map(encodeURIComponent).join("/");

/** A query without what is empty. */
export function query(values: Record<string, string | number | null | undefined>): string {
  const some = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return some.length === 0 ? "" : `?${some.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join("&")}`;
}
