import { afterEach, expect, test } from "vitest";
import { bytes, fromLocalInput, moment, span, toLocalInput } from "./format.ts";
import { language, preferred, t, word } from "./language.ts";

afterEach(() => (language.value = "en"));

test.each([
  [0, "0 s", "0초"],
  [59.4, "59 s", "59초"],
  [60, "1 min", "1분"],
  [200, "3 min 20 s", "3분 20초"],
  [3_600, "1 h", "1시간"],
  [3_605, "1 h", "1시간"],
  [7_500, "2 h 5 min", "2시간 5분"],
  [273_600, "3 d 4 h", "3일 4시간"],
  [-5, "0 s", "0초"],
])("%d seconds", (seconds, en, ko) => {
  expect(span(seconds)).toBe(en);
  language.value = "ko";
  expect(span(seconds)).toBe(ko);
});

test("a moment names its day where that is another", () => {
  const now = new Date(2026, 4, 1, 23, 50);
  expect(moment(new Date(2026, 4, 1, 9, 5), now)).toBe("09:05");
  expect(moment(new Date(2026, 4, 2, 0, 5), now)).toBe("2 May 00:05");
});

test.each([[0, "0 B"], [1_023, "1,023 B"], [1_536, "1.5 KB"], [5_242_880, "5 MB"]])("%d bytes", (n, text) => expect(bytes(n)).toBe(text));

test("times go into inputs and back", () => {
  const at = new Date(2026, 4, 1, 9, 5, 7).toISOString();
  expect(toLocalInput(at)).toBe("2026-05-01T09:05:07");
  expect(fromLocalInput("2026-05-01T09:05:07")).toBe(at);
  expect([toLocalInput(null), toLocalInput("soon"), fromLocalInput(" "), fromLocalInput("soon")]).toEqual(["", "", null, undefined]);
});

test("the language is the stored one, else the first that is known", () => {
  expect(preferred("ko", ["en"])).toBe("ko");
  expect(preferred("xx", ["fr-CA", "ko-KR", "en"])).toBe("ko");
  expect(preferred(null, ["fr"])).toBe("en");
});

test("places are filled, and what is unknown stays what it is", () => {
  expect(t("form.unsent", { n: 1 })).toBe("1 change, not applied yet");
  expect(t("form.unsent", { n: 1_200 })).toBe("1,200 changes, not applied yet");
  expect(t("zone.message_now")).toBe("Those who wait read:");
  expect(word("state", "not_open")).toBe("Not open yet");
  expect(word("state", "<b>new</b>")).toBe("<b>new</b>");
});
