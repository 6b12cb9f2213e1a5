// The demo's other two places, what people may type, and how it looks to everybody.
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { closeBrowser, Server, shot, until, violations, visitor } from "./harness.ts";

let server: Server;
const closing: (() => Promise<void>)[] = [];
let problems: string[][] = [];

beforeAll(async () => {
  server = await Server.start({ demo: true });
});
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

async function open(place: string, options: Parameters<typeof visitor>[0] = {}): Promise<Page> {
  const { page, context, problems: own } = await visitor(options);
  problems.push(own);
  closing.push(() => context.close());
  await page.goto(`${server.url}/demo#${place}`);
  await page.waitForSelector("main h1");
  await until("the shop knows who this is", async () => (await context.cookies(`${server.url}/demo`)).length > 0);
  return page;
}

const press = (page: Page, text: string) => page.getByRole("button", { name: text, exact: true }).click();
const sees = (page: Page, text: string | RegExp) => page.getByText(text).first().waitFor();

test("a booking is held, paid, and brings a coupon; who stands by for more than is left is served when it comes back", async () => {
  const [page, other] = [await open("stay"), await open("stay")];
  const want = async (who: Page, guests: number) => {
    await who.getByRole("radio").nth(1).check();
    for (let now = 2; now < guests; now += 1) await press(who, "More");
  };
  await want(page, 7);
  await press(page, "Book");
  await page.waitForSelector(".till");
  await want(other, 4);
  await sees(other, "Only 3 left. Stand by for 4?");
  await press(other, "Stand by");
  await sees(other, "Standing by, number 1");
  await press(other, "Stop standing by");
  await press(other, "Stand by");
  await sees(other, "Standing by, number 1");
  await press(page, "Let the card be refused");
  await sees(other, /Standby worked/);
  await press(other, "Pay 180,000 won");
  await sees(other, "Yours. Farm-stay, 4 guests paid and confirmed.");
  await other.waitForSelector(".voucher .code");
  await until("the coupon is listed", async () => (await other.textContent(".mine-list"))?.includes("Thank-you coupon") === true);

  // Nobody is paying: nothing can come back, and the page does not pretend.
  await sees(page, "Only 6 left");
  await press(page, "Fewer");
  await press(page, "Book");
  await page.waitForSelector(".till");
  await press(page, "Pay 270,000 won");
  await sees(page, "Yours. Farm-stay, 6 guests paid and confirmed.");
  await sees(page, "Sold out for good");
  expect(await page.textContent(".mine-list")).toMatch(/20\d\d-\d\d-\d\d/);
});

test("a coupon is one each, said clearly; somebody else may have one too", async () => {
  const page = await open("coupon");
  await press(page, "Take one");
  await page.waitForSelector(".voucher.mine");
  await sees(page, "Here is your coupon.");
  await press(page, "Try to take another");
  await sees(page, "You have yours already: one each.");
  expect(await page.locator(".calls").getByText("409").count()).toBeGreaterThan(0);
  await press(page, "Be somebody else");
  await until("nothing is had yet", async () => (await page.locator(".voucher.mine").count()) === 0);
  await press(page, "Take one");
  await sees(page, "Here is your coupon.");
});

test("a double click is one attempt", async () => {
  const page = await open("stay");
  await page.getByRole("radio").nth(2).check();
  await page.getByRole("button", { name: "Book", exact: true }).dblclick();
  await page.waitForSelector(".till");
  const claims = await page.evaluate(async () => (await (await fetch("/demo/api/v1/claims")).json()) as { claims: unknown[] });
  expect(claims.claims.length).toBe(1);
  await press(page, "Let the card be refused");
});

test("what people type is shown as they typed it, and runs nothing", async () => {
  const page = await open("stay");
  const dialogs: string[] = [];
  page.on("dialog", (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  const typed = `<img src=x onerror=alert(1)><script>alert(2)</script> مرحبا ‮abc 🧑‍🌾👩🏽‍🌾 ${"long".repeat(40)}`;
  await page.locator("textarea").fill(typed);
  await press(page, "Book");
  await page.waitForSelector(".till");
  await until("the note is listed", async () => (await page.locator(".note").first().textContent())?.includes("<script>alert(2)</script>") === true);
  expect(await page.locator(".note img, .note script").count()).toBe(0);
  expect(dialogs).toEqual([]);
  expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);

  // Past the page: what the API refuses is refused here, with its reason.
  const send = (body: string) =>
    page.evaluate(async (body) => {
      const response = await fetch("/demo/api/v1/offers/farm-stay/claims", { method: "POST", headers: { "content-type": "application/json" }, body });
      return [response.status, ((await response.json()) as { code: string }).code];
    }, body);
  expect(await send(JSON.stringify({ quantity: 1, attributes: { note: "🙂".repeat(3_000) } }))).toEqual([400, "invalid_request"]);
  expect(await send(JSON.stringify({ quantity: 1, attributes: { note: "x".repeat(200_000) } }))).toEqual([413, "body_too_large"]);
  expect(await send(`{"quantity":1,"attributes":${'{"a":'.repeat(40)}1${"}".repeat(40)}}`)).toEqual([400, "invalid_request"]);
  expect(await send(JSON.stringify({ quantity: -5 }))).toEqual([400, "quantity_invalid"]);
  expect(await send("{")).toEqual([400, "invalid_request"]);
  await press(page, "Let the card be refused");
});

test("all of it by keyboard", async () => {
  const page = await open("coupon");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("main");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await sees(page, "Here is your coupon.");
});

for (const [locale, lang] of [["en-GB", "en"], ["ko-KR", "ko"]] as const) {
  for (const colorScheme of ["light", "dark"] as const) {
    for (const width of [320, 375, 1_440]) {
      test(`${lang}, ${colorScheme}, ${width} px: no rule broken, nothing sideways`, async () => {
        const page = await open("shop", { locale, colorScheme, viewport: { width, height: 850 }, reducedMotion: "reduce" });
        for (const place of ["shop", "stay", "coupon"]) {
          await page.goto(`${server.url}/demo#${place}`);
          await page.waitForSelector(".stock-line");
          await until("the stock is there", async () => (await page.locator(".stock-line").first().textContent()) !== "");
          expect(await page.evaluate(() => document.documentElement.lang)).toBe(lang);
          expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), place).toBe(true);
          if (width !== 320) expect(await violations(page), place).toEqual([]);
          await shot(page, `demo-${lang}-${colorScheme}-${width}-${place}`);
        }
      });
    }
  }
}

test("the language is chosen, and kept", async () => {
  const page = await open("shop");
  await press(page, "한국어");
  await sees(page, "한정판 스니커즈");
  await page.reload();
  await sees(page, "한정판 스니커즈");
  expect(await page.title()).toBe("Bunho 데모");
});
