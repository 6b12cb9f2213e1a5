// Lines that not everybody joins just so: work that the page does first, people whom the site sends, and passes that are one browser's.
import { createHmac } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Server, until, visitor } from "./harness.ts";
import { fill, slip, state, zone } from "./wait-world.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const folder = mkdtempSync(path(tmpdir(), "bunho-door-"));
let server: Server;
beforeAll(async () => {
  writeFileSync(path(folder, "secret"), SECRET);
  server = await Server.start({ env: { BUNHO_JOIN__TOKEN__SECRET_FILE: path(folder, "secret") } });
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
  rmSync(folder, { recursive: true });
});

const address = (id: string, query = ""): string => `${server.url}/wait/${id}${query}`;

/** As docs/threats.md tells sites to do it. */
function enqueueToken(user: string, zoneId: string): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, aud: zoneId, exp: Math.floor(Date.now() / 1000) + 120 })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

test("does the work that a line asks for, and stays alive meanwhile", async () => {
  const id = await zone(server);
  await fill(server, id);
  await server.admin("PUT", `/zones/${id}`, { entry_limit_per_minute: 1, poll_interval_ms: 300, poll_interval_max_ms: 1_000, challenge_bits: 20 });
  const { context, page, problems } = await visitor();
  const asked: { at: number; solution?: string }[] = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/traffic/wait")) asked.push({ at: Date.now(), ...(request.postDataJSON() as { solution?: string }) });
  });
  await page.addInitScript(() => {
    const seen = window as unknown as { turns: number; states: string[] };
    seen.turns = 0;
    seen.states = [];
    setInterval(() => {
      if (document.querySelector("main")?.dataset["state"] === "proving") seen.turns += 1;
    }, 10);
  });
  await page.goto(address(id));
  await until("the rank", async () => (await slip(page)).big === "2", 60_000);
  expect(asked.map(({ solution }) => typeof solution)).toEqual(["undefined", "string"]);
  const [first, second] = asked;
  const hashes = Number.parseInt(second?.solution ?? "", 16) + 1;
  const seconds = ((second?.at ?? 0) - (first?.at ?? 0)) / 1000;
  console.log(`${hashes} hashes in ${seconds.toFixed(2)} s: ${Math.round(hashes / seconds / 1000)} thousand a second`);
  // Slices of some 12 ms: a timer of the page has its turn between them, however busy the machine is. A million take more than ten of them on a fast one.
  const turns = await page.evaluate(() => (window as unknown as { turns: number }).turns);
  if (hashes > 1_000_000) expect(turns).toBeGreaterThan(5);
  expect(problems.filter((text) => !text.includes("403"))).toEqual([]);
  await context.close();
}, 90_000);

test("without scripts it says that this line needs them", async () => {
  const id = await zone(server, { challenge_bits: 8 });
  const { context, page } = await visitor({ javaScriptEnabled: false });
  await page.goto(address(id, "?lang=en"));
  await until("the plain page", () => Promise.resolve(page.url().includes("plain=1")));
  expect(await page.textContent("#state")).toBe("This line needs JavaScript");
  await context.close();
});

test("whom the site sends is let in once, and nobody else is", async () => {
  const id = await zone(server);
  await fill(server, id);
  await server.admin("PUT", `/zones/${id}`, { entry_limit_per_minute: 1, poll_interval_ms: 300, poll_interval_max_ms: 1_000, enqueue: "token" });
  const stranger = await visitor();
  await stranger.page.goto(address(id, "?lang=en"));
  await until("a closed door", async () => (await state(stranger.page)) === "members");
  expect((await slip(stranger.page)).text).toContain("Join from the site");
  const query = `?lang=en&enqueue=${enqueueToken("kim", id)}`;
  await stranger.page.goto(address(id, query));
  await until("the rank", async () => (await slip(stranger.page)).big === "2");
  // The same person on another device has the same place, and a link to another language goes on with the token.
  const other = await visitor();
  await other.page.goto(address(id, query));
  await until("the same rank", async () => (await slip(other.page)).big === "2");
  expect(await other.page.getAttribute("#languages a", "href")).toContain("enqueue=");
  const plain = await visitor({ javaScriptEnabled: false });
  await plain.page.goto(address(id, query));
  await until("the same place without scripts", async () => (await plain.page.textContent("#big")) === "2");
  for (const { context } of [stranger, other, plain]) await context.close();
});

test("a bound pass comes with the key that it is bound to", async () => {
  const id = await zone(server, { entry_limit_per_minute: null, pass_bound: true });
  const { context, page } = await visitor();
  await page.goto(address(id));
  await until("in", async () => (await state(page)) === "in");
  const cookies = await context.cookies(`${server.url}/shop`);
  const value = (name: string): string => cookies.find((cookie) => cookie.name === name)?.value ?? "";
  const verify = async (cookie: string): Promise<number> => (await fetch(`${server.url}/verify?zone=${id}`, { headers: { cookie } })).status;
  expect(await verify(`bunho_pass=${value("bunho_pass")}; bunho_key=${value("bunho_key")}`)).toBe(204);
  expect(await verify(`bunho_pass=${value("bunho_pass")}`)).toBe(403);
  expect(await verify(`bunho_pass=${value("bunho_pass")}; bunho_key=${"0".repeat(32)}`)).toBe(403);
  await context.close();
});
