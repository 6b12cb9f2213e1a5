// The pictures of the README and docs/: a crowd in the demo's line, for as long as charts need to have something to show. Only where it is asked for:
//   BUNHO_PICTURES=../docs/pictures npx vitest run --config e2e/vitest.config.ts e2e/pictures.test.ts
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { go, operator } from "./console.ts";
import { closeBrowser, Server, visitor } from "./harness.ts";

const folder = process.env["BUNHO_PICTURES"];
/** Ten slots of six seconds, and the first minute of the history. */
const LONG_ENOUGH_MS = 75_000;

let server: Server;
beforeAll(async () => {
  server = await Server.start({ demo: true });
  if (folder) mkdirSync(folder, { recursive: true });
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

test.runIf(folder)("a line, a console, a shop", { timeout: 240_000 }, async () => {
  await server.admin("PUT", "/zones/concert", { name: "Autumn concert", app: "tickets", entry_limit_per_minute: 900, opens_at: new Date(Date.now() + 86_400_000).toISOString() });
  await server.admin("PUT", "/zones/farm", { name: "Farm-stay booking", app: "farm", entry_limit_per_minute: 120, paused: true });
  const shop = await visitor({ viewport: { width: 1440, height: 1000 } });
  await shop.page.goto(`${server.url}/demo`);
  await shop.page.locator("main h1").waitFor();
  const brought = await shop.page.evaluate(async () => {
    const headers = { "content-type": "application/json" };
    return (await fetch("/demo/api/crowd", { method: "POST", headers, body: JSON.stringify({ size: 2_000 }) })).status;
  });
  if (brought !== 201) throw new Error(`the crowd does not come: ${brought}`);
  const phone = await visitor({ viewport: { width: 375, height: 740 }, deviceScaleFactor: 2, locale: "ko-KR" });
  await phone.page.goto(`${server.url}/wait/demo-shop`);
  const desk = await operator(server, { viewport: { width: 1440, height: 1000 } });
  await go(server, desk.page, "#/zones/demo-shop");
  await new Promise((done) => setTimeout(done, LONG_ENOUGH_MS));
  const picture = (name: string) => ({ path: join(folder ?? "", `${name}.png`) });
  await desk.page.screenshot(picture("console-zone"));
  await phone.page.screenshot(picture("wait-phone-ko"));
  await go(server, desk.page, "#/");
  await desk.page.locator("tbody tr").first().waitFor();
  await desk.page.screenshot(picture("console-now"));
  await shop.page.getByRole("button", { name: /line/i }).first().click();
  await shop.page.getByText("Your number").waitFor();
  await shop.page.screenshot(picture("demo"));
});
