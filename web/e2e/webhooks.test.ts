// Webhooks as an operator sees them: made, tried, failing, mended; with a receiver that really receives and verifies by itself.
import { createHmac } from "node:crypto";
import { createServer, type IncomingHttpHeaders, type Server as Receiver } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bought, go, operator, seen, serviceKey, sideways } from "./console.ts";
import { closeBrowser, Server, shot, until, violations } from "./harness.ts";

interface Got {
  headers: IncomingHttpHeaders;
  body: string;
}

let server: Server;
let receiver: Receiver;
let url: string;
let answer = 204;
const got: Got[] = [];

beforeAll(async () => {
  server = await Server.start({
    env: { BUNHO_WEBHOOKS__ALLOW_HTTP: "true", BUNHO_WEBHOOKS__ALLOW_PRIVATE: '["127.0.0.0/8"]', BUNHO_WEBHOOKS__RETRY_SECONDS: "[1]" },
  });
  receiver = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      got.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
      response.writeHead(answer).end();
    });
  });
  await new Promise<void>((done) => receiver.listen(0, "127.0.0.1", done));
  url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hooks`;
  await server.admin("PUT", "/offers/seat", { kind: "coupon", quantity: 100 });
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
  receiver.closeAllConnections();
  receiver.close();
});

const signed = (one: Got | undefined, secret: string): boolean => {
  if (one === undefined) return false;
  const { headers, body } = one;
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const expected = createHmac("sha256", key).update(`${String(headers["webhook-id"])}.${String(headers["webhook-timestamp"])}.${body}`).digest("base64");
  return String(headers["webhook-signature"]).split(" ").includes(`v1,${expected}`);
};

test("a webhook is made, tried, fails, and what was given up is sent again", { timeout: 120_000 }, async () => {
  const { context, page, problems } = await operator(server);
  await go(server, page, "#/webhooks");
  await seen(page, "No webhooks");
  await page.getByRole("button", { name: "New webhook" }).click();
  await page.getByLabel("What it is for").fill("Shop <b>가게</b>");
  await page.getByLabel("Address").fill("https://169.254.169.254/latest/meta-data/");
  await page.getByRole("button", { name: "Make the webhook" }).click();
  await seen(page, /url .*169\.254\.169\.254, a link-local address/);
  await page.getByLabel("Address").fill(url);
  await page.getByLabel("Everything").uncheck();
  expect(await page.getByLabel("Claim confirmed").isChecked()).toBe(true);
  await page.getByLabel("Claim taken back").check();
  await page.getByRole("button", { name: "Make the webhook" }).click();
  await seen(page, /Secret of “Shop <b>가게<\/b>”/);
  const secret = await page.locator(".once code").innerText();
  expect(secret).toMatch(/^whsec_/);
  expect(await violations(page), "a secret, shown once").toEqual([]);
  await page.locator(".dialog .primary").click();
  expect(await page.content()).not.toContain(secret);

  await page.getByRole("link", { name: /가게/ }).click();
  await page.getByRole("button", { name: "Send a test" }).click();
  await seen(page, /It was taken: 204 after \d+ ms\./);
  expect(got.length).toBe(1);
  expect(signed(got[0], secret)).toBe(true);
  await shot(page, "webhook-tested");

  answer = 500;
  const key = await serviceKey(server);
  const claims = [await bought(server, key, "seat", "kim"), await bought(server, key, "seat", "lee")];
  await seen(page, "answered 500");
  await until("both were given up", async () => (await page.locator("table[aria-label='Given up'] tbody tr").count()) === 2);
  await page.getByRole("button", { name: "Send a test" }).click();
  await seen(page, "It was not taken: answered 500");

  answer = 204;
  await page.getByRole("button", { name: "Forget all" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  const subject = (one: Got | undefined) => (JSON.parse(one?.body ?? "{}") as { subject: string }).subject;
  got.length = 0;
  await page.getByRole("button", { name: /^Send again: / }).first().click();
  await page.getByRole("dialog").getByRole("button", { name: "Send again" }).click();
  await until("one has arrived", () => got.length === 1 && claims.includes(subject(got[0])));
  await until("one is left", async () => (await page.locator("table[aria-label='Given up'] tbody tr").count()) === 1);
  await page.getByRole("button", { name: "Send all again" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Send all again" }).click();
  await until("both have arrived", () => new Set(got.map(subject)).size === 2 && got.every((one) => signed(one, secret)));
  await seen(page, "Nothing was given up");

  await page.getByRole("button", { name: "New secret" }).click();
  await page.getByRole("button", { name: "Make the secret" }).click();
  const next = await page.locator(".once code").innerText();
  await page.locator(".dialog .primary").click();
  got.length = 0;
  await page.getByRole("button", { name: "Send a test" }).click();
  await seen(page, /It was taken/);
  expect(signed(got[0], secret) && signed(got[0], next)).toBe(true);
  await seen(page, "Old secret until");

  answer = 410;
  await bought(server, key, "seat", "park");
  await seen(page, "Off: the receiver answered 410, gone");
  answer = 204;
  await page.getByRole("button", { name: "Turn on" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Turn on" }).click();
  await until("what waited has arrived", () => got.some((one) => one.body.includes("park")));
  await seen(page, "Nothing waits");

  // What waits for one that is off can be forgotten, and is then not sent.
  answer = 410;
  await bought(server, key, "seat", "choi");
  await seen(page, "Off: the receiver answered 410, gone");
  got.length = 0;
  answer = 204;
  await page.getByRole("button", { name: "Forget all" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Forget all" }).click();
  await seen(page, "Nothing waits");
  await page.getByRole("button", { name: "Turn on" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Turn on" }).click();
  await page.getByRole("button", { name: "Turn off" }).waitFor();
  await bought(server, key, "seat", "jung");
  await until("what came later has arrived", () => got.some((one) => one.body.includes("jung")));
  expect(got.some((one) => one.body.includes("choi"))).toBe(false);

  await go(server, page, "#/audit");
  await seen(page, "Webhook turned off by itself");
  await seen(page, "Messages sent again");
  expect(await page.locator("main").innerText()).not.toContain("whsec_");
  expect(problems).toEqual([]);
  await context.close();
});

test("who may look may not change, and who may change nothing sees no buttons", async () => {
  const made = await server.admin<{ key: string }>("POST", "/keys", { role: "viewer", name: "looks" });
  const { context, page, problems } = await operator(server, {}, { key: made.key });
  await go(server, page, "#/webhooks");
  await page.getByRole("link", { name: /가게/ }).click();
  await seen(page, "Messages taken");
  expect(await page.getByRole("button", { name: /Send a test|Change|Delete|New secret/ }).count()).toBe(0);
  expect(problems).toEqual([]);
  await context.close();
});

for (const [locale, colorScheme, width] of [
  ["en-GB", "light", 1440],
  ["ko-KR", "dark", 375],
  ["ko-KR", "light", 1440],
  ["en-GB", "dark", 375],
] as const) {
  test(`by axe and by eye, ${locale}, ${colorScheme}, ${width} px`, { timeout: 60_000 }, async () => {
    answer = 503;
    await bought(server, await serviceKey(server), "seat", `look-${locale}-${width}`);
    const { context, page, problems } = await operator(server, { locale, colorScheme, viewport: { width, height: 900 } });
    const [hook] = (await server.admin<{ webhooks: { id: string }[] }>("GET", "/webhooks")).webhooks;
    for (const [name, hash] of [
      ["list", "#/webhooks"],
      ["one", `#/webhooks/${String(hook?.id)}`],
    ] as const) {
      await go(server, page, hash);
      await page.locator(".skeleton").first().waitFor({ state: "detached" });
      await seen(page, /503/);
      expect(await violations(page), `${name} ${locale} ${width}`).toEqual([]);
      expect(await sideways(page), `${name} at ${width}`).toBeLessThanOrEqual(0);
      await shot(page, `webhooks-${width}-${locale}-${colorScheme}-${name}`);
    }
    // By keyboard alone: a dialog opens, keeps the focus, closes, and gives it back.
    const change = page.getByRole("button", { name: /^(Change|변경)$/ });
    await change.focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    expect(await violations(page), "the form").toEqual([]);
    expect(await sideways(page)).toBeLessThanOrEqual(0);
    await shot(page, `webhooks-${width}-${locale}-${colorScheme}-form`);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await page.evaluate(() => document.activeElement?.textContent)).toMatch(/^(Change|변경)$/);
    expect(problems).toEqual([]);
    await context.close();
  });
}
