// What one does with a webhook.
import { useState } from "preact/hooks";
import { admin, path } from "../../data/api.ts";
import { usePolled } from "../../data/poll.ts";
import { may } from "../../data/session.ts";
import type { Webhook } from "../../data/types.ts";
import { t } from "../../language.ts";
import { Note, Trouble } from "../../parts/basic.tsx";
import { Confirm } from "../../parts/dialog.tsx";
import type { Made } from "../webhooks.tsx";
import { Edit } from "./edit.tsx";

interface Tested {
  delivered: boolean;
  status: number | null;
  error: string | null;
  milliseconds: number;
}

type Doing = "change" | "secret" | "turn" | "delete";

export function Acts({ hook, refresh, made }: { hook: Webhook; refresh: () => void; made: (made: Made) => void }) {
  const [doing, setDoing] = useState<Doing>();
  const shut = () => setDoing(undefined);
  const button = (what: Doing, text: string, quiet = false) => (
    <button type="button" class={quiet ? "button danger-quiet" : "button"} onClick={() => setDoing(what)}>
      {text}
    </button>
  );
  if (!may("operator")) return null;
  return (
    <>
      <div class="actions">
        <Test hook={hook} refresh={refresh} />
        {may("admin") && (
          <>
            {button("change", t("webhook.change"))}
            {button("turn", t(hook.enabled ? "webhook.turn_off" : "webhook.turn_on"))}
            {button("secret", t("webhook.secret"))}
            {button("delete", t("webhook.delete"), true)}
          </>
        )}
      </div>
      {doing === "change" && <Change hook={hook} onClose={shut} refresh={refresh} />}
      {doing === "turn" && (
        <Confirm
          title={t(hook.enabled ? "webhook.turn_off" : "webhook.turn_on")}
          said={[{ text: t(hook.enabled ? "webhook.turn_off_text" : "webhook.turn_on_text"), grave: hook.enabled }]}
          yes={t(hook.enabled ? "webhook.turn_off" : "webhook.turn_on")}
          onClose={shut}
          act={async () => {
            await admin("PUT", path("webhooks", hook.id), { body: { enabled: !hook.enabled }, revision: hook.revision });
            refresh();
          }}
        />
      )}
      {doing === "secret" && (
        <Confirm
          title={t("webhook.secret")}
          said={[{ text: t("webhook.secret_text"), grave: false }]}
          yes={t("webhook.secret_go")}
          onClose={shut}
          act={async () => {
            made(await admin<Made>("POST", path("webhooks", hook.id, "secret"), { body: {} }));
            refresh();
          }}
        />
      )}
      {doing === "delete" && (
        <Confirm
          title={`${t("webhook.delete")}: ${hook.name.slice(0, 60)}`}
          said={[{ text: t("webhook.delete_text", { n: hook.pending + hook.dead }), grave: true }]}
          yes={t("webhook.delete")}
          danger
          onClose={shut}
          act={async () => {
            await admin("DELETE", path("webhooks", hook.id));
            location.hash = "#/webhooks";
          }}
        />
      )}
    </>
  );
}

function Change({ hook, onClose, refresh }: { hook: Webhook; onClose: () => void; refresh: () => void }) {
  const { data } = usePolled<{ known_events: string[] }>("webhooks", 0);
  return data === undefined ? null : <Edit known={data.known_events} of={hook} onClose={onClose} done={refresh} />;
}

/** Sends a message that tells of nothing, and says what came of it. */
function Test({ hook, refresh }: { hook: Webhook; refresh: () => void }) {
  const [busy, setBusy] = useState(false);
  const [tested, setTested] = useState<Tested>();
  const [problem, setProblem] = useState<Error>();
  const send = async () => {
    setBusy(true);
    setTested(undefined);
    setProblem(undefined);
    try {
      setTested(await admin<Tested>("POST", path("webhooks", hook.id, "test"), { body: {} }));
      refresh();
    } catch (error) {
      setProblem(error instanceof Error ? error : new Error(String(error)));
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" class="button primary" disabled={busy} onClick={() => void send()}>
        {t(busy ? "working" : "webhook.test")}
      </button>
      <div role="status" class="tested">
        {tested !== undefined && (
          <Note
            tone={tested.delivered ? "good" : "bad"}
            text={tested.delivered ? t("webhook.test_good", { status: tested.status ?? 0, ms: tested.milliseconds }) : t("webhook.test_bad", { what: tested.error ?? "" })}
          />
        )}
        <Trouble of={problem} />
      </div>
    </>
  );
}
