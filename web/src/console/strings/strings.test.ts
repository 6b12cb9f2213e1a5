import { expect, test } from "vitest";
import en from "./en.json";
import ko from "./ko.json";
import { OFFER_FIELDS, ZONE_FIELDS } from "../data/fields.ts";

const all: Record<string, Record<string, string>> = { en, ko };
const places = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();

test.each(Object.keys(all))("%s has every text, with the same places", (name) => {
  const texts = all[name] ?? {};
  expect(Object.keys(texts)).toEqual(Object.keys(en));
  for (const [key, text] of Object.entries(texts)) {
    expect(text.trim(), key).not.toBe("");
    expect(places(text), key).toEqual(places((en as Record<string, string>)[key] ?? ""));
  }
});

test("every setting has a name, an explanation and, where it may be empty, a word for that", () => {
  for (const [of, fields] of [["zone", ZONE_FIELDS], ["offer", OFFER_FIELDS]] as const) {
    for (const field of fields) {
      const needed = [field.name, `${field.name}.help`, `group.${field.group}`, ...("nullable" in field && field.nullable ? [`${field.name}.none`] : [])];
      if (field.kind === "choice") needed.push(...field.choices.map((choice) => `${field.name}.${choice}`));
      for (const key of needed) expect(en, `${of}.${key}`).toHaveProperty([`${of}.${key}`]);
    }
  }
});
