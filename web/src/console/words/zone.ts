// What a change of a zone will do, in words, before anyone confirms it. Plain computation on what is known now.
import { count, moment, span } from "../format.ts";
import { t } from "../language.ts";
import { same } from "../data/diff.ts";
import type { Zone, ZoneSettings } from "../data/types.ts";

/** A sentence, and whether one should read it twice. */
export interface Sentence {
  text: string;
  grave: boolean;
}

const plain = (text: string): Sentence => ({ text, grave: false });
const grave = (text: string): Sentence => ({ text, grave: true });

/** People a minute who get in: the limit, or what the places inside give back, whichever is less; null: no limit. */
export function pace(zone: Pick<ZoneSettings, "entry_limit_per_minute" | "active_limit" | "session_seconds">): number | null {
  const limits = [zone.entry_limit_per_minute, zone.active_limit === null ? null : (zone.active_limit * 60) / zone.session_seconds];
  const some = limits.filter((limit): limit is number => limit !== null);
  return some.length === 0 ? null : Math.min(...some);
}

/** Seconds until everyone who waits is in, at the latest: the first minute's worth gets in within the first minute, slot by slot. Null: never. */
export function secondsUntilAllAreIn(waiting: number, zone: Pick<ZoneSettings, "entry_limit_per_minute" | "active_limit" | "session_seconds">): number | null {
  const perMinute = pace(zone);
  if (waiting === 0 || perMinute === null) return 0;
  return perMinute === 0 ? null : Math.ceil((waiting / perMinute) * 60);
}

export type ZoneNow = Pick<Zone, "waiting" | "active" | "paused" | "state" | "entered_last_minute">;

/** When all are in, as a sentence. */
export function paceSentence(settings: ZoneSettings, zone: Pick<ZoneNow, "waiting">, now: Date): Sentence {
  const waiting = zone.waiting;
  const limit = settings.entry_limit_per_minute;
  const perMinute = pace(settings);
  const left = secondsUntilAllAreIn(waiting, settings);
  if (perMinute === null) return waiting === 0 ? grave(t("words.no_limit_empty")) : grave(t("words.no_limit", { n: waiting }));
  if (perMinute === 0 || left === null) return grave(t("words.shut", { n: waiting }));
  const shown = perMinute === limit ? count(limit) : count(Math.floor(perMinute * 10) / 10);
  if (waiting === 0) return plain(t("words.pace_empty", { limit: shown }));
  const start = settings.opens_at !== null && new Date(settings.opens_at) > now ? new Date(settings.opens_at) : now;
  const by = new Date(start.getTime() + left * 1_000);
  const closes = settings.closes_at === null ? null : new Date(settings.closes_at);
  if (closes !== null && closes < by) {
    const inTime = Math.max(0, Math.floor((perMinute * (closes.getTime() - start.getTime())) / 60_000));
    return grave(t("words.pace_closes", { limit: shown, waiting: count(waiting), in: count(Math.min(inTime, waiting)), closes: moment(closes, now) }));
  }
  return plain(t("words.pace", { limit: shown, n: waiting, by: moment(by, now), span: span((by.getTime() - now.getTime()) / 1_000) }));
}

/** Everything that a change of settings does. */
export function zoneWords(before: ZoneSettings, after: ZoneSettings, zone: ZoneNow, now: Date): Sentence[] {
  const changed = (name: keyof ZoneSettings) => !same(before[name], after[name]);
  const said: Sentence[] = [];
  if (changed("entry_limit_per_minute") || changed("active_limit") || changed("opens_at") || changed("closes_at") || (changed("session_seconds") && after.active_limit !== null)) {
    said.push(...timeWords(before, after, now), paceSentence(after, zone, now));
    const was = secondsUntilAllAreIn(zone.waiting, before);
    const is = secondsUntilAllAreIn(zone.waiting, after);
    if (zone.waiting > 0 && was !== null && is !== null && was !== is && pace(after) !== null) {
      said.push(plain(t(is < was ? "words.sooner" : "words.later", { span: span(Math.abs(was - is)) })));
    }
    const pace1 = pace(after);
    const pace0 = pace(before);
    if (pace1 !== null && pace1 > 0 && (pace0 === null || pace1 < pace0) && zone.entered_last_minute > pace1) {
      said.push(plain(t("words.over_limit", { n: zone.entered_last_minute })));
    }
  }
  if (changed("active_limit")) said.push(...placeWords(after, zone));
  if (changed("offer")) said.push(plain(after.offer === null ? t("words.untied") : t("words.tied", { offer: after.offer })));
  if (changed("message")) said.push(plain(after.message === null ? t("words.message_gone") : t("words.message", { message: after.message })));
  if (changed("pass_ttl_seconds")) said.push(plain(t("words.pass", { span: span(after.pass_ttl_seconds) })));
  if (changed("session_seconds") && after.active_limit === null) said.push(plain(t("words.session_idle")));
  if (changed("slot_seconds") || changed("window_seconds")) said.push(...slotWords(after));
  if (changed("abandon_after_seconds") || changed("resume_grace_seconds")) {
    said.push(plain(t("words.abandon", { after: span(after.abandon_after_seconds), grace: span(after.resume_grace_seconds) })));
  }
  if (changed("poll_interval_ms") || changed("poll_interval_max_ms")) said.push(pollWords(after, zone));
  if (changed("challenge_bits")) {
    said.push(after.challenge_bits === 0 ? plain(t("words.no_work")) : grave(t("words.work", { n: 2 ** after.challenge_bits })));
  }
  if (changed("enqueue")) said.push(after.enqueue === "token" ? grave(t("words.known_only")) : plain(t("words.everybody")));
  if (changed("pass_bound")) said.push(plain(t(after.pass_bound ? "words.bound" : "words.unbound")));
  if (changed("name")) said.push(plain(t("words.name", { name: after.name })));
  if (changed("app")) said.push(plain(t("words.app", { app: after.app })));
  if (zone.paused && said.length > 0) said.push(plain(t("words.still_paused")));
  return said;
}

function timeWords(before: ZoneSettings, after: ZoneSettings, now: Date): Sentence[] {
  const said: Sentence[] = [];
  const ahead = (at: string | null) => (at !== null && new Date(at) > now ? new Date(at) : null);
  if (!same(before.opens_at, after.opens_at)) {
    const opens = ahead(after.opens_at);
    if (opens !== null) said.push(grave(t("words.opens", { at: moment(opens, now), span: span((opens.getTime() - now.getTime()) / 1_000) })));
    else if (ahead(before.opens_at) !== null) said.push(grave(t("words.opens_now")));
  }
  if (!same(before.closes_at, after.closes_at)) {
    const closes = ahead(after.closes_at);
    if (closes !== null) said.push(plain(t("words.closes", { at: moment(closes, now) })));
    else said.push(after.closes_at === null ? plain(t("words.never_closes")) : grave(t("words.closed_now")));
  }
  return said;
}

function placeWords(after: ZoneSettings, zone: ZoneNow): Sentence[] {
  if (after.active_limit === null) return [plain(t("words.places_free"))];
  const said = [plain(t("words.places", { n: after.active_limit, span: span(after.session_seconds) }))];
  if (zone.active > after.active_limit) said.push(grave(t("words.places_full", { n: zone.active })));
  return said;
}

function slotWords(after: ZoneSettings): Sentence[] {
  if (after.entry_limit_per_minute === null) return [];
  const quota = Math.ceil((after.entry_limit_per_minute * after.slot_seconds) / after.window_seconds);
  const said = [plain(t("words.slots", { n: quota, span: span(after.slot_seconds) }))];
  if (after.window_seconds !== 60) said.push(grave(t("words.window", { n: after.entry_limit_per_minute, span: span(after.window_seconds) })));
  return said;
}

function pollWords(after: ZoneSettings, zone: ZoneNow): Sentence {
  const rate = (ms: number) => count(Math.ceil((zone.waiting * 1_000) / ms));
  const values = { least: after.poll_interval_ms / 1_000, most: after.poll_interval_max_ms / 1_000 };
  if (zone.waiting === 0) return plain(t("words.polls", values));
  return plain(t("words.polls_now", { ...values, n: zone.waiting, from: rate(after.poll_interval_max_ms), to: rate(after.poll_interval_ms) }));
}

export function pauseWords(zone: ZoneNow): Sentence[] {
  return [grave(t("words.pause", { n: zone.waiting })), plain(t("words.pause_passes"))];
}

export function resumeWords(settings: ZoneSettings, zone: ZoneNow, now: Date): Sentence[] {
  return [paceSentence(settings, zone, now), plain(t("words.resume_order"))];
}

export function resetWords(zone: ZoneNow): Sentence[] {
  return [grave(t("words.reset", { n: zone.waiting })), grave(t("words.reset_passes", { n: zone.active })), grave(t("words.no_undo"))];
}
