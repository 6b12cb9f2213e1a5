import { describe, expect, test } from "vitest";
import { conflicts, differences, merged, same } from "./diff.ts";
import { OFFER_FIELDS, read, typed, usual, ZONE_FIELDS } from "./fields.ts";
import { href, parse } from "./route.ts";
import type { AuditEntry } from "./types.ts";
import { undoOf } from "./undo.ts";

describe("differences", () => {
  test.each([
    [{ a: 1, b: 2 }, { b: 2, a: 1 }, []],
    [{ a: 1 }, { a: 2 }, [{ name: "a", before: 1, after: 2 }]],
    [null, { a: 1 }, [{ name: "a", before: null, after: 1 }]],
    [{ a: 1 }, undefined, [{ name: "a", before: 1, after: null }]],
    [{ a: { b: 1, c: 2 } }, { a: { b: 3, c: 2 } }, [{ name: "a.b", before: 1, after: 3 }]],
    [{ a: [1, 2] }, { a: [2, 1] }, [{ name: "a", before: [1, 2], after: [2, 1] }]],
    [{ a: null }, {}, []],
  ])("%j to %j", (before, after, expected) => {
    expect(differences(before, after)).toEqual(expected);
  });
  test("the order of names is nothing", () => expect(same({ a: { x: 1, y: 2 } }, { a: { y: 2, x: 1 } })).toBe(true));
});

describe("two operators at once", () => {
  const base = { limit: 300, message: null, name: "A", slot: 6 };
  const mine = { ...base, limit: 600, message: "mine" };
  const theirs = { ...base, limit: 900, name: "B" };
  test("what they changed is shown, and what both did", () => {
    expect(conflicts(base, mine, theirs)).toEqual([
      { name: "limit", base: 300, mine: 600, theirs: 900, both: true },
      { name: "name", base: "A", mine: "A", theirs: "B", both: false },
    ]);
    expect(conflicts(base, { ...base, limit: 900 }, theirs)[0]?.both).toBe(false);
  });
  test("what only one changed goes together by itself", () => {
    expect(merged(base, mine, theirs, new Set())).toEqual({ limit: 900, message: "mine", name: "B", slot: 6 });
    expect(merged(base, mine, theirs, new Set(["limit"]))).toEqual({ limit: 600, message: "mine", name: "B", slot: 6 });
  });
});

describe("what is typed", () => {
  const zone = {
    app: "default", name: "Z", entry_limit_per_minute: 600, window_seconds: 60, slot_seconds: 6, abandon_after_seconds: 60, resume_grace_seconds: 120, poll_interval_ms: 3_000,
    poll_interval_max_ms: 20_000, opens_at: "2026-05-01T01:00:00.123Z", closes_at: null, active_limit: null, session_seconds: 600, pass_ttl_seconds: 600, offer: null, message: null,
    challenge_bits: 0, enqueue: "open", pass_bound: false,
  };
  const fields = typed(ZONE_FIELDS, zone);
  test("a new zone is open to everybody, by the server's own words", () => {
    const fresh = Object.fromEntries(ZONE_FIELDS.map((field) => [field.name, usual(field)]));
    const { settings, wrong } = read(ZONE_FIELDS, fresh, { ...typed(ZONE_FIELDS, fresh), name: "Z", app: "default" });
    expect([wrong, settings]).toMatchObject([{}, { challenge_bits: 0, enqueue: "open", pass_bound: false }]);
  });
  test("nothing typed is nothing changed, to the millisecond", () => expect(read(ZONE_FIELDS, zone, fields)).toEqual({ settings: zone, wrong: {} }));
  test.each([
    ["entry_limit_per_minute", "12,000", 12_000],
    ["entry_limit_per_minute", "", null],
    ["message", "  Hello  ", "Hello"],
    ["message", "", null],
    ["offer", "coupon", "coupon"],
    ["opens_at", "", null],
  ])("%s %j", (name, text, value) => {
    const found = read(ZONE_FIELDS, zone, { ...fields, [name]: text });
    expect([found.settings[name], found.wrong]).toEqual([value, {}]);
  });
  test.each([
    ["entry_limit_per_minute", "-1", "form.range"],
    ["entry_limit_per_minute", "1.5", "form.number"],
    ["entry_limit_per_minute", "many", "form.number"],
    ["slot_seconds", "", "form.needed"],
    ["slot_seconds", "61", "form.range"],
    ["name", " ", "form.needed"],
    ["name", "x".repeat(10_000), "form.long"],
    ["message", "🎟️".repeat(101), "form.long"],
    ["opens_at", "soon", "form.time"],
  ])("%s %.12j is wrong", (name, text, key) => {
    expect(read(ZONE_FIELDS, zone, { ...fields, [name]: text }).wrong[name]?.key).toBe(key);
  });
  test("switches are switches", () => {
    expect(read(OFFER_FIELDS, {}, { standby: true }).settings["standby"]).toBe(true);
  });
});

describe("undoing", () => {
  const entry = (action: string, more: Partial<AuditEntry> = {}): AuditEntry => ({ id: 1, at: "", actor: "key:a", action, target: "T", detail: null, request_id: null, ...more });
  const zone = { entry_limit_per_minute: 600, name: "Z", waiting: 5, revision: 4 };
  test("settings go back to what they were", () => {
    const undo = undoOf("zone", "T", [entry("zone.put", { before: zone, after: { ...zone, entry_limit_per_minute: 900, revision: 5 } })]);
    expect(undo?.by === "settings" && undo.changes).toEqual([{ name: "entry_limit_per_minute", before: 900, after: 600 }]);
    expect(undo?.by === "settings" && undo.settings["entry_limit_per_minute"]).toBe(600);
  });
  test.each([
    ["zone", [entry("zone.pause")], "resume"],
    ["zone", [entry("zone.resume")], "pause"],
    ["zone", [entry("session.open"), entry("zone.pause", { target: "other" }), entry("zone.resume")], "pause"],
    ["offer", [entry("offer.restock", { detail: { delta: 5 } })], "restock"],
  ] as const)("%s %#", (kind, entries, by) => expect(undoOf(kind, "T", entries)?.by).toBe(by));
  test.each([
    ["zone", []],
    ["zone", [entry("zone.reset"), entry("zone.pause")]],
    ["zone", [entry("zone.put", { before: null, after: zone })]],
    ["offer", [entry("zone.pause")]],
  ] as const)("nothing to undo: %s %#", (kind, entries) => expect(undoOf(kind, "T", entries)).toBeNull());
});

describe("addresses", () => {
  test.each(["simple", "a.b:c-d_e", "한글 이름", "a/b?c#d", "100%"])("%s comes back", (id) => {
    const { parts, query } = parse(href(["claims", id], { user: "🎟️&x=1" }));
    expect([parts, query.get("user")]).toEqual([["claims", id], "🎟️&x=1"]);
  });
  test("what cannot be decoded is taken as it is", () => expect(parse("#/zones/%zz").parts).toEqual(["zones", "%zz"]));
  test("nothing is the first page", () => expect(parse("").parts).toEqual([]));
});
