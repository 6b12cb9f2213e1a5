// Every language says everything, with the same blanks to fill in.
import { expect, test } from "vitest";
import en from "./strings/en.json";
import ko from "./strings/ko.json";

const blanks = (text: string): string[] => [...text.matchAll(/\{\w+\}/g)].map(([blank]) => blank).sort();

test("the languages have the same keys and blanks, and nothing is empty", () => {
  expect(Object.keys(ko)).toEqual(Object.keys(en));
  for (const [key, text] of Object.entries(en)) {
    const other = ko[key as keyof typeof ko];
    expect(blanks(other), key).toEqual(blanks(text));
    expect(text.length * other.length, key).toBeGreaterThan(0);
  }
});
