// What was typed into forms and not yet sent. It outlives the form: who looks at another page, or signs in again, finds it as it was.
import { computed, signal } from "@preact/signals";
import type { Settings, Typed } from "./fields.ts";

export interface Draft {
  /** What the form began from. */
  base: Settings;
  revision: number;
  typed: Typed;
}

const drafts = signal<ReadonlyMap<string, Draft>>(new Map());

export const unsent = computed(() => drafts.value.size);

export const draft = (key: string): Draft | undefined => drafts.value.get(key);

export function keep(key: string, draft: Draft): void {
  drafts.value = new Map(drafts.value).set(key, draft);
}

export function drop(key: string): void {
  const left = new Map(drafts.value);
  if (left.delete(key)) drafts.value = left;
}

/** Asks before the page is left for good with something unsent. */
export function guardLeaving(): void {
  window.addEventListener("beforeunload", (event) => {
    if (unsent.value > 0) event.preventDefault();
  });
}
