// One's own password and second factor.
import { useState } from "preact/hooks";
import { encode } from "uqr";
import { admin } from "../../data/api.ts";
import { recall } from "../../data/session.ts";
import { t } from "../../language.ts";
import { Copy, Note, Panel, Trouble } from "../../parts/basic.tsx";

const PASSWORD_LEAST = 10;

export function Password() {
  const [old, setOld] = useState("");
  const [next, setNext] = useState("");
  const [problem, setProblem] = useState<Error>();
  const [done, setDone] = useState(false);
  const change = async () => {
    setDone(false);
    setProblem(undefined);
    try {
      await admin("POST", "account/password", { body: { old, new: next } });
      setOld("");
      setNext("");
      setDone(true);
    } catch (error) {
      setProblem(error instanceof Error ? error : new Error(String(error)));
    }
  };
  return (
    <Panel title={t("me.password")}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void change();
        }}
      >
        <div class="field">
          <label for="password-old">{t("me.password_old")}</label>
          <input id="password-old" type="password" autocomplete="current-password" required value={old} onInput={(event) => setOld(event.currentTarget.value)} />
        </div>
        <div class="field">
          <label for="password-new">{t("me.password_new")}</label>
          <input id="password-new" type="password" autocomplete="new-password" required minLength={PASSWORD_LEAST} maxLength={256} value={next} onInput={(event) => setNext(event.currentTarget.value)} />
          <p class="help">{t("me.password_help")}</p>
        </div>
        <Trouble of={problem} />
        {done && <Note tone="good" text={t("me.password_done")} />}
        <div class="actions">
          <button type="submit" class="button primary">
            {t("me.password_go")}
          </button>
        </div>
      </form>
    </Panel>
  );
}

export function Totp({ on }: { on: boolean }) {
  const [offered, setOffered] = useState<{ secret: string; uri: string }>();
  const [code, setCode] = useState("");
  const [problem, setProblem] = useState<Error>();
  const run = (act: () => Promise<void>) => {
    setProblem(undefined);
    act().catch((error: unknown) => setProblem(error instanceof Error ? error : new Error(String(error))));
  };
  const begin = async () => setOffered(await admin<{ secret: string; uri: string }>("POST", "account/totp"));
  const finish = async () => {
    await admin(on ? "DELETE" : "PUT", "account/totp", { body: { code: code.trim() } });
    setOffered(undefined);
    setCode("");
    await recall();
  };
  return (
    <Panel title={t("totp.title")}>
      <p>{t(on ? "totp.on" : "totp.off")}</p>
      {!on && offered === undefined && (
        <div class="actions">
          <button type="button" class="button primary" onClick={() => run(begin)}>
            {t("totp.begin")}
          </button>
        </div>
      )}
      {offered !== undefined && (
        <>
          <p>{t("totp.scan")}</p>
          <Qr text={offered.uri} />
          <p class="once">
            <code>{offered.secret}</code> <Copy text={offered.secret} />
          </p>
        </>
      )}
      {(on || offered !== undefined) && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            run(finish);
          }}
        >
          <div class="field">
            <label for="totp-code">{t("signin.code")}</label>
            <input id="totp-code" class="num" inputMode="numeric" autocomplete="one-time-code" required value={code} onInput={(event) => setCode(event.currentTarget.value)} />
          </div>
          <div class="actions">
            <button type="submit" class={on ? "button" : "button primary"}>
              {t(on ? "totp.end" : "totp.go")}
            </button>
          </div>
        </form>
      )}
      <Trouble of={problem} />
    </Panel>
  );
}

/** A QR code drawn here: the secret goes to no other program. */
function Qr({ text }: { text: string }) {
  const { data, size } = encode(text, { border: 2 });
  const path = data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x},${y}h1v1h-1z` : ""))).join("");
  return (
    <svg class="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={t("totp.qr")}>
      <rect width={size} height={size} fill="#ffffff" />
      <path d={path} fill="#000000" />
    </svg>
  );
}
