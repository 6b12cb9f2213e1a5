// A webhook's form: to make one, and to change one.
import { useState } from "preact/hooks";
import { admin, path } from "../../data/api.ts";
import type { Webhook } from "../../data/types.ts";
import { t, word } from "../../language.ts";
import { Confirm } from "../../parts/dialog.tsx";
import type { Made } from "../webhooks.tsx";

interface EditProps {
  /** Events that there are. */
  known: string[];
  /** What is changed; none: a new one. */
  of?: Webhook;
  onClose: () => void;
  done: (made: Made | undefined) => void;
}

const ALL = "*";

export function Edit({ known, of, onClose, done }: EditProps) {
  const [name, setName] = useState(of?.name ?? "");
  const [url, setUrl] = useState(of?.url ?? "https://");
  const [events, setEvents] = useState<string[]>(of?.events ?? [ALL]);
  const [offer, setOffer] = useState(of?.offer ?? "");
  const all = events.includes(ALL);
  const pick = (event: string, on: boolean) => setEvents(on ? [...events, event] : events.filter((one) => one !== event));
  const act = async () => {
    const body = { name: name.trim(), url: url.trim(), events, offer: offer.trim() === "" ? null : offer.trim() };
    if (of === undefined) done(await admin<Made>("POST", "webhooks", { body }));
    else {
      await admin("PUT", path("webhooks", of.id), { body, revision: of.revision });
      done(undefined);
    }
  };
  return (
    <Confirm
      title={t(of === undefined ? "webhook.new" : "webhook.change")}
      said={[{ text: t(of === undefined ? "webhook.new_text" : "webhook.change_text"), grave: false }]}
      yes={t(of === undefined ? "webhook.new_go" : "webhook.change_go")}
      possible={name.trim() !== "" && url.trim() !== "" && events.length > 0}
      onClose={onClose}
      act={act}
    >
      <div class="field">
        <label for="hook-name">{t("webhook.name")}</label>
        <input id="hook-name" autocomplete="off" dir="auto" maxLength={200} value={name} onInput={(event) => setName(event.currentTarget.value)} />
      </div>
      <div class="field">
        <label for="hook-url">{t("webhook.url")}</label>
        <input id="hook-url" type="url" inputMode="url" autocomplete="off" spellcheck={false} maxLength={2_000} aria-describedby="hook-url-help" value={url} onInput={(event) => setUrl(event.currentTarget.value)} />
        <p class="help" id="hook-url-help">
          {t("webhook.url.help")}
        </p>
      </div>
      <fieldset class="conflict">
        <legend>{t("webhook.events")}</legend>
        <label>
          <input type="checkbox" checked={all} onChange={(event) => setEvents(event.currentTarget.checked ? [ALL] : ["claim.confirmed"])} /> {word("event", ALL)}
        </label>
        {!all &&
          known.map((event) => (
            <label key={event}>
              <input type="checkbox" checked={events.includes(event)} onChange={(change) => pick(event, change.currentTarget.checked)} /> {word("event", event)}
            </label>
          ))}
      </fieldset>
      <div class="field">
        <label for="hook-offer">{t("webhook.offer")}</label>
        <input id="hook-offer" autocomplete="off" spellcheck={false} maxLength={64} aria-describedby="hook-offer-help" value={offer} onInput={(event) => setOffer(event.currentTarget.value)} />
        <p class="help" id="hook-offer-help">
          {t("webhook.offer.help")}
        </p>
      </div>
    </Confirm>
  );
}
