// Somebody waits, in a real browser, and everything that happens to people who wait happens to them.
import { rmSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Server, until, visitor } from "./harness.ts";
import { change, fill, join, slip, state, zone } from "./wait-world.ts";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

const address = (id: string, query = ""): string => `${server.url}/wait/${id}${query}`;

test("waits, is told the rank, and goes in by itself with the pass", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page, problems } = await visitor();
  await page.goto(address(id, `?return_to=${encodeURIComponent(`/zones/${id}/status?from=line`)}`));
  await until("the rank", async () => (await slip(page)).big === "2");
  expect(await page.title()).toBe("2 · Summer sale");
  expect((await slip(page)).text).toContain("You are in line");
  const { token } = await join(server, id, "someone behind");
  await until("somebody behind", async () => (await page.textContent("#behind")) === "1");
  await change(server, id, { entry_limit_per_minute: null });
  await page.waitForURL(`${server.url}/zones/${id}/status?from=line`);
  const pass = (await context.cookies()).find((cookie) => cookie.name === "bunho_pass");
  expect(pass).toMatchObject({ path: "/", sameSite: "Lax", httpOnly: false });
  expect((pass?.expires ?? 0) - Date.now() / 1000).toBeGreaterThan(500);
  expect((await fetch(`${server.url}/verify?zone=${id}`, { headers: { cookie: `bunho_pass=${pass?.value ?? ""}` } })).status).toBe(204);
  // The way back leads to where one came from, not into a line that is over.
  await page.goBack();
  expect(page.url()).not.toContain("/wait/");
  expect(token).not.toBe("");
  expect(problems).toEqual([]);
  await context.close();
});

test("goes to no address that the zone does not allow, and says that one is in", async () => {
  const id = await zone(server, { entry_limit_per_minute: null });
  await server.admin("PUT", `/zones/${id}/page`, { return_to: ["/shop/", "https://shop.example/sale"] });
  for (const bad of ["//evil.example", "/\\evil.example", "javascript:document.title='x'", "https://shop.example.evil/sale", "https://shop.example@evil.example/", "/other", "/shop/..%2fadmin", "https://shop.example/sales"]) {
    const { context, page } = await visitor();
    await page.goto(address(id, `?return_to=${encodeURIComponent(bad)}`));
    await until(bad, async () => (await state(page)) === "in");
    expect(page.url()).toContain("/wait/");
    expect(await page.isVisible("#go")).toBe(false);
    await context.close();
  }
  const { context, page } = await visitor();
  await context.route("https://shop.example/**", (route) => route.fulfill({ body: "shop" }));
  await page.goto(address(id, `?return_to=${encodeURIComponent("https://shop.example/sale/1?a=b")}`));
  await page.waitForURL(/^https:\/\/shop\.example\/sale\/1\?a=b&pass=ey/);
  await context.close();
});

test("a reload keeps the place, and the bar does not go back", async () => {
  const id = await zone(server);
  await fill(server, id);
  const ahead = await join(server, id, "ahead");
  const { context, page } = await visitor();
  await page.goto(address(id));
  await until("the rank", async () => (await slip(page)).big === "3");
  await server.call("POST", "/traffic/leave", { zoneId: id, token: ahead.token });
  await until("one less", async () => (await slip(page)).big === "2");
  const width = async () => Number(await page.getAttribute("#bar", "aria-valuenow"));
  const before = await width();
  expect(before).toBeGreaterThan(0);
  for (let times = 0; times < 6; times += 1) {
    await page.reload();
    await until("the rank", async () => (await slip(page)).big === "2");
    expect(await width()).toBeGreaterThanOrEqual(before);
  }
  expect(await page.isVisible("#trouble")).toBe(false);
  expect(await server.admin("GET", `/zones/${id}`)).toMatchObject({ waiting: 2 });
  await context.close();
});

test("two tabs that open at once have one place, and neither asks too often", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page: one } = await visitor();
  const two = await context.newPage();
  const statuses: number[] = [];
  context.on("response", (response) => {
    if (response.url().includes("/traffic/")) statuses.push(response.status());
  });
  await Promise.all([one.goto(address(id)), two.goto(address(id))]);
  await until("both have the rank", async () => (await slip(one)).big === "2" && (await slip(two)).big === "2");
  await until("one place", async () => (await server.admin<{ waiting: number }>("GET", `/zones/${id}`)).waiting === 2);
  const [begun, since] = [statuses.length, Date.now()];
  await new Promise((done) => setTimeout(done, 4_000));
  // One alone asks every 300 ms at the fastest, and both see what one hears.
  expect(statuses.length - begun).toBeLessThanOrEqual((Date.now() - since) / 300 + 3);
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
  await change(server, id, { message: "For both." });
  await until("both hear", async () => (await slip(one)).text.includes("For both.") && (await slip(two)).text.includes("For both."));
  // Leaving in one tab is leaving in both.
  one.on("dialog", (dialog) => void dialog.accept());
  await one.click("#leave");
  await until("both left", async () => (await state(one)) === "left" && (await state(two)) === "left");
  await two.click("#again");
  await until("both are back", async () => (await slip(one)).big === "2" && (await slip(two)).big === "2");
  await context.close();
});

test("leaving is asked about, and means it", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page } = await visitor();
  await page.goto(address(id));
  await until("the rank", async () => (await slip(page)).big === "2");
  page.once("dialog", (dialog) => void dialog.dismiss());
  await page.click("#leave");
  expect(await state(page)).toBe("waiting");
  page.once("dialog", (dialog) => void dialog.accept());
  await page.click("#leave");
  await until("left", async () => (await state(page)) === "left");
  expect(await server.admin("GET", `/zones/${id}`)).toMatchObject({ waiting: 1 });
  await page.click("#again");
  await until("a new place", async () => (await slip(page)).big === "2");
  await context.close();
});

test("offline is said, and the place is there afterwards", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page } = await visitor();
  await page.goto(address(id));
  await until("the rank", async () => (await slip(page)).big === "2");
  await context.setOffline(true);
  await until("it says so", async () => (await page.textContent("#trouble"))?.startsWith("No connection") === true);
  expect((await slip(page)).big).toBe("2");
  await context.setOffline(false);
  await until("it goes on", async () => !(await page.isVisible("#trouble")));
  expect((await slip(page)).big).toBe("2");
  await context.close();
});

test("a tab that wakes after too long is told so and may join again", async () => {
  const id = await zone(server, { abandon_after_seconds: 10, resume_grace_seconds: 0, poll_interval_max_ms: 1_000 });
  const { context, page } = await visitor();
  await fill(server, id);
  await page.goto(address(id));
  // The one in front never asks, and may be gone by now.
  await until("a place", async () => ["waiting", "next"].includes((await state(page)) ?? ""));
  // Nothing is heard of it for longer than the zone waits.
  await context.setOffline(true);
  await until("it is not counted any more", async () => (await server.admin<{ waiting: number }>("GET", `/zones/${id}`)).waiting === 0, 30_000);
  await page.waitForTimeout(1_000);
  await context.setOffline(false);
  await until("gone", async () => (await state(page)) === "gone");
  expect((await slip(page)).text).toContain("Your place is gone");
  expect(await page.isVisible("#leave")).toBe(false);
  await fill(server, id);
  await page.click("#again");
  await until("a place at the end", async () => (await slip(page)).big === "2");
  await context.close();
});

test("whoever looks at the page again is told at once", async () => {
  const id = await zone(server, { poll_interval_ms: 20_000, poll_interval_max_ms: 25_000 });
  await fill(server, id);
  const { context, page } = await visitor();
  await page.goto(address(id));
  await until("the rank", async () => (await slip(page)).big === "2");
  await change(server, id, { message: "News." });
  await page.waitForTimeout(1_200);
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  // By itself the page would ask after 18 seconds at the earliest.
  await until("news", async () => (await slip(page)).text.includes("News."), 10_000);
  await context.close();
});

test("the last stretch is told on a stream, and polled for where there is none", async () => {
  for (const streams of [true, false]) {
    // All of a window's worth has gone in, so whoever comes now is within seconds of it.
    const id = await zone(server, { entry_limit_per_minute: 10, window_seconds: 10 });
    await fill(server, id);
    const { context, page } = await visitor();
    const paths: string[] = [];
    page.on("request", (request) => paths.push(new URL(request.url()).pathname));
    if (!streams) await context.route("**/traffic/stream?*", (route) => route.fulfill({ status: 503 }));
    await page.goto(address(id));
    await until("in", async () => (await state(page)) === "in", 40_000);
    expect(paths.includes("/traffic/stream")).toBe(true);
    if (!streams) expect(paths.filter((path) => path === "/traffic/stream").length).toBeLessThanOrEqual(2);
    await context.close();
  }
}, 120_000);

test("a line that is started anew ends the places in it", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page } = await visitor();
  await page.goto(address(id));
  await until("the rank", async () => (await slip(page)).big === "2");
  await server.admin("POST", `/zones/${id}/reset`);
  await until("gone", async () => (await state(page)) === "gone");
  await context.close();
});

test("the states of a line: paused, closed, and on again", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page } = await visitor();
  await page.goto(address(id));
  await until("waiting", async () => (await state(page)) === "waiting");
  await server.admin("POST", `/zones/${id}/pause`);
  await until("paused", async () => (await state(page)) === "paused");
  expect((await slip(page)).big).toBe("2");
  await server.admin("POST", `/zones/${id}/resume`);
  await until("waiting", async () => (await state(page)) === "waiting");
  await change(server, id, { entry_limit_per_minute: 0 });
  await until("closed", async () => (await state(page)) === "closed");
  await change(server, id, { entry_limit_per_minute: 1 });
  await until("waiting", async () => (await state(page)) === "waiting");
  expect((await slip(page)).big).toBe("2");
  await context.close();
});

test("sold out while waiting", async () => {
  await server.admin("PUT", "/offers/last-ones", { kind: "coupon", quantity: 2, per_user_limit: 2, max_per_claim: 2 });
  const id = await zone(server, { offer: "last-ones" });
  await fill(server, id);
  const { context, page } = await visitor();
  await page.goto(address(id));
  await until("what is left", async () => (await page.textContent("#remaining")) === "2");
  await server.call("POST", "/v1/offers/last-ones/claims", { quantity: 2 }, { "x-bunho-user": Buffer.from("김🙂").toString("latin1") });
  await until("sold out", async () => (await state(page)) === "sold_out");
  const { text } = await slip(page);
  expect(text).toContain("Sold out");
  expect(text).toContain("Your number");
  await context.close();
});

test("before the opening: a countdown by the server's clock, whatever this one says", async () => {
  const opensAt = Date.now() + 65_000;
  const id = await zone(server, { opens_at: new Date(opensAt).toISOString(), entry_limit_per_minute: null });
  const { context, page } = await visitor();
  // Somebody whose clock is three hours ahead.
  await page.addInitScript(() => {
    const real = Date.now.bind(Date);
    Date.now = () => real() + 3 * 3_600_000;
  });
  await page.goto(address(id));
  await until("a countdown", async () => /^0[01]:\d\d$/.test((await slip(page)).big));
  await page.waitForTimeout(2_500);
  await until("the countdown is the server's", async () => {
    const [minutes = 0, seconds = 0] = (await slip(page)).big.split(":").map(Number);
    return Math.abs(minutes * 60 + seconds - (opensAt - Date.now()) / 1000) < 2;
  });
  expect((await slip(page)).text).toContain("Your number");
  await change(server, id, { opens_at: null });
  await until("in", async () => (await state(page)) === "in");
  await context.close();
});

test("the server is killed under the page and comes back: the place is the same", async () => {
  const own = await Server.start();
  const id = await zone(own);
  await fill(own, id);
  await join(own, id, "between");
  const { context, page } = await visitor();
  await page.goto(`${own.url}/wait/${id}`);
  await until("the rank", async () => (await slip(page)).big === "3");
  await own.stop("SIGKILL");
  await until("it says so", async () => await page.isVisible("#trouble"));
  const again = await Server.start({ data: own.data, port: own.port });
  await until("it goes on", async () => !(await page.isVisible("#trouble")) && ["waiting", "next"].includes((await state(page)) ?? ""), 40_000);
  // Who stood ahead and does not come back is not counted; nobody is put behind.
  expect(Number((await slip(page)).big)).toBeLessThanOrEqual(3);
  await context.close();
  await again.stop();
  rmSync(own.data, { recursive: true, force: true });
});

test("storage that is blocked: a reload keeps the place all the same", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page, problems } = await visitor();
  await page.addInitScript(() => {
    Object.defineProperty(window, "localStorage", {
      get() {
        throw new DOMException("blocked", "SecurityError");
      },
    });
    Object.defineProperty(Document.prototype, "cookie", { get: () => "", set: () => undefined });
  });
  await page.goto(address(id));
  await until("the rank", async () => (await slip(page)).big === "2");
  expect(page.url()).toContain("#t=");
  await page.reload();
  await until("the same rank", async () => (await slip(page)).big === "2");
  expect(await server.admin("GET", `/zones/${id}`)).toMatchObject({ waiting: 2 });
  await change(server, id, { entry_limit_per_minute: null });
  await until("in", async () => (await state(page)) === "in");
  expect(problems).toEqual([]);
  await context.close();
});

test("a line that is not there", async () => {
  const { context, page } = await visitor();
  const response = await page.goto(address("nothing-here"));
  expect(response?.status()).toBe(404);
  expect((await slip(page)).text).toContain("No such line");
  await context.close();
});

test("what a screen reader hears: the state at once, the rank now and then", async () => {
  const id = await zone(server);
  await fill(server, id);
  const tokens = await Promise.all(["a", "b", "c", "d"].map((key) => join(server, id, key)));
  const { context, page } = await visitor();
  await page.addInitScript(() => {
    const spoken: string[] = [];
    Object.assign(window, { spoken });
    addEventListener("DOMContentLoaded", () => {
      const live = document.querySelector("#live");
      if (live) new MutationObserver(() => spoken.push(live.textContent)).observe(live, { childList: true, characterData: true, subtree: true });
    });
  });
  const spoken = async () => page.evaluate(() => (window as unknown as { spoken: string[] }).spoken);
  await page.goto(address(id));
  await until("the rank", async () => (await slip(page)).big === "6");
  for (const { token } of tokens) {
    await server.call("POST", "/traffic/leave", { zoneId: id, token });
    await page.waitForTimeout(600);
  }
  await until("four less", async () => (await slip(page)).big === "2");
  expect((await spoken()).filter((words) => words.includes("Your number"))).toHaveLength(1);
  await server.admin("POST", `/zones/${id}/pause`);
  await until("paused", async () => (await spoken()).at(-1)?.includes("The line is paused") === true);
  expect((await spoken()).length).toBeLessThanOrEqual(3);
  expect(await page.getAttribute("#live", "role")).toBe("status");
  await context.close();
});
