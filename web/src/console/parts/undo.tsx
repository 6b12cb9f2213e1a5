// Takes the last change back, where something does.
import { useState } from "preact/hooks";
import { admin, path } from "../data/api.ts";
import { usePolled } from "../data/poll.ts";
import type { Settings } from "../data/fields.ts";
import type { AuditEntry } from "../data/types.ts";
import { undoOf, type Undo } from "../data/undo.ts";
import { t } from "../language.ts";
import type { Sentence } from "../words/zone.ts";
import { Moment, Words } from "./basic.tsx";
import { Confirm } from "./dialog.tsx";
import { Changes } from "./settings.tsx";

interface UndoProps {
  of: "zone" | "offer";
  id: string;
  revision: number;
  said: (undo: Undo) => Sentence[];
  /** Settings that are not in `undo.settings` stay as they are. */
  put: (settings: Settings, revision: number) => Promise<unknown>;
  onDone: () => void;
}

export function UndoButton({ of, id, revision, said, put, onDone }: UndoProps) {
  const [open, setOpen] = useState<{ undo: Undo; revision: number }>();
  const { data, refresh } = usePolled<{ entries: AuditEntry[] }>(`audit?target=${encodeURIComponent(id)}&limit=20`, 10_000);
  const undo = undoOf(of, id, data?.entries ?? []);
  if (undo === null) return null;
  const act = async (what: Undo, from: number) => {
    if (what.by === "settings") await put(what.settings, from);
    else if (what.by === "restock") await admin("POST", path("offers", id, "restock"), { body: { delta: what.delta } });
    else await admin("POST", path("zones", id, what.by));
    refresh();
    onDone();
  };
  return (
    <>
      <button type="button" class="button" onClick={() => setOpen({ undo, revision })}>
        {t("undo")}
      </button>
      {open !== undefined && (
        <Confirm title={t("undo.title")} said={said(open.undo)} yes={t("undo.go")} onClose={() => setOpen(undefined)} act={() => act(open.undo, open.revision)}>
          <p class="soft">
            <Words text={open.undo.entry.actor} /> · <Moment at={open.undo.entry.at} />
          </p>
          {open.undo.by === "settings" && <Changes of={of} changes={open.undo.changes} />}
        </Confirm>
      )}
    </>
  );
}
