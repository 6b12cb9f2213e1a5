// The farm-stay: a party of some size on a weekend, ten guests at most on each; a coupon comes with the booking.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { Farmhouse, Heart } from "./art.tsx";
import { busy, held, mine, places, take } from "./mine.ts";
import { News, StandBy, StockBar, Tills } from "./parts.tsx";
import { stockOf, useGlance } from "./stock.ts";
import { language, number, t } from "./words.ts";

const WEEKENDS = ["farm-stay", "farm-stay-2", "farm-stay-3"] as const;
const GUESTS_MAX = 10;
const PRICE = 45_000;
const NOTE_CHARS_MAX = 300;

/** The Saturday that comes, and those after it. */
function saturday(weeks: number): Date {
  const day = new Date();
  day.setHours(12, 0, 0, 0);
  day.setDate(day.getDate() + ((6 - day.getDay() + 7) % 7 || 7) + 7 * weeks);
  return day;
}

const iso = (day: Date): string => `${day.getFullYear()}-${String(day.getMonth() + 1).padStart(2, "0")}-${String(day.getDate()).padStart(2, "0")}`;

export function Stay() {
  const weekend = useSignal(0);
  const guests = useSignal(2);
  const note = useSignal("");
  const noteId = useId();
  useGlance();
  const offer = WEEKENDS[weekend.value] ?? WEEKENDS[0];
  const stock = stockOf(offer).value;
  const holds = held.value.some((claim) => WEEKENDS.some((one) => one === claim.offer));
  const enough = !stock || stock.remaining >= guests.value;
  const booked = mine.value.find((claim) => claim.status === "confirmed" && claim.granted.length > 0);
  const book = () => {
    const attributes: Record<string, unknown> = { check_in: iso(saturday(weekend.value)), guests: guests.value };
    if (note.value.trim() !== "") attributes["note"] = note.value.trim();
    void take(offer, guests.value, attributes);
  };
  return (
    <>
      <header class="lead">
        <h1>{t("stay_head")}</h1>
        <p>{t("stay_lead")}</p>
      </header>
      <div class="card wares">
        <Farmhouse />
        <div class="wares-text">
          <p class="price">{t("stay_price", { price: number(PRICE) })}</p>
          <StockBar key={offer} offer={offer} quantity="stay_left_of" label="beds" />
        </div>
      </div>
      <div class="card">
        <News of="farm-stay" />
        <Tills of="farm-stay" price={PRICE} />
        {holds ? null : (
          <>
            <fieldset class="choice days">
              <legend>{t("stay_when")}</legend>
              {WEEKENDS.map((one, at) => {
                const left = stockOf(one).value?.remaining;
                const day = saturday(at);
                return (
                  <label key={one}>
                    <input type="radio" name="weekend" checked={weekend.value === at} onChange={() => (weekend.value = at)} />
                    <span>
                      <strong>{day.toLocaleDateString(language.value, { month: "short", day: "numeric" })}</strong>
                      <small>{day.toLocaleDateString(language.value, { weekday: "long" })}</small>
                      <small>{left === undefined ? "…" : left === 0 ? t("stay_full") : t("stay_left", { count: left })}</small>
                    </span>
                  </label>
                );
              })}
            </fieldset>
            <div class="stepper" role="group" aria-label={t("stay_guests")}>
              <span>{t("stay_guests")}</span>
              <button type="button" class="round" aria-label={t("fewer")} disabled={guests.value <= 1} onClick={() => (guests.value -= 1)}>
                −
              </button>
              <output>{guests.value === 1 ? t("stay_guest_one") : t("stay_guest_many", { count: guests.value })}</output>
              <button type="button" class="round" aria-label={t("more")} disabled={guests.value >= GUESTS_MAX} onClick={() => (guests.value += 1)}>
                +
              </button>
            </div>
            {enough ? (
              <>
                <label class="field" for={noteId}>
                  {t("stay_note")}
                </label>
                <textarea id={noteId} rows={2} maxLength={NOTE_CHARS_MAX} value={note.value} onInput={(event) => (note.value = event.currentTarget.value)} />
                <button type="button" class="main" disabled={busy.value !== ""} onClick={book}>
                  {t(busy.value === offer ? "stay_booking" : "stay_book")}
                </button>
              </>
            ) : null}
            {!enough || places.value[offer] ? <StandBy offer={offer} quantity={guests.value} /> : null}
          </>
        )}
      </div>
      {booked ? (
        <div class="voucher">
          <Heart />
          <p class="voucher-face">{t("thanks_face")}</p>
          <hr class="tear" />
          <p>{t("got_granted")}</p>
          <p class="code">{booked.granted[0]?.slice(-12)}</p>
        </div>
      ) : null}
    </>
  );
}
