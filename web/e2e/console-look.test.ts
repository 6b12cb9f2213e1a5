// Every page in both languages and both schemes: nothing that axe-core finds, nothing wider than a phone.
import { afterAll, beforeAll, expect, test } from "vitest";
import { bought, Crowd, go, operator, serviceKey, sideways } from "./console.ts";
import { closeBrowser, Server, shot, violations, visitor } from "./harness.ts";

let server: Server;
let crowd: Crowd;
let claim: string;
beforeAll(async () => {
  server = await Server.start({ demo: true });
  await server.admin("PUT", "/zones/checkout", { name: "Checkout · 결제", entry_limit_per_minute: 60, message: "Thank you for your patience · 기다려 주셔서 고맙습니다", slot_seconds: 2 });
  await server.admin("PUT", "/zones/paused", { name: "Farm-stay booking", app: "farm", entry_limit_per_minute: 120, paused: true });
  await server.admin("PUT", "/zones/later", { name: "Autumn concert", app: "tickets", entry_limit_per_minute: 900, opens_at: new Date(Date.now() + 86_400_000).toISOString() });
  await server.admin("PUT", "/zones/closed", { name: "Spring sale", entry_limit_per_minute: 0, closes_at: "2026-01-01T00:00:00Z" });
  const key = await serviceKey(server);
  for (let user = 0; user < 12; user += 1) claim = await bought(server, key, "sneaker-drop", `user-${user}`, { size: 260, address: { city: "서울" } });
  await server.admin("POST", "/offers/sneaker-drop/restock", { delta: 20 });
  await server.admin("POST", "/accounts", { name: "minji", role: "operator" });
  crowd = await Crowd.come(server, "checkout", 120);
});
afterAll(async () => {
  await crowd.goHome();
  await closeBrowser();
  await server.stop();
});

const pages = (): [string, string][] => [
  ["now", "#/"],
  ["zone", "#/zones/checkout"],
  ["zone-change", "#/zones/checkout/change"],
  ["zone-history", "#/zones/checkout/history"],
  ["zone-look", "#/zones/checkout/look"],
  ["new-zone", "#/new/zone"],
  ["new-offer", "#/new/offer"],
  ["offer", "#/offers/sneaker-drop"],
  ["offer-claims", "#/offers/sneaker-drop/claims"],
  ["offer-standby", "#/offers/sneaker-drop/standby"],
  ["claims", "#/claims?user=user-3"],
  ["claim", `#/claims/${claim}`],
  ["audit", "#/audit"],
  ["system", "#/system"],
  ["me", "#/access/me"],
  ["accounts", "#/access/accounts"],
  ["keys", "#/access/keys"],
  ["sessions", "#/access/sessions"],
  ["nowhere", "#/nothing/here"],
];

for (const [locale, colorScheme, width] of [
  ["en-GB", "light", 1440],
  ["ko-KR", "dark", 1440],
  ["ko-KR", "light", 375],
  ["en-GB", "dark", 375],
  ["en-GB", "light", 2560],
] as const) {
  test(`every page, ${locale}, ${colorScheme}, ${width} px`, { timeout: 180_000 }, async () => {
    const gate = await visitor({ locale, colorScheme, viewport: { width, height: 900 } });
    await gate.page.goto(server.url);
    await gate.page.locator("h1").waitFor();
    expect(await violations(gate.page), "signing in").toEqual([]);
    expect(await sideways(gate.page)).toBeLessThanOrEqual(0);
    await shot(gate.page, `console-${width}-${locale}-${colorScheme}-signin`);
    await gate.context.close();

    const { context, page, problems } = await operator(server, { locale, colorScheme, viewport: { width, height: 900 } });
    for (const [name, hash] of pages()) {
      await go(server, page, hash);
      await page.waitForLoadState("networkidle").catch(() => undefined);
      await page.locator(".skeleton").first().waitFor({ state: "detached" });
      expect(await page.locator("html").getAttribute("lang")).toBe(locale.slice(0, 2));
      expect(await violations(page), `${name} ${locale} ${colorScheme} ${width}`).toEqual([]);
      expect(await sideways(page), `${name} at ${width}`).toBeLessThanOrEqual(0);
      await shot(page, `console-${width}-${locale}-${colorScheme}-${name}`);
    }
    await page.goto(`${server.url}/#/zones/checkout`);
    await page.getByRole("button", { name: /^(Reset|초기화)$/ }).click();
    await page.getByRole("dialog").waitFor();
    expect(await violations(page), "a dialog").toEqual([]);
    await shot(page, `console-${width}-${locale}-${colorScheme}-dialog`);
    expect(problems).toEqual([]);
    await context.close();
  });
}

test("by keyboard alone: skip link, search, dialog and back; language and colours are kept", async () => {
  const { context, page, problems } = await operator(server, { viewport: { width: 1440, height: 900 }, reducedMotion: "reduce" });
  await go(server, page, "#/");
  await page.getByPlaceholder(/Search/).waitFor();
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the page");
  await page.keyboard.press("Enter");
  expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("H1");
  await page.keyboard.press("/");
  await page.keyboard.type("farm-stay b");
  expect(new URL(page.url()).hash).toContain("q=farm-stay");
  await page.getByRole("link", { name: /Farm-stay booking/ }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: /Farm-stay booking/ }).waitFor();
  await page.getByRole("button", { name: "Reset" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  for (let tab = 0; tab < 8; tab += 1) {
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement === document.body || document.activeElement?.closest("dialog") !== null)).toBe(true);
  }
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Reset");

  await page.locator(".me-button").click();
  await page.getByLabel("Language").selectOption("ko");
  await page.getByLabel("화면 색").selectOption("dark");
  await page.reload();
  await page.getByRole("link", { name: "감사 기록" }).waitFor();
  expect(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dataset["theme"]])).toEqual(["ko", "dark"]);
  expect(problems).toEqual([]);
  await context.close();
});
