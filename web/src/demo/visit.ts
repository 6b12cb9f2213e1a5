// The visit to the shop: outside, in the line, inside. A reload goes on where it was.
import { signal } from "@preact/signals";
import { leave, Problem, wait, type Place } from "@bunho/client";
import { open } from "./calls.ts";
import { kept, type Key } from "./words.ts";

export const ZONE = "demo-shop";

export type Visit =
  | { at: "outside"; why?: Key }
  | { at: "joining" }
  | { at: "waiting"; place: Place; from: number }
  | { at: "inside"; pass: string; until: number };

export const visit = signal<Visit>({ at: "outside" });

const TICKET = "bunho_demo_ticket";
const PASS = "bunho_demo_pass";
let ending = new AbortController();
let ticket: string | undefined;

/** Takes a number, or goes on with the one from before. */
export async function getInLine(before?: string): Promise<void> {
  ending.abort();
  const own = (ending = new AbortController());
  visit.value = { at: "joining" };
  let from = 0;
  try {
    for await (const entry of wait(open, ZONE, { ticket: before, signal: own.signal })) {
      if (own.signal.aborted) return;
      ticket = entry.token;
      kept.set(TICKET, entry.token);
      if (entry.canEnter) {
        kept.set(PASS, JSON.stringify([entry.pass, entry.passExpiresAt]));
        visit.value = { at: "inside", pass: entry.pass, until: Date.parse(entry.passExpiresAt) };
      } else {
        from = Math.max(from, entry.waiting.rank);
        visit.value = { at: "waiting", place: entry.waiting, from };
      }
    }
  } catch (error) {
    if (own.signal.aborted) return;
    forget();
    visit.value = { at: "outside", why: "gone" };
    if (!(error instanceof Problem)) throw error;
  }
}

/** Gives up the place, in the line or in the shop. */
export function goOut(why?: Key): void {
  ending.abort();
  if (ticket !== undefined) void leave(open, ZONE, ticket).catch(() => undefined);
  forget();
  visit.value = why ? { at: "outside", why } : { at: "outside" };
}

function forget(): void {
  ticket = undefined;
  kept.set(TICKET, null);
  kept.set(PASS, null);
}

/** After a reload. */
export function goOn(): void {
  const before = kept.get(TICKET);
  if (before === null) return;
  ticket = before;
  try {
    const [pass, until] = JSON.parse(kept.get(PASS) ?? "[]") as [string?, string?];
    if (pass !== undefined && until !== undefined && Date.parse(until) > Date.now()) {
      visit.value = { at: "inside", pass, until: Date.parse(until) };
      return;
    }
  } catch {
    // Then the server is asked.
  }
  void getInLine(before);
}
