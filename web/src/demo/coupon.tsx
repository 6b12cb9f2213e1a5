// The coupon page: one each. The second try is let through to the server on purpose, to see it refuse.
import { busy, mine, take } from "./mine.ts";
import { News } from "./parts.tsx";
import { useStock } from "./stock.ts";
import { t } from "./words.ts";

const OFFER = "welcome-coupon";

export function Coupon() {
  const stock = useStock(OFFER);
  const own = mine.value.find((claim) => claim.offer === OFFER && claim.status === "confirmed");
  return (
    <>
      <header class="lead">
        <h1>{t("coupon_head")}</h1>
        <p>{t("coupon_lead")}</p>
      </header>
      <div class={own ? "voucher big mine" : "voucher big"}>
        <p class="voucher-face">{t("coupon_face")}</p>
        <hr class="tear" />
        <p class="stock-line">
          <span class="live">{t("stock_live")}</span>
          <span>{stock ? t("coupon_left", { remaining: stock.remaining }) : t("stock_wait")}</span>
        </p>
        {own ? <p class="code">{own.id.slice(-12)}</p> : null}
      </div>
      <News of={OFFER} />
      <button type="button" class={own ? "quiet wide" : "main wide"} disabled={busy.value !== ""} onClick={() => void take(OFFER, 1)}>
        {t(busy.value === OFFER ? "coupon_taking" : own ? "coupon_again" : "coupon_take")}
      </button>
    </>
  );
}
