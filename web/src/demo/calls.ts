// Every call of this page, kept for the panel that shows them.
import { signal } from "@preact/signals";
import type { Server } from "@bunho/client";
import type { Key } from "./words.ts";

export interface CallLine {
  id: number;
  by: "browser" | "shop";
  method: string;
  path: string;
  /** 0: no answer came. */
  status: number;
  ms: number;
  /** How often in a row. */
  times: number;
}

/** Newest first. What one call made the shop's server call stands above it, in the order of time. */
export const calls = signal<CallLine[]>([]);
/** Whether the last call had no answer. */
export const away = signal(false);
/** Server time minus this browser's, in milliseconds; as exact as `Date` in an answer, a second. */
export const ahead = signal(0);

const LINES_MAX = 60;
let next = 1;

/** What is asked again and again stays one line, also where two such calls take turns. */
const AMONG = 6;

function add(line: Omit<CallLine, "id" | "times">): void {
  const lines = calls.value;
  const same = (other: CallLine) => other.by === line.by && other.method === line.method && other.path === line.path && other.status === line.status;
  const at = line.method === "GET" || line.path === "/traffic/entry" ? lines.slice(0, AMONG).findIndex(same) : -1;
  const found = lines[at];
  if (found) calls.value = lines.map((one) => (one === found ? { ...found, ms: line.ms, times: found.times + 1 } : one));
  else calls.value = [{ ...line, id: next++, times: 1 }, ...lines].slice(0, LINES_MAX);
}

/** `fetch`, and a line in the panel. */
export const recorded: typeof fetch = async (input, init) => {
  const path = input instanceof Request ? input.url : String(input);
  const method = init?.method ?? "GET";
  const began = performance.now();
  try {
    const response = await fetch(input, init);
    away.value = false;
    const date = Date.parse(response.headers.get("date") ?? "");
    if (!Number.isNaN(date)) ahead.value = date + 500 - Date.now();
    add({ by: "browser", method, path, status: response.status, ms: performance.now() - began });
    for (const told of response.headers.get("demo-called")?.split(", ") ?? []) {
      const [method = "", path = "", status = "", ms = ""] = told.split(" ");
      add({ by: "shop", method, path, status: Number(status), ms: Number(ms) });
    }
    return response;
  } catch (error) {
    if (!init?.signal?.aborted) {
      away.value = true;
      add({ by: "browser", method, path, status: 0, ms: performance.now() - began });
    }
    throw error;
  }
};

/** What anyone may call: the line and the stock. */
export const open: Server = { fetch: recorded };
/** The shop's server, which hands calls of `/v1` on for the visitor whom its cookie names. */
export const shop: Server = { url: "/demo/api", fetch: recorded };

/** In a few words what a call is for. */
export function why(line: CallLine): Key | undefined {
  const path = line.path.replace(/^\/demo\/api/, "").replace(/\?.*/, "");
  const reasons: [RegExp, Key][] = [
    [/^\/traffic\/wait$/, "why_wait"],
    [/^\/traffic\/entry$/, "why_entry"],
    [/^\/traffic\/leave$/, "why_leave"],
    [/\/stock$/, "why_stock"],
    [/\/confirm$/, "why_confirm"],
    [/\/release$/, "why_release"],
    [/\/standby/, "why_standby"],
    [/^\/v1\/offers\/[^/]+\/claims$/, "why_claim"],
    [/^\/v1\/offers/, "why_offer"],
    [/^\/v1\/claims$/, "why_claims"],
    [/^\/v1\/claims\//, "why_one"],
    [/^\/pay$/, "why_pay"],
    [/^\/visitor$/, "why_visitor"],
  ];
  return reasons.find(([pattern]) => pattern.test(path))?.[1];
}
