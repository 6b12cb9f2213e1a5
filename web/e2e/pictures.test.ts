// The pictures of the README and docs/: crowds that wait for as long as charts need to have something to show. Only where it is asked for:
//   BUNHO_PICTURES=../docs/pictures npx vitest run --config e2e/vitest.config.ts e2e/pictures.test.ts
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { Crowd, go, operator } from "./console.ts";
import { closeBrowser, Server, visitor } from "./harness.ts";

const folder = process.env["BUNHO_PICTURES"];
/** Ten slots of six seconds, and the first minute of the history. */
const LONG_ENOUGH_MS = 90_000;
/** Until the demo's crowd stands in its line, and some have left the shop again. */
const A_WHILE_MS = 12_000;

let server: Server;
beforeAll(async () => {
  server = await Server.start({ demo: true });
  if (folder) mkdirSync(folder, { recursive: true });
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

test.runIf(folder)("a line, a console, a shop", { timeout: 300_000 }, async () => {
  const zone = { name: "Summer sale · 여름 할인", app: "shop", entry_limit_per_minute: 240, message: "Delivery from Monday on · 배송은 월요일부터 시작해요" };
  await server.admin("PUT", "/zones/summer", zone);
  await server.admin("PUT", "/zones/summer/page", { title: { en: "Summer sale", ko: "여름 할인" } });
  await server.admin("PUT", "/zones/concert", { name: "Autumn concert", app: "tickets", entry_limit_per_minute: 900, opens_at: new Date(Date.now() + 86_400_000).toISOString() });
  await server.admin("PUT", "/zones/farm", { name: "Farm-stay booking", app: "farm", entry_limit_per_minute: 120, paused: true });
  const crowd = await Crowd.come(server, "summer", 900);
  const phone = await visitor({ viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, locale: "ko-KR" });
  await phone.page.goto(`${server.url}/wait/summer`);
  const desk = await operator(server, { viewport: { width: 1440, height: 1000 } });
  await go(server, desk.page, "#/zones/summer");
  const late = Crowd.come(server, "summer", 150);
  await new Promise((done) => setTimeout(done, LONG_ENOUGH_MS));
  const picture = (name: string) => ({ path: join(folder ?? "", `${name}.png`) });
  await desk.page.screenshot(picture("console-zone"));
  await phone.page.screenshot(picture("wait-phone-ko"));
  const shop = await visitor({ viewport: { width: 1440, height: 1250 } });
  await shop.page.goto(`${server.url}/demo`);
  await shop.page.locator("main h1").waitFor();
  const brought = await shop.page.evaluate(async () => {
    const headers = { "content-type": "application/json" };
    return (await fetch("/demo/api/crowd", { method: "POST", headers, body: JSON.stringify({ size: 500 }) })).status;
  });
  if (brought !== 201) throw new Error(`the crowd does not come: ${brought}`);
  await shop.page.getByRole("button", { name: /line/i }).first().click();
  await shop.page.getByText("Your number", { exact: true }).first().waitFor();
  await new Promise((done) => setTimeout(done, A_WHILE_MS));
  await shop.page.screenshot(picture("demo"));
  await go(server, desk.page, "#/");
  await desk.page.locator("tbody tr").first().waitFor();
  await desk.page.screenshot(picture("console-now"));
  await crowd.goHome();
  await (await late).goHome();
});
