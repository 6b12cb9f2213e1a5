// Every page is there, from this host alone, under a strict policy.
import { afterAll, beforeAll, expect, test } from "vitest";
import { ADMIN_KEY, closeBrowser, Server, violations, visitor } from "./harness.ts";

let server: Server;
beforeAll(async () => {
  server = await Server.start({ demo: true });
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

// The demo's stock is a stream, so its network is never idle: what is waited for is the page's own content.
for (const [path, content] of [["/", "body"], ["/demo", "main h1"]] as const) {
  test(`${path} loads nothing from elsewhere and breaks no rule`, async () => {
    const { context, page, problems } = await visitor();
    const foreign: string[] = [];
    page.on("request", (request) => {
      if (!request.url().startsWith(server.url) && !request.url().startsWith("data:")) foreign.push(request.url());
    });
    const response = await page.goto(server.url + path, { waitUntil: "load" });
    await page.waitForSelector(content, { state: "attached" });
    expect(response?.headers()["content-security-policy"]).not.toContain("unsafe-inline");
    expect(foreign).toEqual([]);
    expect(problems).toEqual([]);
    expect(await violations(page)).toEqual([]);
    await context.close();
  });
}

test("where administration has an address of its own, so has the console", async () => {
  const apart = await Server.start({ env: { BUNHO_SERVER__ADMIN_LISTEN: "127.0.0.1:0" } });
  const status = async (url: string) => (await fetch(url)).status;
  const [clients, operators] = [apart.url, apart.administration ?? ""];
  await apart.call("PUT", "/admin/api/zones/gate", { entry_limit_per_minute: 1 }, { authorization: `Bearer ${ADMIN_KEY}` }, operators);
  expect([await status(`${clients}/`), await status(`${operators}/`)]).toEqual([404, 200]);
  // Who waits is sent to the first; how it will look is shown by the second.
  expect([await status(`${clients}/wait/gate`), await status(`${operators}/wait/gate?preview=1`)]).toEqual([200, 200]);
  expect(await status(`${clients}/admin/api/zones`)).toBe(404);
  await apart.stop();
});
