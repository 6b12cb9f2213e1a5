// What is written by others, and screens that are not like ours: markup, other scripts and directions, emoji, small, zoomed, few colours, no motion.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Page } from "playwright-core";
import { closeBrowser, Server, shot, until, violations, visitor } from "./harness.ts";
import { change, fill, slip, state, zone } from "./wait-world.ts";

let server: Server;
beforeAll(async () => {
  server = await Server.start();
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

const overflow = (page: Page): Promise<number> => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

const STRANGE = [
  `<img src=x onerror=document.title='x'></script><script>document.title='x'</script>`,
  `"'&amp;<!--]]>{{7*7}}\${7*7}`,
  "تخفيضات الصيف \u202eelas remmus",
  "🎟️👨‍👩‍👧‍👦🇰🇷".repeat(12),
  "W".repeat(200),
  "가".repeat(200),
];

test("names and messages are shown as they were written, whatever they are", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page, problems } = await visitor({ viewport: { width: 320, height: 640 } });
  for (const text of STRANGE) {
    await change(server, id, { name: text, message: text });
    // Browsers keep the page for some seconds; what is said in it is live.
    await page.goto(`${server.url}/wait/${id}?text=${STRANGE.indexOf(text)}`);
    await until("the message", async () => (await page.textContent("#message")) === text);
    expect(await page.textContent("h1")).toBe(text);
    expect(await page.title()).toBe(`2 · ${text}`.replace(/\s+/g, " "));
    expect(await overflow(page), text).toBeLessThanOrEqual(0);
    expect(await violations(page), text).toEqual([]);
    const other = await visitor({ javaScriptEnabled: false });
    await other.page.goto(`${server.url}/wait/${id}?plain=1`);
    expect(await other.page.textContent("h1")).toBe(text);
    await other.context.close();
  }
  await shot(page, "wait-strange-320");
  expect(problems).toEqual([]);
  // Longer ones are refused, and say how long they may be.
  for (const field of ["name", "message"]) await expect(change(server, id, { [field]: "x".repeat(10_000) })).rejects.toThrow(field);
  await context.close();
});

test("an operator's own page: title, logo, colours, texts", async () => {
  const id = await zone(server);
  // One red pixel.
  const logo = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
  const colors = { paper: "#0b1f3a", slip: "#10294d", ink: "#f4f7ff", mark: "#ffd166" };
  const page1 = { title: { en: "Gala <b>", ko: "갈라" }, logo, colors, texts: { en: { waiting_title: "Nearly there & <i>", leave: "Give up" } } };
  await server.admin("PUT", `/zones/${id}/page`, page1);
  await fill(server, id);
  for (const colorScheme of ["light", "dark"] as const) {
    const { context, page, problems } = await visitor({ viewport: { width: 375, height: 812 }, colorScheme });
    await page.goto(`${server.url}/wait/${id}`);
    await until("waiting", async () => (await state(page)) === "waiting");
    expect(await page.textContent("h1")).toBe("Gala <b>");
    expect(await page.textContent("#state")).toBe("Nearly there & <i>");
    expect(await page.textContent("#leave")).toBe("Give up");
    expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe("rgb(11, 31, 58)");
    expect(await page.evaluate(() => document.querySelector<HTMLImageElement>("#logo")?.naturalWidth)).toBe(1);
    expect(await violations(page)).toEqual([]);
    expect(problems).toEqual([]);
    await shot(page, `wait-own-${colorScheme}-375`);
    await context.close();
  }
  await expect(server.admin("PUT", `/zones/${id}/page`, { colors: { ...colors, ink: "#30507d" } })).rejects.toThrow(/contrast.*slip/);
});

test("a preview shows what it is sent by its own origin, and joins no line", async () => {
  const id = await zone(server);
  const { context, page } = await visitor();
  const calls: string[] = [];
  page.on("request", (request) => calls.push(new URL(request.url()).pathname));
  await page.goto(`${server.url}/wait/${id}?preview=1`);
  const send = (message: unknown) => page.evaluate((message) => window.postMessage(message, location.origin), message);
  const settings = { title: { en: "Draft" }, colors: { paper: "#000000", slip: "#111111", ink: "#ffffff", mark: "#00ff00" }, texts: { en: { paused_title: "Tea time" } } };
  await send({ bunho: "preview", state: "paused", page: settings, message: "Hello" });
  await until("the draft", async () => (await page.textContent("h1")) === "Draft" && (await page.textContent("#state")) === "Tea time");
  expect(await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe("rgb(0, 0, 0)");
  expect(await violations(page)).toEqual([]);
  await send({ bunho: "preview", state: "waiting", page: {}, lang: "ko" });
  await page.waitForURL(/lang=ko/);
  await until("the other language", async () => (await page.getAttribute("html", "lang")) === "ko");
  expect(calls.filter((path) => path.startsWith("/traffic"))).toEqual([]);
  // Another origin's words are not taken: a frame without one sends them.
  await page.evaluate(() => {
    const foreign = new MessageEvent("message", { origin: "https://evil.example", data: { bunho: "preview", state: "sold_out" } });
    dispatchEvent(foreign);
  });
  await page.waitForTimeout(200);
  expect(await state(page)).toBe("waiting");
  await context.close();
});

test("small, zoomed, without colours and without motion", async () => {
  const id = await zone(server);
  await fill(server, id);
  // 1280 px at 400 %, and 640 px at 200 %, are 320 px.
  const { context, page } = await visitor({ viewport: { width: 320, height: 256 }, forcedColors: "active", reducedMotion: "reduce" });
  await page.goto(`${server.url}/wait/${id}`);
  await until("the rank", async () => (await slip(page)).big === "2");
  expect(await overflow(page)).toBeLessThanOrEqual(0);
  expect(await page.evaluate(() => getComputedStyle(document.querySelectorAll("#bar i")[0] ?? document.body).transitionDuration)).toBe("0s");
  expect(await violations(page)).toEqual([]);
  await shot(page, "wait-forced-colors-320");
  // Text twice as large, as a reader sets it.
  await page.evaluate(() => (document.documentElement.style.fontSize = "200%"));
  expect(await overflow(page)).toBeLessThanOrEqual(0);
  await shot(page, "wait-text-200");
  await context.close();
  const large = await visitor({ viewport: { width: 320, height: 640 } });
  await large.page.goto(`${server.url}/wait/${id}?preview=1`);
  await large.page.evaluate(() => {
    const big = document.querySelector<HTMLElement>("#big");
    if (big) big.textContent = "1,234,567";
    big?.style.setProperty("--digits", "9");
  });
  expect(await overflow(large.page)).toBeLessThanOrEqual(0);
  const [inner, outer] = await large.page.evaluate(() => ["#big", ".slip"].map((found) => document.querySelector(found)?.scrollWidth ?? 0));
  expect(inner).toBeLessThanOrEqual(outer ?? 0);
  await large.context.close();
});

test("everything can be done with the keyboard, and the language is kept", async () => {
  const id = await zone(server);
  await fill(server, id);
  const { context, page } = await visitor({ locale: "en-GB" });
  await page.goto(`${server.url}/wait/${id}?return_to=%2Fshop`);
  await until("the rank", async () => (await slip(page)).big === "2");
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("leave");
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.getAttribute("hreflang"))).toBe("ko");
  await page.keyboard.press("Enter");
  await page.waitForURL(/lang=ko/);
  expect(page.url()).toContain("return_to=%2Fshop");
  await until("the same rank", async () => (await slip(page)).big === "2");
  // Next time it is Korean without being asked for.
  await page.goto(`${server.url}/wait/${id}`);
  await until("Korean", async () => (await page.getAttribute("html", "lang")) === "ko");
  await context.close();
});
