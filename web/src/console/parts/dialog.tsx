// Dialogs: the browser's own, which keeps the focus inside, dims the rest and gives the focus back.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { t } from "../language.ts";
import type { Sentence } from "../words/zone.ts";
import { Trouble } from "./basic.tsx";

export function Dialog({ title, onClose, children, wide = false }: { title: string; onClose: (() => void) | null; children: ComponentChildren; wide?: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    const before = document.activeElement;
    element?.showModal();
    return () => {
      element?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={wide ? "dialog dialog-wide" : "dialog"}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose?.();
      }}
    >
      <div class="dialog-head">
        <h2 id={id}>{title}</h2>
        {onClose !== null && (
          <button type="button" class="plain-button" aria-label={t("close")} onClick={onClose}>
            ×
          </button>
        )}
      </div>
      {children}
    </dialog>
  );
}

export function Sentences({ of }: { of: Sentence[] }) {
  return (
    <ul class="sentences">
      {of.map(({ text, grave }) => (
        <li key={text} class={grave ? "grave" : undefined}>
          <bdi>{text}</bdi>
        </li>
      ))}
    </ul>
  );
}

interface ConfirmProps {
  title: string;
  said: Sentence[];
  yes: string;
  /** What one has to type first, where it cannot be taken back. */
  type?: string;
  danger?: boolean;
  possible?: boolean;
  onClose: () => void;
  act: () => Promise<unknown>;
  children?: ComponentChildren;
}

/** Says what will happen, then does it. What was refused is said in place, and nothing that was typed is lost. */
export function Confirm({ title, said, yes, type, danger = false, possible = true, onClose, act, children }: ConfirmProps) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Error>();
  const [typed, setTyped] = useState("");
  const id = useId();
  const ready = possible && !busy && (type === undefined || typed.trim() === type);
  const go = async () => {
    setBusy(true);
    setProblem(undefined);
    try {
      await act();
      onClose();
    } catch (error) {
      setProblem(error instanceof Error ? error : new Error(String(error)));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) void go();
        }}
      >
        <Sentences of={said} />
        {children}
        {type !== undefined && (
          <div class="field">
            <label for={id}>{t("confirm.type", { what: type })}</label>
            <input id={id} value={typed} autocomplete="off" spellcheck={false} onInput={(event) => setTyped(event.currentTarget.value)} />
          </div>
        )}
        <Trouble of={problem} />
        <div class="actions">
          <button type="submit" class={danger ? "button danger" : "button primary"} disabled={!ready}>
            {busy ? t("working") : yes}
          </button>
          <button type="button" class="button" onClick={onClose}>
            {t("cancel")}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
