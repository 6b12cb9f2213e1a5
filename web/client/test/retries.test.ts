// What is tried again, with what key, and what is not: against a real HTTP server that answers as the script of each test says.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { admitted, claim, confirm, leave, mayPass, NoAnswer, offer, Problem, randomKey, standby, stock, wait, type Entry, type Server } from "../src/index.ts";

interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
}
/** One answer: a status, a body, headers; or `"cut"`, the connection without one; or what to do by hand. */
type Step = [number, unknown?, Record<string, string>?] | "cut" | ((response: ServerResponse) => void);

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A server that takes one step for each request, the last one for ever. */
async function scripted(...steps: Step[]): Promise<{ server: Server; seen: Seen[] }> {
  const seen: Seen[] = [];
  const http = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const step = steps[Math.min(seen.length, steps.length - 1)] ?? "cut";
      seen.push({ method: request.method ?? "", path: request.url ?? "", headers: request.headers, body });
      if (step === "cut") request.socket.destroy();
      else if (typeof step === "function") step(response);
      else {
        response.writeHead(step[0], { "content-type": "application/json", ...step[2] });
        response.end(step[1] === undefined ? "" : JSON.stringify(step[1]));
      }
    });
  });
  await new Promise<void>((done) => http.listen(0, "127.0.0.1", done));
  closing.push(() => {
    http.closeAllConnections();
    http.close();
  });
  return { server: { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/` }, seen };
}

// Waiting between tries takes milliseconds here; how long it would take is `retryInMs`.
vi.mock("../src/pace.ts", async (original) => {
  const real = await original<typeof import("../src/pace.ts")>();
  return { ...real, sleep: (ms: number, signal?: AbortSignal) => real.sleep(ms / 1000, signal) };
});

const refusal = (status: number, code: string, more = {}): [number, unknown] => [status, { code, status, detail: code, request_id: "r", ...more }];
const HELD = { id: "c1", status: "held" };
const key = (seen: Seen): unknown => seen.headers["idempotency-key"];

test("a claim whose answers are lost is sent again with the same key and body", async () => {
  const { server, seen } = await scripted("cut", refusal(503, "indeterminate"), [502, "<html>bad gateway"], [201, HELD, { "idempotency-replayed": "true" }]);
  const retried: string[] = [];
  const taken = await claim(server, "summer/coupon", { quantity: 2, attributes: { a: 1 }, pass: "p", onRetry: (error) => retried.push(error.name) });
  expect(taken).toMatchObject({ claim: HELD, replayed: true });
  expect(retried).toEqual(["NoAnswer", "Problem", "Problem"]);
  expect(seen).toHaveLength(4);
  expect(new Set(seen.map(key))).toEqual(new Set([taken.key]));
  expect(new Set(seen.map((one) => one.body))).toEqual(new Set(['{"quantity":2,"attributes":{"a":1}}']));
  expect(seen[0]).toMatchObject({ method: "POST", path: "/v1/offers/summer%2Fcoupon/claims", headers: { "bunho-pass": "p" } });
});

test.each([
  [400, "quantity_invalid"],
  [401, "unauthenticated"],
  [403, "pass_required"],
  [403, "pass_used"],
  [404, "unknown_offer"],
  [409, "sold_out"],
  [409, "limit_reached"],
  [422, "key_reused"],
  [429, "too_fast"],
])("a refusal is an answer: %i %s", async (status, code) => {
  const { server, seen } = await scripted(refusal(status, code, { claims: ["c9"] }));
  const error: unknown = await claim(server, "o", { key: "own" }).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(Problem);
  expect(error).toMatchObject({ status, code, requestId: "r", fields: { claims: ["c9"] } });
  expect(seen.map(key)).toEqual(["own"]);
});

test("Retry-After is kept to, and the last error comes when the time is over", async () => {
  const { server, seen } = await scripted([503, { code: "suspended" }, { "retry-after": "7" }]);
  const error: unknown = await confirm(server, "c1", { giveUpAfterMs: 6_000 }).catch((error: unknown) => error);
  expect(error).toMatchObject({ code: "suspended", retryAfterMs: 7_000 });
  expect(seen).toHaveLength(1);
  const waits: number[] = [];
  await confirm(server, "c1", { giveUpAfterMs: 20_000, onRetry: (_, ms) => waits.push(ms) }).catch(() => undefined);
  expect(waits.length).toBeGreaterThan(0);
  expect(Math.min(...waits)).toBeGreaterThanOrEqual(7_000);
});

test("standby has no key, so it is not sent again where it may have happened", async () => {
  const lost = await scripted("cut");
  await expect(standby(lost.server, "o")).rejects.toBeInstanceOf(NoAnswer);
  const unsure = await scripted(refusal(503, "indeterminate"));
  await expect(standby(unsure.server, "o")).rejects.toMatchObject({ code: "indeterminate" });
  const busy = await scripted(refusal(503, "overloaded"), [201, { id: "s1" }]);
  await expect(standby(busy.server, "o", { quantity: 2 })).resolves.toMatchObject({ id: "s1" });
  expect([lost.seen.length, unsure.seen.length, busy.seen.length]).toEqual([1, 1, 2]);
});

const place = (rank: number, pollingPeriod = 3_000): [number, Entry] => [
  200,
  {
    canEnter: false,
    token: "t",
    zoneId: "Z",
    waiting: { state: "waiting", rank, behind: 0, estimatedSeconds: 1, pollingPeriod, message: null, opensAt: null, remaining: null },
  },
];
const IN: [number, Entry] = [200, { canEnter: true, token: "t", zoneId: "Z", pass: "jwt", passExpiresAt: "2026-01-01T00:00:00.000Z" }];

test("waiting joins with one key, polls with its ticket, and outlasts outages", async () => {
  const { server, seen } = await scripted("cut", place(2), [500, {}], "cut", refusal(429, "too_fast"), place(1), IN);
  const troubles: string[] = [];
  const ranks: number[] = [];
  const entry = await admitted(server, "Z", { onPlace: (place) => ranks.push(place.rank), onTrouble: (error) => troubles.push(error.name) });
  expect(entry.pass).toBe("jwt");
  expect(ranks).toEqual([2, 1]);
  expect(troubles).toHaveLength(4);
  const bodies = seen.map((one) => JSON.parse(one.body) as { key?: string; token?: string });
  expect(seen.map((one) => one.path)).toEqual(["wait", "wait", "entry", "entry", "entry", "entry", "entry"].map((name) => `/traffic/${name}`));
  expect(bodies[0]?.key).toBe(bodies[1]?.key);
  expect(bodies[2]?.token).toBe("t");
});

test("waiting ends where it cannot go on", async () => {
  const { server } = await scripted(refusal(410, "ticket_gone"));
  await expect(admitted(server, "Z", { ticket: "old" })).rejects.toMatchObject({ code: "ticket_gone" });
  const long = await scripted(place(1, 60_000));
  const stop = new AbortController();
  const seen: Entry[] = [];
  const waiting = (async () => {
    for await (const entry of wait(long.server, "Z", { signal: stop.signal })) {
      seen.push(entry);
      stop.abort(new Error("changed my mind"));
    }
  })();
  await expect(waiting).rejects.toThrow("changed my mind");
  expect(seen).toHaveLength(1);
});

test("a call that is not answered ends by itself", async () => {
  const { server } = await scripted(() => undefined);
  const error: unknown = await offer({ ...server, timeoutMs: 50 }, "o").catch((error: unknown) => error);
  expect(error).toBeInstanceOf(NoAnswer);
  expect(mayPass(error)).toBe(true);
});

test("who asks is said in bytes, whatever the script", async () => {
  const { server, seen } = await scripted([204]);
  await leave({ ...server, user: "김철수🙂", headers: { authorization: "Bearer k" } }, "Z", "t");
  expect(Buffer.from(String(seen[0]?.headers["x-bunho-user"]), "latin1").toString()).toBe("김철수🙂");
  expect(seen[0]?.headers.authorization).toBe("Bearer k");
});

test("a stock stream that breaks goes on; comments and pieces of events are no events", async () => {
  const { server, seen } = await scripted(
    (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(': hello\n\nevent: stock\ndata: {"remaining":2}\n\nevent: sto');
      setImmediate(() => response.destroy());
    },
    (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write('event: stock\r\ndata: {"rem');
      setImmediate(() => response.write('aining":1}\r\n\r\n'));
    },
  );
  const stop = new AbortController();
  const told: number[] = [];
  for await (const now of stock(server, "o", { signal: stop.signal })) {
    told.push(now.remaining);
    if (now.remaining === 1) stop.abort();
  }
  expect(told).toEqual([2, 1]);
  expect(seen).toHaveLength(2);
  const none = await scripted(refusal(404, "unknown_offer"));
  await expect(stock(none.server, "o").next()).rejects.toMatchObject({ code: "unknown_offer" });
});

test("keys are as random as they look", () => {
  expect(randomKey()).toMatch(/^[0-9a-f]{32}$/);
  expect(randomKey()).not.toBe(randomKey());
});
