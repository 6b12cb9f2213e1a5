// The parts of the waiting page that are rules, not pictures. What the page does with them is tried in a real browser: e2e/wait*.test.ts.
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { countdown, ServerClock } from "./clock.ts";
import { destination } from "./destination.ts";

test("a few answers tell the server's time closely, though each says only whole seconds", () => {
  const ahead = 3 * 3_600_000 + 437;
  const clock = new ServerClock();
  let here = Date.parse("2026-05-01T00:00:00.123Z");
  for (let answers = 0; answers < 12; answers += 1) {
    const there = here + 40 + ahead;
    clock.heard(new Date(Math.floor(there / 1000) * 1000).toUTCString(), here, here + 90);
    here += 3_137;
  }
  expect(Math.abs(clock.now(here) - (here + ahead))).toBeLessThan(150);
  // A clock that is set is believed from the next answer on.
  const there = here - ahead;
  clock.heard(new Date(Math.floor(there / 1000) * 1000).toUTCString(), here, here + 90);
  expect(Math.abs(clock.now(here) - there)).toBeLessThan(700);
  const none = new ServerClock();
  none.heard(null, 0, 0);
  none.heard("yesterday", 0, 0);
  expect(none.now(7)).toBe(7);
});

test.each([
  [-5, "00:00"],
  [0, "00:00"],
  [1, "00:01"],
  [59_001, "01:00"],
  [3_599_000, "59:59"],
  [3_600_000, "01:00:00"],
  [86_399_000, "23:59:59"],
  [2 * 86_400_000 + 3_661_000, "2 d 01:01:01"],
])("%i ms are shown as %s", (ms, shown) => {
  expect(countdown(ms, "{n} d")).toBe(shown);
});

const HERE = "https://line.example/wait/Z?return_to=x";
const ALLOWED = ["/", "https://shop.example/sale", "https://tickets.example:8443/"];

test.each([
  ["/", "https://line.example/"],
  ["/sale?id=1#top", "https://line.example/sale?id=1#top"],
  ["https://line.example/own", "https://line.example/own"],
  ["https://shop.example/sale/1", "https://shop.example/sale/1"],
  ["HTTPS://SHOP.example:443/sale", "https://shop.example/sale"],
  ["https://tickets.example:8443/any", "https://tickets.example:8443/any"],
])("%s is allowed", (address, expected) => {
  expect(destination(address, ALLOWED, HERE)?.href).toBe(expected);
});

test.each([
  null,
  "",
  "sale",
  "?next",
  "//evil.example",
  "///evil.example",
  "/\\evil.example",
  "\\\\evil.example",
  "/\t/evil.example",
  "/\n/evil.example",
  " /",
  "/.//evil.example",
  "/%2f/evil.example",
  "/%5Cevil.example",
  "https:evil.example",
  "https:/evil.example",
  "javascript:alert(1)",
  "data:text/html,x",
  "https://shop.example/sales",
  "https://shop.example/sale/../admin",
  "https://shop.example/sale/%2e%2e/admin",
  "https://shop.example/sale/..%2fadmin",
  "http://shop.example/sale",
  "https://shop.example:8443/sale",
  "https://tickets.example/",
  "https://shop.example.evil/sale",
  "https://shop.example@evil.example/sale",
  "https://user:secret@shop.example/sale",
  "http://[",
])("%j leads nowhere", (address) => {
  expect(destination(address, ALLOWED, HERE)).toBeUndefined();
});

test("nothing is allowed where nothing is listed", () => {
  expect(destination("/", [], HERE)).toBeUndefined();
  expect(destination("/shopping", ["/shop"], HERE)).toBeUndefined();
  expect(destination("/shop/1", ["/shop"], HERE)?.pathname).toBe("/shop/1");
});

test("every language says the same things, with the same values in them", () => {
  const folder = new URL("strings/", import.meta.url);
  const read = (file: string) => JSON.parse(readFileSync(new URL(file, folder), "utf8")) as Record<string, string>;
  const shape = (texts: Record<string, string>) => Object.entries(texts).map(([key, text]) => [key, (text.match(/\{\w+\}/g) ?? []).sort().join("")]);
  const files = readdirSync(folder);
  expect(files.length).toBeGreaterThan(1);
  for (const file of files) expect(shape(read(file)), file).toEqual(shape(read("en.json")));
});
