// Somebody whose browser runs no script waits, too: in Chromium with JavaScript turned off.
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Server, shot, until, violations, visitor } from "./harness.ts";
import { change, fill, slip, zone } from "./wait-world.ts";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

test("waits by reloading, leaves, joins again, and goes in where it wanted to", async () => {
  const id = await zone(server);
  await server.admin("PUT", `/zones/${id}/page`, { colors: { paper: "#fff4e0", slip: "#ffffff", ink: "#3a2000", mark: "#8a2be2" } });
  await fill(server, id);
  const { context, page } = await visitor({ javaScriptEnabled: false, viewport: { width: 375, height: 812 }, locale: "ko-KR" });
  await page.goto(`${server.url}/wait/${id}?return_to=${encodeURIComponent(`/zones/${id}/status`)}`);
  await page.waitForURL(/plain=1/);
  expect(await page.textContent("#big")).toBe("2");
  expect(await page.textContent("h1")).toBe("Summer sale");
  await shot(page, "wait-plain-ko-375");
  // The page asks for itself again.
  await change(server, id, { message: "곧 시작해요 <b>" });
  await page.waitForSelector("#message:not([hidden])");
  expect(await page.textContent("#message")).toBe("곧 시작해요 <b>");
  expect(await page.textContent("#big")).toBe("2");
  await page.click("button[value=leave]");
  await page.waitForSelector("text=줄에서 나왔어요");
  await page.click("button[value=again]");
  await page.waitForSelector("#number:not([hidden])");
  expect(await page.textContent("#big")).toBe("2");
  await change(server, id, { entry_limit_per_minute: null });
  await page.waitForURL(`${server.url}/zones/${id}/status`);
  const pass = (await context.cookies()).find((cookie) => cookie.name === "bunho_pass");
  expect((await fetch(`${server.url}/verify?zone=${id}`, { headers: { cookie: `bunho_pass=${pass?.value ?? ""}` } })).status).toBe(204);
  await context.close();
});

test("the place is the same with and without scripts", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page } = await visitor();
  await page.goto(`${server.url}/wait/${id}`);
  await until("the rank", async () => (await slip(page)).big === "2");
  // As somebody who turns scripts off; the page has no script of its own then, so axe can be asked.
  await page.goto(`${server.url}/wait/${id}?plain=1`);
  expect((await slip(page)).big).toBe("2");
  expect(await violations(page)).toEqual([]);
  await page.goto(`${server.url}/wait/${id}`);
  await until("the rank", async () => (await slip(page)).big === "2");
  expect(await server.admin("GET", `/zones/${id}`)).toMatchObject({ waiting: 2 });
  await context.close();
});
