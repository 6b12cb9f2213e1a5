// The page's words. A third language is one more file here and one more line below.
import { signal } from "@preact/signals";
import en from "./strings/en.json";
import ko from "./strings/ko.json";

export type Key = keyof typeof en;
const files = { en, ko } satisfies Record<string, Record<Key, string>>;
export type Language = keyof typeof files;
export const languages: readonly (readonly [Language, string])[] = [["en", "English"], ["ko", "한국어"]];

const KEPT = "bunho_lang";
const known = (text: string | null | undefined): Language | undefined => languages.find(([id]) => text?.toLowerCase().startsWith(id))?.[0];

/** Reads and writes what a browser keeps; a browser that keeps nothing is none the worse. */
export const kept = {
  get(name: string): string | null {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  },
  set(name: string, value: string | null): void {
    try {
      if (value === null) localStorage.removeItem(name);
      else localStorage.setItem(name, value);
    } catch {
      // Then it is not kept.
    }
  },
};

export const language = signal<Language>(known(kept.get(KEPT)) ?? navigator.languages.map(known).find((one) => one !== undefined) ?? "en");

export function choose(next: Language): void {
  kept.set(KEPT, next);
  language.value = next;
}

/** A text in the chosen language, with what stands in braces filled in. */
export function t(key: Key, fill: Record<string, string | number> = {}): string {
  return files[language.value][key].replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = fill[name];
    return value === undefined ? whole : typeof value === "number" ? number(value) : value;
  });
}

export const has = (key: string): key is Key => key in en;
export const number = (value: number): string => value.toLocaleString(language.value);
