// Work before a place in a line: a text whose SHA-256, behind the challenge's, begins with so many zero bits. Hashcash, with the challenge as a stamp.
//
// Done in slices on the page's own thread: between two of them everything else has its turn, and no policy has to allow workers made of text. Not
// `crypto.subtle`: a promise for each hash would take many times as long as the hash, and pages that came by http have none. The challenge fills one block of
// SHA-256, which is hashed once; each try is one more block.

/** How long the page's thread is kept busy at a time. */
const SLICE_MS = 12;
/** Tries between two looks at the clock, which is slower than a try. */
const TRIES = 1_024;

/** The first 32 bits behind the point of the roots of the first 64 primes: SHA-256's own numbers (FIPS 180-4 §4.2.2, §5.3.3). */
const K = new Int32Array(64);
const START = new Int32Array(8);
for (let n = 2, found = 0; found < 64; n += 1) {
  let d = 2;
  while (n % d !== 0) d += 1;
  if (d < n) continue;
  const bits = (root: number): number => ((root % 1) * 2 ** 32) | 0;
  K[found] = bits(Math.cbrt(n));
  if (found < 8) START[found] = bits(Math.sqrt(n));
  found += 1;
}

/** Two hexadecimal digits of each byte, as the characters that they are. */
const HEX = Int32Array.from({ length: 256 }, (_, byte) => {
  const [high = "", low = ""] = byte.toString(16).padStart(2, "0");
  return (high.charCodeAt(0) << 8) | low.charCodeAt(0);
});

const W = new Int32Array(64);

/** What stands there. Every index is within its array, which the compiler cannot know. */
const at = (words: Int32Array, index: number): number => words[index] ?? 0;

/** One block, of which the first 16 words are in `W`, on top of what came before. */
function block(before: Int32Array, after: Int32Array): void {
  for (let i = 16; i < 64; i += 1) {
    const x = at(W, i - 15);
    const y = at(W, i - 2);
    const s = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const t = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    W[i] = (at(W, i - 16) + s + at(W, i - 7) + t) | 0;
  }
  let a = at(before, 0);
  let b = at(before, 1);
  let c = at(before, 2);
  let d = at(before, 3);
  let e = at(before, 4);
  let f = at(before, 5);
  let g = at(before, 6);
  let h = at(before, 7);
  for (let i = 0; i < 64; i += 1) {
    const s = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t = (h + s + ((e & f) ^ (~e & g)) + at(K, i) + at(W, i)) | 0;
    const u = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    h = g;
    g = f;
    f = e;
    e = (d + t) | 0;
    d = c;
    const v = (u + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    c = b;
    b = a;
    a = (t + v) | 0;
  }
  after[0] = at(before, 0) + a;
  after[1] = at(before, 1) + b;
  after[2] = at(before, 2) + c;
  after[3] = at(before, 3) + d;
  after[4] = at(before, 4) + e;
  after[5] = at(before, 5) + f;
  after[6] = at(before, 6) + g;
  after[7] = at(before, 7) + h;
}

/** Finds a solution: eight hexadecimal digits. Takes 2^bits tries on average; a page stays usable meanwhile. */
export async function solve(challenge: string, bits: number, signal?: AbortSignal): Promise<string> {
  if (challenge.length !== 64 || !(bits >= 1 && bits <= 32)) throw new RangeError("not a challenge that this client knows");
  const head = new Int32Array(8);
  const hash = new Int32Array(8);
  for (let i = 0; i < 16; i += 1) W[i] = [0, 1, 2, 3].reduce((word, at) => (word << 8) | challenge.charCodeAt(4 * i + at), 0);
  block(START, head);
  let since = Date.now();
  for (let n = 0; n < 2 ** 32; n += 1) {
    // Others may have solved something between two slices.
    W[0] = (at(HEX, n >>> 24) << 16) | at(HEX, (n >>> 16) & 255);
    W[1] = (at(HEX, (n >>> 8) & 255) << 16) | at(HEX, n & 255);
    W[2] = 1 << 31;
    W.fill(0, 3, 15);
    W[15] = (64 + 8) * 8;
    block(head, hash);
    if (at(hash, 0) >>> (32 - bits) === 0) return n.toString(16).padStart(8, "0");
    if (n % TRIES === 0 && Date.now() - since >= SLICE_MS) {
      signal?.throwIfAborted();
      await breathe();
      since = Date.now();
    }
  }
  throw new RangeError("no solution of eight digits");
}

/** Lets everything else have its turn. Timers would be held back in a tab that nobody looks at; messages are not. */
function breathe(): Promise<void> {
  return new Promise((done) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      done();
    };
    port2.postMessage(0);
  });
}
