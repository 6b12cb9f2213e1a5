// The sneaker shop: a line at the door, a shelf that others take from, a till with a clock.
import { useSignal } from "@preact/signals";
import type { Place } from "@bunho/client";
import { ahead } from "./calls.ts";
import { bring, calling, count, crowd, sendHome, SIZES } from "./crowd.ts";
import { Sneaker } from "./art.tsx";
import { busy, held, places, take } from "./mine.ts";
import { News, StandBy, StockBar, Tills } from "./parts.tsx";
import { Picture } from "./picture.tsx";
import { stockOf } from "./stock.ts";
import { getInLine, goOut, visit } from "./visit.ts";
import { number, t, type Key } from "./words.ts";

const OFFER = "demo-sneakers";
const PRICE = 129_000;

export function Shop() {
  const here = visit.value;
  return (
    <>
      <header class="lead">
        <h1>{t("shop_head")}</h1>
        <p>{t("shop_lead")}</p>
      </header>
      <div class="card wares">
        <Sneaker />
        <div class="wares-text">
          <h2>{t("product")}</h2>
          <p class="price">{t("price", { price: number(PRICE) })}</p>
          <StockBar offer={OFFER} quantity="stock_of" label="stock" />
        </div>
      </div>
      <div aria-live="polite" class="unseen">
        {here.at === "inside" ? t("inside") : here.at === "waiting" ? t("your_number") : ""}
      </div>
      {here.at === "outside" || here.at === "joining" ? <Door why={here.at === "outside" ? here.why : undefined} joining={here.at === "joining"} /> : null}
      {here.at === "waiting" ? <Slip place={here.place} from={here.from} /> : null}
      {here.at === "inside" ? <Inside pass={here.pass} /> : null}
      {here.at === "inside" ? null : (
        <>
          <News of={OFFER} />
          <Tills of={OFFER} price={PRICE} />
        </>
      )}
      <TheCrowd />
    </>
  );
}

function Door({ why, joining }: { why: Key | undefined; joining: boolean }) {
  return (
    <div class="card door">
      {why ? <p class="news bad">{t(why)}</p> : null}
      {crowd.value && !crowd.value.going ? <p>{t("crowd_then")}</p> : null}
      <button type="button" class="main" disabled={joining} onClick={() => void getInLine()}>
        {t(joining ? "joining" : "join")}
      </button>
    </div>
  );
}

const STATES = {
  waiting: "line_waiting",
  not_open: "line_not_open",
  paused: "line_paused",
  closed: "line_closed",
  sold_out: "line_sold_out",
  recovering: "line_recovering",
} as const satisfies Record<Place["state"], Key>;

/** The slip with one's number. */
function Slip({ place, from }: { place: Place; from: number }) {
  const { rank, behind, estimatedSeconds: seconds } = place;
  const when = seconds === null ? null : seconds < 5 ? t("soon") : seconds < 90 ? t("about_seconds", { seconds: Math.ceil(seconds / 5) * 5 }) : t("about_minutes", { minutes: Math.ceil(seconds / 60) });
  const done = from <= 1 ? 100 : (100 * (from - rank)) / Math.max(1, from - 1);
  return (
    <section class="slip" aria-label={t("your_number")}>
      <p class="slip-label">{t("your_number")}</p>
      <p class="slip-number">{number(rank)}</p>
      <div class="bar walk" aria-hidden="true">
        <span class="bar-sold" style={{ width: `${done}%` }} />
      </div>
      <p class="slip-facts">
        {when ? <strong>{when}</strong> : null}
        <span>{behind === 0 ? t("nobody_behind") : t("people_behind", { count: behind })}</span>
      </p>
      <hr class="tear" />
      <p class="soft">{place.message ?? t(STATES[place.state])}</p>
      <button type="button" class="quiet" onClick={() => goOut()}>
        {t("leave_line")}
      </button>
    </section>
  );
}

function Inside({ pass }: { pass: string }) {
  const quantity = useSignal(1);
  const stock = stockOf(OFFER).value;
  const holds = held.value.some((claim) => claim.offer === OFFER);
  const stands = places.value[OFFER] !== undefined;
  const enough = !stock || stock.remaining >= quantity.value;
  return (
    <div class="card inside">
      <h2>{t("inside")}</h2>
      <News of={OFFER} />
      <Tills of={OFFER} price={PRICE} />
      {holds || stands ? null : (
        <>
          <p class="soft">{t("inside_lead")}</p>
          <fieldset class="choice">
            <legend>{t("how_many")}</legend>
            {([1, 2] as const).map((pairs) => (
              <label key={pairs}>
                <input type="radio" name="pairs" checked={quantity.value === pairs} onChange={() => (quantity.value = pairs)} />
                <span>{t(pairs === 1 ? "one" : "two")}</span>
              </label>
            ))}
          </fieldset>
          {enough ? (
            <button type="button" class="main" disabled={busy.value !== ""} onClick={() => void take(OFFER, quantity.value, undefined, pass)}>
              {t(busy.value === OFFER ? "reserving" : "reserve")}
            </button>
          ) : null}
        </>
      )}
      {holds ? null : <StandBy offer={OFFER} quantity={quantity.value} pass={pass} />}
      <button type="button" class="plain" onClick={() => goOut()}>
        {t("leave_shop")}
      </button>
    </div>
  );
}

/** Brings one, shows it, sends it home. */
function TheCrowd() {
  const now = crowd.value;
  if (!now) {
    return (
      <section class="card crowd" aria-labelledby="crowd">
        {visit.value.at === "waiting" ? <Picture /> : null}
        <h2 id="crowd">{t("crowd_head")}</h2>
        <p class="soft">{t("crowd_lead")}</p>
        <News of="crowd" />
        <div class="sizes">
          {SIZES.map((size) => (
            <button key={size} type="button" class="quiet" disabled={calling.value} onClick={() => void bring(size)}>
              {calling.value ? t("crowd_coming") : t("crowd_bring", { count: size })}
            </button>
          ))}
        </div>
      </section>
    );
  }
  const { people } = now;
  const left = Math.max(0, Math.round((Date.parse(now.ends_at) - Date.now() - ahead.value) / 1_000));
  const facts: [Key, number][] = [
    ["crowd_waiting", count(people, "w")],
    ["crowd_inside", count(people, "i")],
    ["crowd_paid", count(people, "p")],
    ["crowd_empty", count(people, "e")],
    ["crowd_slipped", count(people, "s") + count(people, "l")],
  ];
  return (
    <section class="card crowd" aria-labelledby="crowd">
      <div class="crowd-top">
        <h2 id="crowd">{t("crowd_here")}</h2>
        <p class="soft">{t("crowd_left", { time: `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}` })}</p>
      </div>
      <Picture />
      <dl class="facts">
        {facts.map(([key, value]) => (
          <div key={key}>
            <dt>{t(key)}</dt>
            <dd>{number(value)}</dd>
          </div>
        ))}
      </dl>
      {now.mine ? (
        <button type="button" class="quiet" disabled={now.going} onClick={() => void sendHome()}>
          {t(now.going ? "crowd_going" : "crowd_off")}
        </button>
      ) : (
        <p class="soft">{t("crowd_theirs")}</p>
      )}
    </section>
  );
}
