// The demo's shop to its end: a person in a browser, a crowd beside them, and what the ledger says afterwards.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ADMIN_KEY, closeBrowser, Server, shot, until, violations, visitor } from "./harness.ts";

let server: Server;
const closing: (() => Promise<void>)[] = [];
let problems: string[][] = [];

beforeAll(async () => {
  server = await Server.start({ demo: true });
});
beforeEach(() => sneakers({}));
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  const seen = problems.flat();
  problems = [];
  expect(seen).toEqual([]);
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

/** The demo's offer, with other settings: a test does not wait for real minutes. */
async function sneakers(changes: Record<string, unknown>): Promise<void> {
  const standing = { app: "demo", kind: "goods", name: "Sneakers", per_user_limit: 2, max_per_claim: 2, standby: true, unit_price: 129_000, zone: "demo-shop" };
  await server.admin("PUT", "/offers/demo-sneakers", { ...standing, quantity: 500, hold_seconds: 60, standby_hold_seconds: 60, ...changes });
}

interface Numbers {
  remaining: number;
  held: number;
  confirmed: number;
  standby: number;
  quantity: number;
}
const numbers = async (offer = "demo-sneakers"): Promise<Numbers> => (await server.call("GET", `/v1/offers/${offer}`)) as Numbers;

const sql = (query: string): string => execFileSync("sqlite3", ["-readonly", "-cmd", ".timeout 5000", join(server.data, "ledger.db"), query], { encoding: "utf8" }).trim();

/** Somebody who opens the shop. */
async function person(options: Parameters<typeof visitor>[0] = {}): Promise<Page> {
  const { page, context, problems: own } = await visitor({ viewport: { width: 375, height: 800 }, ...options });
  problems.push(own);
  closing.push(() => context.close());
  await page.goto(`${server.url}/demo`);
  await page.waitForSelector(".bar");
  await until("the shop knows who this is", async () => (await context.cookies(`${server.url}/demo`)).some((cookie) => cookie.name === "bunho_demo" && cookie.httpOnly));
  return page;
}

const press = (page: Page, text: string) => page.getByRole("button", { name: text, exact: true }).click();
const sees = (page: Page, text: string | RegExp) => page.getByText(text).first().waitFor();

/** Rules broken in light and in dark. */
async function bothSchemes(page: Page): Promise<string[]> {
  const light = await violations(page);
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await violations(page);
  await page.emulateMedia({ colorScheme: "light" });
  return [...light, ...dark];
}

async function enter(page: Page): Promise<void> {
  await press(page, "Get in line");
  await page.waitForSelector(".inside");
}

async function claimOf(page: Page): Promise<{ id: string; status: string; user: string }> {
  const body = await page.evaluate(async () => (await (await fetch("/demo/api/v1/claims")).json()) as { claims: { id: string; status: string; user: string }[] });
  const newest = body.claims[0];
  if (!newest) throw new Error("no claim");
  return newest;
}

test("a purchase to the end: wait among a crowd, enter, reserve, pay, and the ledger has it", async () => {
  const page = await person();
  await press(page, "100 people");
  await sees(page, /They are at the door/);
  await press(page, "Get in line");
  await page.waitForSelector(".slip-number");
  const first = Number(await page.textContent(".slip-number"));
  expect(first).toBeGreaterThan(5);
  // Whoever of the crowd is to come may have come before.
  const last = (await server.call("POST", "/traffic/wait", { zoneId: "demo-shop" })) as { token: string };
  await until("some stand behind", async () => /[1-9]\d* behind you/.test((await page.textContent(".slip-facts")) ?? ""));
  await until("the picture says so", async () => /you are number \d+, \d+ behind you, \d+ in the shop/.test((await page.getAttribute("canvas", "aria-label")) ?? ""));
  await server.call("POST", "/traffic/leave", { zoneId: "demo-shop", token: last.token });
  await shot(page, "demo-en-375-waiting");
  expect(await bothSchemes(page)).toEqual([]);

  // A reload is the same place: nobody goes back, and nobody passes.
  await page.reload();
  const again = await page.waitForSelector(".slip-number, .inside");
  const number = Number((await again.textContent()) ?? "");
  if (!Number.isNaN(number)) expect(number).toBeLessThanOrEqual(first);
  await page.waitForSelector(".inside", { timeout: 45_000 });

  await page.getByLabel("2 pairs").check();
  await press(page, "Reserve");
  await page.waitForSelector(".till .clock");
  await shot(page, "demo-en-375-till");
  expect(await bothSchemes(page)).toEqual([]);
  const { id, user } = await claimOf(page);
  await press(page, "Pay 258,000 won");
  await sees(page, "Yours. Bunho One × 2 paid and confirmed.");
  const claim = (await server.call("GET", `/v1/claims/${id}`, undefined, { authorization: `Bearer ${ADMIN_KEY}` })) as { status: string; quantity: number };
  expect(claim).toMatchObject({ status: "confirmed", quantity: 2 });
  await until("it is in the ledger", () => sql(`select status || quantity from claims where id = '${id}' and user_id = '${user}'`) === "confirmed2");
  expect(await page.textContent(".calls")).toContain("/confirm");

  // Two each, and not one more.
  await press(page, "Reserve");
  await sees(page, "You have all that one person may have.");
  await press(page, "Send them home");
  await page.waitForSelector(".sizes");
  const after = await numbers();
  expect([after.held, after.confirmed]).toEqual([0, 2]);
});

test("a payment that fails gives the pairs back", async () => {
  const page = await person();
  await enter(page);
  const before = await numbers();
  await press(page, "Reserve");
  await page.waitForSelector(".till");
  expect((await numbers()).held).toBe(before.held + 1);
  await press(page, "Let the card be refused");
  await sees(page, "The card was refused. What was held is free again.");
  expect((await claimOf(page)).status).toBe("released");
  expect(await numbers()).toMatchObject({ remaining: before.remaining, held: before.held });
});

test("who walks away loses the hold before one's eyes, and who stands by is served", async () => {
  const taken = await numbers();
  await sneakers({ quantity: taken.confirmed + 2, hold_seconds: 20 });
  const [one, other] = [await person(), await person()];
  await enter(one);
  await enter(other);
  await one.getByLabel("2 pairs").check();
  await press(one, "Reserve");
  await one.waitForSelector(".till");
  await press(one, "Walk away");
  await sees(one, /You walked away/);
  await until("the stock is pushed", async () => (await other.textContent(".wares .stock"))?.includes("Sold out") === true);
  await sees(other, /Sold out\. Stand by\?/);
  await shot(other, "demo-en-375-sold-out");
  expect(await violations(other)).toEqual([]);
  await press(other, "Stand by");
  await sees(other, "Standing by, number 1");
  expect((await numbers()).standby).toBe(1);
  await sees(one, "The time ran out. What was held went back.");
  expect((await claimOf(one)).status).toBe("expired");
  await sees(other, /Standby worked/);
  await press(other, "Pay 129,000 won");
  await sees(other, "Yours. Bunho One × 1 paid and confirmed.");
  expect(await numbers()).toMatchObject({ held: 0, confirmed: taken.confirmed + 1, remaining: 1 });
});

test("a user cannot confirm, by any way round the till", async () => {
  const page = await person();
  await enter(page);
  await press(page, "Reserve");
  await page.waitForSelector(".till");
  const { id, user } = await claimOf(page);
  const tried = (path: string, headers: Record<string, string> = {}) =>
    page.evaluate(async ([path, headers]) => (await fetch(path, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: "{}" })).status, [path, headers] as const);
  expect(await tried(`/v1/claims/${id}/confirm`)).toBe(401);
  expect(await tried(`/v1/claims/${id}/confirm`, { "x-bunho-user": user })).toBe(403);
  expect(await tried(`/demo/api/v1/claims/${id}/confirm`)).toBe(404);
  expect((await claimOf(page)).status).toBe("held");
  await press(page, "Let the card be refused");
});

test("a crowd is bounded, and goes home when it is told to", async () => {
  const page = await person();
  const tried = (size: number) =>
    page.evaluate(async (size) => (await fetch("/demo/api/crowd", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ size }) })).status, size);
  expect(await tried(1_000_000)).toBe(400);
  expect(await tried(0)).toBe(400);
  const before = await numbers();
  await press(page, "500 people");
  await page.waitForSelector(".crowd-top");
  const other = await person();
  await sees(other, "Somebody else brought this crowd.");
  expect(await tried(100)).toBe(409);
  await until("some have paid", async () => (await numbers()).confirmed > before.confirmed);
  await press(page, "Send them home");
  await page.waitForSelector(".sizes");
  expect((await server.call("GET", "/zones/demo-shop/status")) as { waiting: number }).toMatchObject({ waiting: 0 });
  expect(await numbers()).toMatchObject({ held: 0, confirmed: before.confirmed });
  await until("the ledger has it too", () => sql("select count(*) from claims where user_id like 'crowd-%' and status in ('held', 'confirmed')") === "0");
});

test("the server comes back under an open page: same place, same claims", async () => {
  const own = await Server.start({ demo: true, data: `${server.data}-again` });
  const { page, context } = await visitor();
  let now = own;
  try {
    await own.admin("POST", "/zones/demo-shop/pause");
    await page.goto(`${own.url}/demo`);
    await page.waitForSelector(".bar");
    await press(page, "Get in line");
    await page.waitForSelector(".slip-number");
    await sees(page, /The line is paused/);
    const ticket = await page.evaluate(() => localStorage.getItem("bunho_demo_ticket"));
    await page.goto(`${own.url}/demo#coupon`);
    await press(page, "Take one");
    await page.waitForSelector(".voucher.mine");

    await own.stop("SIGKILL");
    await sees(page, /The server is away/);
    now = await Server.start({ demo: true, data: own.data, port: own.port });
    await until("the page has noticed", async () => (await page.locator(".away").textContent()) === "", 45_000);
    expect(await page.textContent(".mine-list")).toContain("Welcome coupon");
    await page.goto(`${own.url}/demo#shop`);
    await page.waitForSelector(".slip-number");
    expect(await page.evaluate(() => localStorage.getItem("bunho_demo_ticket"))).toBe(ticket);
    await now.admin("POST", "/zones/demo-shop/resume");
    await page.waitForSelector(".inside", { timeout: 30_000 });
  } finally {
    await context.close();
    await now.stop();
  }
}, 120_000);
