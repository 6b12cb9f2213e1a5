// Every setting of a zone and of an offer, as a form shows it: unit, range, default. The ranges are the server's own (`check` in crates/domain); where
// it says something else, its word stands at the field.
import { fromLocalInput, toLocalInput } from "../format.ts";
import type { OfferSettings, ZoneSettings } from "./types.ts";

export type Unit = "people" | "seconds" | "ms" | "bits" | "units" | "price";

export type Field<Name extends string = string> = { name: Name; group: string } & (
  | { kind: "number"; unit: Unit; least: number; most: number; nullable: boolean; usual: number | null }
  | { kind: "time" }
  | { kind: "text"; most: number; long: boolean; nullable: boolean }
  | { kind: "id"; of: "zones" | "offers" | "apps"; nullable: boolean }
  | { kind: "switch"; usual: boolean }
  /** The first choice is the usual one. */
  | { kind: "choice"; choices: readonly string[] }
);

export type ZoneField = Field<keyof ZoneSettings>;
export type OfferField = Field<keyof OfferSettings>;

const DAYS_30 = 30 * 24 * 3_600;
const ENTRY_MOST = 10_000_000;
const QUANTITY_MOST = 1_000_000_000;
const NAME_MOST = 200;

function number(unit: Unit, least: number, most: number, usual: number | null, nullable = false) {
  return { kind: "number", unit, least, most, usual, nullable } as const;
}

export const ZONE_FIELDS: readonly ZoneField[] = [
  { name: "entry_limit_per_minute", group: "pace", ...number("people", 0, ENTRY_MOST, 600, true) },
  { name: "active_limit", group: "pace", ...number("people", 0, ENTRY_MOST, null, true) },
  { name: "message", group: "say", kind: "text", most: NAME_MOST, long: true, nullable: true },
  { name: "opens_at", group: "times", kind: "time" },
  { name: "closes_at", group: "times", kind: "time" },
  { name: "name", group: "about", kind: "text", most: NAME_MOST, long: false, nullable: false },
  { name: "app", group: "about", kind: "id", of: "apps", nullable: false },
  { name: "offer", group: "about", kind: "id", of: "offers", nullable: true },
  { name: "session_seconds", group: "inside", ...number("seconds", 1, DAYS_30, 600) },
  { name: "pass_ttl_seconds", group: "inside", ...number("seconds", 1, DAYS_30, 600) },
  { name: "challenge_bits", group: "door", ...number("bits", 0, 24, 0) },
  { name: "enqueue", group: "door", kind: "choice", choices: ["open", "token"] },
  { name: "pass_bound", group: "door", kind: "switch", usual: false },
  { name: "slot_seconds", group: "fine", ...number("seconds", 1, 60, 6) },
  { name: "window_seconds", group: "fine", ...number("seconds", 1, 60, 60) },
  { name: "abandon_after_seconds", group: "fine", ...number("seconds", 1, 3_600, 60) },
  { name: "resume_grace_seconds", group: "fine", ...number("seconds", 0, DAYS_30, 120) },
  { name: "poll_interval_ms", group: "fine", ...number("ms", 100, 60_000, 3_000) },
  { name: "poll_interval_max_ms", group: "fine", ...number("ms", 100, 60_000, 20_000) },
];

export const OFFER_FIELDS: readonly OfferField[] = [
  { name: "kind", group: "what", kind: "choice", choices: ["goods", "coupon", "booking"] },
  { name: "quantity", group: "what", ...number("units", 0, QUANTITY_MOST, null) },
  { name: "name", group: "what", kind: "text", most: NAME_MOST, long: false, nullable: false },
  { name: "app", group: "what", kind: "id", of: "apps", nullable: false },
  { name: "unit_price", group: "what", ...number("price", 0, Number.MAX_SAFE_INTEGER, 0) },
  { name: "opens_at", group: "times", kind: "time" },
  { name: "closes_at", group: "times", kind: "time" },
  { name: "per_user_limit", group: "limits", ...number("units", 1, QUANTITY_MOST, null, true) },
  { name: "min_per_claim", group: "limits", ...number("units", 1, QUANTITY_MOST, 1) },
  { name: "max_per_claim", group: "limits", ...number("units", 1, QUANTITY_MOST, 100) },
  { name: "hold_seconds", group: "limits", ...number("seconds", 0, DAYS_30, 300) },
  { name: "confirm_by", group: "limits", kind: "choice", choices: ["service", "user"] },
  { name: "zone", group: "ties", kind: "id", of: "zones", nullable: true },
  { name: "pass_once", group: "ties", kind: "switch", usual: false },
  { name: "grants", group: "ties", kind: "id", of: "offers", nullable: true },
  { name: "grant_only", group: "ties", kind: "switch", usual: false },
  { name: "standby", group: "standby", kind: "switch", usual: false },
  { name: "standby_hold_seconds", group: "standby", ...number("seconds", 0, DAYS_30, 300) },
];

/** What the server takes where nothing is said; null where that is nothing. */
export function usual(field: Field): number | string | boolean | null {
  if (field.kind === "number" || field.kind === "switch") return field.usual;
  return field.kind === "choice" ? (field.choices[0] ?? null) : null;
}

/** What stands in the inputs, as typed. */
export type Typed = Record<string, string | boolean>;
export type Settings = Record<string, unknown>;

export function typed(fields: readonly Field[], settings: object): Typed {
  const values = settings as Settings;
  return Object.fromEntries(fields.map((field) => [field.name, typedOne(field, values[field.name])]));
}

export function typedOne(field: Field, value: unknown): string | boolean {
  if (field.kind === "switch") return value === true;
  if (value === null || value === undefined) return "";
  if (field.kind === "time") return typeof value === "string" ? toLocalInput(value) : "";
  return typeof value === "number" || typeof value === "string" ? String(value) : JSON.stringify(value);
}

/** What is wrong with what was typed, as a key of the strings, with its values. */
export interface Wrong {
  key: "form.needed" | "form.number" | "form.range" | "form.time" | "form.long";
  values: Record<string, string | number>;
}

/** The settings that were typed, and what is wrong with them. Only what changed is read again, so that a time's milliseconds stay. */
export function read(fields: readonly Field[], base: object, values: Typed): { settings: Settings; wrong: Record<string, Wrong> } {
  const settings: Settings = {};
  const wrong: Record<string, Wrong> = {};
  const before = base as Settings;
  for (const field of fields) {
    const text = values[field.name];
    if (text === typedOne(field, before[field.name]) && before[field.name] !== undefined) {
      settings[field.name] = before[field.name];
      continue;
    }
    const found = readOne(field, text ?? "");
    if (found.wrong) wrong[field.name] = found.wrong;
    else settings[field.name] = found.value;
  }
  return { settings, wrong };
}

function readOne(field: Field, text: string | boolean): { value?: unknown; wrong?: Wrong } {
  if (typeof text === "boolean") return { value: text };
  const plain = text.trim();
  switch (field.kind) {
    case "number": {
      if (plain === "") return field.nullable ? { value: null } : { wrong: { key: "form.needed", values: {} } };
      // Thousands are often typed with separators.
      const n = Number(plain.replace(/[,\s_]/g, ""));
      if (!Number.isInteger(n)) return { wrong: { key: "form.number", values: {} } };
      if (n < field.least || n > field.most) return { wrong: { key: "form.range", values: { least: field.least, most: field.most } } };
      return { value: n };
    }
    case "time": {
      const at = fromLocalInput(plain);
      return at === undefined ? { wrong: { key: "form.time", values: {} } } : { value: at };
    }
    case "text":
      if (plain === "" && !field.nullable) return { wrong: { key: "form.needed", values: {} } };
      if (length(plain) > field.most) return { wrong: { key: "form.long", values: { most: field.most, length: length(plain) } } };
      return { value: plain === "" ? null : plain };
    case "id":
      if (plain === "" && !field.nullable) return { wrong: { key: "form.needed", values: {} } };
      return { value: plain === "" ? null : plain };
    default:
      return { value: plain };
  }
}

/** Characters as the server counts them: Unicode scalar values. */
export const length = (text: string): number => Array.from(text).length;

export function pick(fields: readonly Field[], settings: object): Settings {
  const values = settings as Settings;
  return Object.fromEntries(fields.map((field) => [field.name, values[field.name] ?? null]));
}
