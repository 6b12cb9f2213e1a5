// What the three scenes share: news, stock, the till, standby.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Claim } from "@bunho/client";
import { ahead } from "./calls.ts";
import { busy, held, news, pay, places, scene, standBy, standNoMore, what } from "./mine.ts";
import { stockOf, useStock } from "./stock.ts";
import { number, t, type Key } from "./words.ts";

/** What came of the last act here. Always in the page, so that a screen reader hears what is put in. */
export function News({ of }: { of: string }) {
  const said = news.value[of];
  return (
    <p class={said ? (said.good ? "news good" : "news bad") : "news empty"} role="status">
      {said ? t(said.key, said.fill) : ""}
    </p>
  );
}

/** Units left, as a bar and in words, live. */
export function StockBar({ offer, quantity, label }: { offer: string; quantity: Key; label: Key }) {
  const stock = useStock(offer);
  if (!stock) return <p class="stock soft">{t("stock_wait")}</p>;
  const total = stock.remaining + stock.held + stock.confirmed;
  const part = (units: number) => ({ width: `${total === 0 ? 0 : (100 * units) / total}%` });
  return (
    <div class="stock">
      <p class="stock-line">
        <span>
          {t(label)} <span class="live">{t("stock_live")}</span>
        </span>
        <strong class={stock.remaining === 0 ? "none" : ""}>{stock.remaining === 0 ? t("stock_none") : t(quantity, { remaining: stock.remaining, quantity: total })}</strong>
      </p>
      <div class="bar" aria-hidden="true">
        <span class="bar-sold" style={part(stock.confirmed)} />
        <span class="bar-held" style={part(stock.held)} />
      </div>
      <p class="stock-line soft">
        <span>{t("stock_sold", { confirmed: stock.confirmed })}</span>
        <span>{t("stock_held", { held: stock.held })}</span>
        <span>{t("stock_standby", { standby: stock.standby })}</span>
      </p>
    </div>
  );
}

/** Whole seconds that a hold has left, by the server's clock. */
function useLeft(until: string | null): number {
  const left = () => (until === null ? 0 : Math.max(0, (Date.parse(until) - Date.now() - ahead.value) / 1_000));
  const now = useSignal(left());
  useEffect(() => {
    now.value = left();
    const timer = setInterval(() => (now.value = left()), 250);
    return () => clearInterval(timer);
  }, [until]);
  return Math.ceil(now.value);
}

/** Pay, be refused, or walk away. */
export function Till({ claim, price }: { claim: Claim; price: number }) {
  const seconds = useLeft(claim.hold_expires_at);
  const walked = useSignal(false);
  const total = claim.hold_expires_at === null ? 1 : (Date.parse(claim.hold_expires_at) - Date.parse(claim.updated_at)) / 1_000;
  const ring = 2 * Math.PI * 26;
  const over = seconds === 0;
  return (
    <section class="till" aria-label={t("till_head")}>
      <div class="till-top">
        <div>
          <h3>{t("till_head")}</h3>
          <p class="what">{what(claim)}</p>
        </div>
        <div class={seconds <= 10 ? "clock late" : "clock"} role="timer" aria-label={`${t("till_left")}: ${t("till_seconds", { seconds })}`}>
          <svg viewBox="0 0 60 60" aria-hidden="true">
            <circle class="clock-all" cx="30" cy="30" r="26" />
            <circle class="clock-left" cx="30" cy="30" r="26" stroke-dasharray={`${(ring * Math.min(1, seconds / total)).toFixed(1)} ${ring.toFixed(1)}`} />
          </svg>
          <span aria-hidden="true">{seconds}</span>
        </div>
      </div>
      {over ? (
        <p class="soft">{t("till_over")}</p>
      ) : walked.value ? (
        <>
          <p>{t("till_walked")}</p>
          <button type="button" class="quiet" onClick={() => (walked.value = false)}>
            {t("till_back")}
          </button>
        </>
      ) : (
        <>
          <button type="button" class="main" disabled={busy.value !== ""} onClick={() => void pay(claim, "succeed")}>
            {price === 0 ? t("till_pay_free") : t("till_pay", { amount: number(price * claim.quantity) })}
          </button>
          <div class="pair">
            <button type="button" class="quiet" disabled={busy.value !== ""} onClick={() => void pay(claim, "fail")}>
              {t("till_fail")}
            </button>
            <button type="button" class="quiet" onClick={() => (walked.value = true)}>
              {t("till_walk")}
            </button>
          </div>
        </>
      )}
      <p class="small soft">{t("till_note")}</p>
    </section>
  );
}

/** Every hold of a scene. */
export function Tills({ of, price }: { of: string; price: number }) {
  return held.value.filter((claim) => scene(claim.offer) === of).map((claim) => <Till key={claim.id} claim={claim} price={price} />);
}

/** Where too little is left: a place on standby, or the one that one has. */
export function StandBy({ offer, quantity, pass }: { offer: string; quantity: number; pass?: string | undefined }) {
  const place = places.value[offer];
  const stock = stockOf(offer).value;
  if (place) {
    return (
      <section class="standby">
        <h3>{t("standby_place", { position: place.position })}</h3>
        <p>{t("standby_wait")}</p>
        <button type="button" class="quiet" onClick={() => void standNoMore(place)}>
          {t("standby_leave")}
        </button>
      </section>
    );
  }
  if (!stock || stock.remaining >= quantity) return null;
  const { remaining } = stock;
  // Only what is held can come back by itself; a place that can never be served is refused.
  if (remaining + stock.held < quantity) {
    return (
      <section class="standby">
        <h3>{remaining === 0 ? t("standby_never") : t("standby_never_few", { remaining })}</h3>
        <p>{t("standby_never_lead")}</p>
      </section>
    );
  }
  return (
    <section class="standby">
      <h3>{remaining === 0 ? t("standby_head") : t("standby_few", { remaining, quantity })}</h3>
      <p>{t("standby_lead")}</p>
      <button type="button" class="main" disabled={busy.value !== ""} onClick={() => void standBy(offer, quantity, pass)}>
        {t("standby_join")}
      </button>
    </section>
  );
}
