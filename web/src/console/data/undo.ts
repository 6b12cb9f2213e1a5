// What takes the last change back, where something does.
import { OFFER_FIELDS, pick, ZONE_FIELDS, type Settings } from "./fields.ts";
import { differences, type Change } from "./diff.ts";
import type { AuditEntry } from "./types.ts";

export type Undo =
  | { by: "settings"; settings: Settings; changes: Change[]; entry: AuditEntry }
  | { by: "pause" | "resume"; entry: AuditEntry }
  | { by: "restock"; delta: number; entry: AuditEntry };

/** Entries newest first, as the audit log has them; the newest that changed this thing decides. */
export function undoOf(kind: "zone" | "offer", id: string, entries: readonly AuditEntry[]): Undo | null {
  const changing = kind === "zone" ? ["put", "pause", "resume", "reset", "delete"] : ["put", "restock", "close", "delete"];
  const entry = entries.find((one) => one.target === id && changing.some((verb) => one.action === `${kind}.${verb}`));
  if (!entry) return null;
  switch (entry.action) {
    case "zone.pause":
      return { by: "resume", entry };
    case "zone.resume":
      return { by: "pause", entry };
    case "offer.restock": {
      const delta = (entry.detail as { delta?: unknown } | null)?.delta;
      return typeof delta === "number" && delta !== 0 ? { by: "restock", delta: -delta, entry } : null;
    }
    case "zone.put":
    case "offer.put":
    case "offer.close": {
      if (!entry.before || !entry.after) return null;
      const fields = kind === "zone" ? ZONE_FIELDS : OFFER_FIELDS;
      const [before, after] = [pick(fields, entry.before), pick(fields, entry.after)];
      const changes = differences(after, before);
      return changes.length === 0 ? null : { by: "settings", settings: before, changes, entry };
    }
    default:
      return null;
  }
}
