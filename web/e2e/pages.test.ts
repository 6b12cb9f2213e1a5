// Every page is there, from this host alone, under a strict policy.
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Server, violations, visitor } from "./harness.ts";

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
