// Changing settings safely: type, read in words what it will do, confirm. If somebody else changed them meanwhile, both changes are shown side by side.
import { useState } from "preact/hooks";
import { Refused, type FieldProblem } from "../data/api.ts";
import { conflicts, differences, merged, type Change } from "../data/diff.ts";
import { draft, drop, keep } from "../data/drafts.ts";
import { pick, read, typed, type Field, type Settings } from "../data/fields.ts";
import { t, type Key } from "../language.ts";
import type { Sentence } from "../words/zone.ts";
import { Note, Trouble, Value } from "./basic.tsx";
import { Dialog, Sentences } from "./dialog.tsx";
import { Fields } from "./fields.tsx";

interface Revised {
  revision: number;
}

interface SettingsProps<View extends Revised> {
  of: "zone" | "offer";
  /** Names the draft. */
  id: string;
  fields: readonly Field[];
  view: View;
  words: (before: Settings, after: Settings) => Sentence[];
  put: (settings: Settings, revision: number) => Promise<View>;
  reread: () => Promise<View>;
  onDone: (view: View) => void;
  ids: Partial<Record<"zones" | "offers" | "apps", string[]>>;
  allowed: boolean;
}

export function SettingsForm<View extends Revised>({ of, id, fields, view, words, put, reread, onDone, ids, allowed }: SettingsProps<View>) {
  const name = `${of} ${id}`;
  const kept = draft(name);
  const base = kept?.base ?? pick(fields, view);
  const revision = kept?.revision ?? view.revision;
  const before = typed(fields, base);
  const values = kept?.typed ?? before;
  const { settings, wrong } = read(fields, base, values);
  const changes = differences(base, { ...base, ...settings });
  const [step, setStep] = useState<"typing" | "preview" | "conflict">("typing");
  const [theirs, setTheirs] = useState<View>();
  const [problem, setProblem] = useState<Error>();
  const [refused, setRefused] = useState<FieldProblem[]>([]);
  const [done, setDone] = useState(false);
  const dirty = changes.length > 0 || Object.keys(wrong).length > 0;
  const behind = kept !== undefined && view.revision !== revision;

  const set = (field: string, value: string | boolean) => {
    setDone(false);
    setRefused((some) => some.filter((one) => one.field !== field));
    const next = { ...values, [field]: value };
    if (fields.every((one) => next[one.name] === before[one.name])) drop(name);
    else keep(name, { base, revision, typed: next });
  };
  const compare = async () => {
    try {
      setTheirs(await reread());
      setStep("conflict");
    } catch (error) {
      setProblem(error instanceof Error ? error : new Error(String(error)));
    }
  };
  const send = async () => {
    try {
      const next = await put(settings, revision);
      drop(name);
      setStep("typing");
      setDone(true);
      setProblem(undefined);
      onDone(next);
    } catch (error) {
      if (error instanceof Refused && error.code === "revision_conflict") return compare();
      if (error instanceof Refused && error.fields.length > 0) setRefused(error.fields);
      setProblem(error instanceof Error ? error : new Error(String(error)));
      setStep("typing");
    }
  };

  return (
    <form
      class="settings"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        setProblem(undefined);
        if (Object.keys(wrong).length === 0 && changes.length > 0) setStep("preview");
      }}
    >
      {!allowed && <Note tone="plain" text={t("form.viewer")} />}
      {behind && (
        <Note tone="warn" text={t("form.behind")}>
          <button type="button" class="small-button" onClick={() => void compare()}>
            {t("form.compare")}
          </button>
        </Note>
      )}
      <Fields of={of} fields={fields} typed={values} base={before} wrong={wrong} refused={refused} set={set} ids={ids} locked={!allowed} />
      <Trouble of={problem} />
      {allowed && (
        <div class="actions sticky">
          <button type="submit" class="button primary" disabled={!dirty || Object.keys(wrong).length > 0}>
            {t("form.preview")}
          </button>
          <button type="button" class="button" disabled={!dirty} onClick={() => drop(name)}>
            {t("form.drop")}
          </button>
          {Object.keys(wrong).length > 0 && <span class="wrong">{t("form.wrong", { n: Object.keys(wrong).length })}</span>}
          {done && !dirty && (
            <span class="good" role="status">
              {t("form.done")}
            </span>
          )}
          {Object.keys(wrong).length === 0 && changes.length > 0 && <span class="soft">{t("form.unsent", { n: changes.length })}</span>}
        </div>
      )}
      {step === "preview" && <Preview of={of} said={words(base, settings)} changes={changes} onClose={() => setStep("typing")} send={send} />}
      {step === "conflict" && theirs !== undefined && (
        <Merge
          of={of}
          base={base}
          mine={{ ...base, ...settings }}
          theirs={pick(fields, theirs)}
          onClose={() => setStep("typing")}
          onDrop={() => {
            drop(name);
            onDone(theirs);
            setStep("typing");
          }}
          onMerge={(result) => {
            const fresh = pick(fields, theirs);
            const next = typed(fields, result);
            if (differences(fresh, result).length === 0) drop(name);
            else keep(name, { base: fresh, revision: theirs.revision, typed: next });
            onDone(theirs);
            setProblem(undefined);
            setStep(differences(fresh, result).length === 0 ? "typing" : "preview");
          }}
        />
      )}
    </form>
  );
}

export const fieldTitle = (of: "zone" | "offer", name: string): string => t(`${of}.${name}` as Key);

export function Changes({ of, changes }: { of: "zone" | "offer"; changes: Change[] }) {
  return (
    <dl class="changes">
      {changes.map(({ name, before, after }) => (
        <div key={name}>
          <dt>{fieldTitle(of, name)}</dt>
          <dd>
            <del>
              <Value of={before} />
            </del>
            <span aria-hidden="true"> → </span>
            <ins>
              <Value of={after} />
            </ins>
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Preview({ of, said, changes, onClose, send }: { of: "zone" | "offer"; said: Sentence[]; changes: Change[]; onClose: () => void; send: () => Promise<void> }) {
  const [busy, setBusy] = useState(false);
  return (
    <Dialog title={t("form.preview_title")} onClose={onClose}>
      <Sentences of={said} />
      <Changes of={of} changes={changes} />
      <div class="actions">
        <button
          type="button"
          class="button primary"
          disabled={busy}
          onClick={() => {
            setBusy(true);
            void send().finally(() => setBusy(false));
          }}
        >
          {t(busy ? "working" : "form.apply")}
        </button>
        <button type="button" class="button" onClick={onClose}>
          {t("form.back")}
        </button>
      </div>
    </Dialog>
  );
}

interface MergeProps {
  of: "zone" | "offer";
  base: Settings;
  mine: Settings;
  theirs: Settings;
  onClose: () => void;
  onDrop: () => void;
  onMerge: (result: Settings) => void;
}

function Merge({ of, base, mine, theirs, onClose, onDrop, onMerge }: MergeProps) {
  const found = conflicts(base, mine, theirs);
  const [keepMine, setKeepMine] = useState<ReadonlySet<string>>(new Set());
  const choose = (name: string, own: boolean) => {
    const next = new Set(keepMine);
    if (own) next.add(name);
    else next.delete(name);
    setKeepMine(next);
  };
  const mineAlone = differences(base, mine).filter((change) => !found.some((one) => one.name === change.name));
  return (
    <Dialog title={t("conflict.title")} onClose={onClose} wide>
      <p>{t(found.length === 0 ? "conflict.nothing" : "conflict.intro")}</p>
      {found.map(({ name, base: was, mine: own, theirs: other, both }) => (
        <fieldset key={name} class="conflict">
          <legend>{fieldTitle(of, name)}</legend>
          <p class="soft">
            {t("conflict.was")} <Value of={was} />
          </p>
          <label>
            <input type="radio" name={`conflict-${name}`} checked={!keepMine.has(name)} disabled={!both} onChange={() => choose(name, false)} />
            {t("conflict.theirs")} <Value of={other} />
          </label>
          {both && (
            <label>
              <input type="radio" name={`conflict-${name}`} checked={keepMine.has(name)} onChange={() => choose(name, true)} />
              {t("conflict.mine")} <Value of={own} />
            </label>
          )}
        </fieldset>
      ))}
      {mineAlone.length > 0 && (
        <>
          <h3>{t("conflict.yours")}</h3>
          <Changes of={of} changes={mineAlone} />
        </>
      )}
      <div class="actions">
        <button type="button" class="button primary" onClick={() => onMerge(merged(base, mine, theirs, keepMine))}>
          {t("conflict.merge")}
        </button>
        <button type="button" class="button" onClick={onDrop}>
          {t("conflict.drop")}
        </button>
      </div>
    </Dialog>
  );
}
