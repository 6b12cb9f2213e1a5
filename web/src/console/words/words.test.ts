import { afterEach, describe, expect, test } from "vitest";
import { language } from "../language.ts";
import type { OfferSettings, Stock, ZoneSettings } from "../data/types.ts";
import { closeWords, offerWords, restockWords, returnWords } from "./offer.ts";
import { pace, paceSentence, pauseWords, resetWords, secondsUntilAllAreIn, zoneWords, type ZoneNow } from "./zone.ts";

const NOW = new Date(2026, 4, 1, 10, 0, 20);
const ZONE: ZoneSettings = {
  app: "default",
  name: "Checkout",
  entry_limit_per_minute: 300,
  window_seconds: 60,
  slot_seconds: 6,
  abandon_after_seconds: 60,
  resume_grace_seconds: 120,
  poll_interval_ms: 3_000,
  poll_interval_max_ms: 20_000,
  opens_at: null,
  closes_at: null,
  active_limit: null,
  session_seconds: 600,
  pass_ttl_seconds: 600,
  offer: null,
  message: null,
  challenge_bits: 0,
  enqueue: "open",
  pass_bound: false,
};
const CROWD: ZoneNow = { waiting: 12_400, active: 40, paused: false, state: "waiting", entered_last_minute: 300 };
const at = (hours: number, minutes: number) => new Date(2026, 4, 1, hours, minutes).toISOString();
const texts = (after: Partial<ZoneSettings>, zone: Partial<ZoneNow> = {}, before: Partial<ZoneSettings> = {}) =>
  zoneWords({ ...ZONE, ...before }, { ...ZONE, ...before, ...after }, { ...CROWD, ...zone }, NOW).map((sentence) => sentence.text);

afterEach(() => (language.value = "en"));

describe("what a zone's change will do", () => {
  test("the example of the promise", () => {
    expect(texts({ entry_limit_per_minute: 600 })).toEqual([
      "At 600 a minute, the 12,400 waiting are in by 10:21 (in 20 min 40 s) at the latest.",
      "That is 20 min 40 s sooner than now.",
    ]);
    language.value = "ko";
    expect(texts({ entry_limit_per_minute: 600 })[0]).toBe("분당 600명이면 기다리는 12,400명이 늦어도 10:21까지(20분 40초 뒤) 모두 입장합니다.");
  });
  test.each([
    [{ entry_limit_per_minute: 0 }, {}, "Nobody gets in. 12,400 people wait and keep their places."],
    [{ entry_limit_per_minute: null }, {}, "There is no limit: the 12,400 waiting get in at once, and so does everybody who comes."],
    [{ entry_limit_per_minute: 600 }, { waiting: 0 }, "Nobody waits; up to 600 people a minute get in without waiting."],
    [{ entry_limit_per_minute: 600 }, { waiting: 1 }, "At 600 a minute, the one who waits is in by 10:00 (in 1 s) at the latest."],
    [{ entry_limit_per_minute: 100 }, {}, "300 entered in the last minute, which is more: nobody gets in until that minute has passed."],
    [{ active_limit: 20 }, {}, "40 are inside now: nobody gets in until enough of them have left."],
    [{ active_limit: 100 }, {}, "At 10 a minute, the 12,400 waiting are in by May 2 06:40 (in 20 h 40 min) at the latest."],
    [{ opens_at: at(11, 0) }, {}, "Nobody gets in before 11:00 (in 59 min 40 s). Those who wait keep their order."],
    [{ opens_at: at(11, 0) }, {}, "At 300 a minute, the 12,400 waiting are in by 11:41 (in 1 h 41 min) at the latest."],
    [{ closes_at: at(10, 10) }, {}, "At 300 a minute, about 2,900 of the 12,400 waiting get in before it closes at 10:10. The others do not."],
    [{ closes_at: at(9, 0) }, {}, "It closes at once: nobody gets in any more."],
    [{ message: "Soon" }, {}, "Those who wait read: “Soon”"],
    [{ message: "Soon" }, { paused: true }, "The line stays paused until you resume it."],
    [{ slot_seconds: 10 }, {}, "While a line stands, up to 50 get in every 10 s."],
    [{ poll_interval_ms: 5_000 }, {}, "Waiting pages ask every 5 to 20 seconds: with 12,400 waiting, 620 to 2,480 requests a second."],
  ] as [Partial<ZoneSettings>, Partial<ZoneNow>, string][])("%j %j", (after, zone, said) => {
    expect(texts(after, zone).map((text) => text.replace("1 May", "May 1").replace("2 May", "May 2"))).toContain(said);
  });
  test("every setting that changes says something, and nothing is said of what stays", () => {
    expect(texts({})).toEqual([]);
    const others: Partial<ZoneSettings> = {
      app: "shop", name: "Pay", entry_limit_per_minute: 1, window_seconds: 30, slot_seconds: 5, abandon_after_seconds: 30, resume_grace_seconds: 10, poll_interval_ms: 1_000,
      poll_interval_max_ms: 9_000, opens_at: at(12, 0), closes_at: at(13, 0), active_limit: 5, session_seconds: 60, pass_ttl_seconds: 60, offer: "coupon", message: "Hello", challenge_bits: 18, enqueue: "token", pass_bound: true,
    };
    expect(Object.keys(others).sort()).toEqual(Object.keys(ZONE).sort());
    for (const [name, value] of Object.entries(others)) expect(texts({ [name]: value }), name).not.toEqual([]);
  });
  test("markup is text", () => {
    expect(texts({ message: "<script>alert(1)</script>" })).toEqual(["Those who wait read: “<script>alert(1)</script>”"]);
  });
  test("the pace is what is less", () => {
    expect(pace(ZONE)).toBe(300);
    expect(pace({ ...ZONE, active_limit: 100 })).toBe(10);
    expect(pace({ ...ZONE, entry_limit_per_minute: null })).toBeNull();
    expect(secondsUntilAllAreIn(0, ZONE)).toBe(0);
    expect(secondsUntilAllAreIn(5, { ...ZONE, entry_limit_per_minute: 0 })).toBeNull();
    expect(secondsUntilAllAreIn(301, ZONE)).toBe(61);
  });
  test("acts", () => {
    expect(pauseWords(CROWD)[0]?.text).toContain("The 12,400 waiting keep their places");
    expect(resetWords(CROWD).map((sentence) => sentence.grave)).toEqual([true, true, true]);
    expect(paceSentence({ ...ZONE, closes_at: at(10, 10) }, CROWD, NOW).grave).toBe(true);
  });
});

const STOCK: Stock = { remaining: 20, held: 8, confirmed: 972, standby: 0, version: 1, state: "open" };
const OFFER: OfferSettings = {
  app: "default", name: "Shoes", kind: "goods", quantity: 1_000, per_user_limit: 2, min_per_claim: 1, max_per_claim: 2, hold_seconds: 300, unit_price: 0, opens_at: null, closes_at: null,
  zone: null, pass_once: false, grants: null, grant_only: false, standby: true, standby_hold_seconds: 300, confirm_by: "service",
};

describe("what an offer's change will do", () => {
  test.each([
    [100, {}, true, ["The quantity goes from 1,000 to 1,100.", "120 can then be claimed."]],
    [-20, {}, true, ["The quantity goes from 1,000 to 980.", "0 can then still be claimed."]],
    [-21, {}, false, ["Not possible: 980 units are held or confirmed. At most 20 can be taken away."]],
    [5, { standby: 3 }, true, ["The quantity goes from 1,000 to 1,005.", "3 places wait on standby: the 5 new units go to them first, in order. What they do not take can be claimed."]],
  ] as [number, Partial<Stock>, boolean, string[]][])("restock %i %j", (delta, stock, possible, said) => {
    const words = restockWords(delta, 1_000, { ...STOCK, ...stock });
    expect([words.possible, words.said.map((sentence) => sentence.text)]).toEqual([possible, said]);
  });
  test("closing and taking back", () => {
    expect(closeWords({ ...STOCK, standby: 2 }).map((sentence) => sentence.text)).toEqual([
      "Nobody can claim any more, from now on.",
      "8 held units can still be confirmed until their deadline.",
      "2 places on standby are not served any more.",
      "20 units stay unsold.",
    ]);
    expect(returnWords({ quantity: 1, granted: [] }, true, STOCK)[1]?.text).toBe("One unit can be claimed again.");
    expect(returnWords({ quantity: 2, granted: ["x"] }, false, STOCK).map((sentence) => sentence.text)).toContain("The offer has 2 units fewer.");
    expect(returnWords({ quantity: 2, granted: [] }, true, { ...STOCK, standby: 4 })[1]?.text).toContain("4 places");
  });
  test("every setting that changes says something", () => {
    const others: OfferSettings = {
      app: "shop", name: "Boots", kind: "booking", quantity: 2_000, per_user_limit: null, min_per_claim: 2, max_per_claim: 3, hold_seconds: 0, unit_price: 5, opens_at: at(11, 0), closes_at: at(12, 0),
      zone: "Z", pass_once: true, grants: "G", grant_only: true, standby: false, standby_hold_seconds: 5, confirm_by: "user",
    };
    for (const [name, value] of Object.entries(others)) expect(offerWords(OFFER, { ...OFFER, [name]: value as never }, STOCK, NOW), name).not.toEqual([]);
    expect(offerWords(OFFER, OFFER, STOCK, NOW)).toEqual([]);
  });
});
