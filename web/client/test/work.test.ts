// Work is what the contract says it is, by Node's own SHA-256; and the page is not kept from anything else while it is done.
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { randomKey, solve } from "../src/index.ts";

function zeros(text: string): number {
  return Math.clz32(createHash("sha256").update(text).digest().readUInt32BE());
}

test("solutions begin with so many zero bits", async () => {
  for (const bits of [1, 2, 7, 8, 9, 12, 16]) {
    const challenge = randomKey() + randomKey();
    const solution = await solve(challenge, bits);
    expect(zeros(challenge + solution), `${challenge} ${solution}`).toBeGreaterThanOrEqual(bits);
    // The least one: none before it does.
    for (let n = 0; bits <= 12 && n < Number.parseInt(solution, 16); n += 1) {
      expect(zeros(challenge + n.toString(16).padStart(8, "0"))).toBeLessThan(bits);
    }
  }
}, 30_000);

test("two at once do not disturb each other, and timers go on", async () => {
  let ticks = 0;
  const ticking = setInterval(() => (ticks += 1), 5);
  const challenges = Array.from({ length: 2 }, () => randomKey() + randomKey());
  const solved = await Promise.all(challenges.map(async (challenge) => challenge + (await solve(challenge, 17))));
  clearInterval(ticking);
  for (const text of solved) expect(zeros(text)).toBeGreaterThanOrEqual(17);
  expect(ticks).toBeGreaterThan(0);
}, 30_000);

test("it ends when it is told to, and does nothing for what is no challenge", async () => {
  const ending = new AbortController();
  const solving = solve("0".repeat(64), 32, ending.signal);
  ending.abort(new Error("enough"));
  await expect(solving).rejects.toThrow("enough");
  for (const [challenge, bits] of [["0".repeat(63), 8], ["0".repeat(64), 0], ["0".repeat(64), 33], ["0".repeat(64), Number.NaN]] as const) {
    await expect(solve(challenge, bits)).rejects.toThrow(RangeError);
  }
});
