// @bunho/client against the real program, from Node.js: waiting, claiming over a crash, standby, the stock stream.
import { rmSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as bunho from "@bunho/client";
import { Server, until } from "./harness.ts";
import { change, fill, zone } from "./wait-world.ts";

let server: Server;
let service: bunho.Server;
beforeAll(async () => {
  server = await Server.start();
  const { key } = await server.admin<{ key: string }>("POST", "/keys", { role: "service", name: "shop" });
  service = { url: server.url, headers: { authorization: `Bearer ${key}` } };
});
afterAll(async () => {
  await server.stop();
});

const as = (user: string): bunho.Server => ({ ...service, user });

test("waits, and claims with the pass", async () => {
  const id = await zone(server);
  await server.admin("PUT", "/offers/behind-a-line", { kind: "goods", quantity: 5, zone: id });
  await fill(server, id);
  const at = { url: server.url };
  const ranks: number[] = [];
  const waiting = bunho.admitted(at, id, { onPlace: (place) => ranks.push(place.rank) });
  await until("a rank", () => ranks.length > 1);
  await expect(bunho.claim(as("u"), "behind-a-line")).rejects.toMatchObject({ status: 403, code: "pass_required" });
  await change(server, id, { entry_limit_per_minute: null });
  const entry = await waiting;
  expect(new Set(ranks)).toEqual(new Set([2]));
  expect(Date.parse(entry.passExpiresAt)).toBeGreaterThan(Date.now());
  const taken = await bunho.claim(as("u"), "behind-a-line", { pass: entry.pass, quantity: 2, attributes: { size: "M" } });
  expect(taken).toMatchObject({ replayed: false, claim: { status: "held", quantity: 2, user: "u", attributes: { size: "M" } } });
  expect(await bunho.confirm(as("u"), taken.claim.id)).toMatchObject({ status: "confirmed" });
  await bunho.leave(at, id, entry.token);
  await bunho.leave(at, id, entry.token);
});

test("what is refused is thrown with its code and fields", async () => {
  await server.admin("PUT", "/offers/one-each", { kind: "coupon", quantity: 1 });
  const { claim, key } = await bunho.claim(as("김철수🙂"), "one-each");
  expect(claim).toMatchObject({ user: "김철수🙂", status: "confirmed" });
  expect(await bunho.claim(as("김철수🙂"), "one-each", { key })).toMatchObject({ replayed: true, claim: { id: claim.id } });
  await expect(bunho.claim(as("김철수🙂"), "one-each", { key, quantity: 2 })).rejects.toMatchObject({ code: "key_reused" });
  await expect(bunho.claim(as("김철수🙂"), "one-each")).rejects.toMatchObject({ code: "limit_reached", fields: { claims: [claim.id] } });
  await expect(bunho.claim(as("b"), "one-each")).rejects.toMatchObject({ code: "sold_out" });
  await expect(bunho.claim({ url: server.url }, "one-each")).rejects.toMatchObject({ code: "unauthenticated" });
  await expect(bunho.admitted({ url: server.url }, "nowhere")).rejects.toMatchObject({ code: "unknown_zone" });
  const listed = await bunho.claims(as("김철수🙂"), { offer: "one-each", user: "김철수🙂" });
  expect(listed.claims.map((one) => one.id)).toEqual([claim.id]);
  expect(await bunho.readClaim(as("김철수🙂"), claim.id)).toEqual(claim);
});

test("stock is told as it changes, and standby is served", async () => {
  await server.admin("PUT", "/offers/last-one", { kind: "goods", quantity: 1, standby: true });
  const stop = new AbortController();
  const told: bunho.Stock[] = [];
  const listening = (async () => {
    for await (const stock of bunho.stock(service, "last-one", { signal: stop.signal })) told.push(stock);
  })();
  await until("the first", () => told.length > 0);
  const { claim } = await bunho.claim(as("a"), "last-one");
  const place = await bunho.standby(as("b"), "last-one");
  expect(place).toMatchObject({ status: "waiting", position: 1 });
  await bunho.release(as("a"), claim.id);
  const served = await bunho.readStandby(as("b"), place.id);
  expect(served.status).toBe("served");
  expect(await bunho.readClaim(as("b"), served.claim ?? "")).toMatchObject({ status: "held", user: "b" });
  await until("it is told", () => told.at(-1)?.held === 1 && told.at(-1)?.standby === 0 && told.length > 1);
  expect(told[0]).toMatchObject({ remaining: 1, held: 0, state: "open" });
  stop.abort();
  await listening;
  expect((await bunho.offers(service)).map((offer) => offer.id)).toContain("last-one");
});

test("a crash in the middle: every claim that is answered is one claim", async () => {
  const own = await Server.start();
  await own.admin("PUT", "/offers/rush", { kind: "goods", quantity: 1_000, hold_seconds: 0 });
  const at = (user: string): bunho.Server => ({ url: own.url, user });
  let retries = 0;
  let done = 0;
  let gone: () => void = () => undefined;
  const killed = new Promise<void>((wake) => (gone = wake));
  const crowd = Array.from({ length: 200 }, async (_, n) => {
    await new Promise((wake) => setTimeout(wake, n * 10));
    // However fast the others were, some meet a server that is gone.
    if (n >= 150) await killed;
    const taken = await bunho.claim(at(`u${n}`), "rush", { onRetry: () => (retries += 1) });
    done += 1;
    return taken.claim.id;
  });
  await until("some are in", () => done > 30);
  await own.stop("SIGKILL");
  gone();
  const again = await Server.start({ data: own.data, port: own.port });
  const ids = await Promise.all(crowd);
  expect(retries).toBeGreaterThan(0);
  expect(new Set(ids).size).toBe(200);
  expect(await bunho.offer(at("u"), "rush")).toMatchObject({ confirmed: 200, remaining: 800 });
  await again.stop();
  rmSync(own.data, { recursive: true, force: true });
});
