// What the tests of the waiting page have in common: zones that move as a test wants, and crowds in them.
import type { Page } from "playwright-core";
import type { Server } from "./harness.ts";

let zones = 0;

/** A zone of a test's own, where polls are fast. */
export async function zone(server: Server, settings: Record<string, unknown> = {}): Promise<string> {
  zones += 1;
  const id = typeof settings["id"] === "string" ? settings["id"] : `zone-${zones}`;
  await server.admin("PUT", `/zones/${id}`, { entry_limit_per_minute: 1, poll_interval_ms: 300, poll_interval_max_ms: 1_000, name: "Summer sale", ...settings });
  return id;
}

/** Changes some settings of a zone and leaves the others. */
export async function change(server: Server, id: string, settings: Record<string, unknown>): Promise<void> {
  const view = await server.admin<Record<string, unknown>>("GET", `/zones/${id}`);
  const computed = ["revision", "epoch", "state", "waiting", "entered_last_minute", "estimated_seconds", "active"];
  const kept = Object.fromEntries(Object.entries(view).filter(([name]) => !computed.includes(name)));
  await server.admin("PUT", `/zones/${id}`, { ...kept, ...settings });
}

interface Entry {
  canEnter: boolean;
  token: string;
  waiting?: { rank: number; behind: number };
}

export async function join(server: Server, zoneId: string, key?: string): Promise<Entry> {
  return (await server.call("POST", "/traffic/wait", { zoneId, key })) as Entry;
}

/** Takes up what may enter at once, so that whoever comes next waits. */
export async function fill(server: Server, zoneId: string): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) if (!(await join(server, zoneId)).canEnter) return;
  throw new Error("everybody enters");
}

/** What stands on the slip. */
export async function slip(page: Page): Promise<{ state: string | undefined; big: string; text: string }> {
  return page.evaluate(() => {
    const main = document.querySelector("main");
    const big = document.querySelector<HTMLElement>("#big");
    return { state: main?.dataset["state"], big: big?.checkVisibility() ? big.textContent : "", text: main?.innerText ?? "" };
  });
}

export const state = async (page: Page): Promise<string | undefined> => (await slip(page)).state;
