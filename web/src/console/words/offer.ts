// What a change of an offer will do, in words, before anyone confirms it.
import { moment, span } from "../format.ts";
import { t } from "../language.ts";
import { same } from "../data/diff.ts";
import type { Claim, OfferSettings, Stock } from "../data/types.ts";
import type { Sentence } from "./zone.ts";

const plain = (text: string): Sentence => ({ text, grave: false });
const grave = (text: string): Sentence => ({ text, grave: true });

/** What restocking does; `possible` is false where the server will refuse it. */
export function restockWords(delta: number, quantity: number, stock: Stock): { possible: boolean; said: Sentence[] } {
  const taken = stock.held + stock.confirmed;
  const next = quantity + delta;
  if (next < taken) return { possible: false, said: [grave(t("words.below_taken", { n: stock.held + stock.confirmed, most: Math.max(0, quantity - taken) }))] };
  const said = [plain(t("words.quantity", { from: quantity, to: next }))];
  if (delta < 0) said.push(plain(t("words.fewer", { n: stock.remaining + delta })));
  if (delta > 0 && stock.standby > 0) said.push(grave(t("words.standby_first", { n: stock.standby, delta })));
  if (delta > 0 && stock.standby === 0) said.push(plain(t("words.more", { n: stock.remaining + delta })));
  if (stock.state === "closed") said.push(grave(t("words.restock_closed")));
  return { possible: true, said };
}

export function closeWords(stock: Stock): Sentence[] {
  const said = [grave(t("words.close"))];
  if (stock.held > 0) said.push(plain(t("words.close_held", { n: stock.held })));
  if (stock.standby > 0) said.push(grave(t("words.close_standby", { n: stock.standby })));
  if (stock.remaining > 0) said.push(plain(t("words.close_left", { n: stock.remaining })));
  return said;
}

export function returnWords(claim: Pick<Claim, "quantity" | "granted">, restock: boolean, stock: Stock | undefined): Sentence[] {
  const said = [grave(t("words.return", { n: claim.quantity }))];
  if (!restock) said.push(plain(t("words.return_gone", { n: claim.quantity })));
  else if (stock !== undefined && stock.standby > 0) said.push(plain(t("words.return_standby", { n: stock.standby })));
  else said.push(plain(t("words.return_back", { n: claim.quantity })));
  if (claim.granted.length > 0) said.push(plain(t("words.return_granted")));
  said.push(grave(t("words.no_undo")));
  return said;
}

export function offerWords(before: OfferSettings, after: OfferSettings, stock: Stock, now: Date): Sentence[] {
  const changed = (name: keyof OfferSettings) => !same(before[name], after[name]);
  const said: Sentence[] = [];
  if (changed("quantity")) said.push(...restockWords(after.quantity - before.quantity, before.quantity, stock).said);
  for (const [name, key, now_key] of [
    ["opens_at", "words.offer_opens", "words.offer_opens_now"],
    ["closes_at", "words.offer_closes", "words.offer_closed_now"],
  ] as const) {
    if (!changed(name)) continue;
    const at = after[name] === null ? null : new Date(after[name]);
    if (at !== null && at > now) said.push(plain(t(key, { at: moment(at, now), span: span((at.getTime() - now.getTime()) / 1_000) })));
    else if (name === "closes_at" && at === null) said.push(plain(t("words.offer_never_closes")));
    else said.push(grave(t(now_key)));
  }
  if (changed("kind")) said.push(grave(t("words.kind")));
  if (changed("per_user_limit")) said.push(plain(after.per_user_limit === null ? t("words.user_free") : t("words.user_limit", { n: after.per_user_limit })));
  if (changed("min_per_claim") || changed("max_per_claim")) said.push(plain(t("words.per_claim", { least: after.min_per_claim, most: after.max_per_claim })));
  if (changed("hold_seconds")) said.push(plain(after.hold_seconds === 0 ? t("words.no_hold") : t("words.hold", { span: span(after.hold_seconds) })));
  if (changed("confirm_by")) said.push(after.confirm_by === "user" ? grave(t("words.confirm_user")) : plain(t("words.confirm_service")));
  if (changed("zone")) said.push(after.zone === null ? grave(t("words.no_zone")) : plain(t("words.zone", { zone: after.zone })));
  if (changed("pass_once")) said.push(after.pass_once ? grave(t("words.pass_once")) : plain(t("words.pass_often")));
  if (changed("grants")) said.push(plain(after.grants === null ? t("words.no_grants") : t("words.grants", { offer: after.grants })));
  if (changed("grant_only")) said.push(plain(t(after.grant_only ? "words.grant_only" : "words.grant_free")));
  if (changed("standby")) {
    said.push(after.standby ? plain(t("words.standby_on")) : stock.standby > 0 ? grave(t("words.standby_off_some", { n: stock.standby })) : plain(t("words.standby_off")));
  }
  if (changed("standby_hold_seconds")) said.push(plain(t("words.standby_hold", { span: span(after.standby_hold_seconds) })));
  if (changed("unit_price")) said.push(plain(t("words.price", { n: after.unit_price })));
  if (changed("name")) said.push(plain(t("words.name", { name: after.name })));
  if (changed("app")) said.push(plain(t("words.app", { app: after.app })));
  return said;
}
