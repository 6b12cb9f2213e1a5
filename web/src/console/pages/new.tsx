// Making a zone or an offer: an id and the few things that matter; everything else has a default and can be changed later.
import { useId, useState } from "preact/hooks";
import { admin, path, Refused, type FieldProblem } from "../data/api.ts";
import { OFFER_FIELDS, read, typed, usual, ZONE_FIELDS, type Field, type Typed } from "../data/fields.ts";
import { useIds } from "../data/ids.ts";
import { go, href } from "../data/route.ts";
import { may } from "../data/session.ts";
import type { OfferSettings, ZoneSettings } from "../data/types.ts";
import { count } from "../format.ts";
import { t } from "../language.ts";
import { Heading, Note, Panel, Trouble } from "../parts/basic.tsx";
import { Sentences } from "../parts/dialog.tsx";
import { Fields } from "../parts/fields.tsx";
import { paceSentence, type Sentence } from "../words/zone.ts";

const ID = /^[A-Za-z0-9_.:-]{1,64}$/;

export function NewZone() {
  const start: Partial<ZoneSettings> = Object.fromEntries(ZONE_FIELDS.map((field) => [field.name, usual(field)]));
  return (
    <Making
      of="zone"
      fields={ZONE_FIELDS}
      start={{ ...start, app: "default", name: "" }}
      said={(settings) => [paceSentence({ ...start, ...settings } as ZoneSettings, { waiting: 0 }, new Date()), { text: t("new.zone_next"), grave: false }]}
      fill={(values) => values}
    />
  );
}

export function NewOffer() {
  return (
    <Making
      of="offer"
      fields={OFFER_FIELDS}
      start={{ ...kindDefaults("goods"), kind: "goods", app: "default", name: "", quantity: 100, unit_price: 0, pass_once: false, grant_only: false, standby: false, confirm_by: "service", min_per_claim: 1 }}
      said={(settings) => {
        const offer = settings as unknown as OfferSettings;
        const said: Sentence[] = [{ text: t("new.offer_sum", { n: offer.quantity, limit: offer.per_user_limit === null ? "∞" : count(offer.per_user_limit) }), grave: false }];
        said.push({ text: offer.hold_seconds === 0 ? t("words.no_hold") : t("new.offer_hold", { n: offer.hold_seconds }), grave: false });
        if (offer.zone === null) said.push({ text: t("new.offer_open"), grave: true });
        return said;
      }}
      fill={(values, name, value) => (name === "kind" ? { ...values, ...typed(OFFER_FIELDS.filter((field) => field.name in kindDefaults("goods")), kindDefaults(String(value))) } : values)}
    />
  );
}

/** As the server would fill in what is not said. */
function kindDefaults(kind: string): Partial<OfferSettings> {
  const coupon = kind === "coupon";
  const hold = coupon ? 0 : 300;
  return { per_user_limit: coupon ? 1 : null, max_per_claim: coupon ? 1 : 100, hold_seconds: hold, standby_hold_seconds: hold };
}

interface MakingProps {
  of: "zone" | "offer";
  fields: readonly Field[];
  start: Record<string, unknown>;
  said: (settings: Record<string, unknown>) => Sentence[];
  fill: (values: Typed, name: string, value: string | boolean) => Typed;
}

function Making({ of, fields, start, said, fill }: MakingProps) {
  const inputId = useId();
  const [id, setId] = useState("");
  const [values, setValues] = useState<Typed>(() => typed(fields, start));
  const [problem, setProblem] = useState<Error>();
  const [refused, setRefused] = useState<FieldProblem[]>([]);
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const ids = useIds(true);
  const allowed = may("operator");
  const taken = (of === "zone" ? ids.zones : ids.offers).includes(id);
  const badId = !ID.test(id) || taken;
  const named = { ...values, name: values["name"] === "" && id !== "" ? id : (values["name"] ?? "") };
  const { settings, wrong } = read(fields, {}, named);
  const make = async () => {
    setBusy(true);
    setProblem(undefined);
    try {
      await admin("PUT", path(`${of}s`, id), { body: settings });
      go(href([`${of}s`, id]));
    } catch (error) {
      if (error instanceof Refused) setRefused(error.fields);
      setProblem(error instanceof Error ? error : new Error(String(error)));
    } finally {
      setBusy(false);
    }
  };
  const idWrong = taken ? t("new.id_taken") : t("new.id_wrong");
  return (
    <>
      <Heading title={t(of === "zone" ? "new.zone" : "new.offer")}>
        <a class="up" href="#/">
          {t("nav.now")}
        </a>{" "}
        {t(of === "zone" ? "new.zone" : "new.offer")}
      </Heading>
      {!allowed && <Note tone="plain" text={t("form.viewer")} />}
      <Panel title={t(of === "zone" ? "new.zone_intro" : "new.offer_intro")} class="making">
        <form
          class="settings"
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            setTried(true);
            if (!badId && Object.keys(wrong).length === 0) void make();
          }}
        >
          <div class="field">
            <label for={inputId}>{t("new.id")}</label>
            <input
              id={inputId}
              value={id}
              maxLength={64}
              autocomplete="off"
              autocapitalize="none"
              spellcheck={false}
              disabled={!allowed}
              aria-describedby={`${inputId}-help`}
              aria-invalid={(tried || id !== "") && badId ? "true" : undefined}
              onInput={(event) => setId(event.currentTarget.value.trim())}
            />
            <p class="help" id={`${inputId}-help`}>
              {(tried || id !== "") && badId && <strong class="wrong">{idWrong} </strong>}
              {t("new.id.help")}
            </p>
          </div>
          <Fields
            of={of}
            fields={fields}
            typed={values}
            base={values}
            wrong={tried ? wrong : Object.fromEntries(Object.entries(wrong).filter(([name]) => name !== "name" && name !== "quantity"))}
            refused={refused}
            set={(name, value) => {
              setRefused((some) => some.filter((one) => one.field !== name));
              setValues((before) => fill({ ...before, [name]: value }, name, value));
            }}
            ids={ids}
            locked={!allowed}
          />
          {Object.keys(wrong).length === 0 && <Sentences of={said(settings)} />}
          <Trouble of={problem} />
          {allowed && (
            <div class="actions sticky">
              <button type="submit" class="button primary" disabled={busy}>
                {t(busy ? "working" : of === "zone" ? "new.zone_go" : "new.offer_go")}
              </button>
              <a class="button" href="#/">
                {t("cancel")}
              </a>
              {tried && (badId || Object.keys(wrong).length > 0) && <span class="wrong">{t("form.wrong", { n: Object.keys(wrong).length + (badId ? 1 : 0) })}</span>}
            </div>
          )}
        </form>
      </Panel>
    </>
  );
}
