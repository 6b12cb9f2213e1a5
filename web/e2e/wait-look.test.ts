// How the waiting page looks and reads in every state, both languages and both schemes: no rule of WCAG broken, nothing cut off, and small.
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { closeBrowser, Server, shot, until, violations, visitor } from "./harness.ts";
import { state, zone } from "./wait-world.ts";

/** What a phone gets in its first ten packets. */
const FIRST_VIEW_BYTES_MAX = 14_336;
const STATES = ["joining", "waiting", "next", "not_open", "paused", "closed", "sold_out", "recovering", "gone", "left", "in", "unknown", "proving", "members", "offline", "trouble"];

let server: Server;
let id: string;
beforeAll(async () => {
  server = await Server.start();
  id = await zone(server);
});
afterAll(async () => {
  await closeBrowser();
  await server.stop();
});

/** The bytes of an answer as they come. */
function raw(path: string, headers: Record<string, string>): Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }> {
  return new Promise((done, failed) => {
    request(server.url + path, { headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => done({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }));
    })
      .on("error", failed)
      .end();
  });
}

test("the first view is one answer that fits into the first packets", async () => {
  for (const language of ["en", "ko"]) {
    const plain = await raw(`/wait/${id}`, { "accept-language": language });
    const gzip = await raw(`/wait/${id}`, { "accept-language": language, "accept-encoding": "gzip" });
    const brotli = await raw(`/wait/${id}`, { "accept-language": language, "accept-encoding": "gzip, br" });
    expect([plain, gzip, brotli].map((answer) => answer.status)).toEqual([200, 200, 200]);
    expect(gunzipSync(gzip.body).equals(plain.body) && brotliDecompressSync(brotli.body).equals(plain.body)).toBe(true);
    console.log(`first view in ${language}: ${brotli.body.length} bytes (brotli), ${gzip.body.length} (gzip), ${plain.body.length} plain`);
    expect(Math.max(gzip.body.length, brotli.body.length)).toBeLessThanOrEqual(FIRST_VIEW_BYTES_MAX);
    expect(brotli.headers["cache-control"]).toMatch(/^public, max-age=\d+$/);
    const again = await raw(`/wait/${id}`, { "accept-language": language, "accept-encoding": "br", "if-none-match": String(brotli.headers["etag"]) });
    expect([again.status, again.body.length]).toEqual([304, 0]);
    const policy = String(brotli.headers["content-security-policy"]);
    expect(policy).not.toContain("unsafe");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(plain.body.toString()).not.toMatch(/(src|href)="(https?:)?\/\//);
  }
});

for (const language of ["en", "ko"] as const)
  for (const colorScheme of ["light", "dark"] as const)
    test(`every state, ${language}, ${colorScheme}`, async () => {
      const { context, page, problems } = await visitor({ colorScheme, viewport: { width: 375, height: 812 }, deviceScaleFactor: 2 });
      await page.goto(`${server.url}/wait/${id}?preview=1&lang=${language}`);
      expect(await page.getAttribute("html", "lang")).toBe(language);
      for (const name of STATES) {
        await page.setViewportSize({ width: 375, height: 812 });
        const message = name === "waiting" ? (language === "ko" ? "결제 서버를 점검하고 있어요. 곧 다시 시작해요." : "We are adding capacity. Thank you for waiting.") : null;
        await page.evaluate(([state, message]) => window.postMessage({ bunho: "preview", state, message }, location.origin), [name, message]);
        await until(name, async () => (await state(page)) === (["offline", "trouble"].includes(name) ? "waiting" : name));
        expect(await violations(page), name).toEqual([]);
        await shot(page, `wait-${name}-${language}-${colorScheme}-375`);
        for (const width of [320, 1440]) {
          await page.setViewportSize({ width, height: 900 });
          expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), `${name} at ${width}`).toBeLessThanOrEqual(0);
          if (width === 1440 && ["waiting", "not_open"].includes(name)) await shot(page, `wait-${name}-${language}-${colorScheme}-1440`);
        }
      }
      expect(problems).toEqual([]);
      await context.close();
    });
