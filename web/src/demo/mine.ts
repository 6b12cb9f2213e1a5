// What this visitor has: claims and places on standby, and what may be done about them.
import { batch, computed, signal } from "@preact/signals";
import { claim, claims, leaveStandby, NoAnswer, Problem, randomKey, readStandby, standby, type Claim, type Standby } from "@bunho/client";
import { ahead, away, recorded, shop } from "./calls.ts";
import { goOut } from "./visit.ts";
import { has, kept, t, type Key } from "./words.ts";

export const mine = signal<Claim[]>([]);
/** Who the shop says this is. */
export const me = signal("");
/** The place on standby of each offer. */
export const places = signal<Partial<Record<string, Standby>>>({});
/** What came of the last act, by offer: the page says it where the act was. */
export const news = signal<Partial<Record<string, { key: Key; good: boolean; fill?: Record<string, string | number> }>>>({});
/** What is under way, so that a second press changes nothing. */
export const busy = signal("");

export const held = computed(() => mine.value.filter((one) => one.status === "held"));

const PLACES = "bunho_demo_standby";

export function say(offer: string, key: Key, good: boolean, fill?: Record<string, string | number>): void {
  news.value = { ...news.value, [offer]: fill ? { key, good, fill } : { key, good } };
}

export function quiet(offer: string): void {
  news.value = { ...news.value, [offer]: undefined };
}

/** Says a refusal in the visitor's words. */
export function sayProblem(offer: string, error: unknown): void {
  if (error instanceof NoAnswer) { say(offer, "problem_no_answer", false); return; }
  if (!(error instanceof Problem)) throw error;
  if (error.code === "limit_reached" && offer === "welcome-coupon") { say(offer, "problem_coupon_limit", false); return; }
  // The page cannot know that a pass has ended, for the clock that counts is the server's.
  if (error.code === "pass_invalid") { goOut("problem_pass_invalid"); return; }
  if (error.code === "pass_required") { goOut("problem_pass_required"); return; }
  const key = `problem_${error.code}`;
  const fields = error.fields["errors"];
  const reasons = Array.isArray(fields) ? fields.map((field: { field: string; reason: string }) => `${field.field} ${field.reason}`).join("; ") : "";
  say(offer, has(key) ? key : "problem_other", false, { detail: reasons || error.message });
}

/** Reads everything anew. */
export async function refresh(): Promise<void> {
  try {
    const before = new Map(mine.value.map((one) => [one.id, one.status]));
    const page = await claims(shop, {});
    const expired = page.claims.find((one) => one.status === "expired" && before.get(one.id) === "held");
    batch(() => {
      mine.value = page.claims;
      if (page.claims[0]) me.value = page.claims[0].user;
      if (expired) say(scene(expired.offer), "got_expired", false);
    });
  } catch (error) {
    // The next look comes soon.
    if (!(error instanceof Problem || error instanceof NoAnswer)) throw error;
  }
}

const keys = new Map<string, string>();

/** Takes units. An attempt that had no answer goes on under its key when one presses again. */
export async function take(offer: string, quantity: number, attributes?: Record<string, unknown>, pass?: string): Promise<void> {
  if (busy.value) return;
  const attempt = JSON.stringify([offer, quantity, attributes]);
  const key = keys.get(attempt) ?? randomKey();
  keys.set(attempt, key);
  busy.value = offer;
  quiet(scene(offer));
  try {
    const taken = await claim(shop, offer, { quantity, key, pass, ...(attributes ? { attributes } : {}), giveUpAfterMs: 20_000 });
    keys.delete(attempt);
    me.value = taken.claim.user;
    mine.value = [taken.claim, ...mine.value.filter((one) => one.id !== taken.claim.id)];
    if (taken.claim.status === "confirmed") say(scene(offer), "got_coupon", true);
    void refresh();
  } catch (error) {
    if (error instanceof Problem) keys.delete(attempt);
    sayProblem(scene(offer), error);
  } finally {
    busy.value = "";
  }
}

/** Pays at the till, or tries to. */
export async function pay(claim: Claim, outcome: "succeed" | "fail"): Promise<void> {
  if (busy.value) return;
  busy.value = claim.id;
  try {
    const settled = await post<Claim>("/pay", { claim: claim.id, outcome });
    mine.value = mine.value.map((one) => (one.id === settled.id ? settled : one));
    if (outcome === "succeed") say(scene(claim.offer), "got_confirmed", true, { what: what(settled) });
    else say(scene(claim.offer), "got_released", false);
  } catch (error) {
    sayProblem(scene(claim.offer), error);
  } finally {
    busy.value = "";
    void refresh();
  }
}

/** Stands by. */
export async function standBy(offer: string, quantity: number, pass?: string): Promise<void> {
  if (busy.value) return;
  busy.value = offer;
  quiet(scene(offer));
  try {
    keep(await standby(shop, offer, { quantity, pass, giveUpAfterMs: 20_000 }));
  } catch (error) {
    sayProblem(scene(offer), error);
  } finally {
    busy.value = "";
  }
}

export async function standNoMore(place: Standby): Promise<void> {
  keep(place, true);
  await leaveStandby(shop, place.id).catch(() => undefined);
}

/** Looks at the places on standby; one that was served shows as a hold. */
export async function lookAtPlaces(): Promise<void> {
  for (const place of Object.values(places.value)) {
    if (place?.status !== "waiting") continue;
    try {
      const now = await readStandby(shop, place.id);
      keep(now, now.status !== "waiting");
      if (now.status === "served") {
        say(scene(now.offer), "got_served", true);
        await refresh();
      } else if (now.status === "passed") say(scene(now.offer), "got_passed", false);
    } catch (error) {
      if (error instanceof Problem && error.status === 404) keep(place, true);
    }
  }
}

function keep(place: Standby, over = false): void {
  places.value = { ...places.value, [place.offer]: over ? undefined : place };
  kept.set(PLACES, JSON.stringify(places.value));
}

/** Becomes somebody else, who has nothing yet. */
export async function beSomebodyElse(): Promise<void> {
  try {
    const { user } = await post<{ user: string }>("/visitor", {});
    kept.set(PLACES, null);
    batch(() => {
      me.value = user;
      mine.value = [];
      places.value = {};
      news.value = {};
    });
    await refresh();
  } catch (error) {
    if (!(error instanceof Problem || error instanceof NoAnswer)) throw error;
  }
}

/** What a claim is of, in words. */
export function what(claim: { offer: string; quantity: number }): string {
  const key = `what_${claim.offer.replace(/-\d$/, "")}`;
  return has(key) ? t(key, { count: claim.quantity }) : `${claim.offer} × ${claim.quantity}`;
}

/** Weekends share one place on the page. */
export function scene(offer: string): string {
  return offer.replace(/-\d$/, "");
}

/** A call of the shop's own, which is no part of the public API. */
export async function post<T>(path: string, body: unknown, method = "POST"): Promise<T> {
  let response: Response;
  try {
    response = await recorded(`/demo/api${path}`, { method, headers: { "content-type": "application/json" }, body: method === "POST" ? JSON.stringify(body) : null });
  } catch (cause) {
    throw new NoAnswer(path, { cause });
  }
  const text = await response.text();
  const parsed = (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>;
  if (!response.ok) throw new Problem(response.status, String(parsed["code"]), String(parsed["detail"]), undefined, parsed);
  return parsed as T;
}

/** Keeps looking while the page is open: at standby, at holds whose time is up, and after an outage at everything. */
export function keepLooking(): void {
  try {
    places.value = JSON.parse(kept.get(PLACES) ?? "{}") as Partial<Record<string, Standby>>;
  } catch {
    places.value = {};
  }
  void refresh();
  setInterval(() => {
    if (document.hidden) return;
    const now = Date.now() + ahead.value;
    if (away.value || held.value.some((one) => one.hold_expires_at !== null && Date.parse(one.hold_expires_at) < now - 500)) void refresh();
    void lookAtPlaces();
  }, 2_000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void refresh();
  });
}
