// The console's language. A third one is one more file in strings/ and one more line here.
import { effect, signal } from "@preact/signals";
import en from "./strings/en.json";
import ko from "./strings/ko.json";
import { load, store } from "./store.ts";

export type Key = keyof typeof en;
export const LANGUAGES = { en: "English", ko: "한국어" } as const;
export type Language = keyof typeof LANGUAGES;

const STRINGS: Record<Language, Record<string, string>> = { en, ko };
const known = (name: string | null | undefined): name is Language => name !== null && name !== undefined && name in LANGUAGES;

export function preferred(stored: string | null, wished: readonly string[]): Language {
  if (known(stored)) return stored;
  return wished.map((tag) => tag.slice(0, 2).toLowerCase()).find(known) ?? "en";
}

export const language = signal<Language>("en");

export function beginLanguage(): void {
  language.value = preferred(load("language"), navigator.languages);
  effect(() => {
    document.documentElement.lang = language.value;
  });
}

export function speak(chosen: Language): void {
  store("language", chosen);
  language.value = chosen;
}

export type Values = Record<string, string | number>;

export const has = (key: string): key is Key => key in en;

/** The text of a key; `{name}` stands for a value. Where the value `n` is 1 and there is a text for one, that text. */
export function t(key: Key, values: Values = {}): string {
  const strings = STRINGS[language.value];
  const text = (values["n"] === 1 ? strings[`${key}.one`] : undefined) ?? strings[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === "number" ? value.toLocaleString(language.value) : value;
  });
}

/** The text of a key that the server's answer makes; its own words where there is none. */
export function word(group: string, value: string): string {
  const key = `${group}.${value}`;
  return has(key) ? t(key) : value;
}
