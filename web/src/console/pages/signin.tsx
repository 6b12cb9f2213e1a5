// Signing in: with a name and a password, and a code where the account wants one, or with a key. Also over a page whose session has ended.
import { useId, useState } from "preact/hooks";
import { Refused } from "../data/api.ts";
import { signIn } from "../data/session.ts";
import type { Who } from "../data/types.ts";
import { t } from "../language.ts";
import { Trouble } from "../parts/basic.tsx";

export function SignIn({ again }: { again?: Who }) {
  const id = useId();
  const [by, setBy] = useState<"account" | "key">(again?.kind === "key" ? "key" : "account");
  const [name, setName] = useState(again?.kind === "account" ? again.name : "");
  const [password, setPassword] = useState("");
  const [key, setKey] = useState("");
  const [code, setCode] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Error>();
  const go = async () => {
    setBusy(true);
    setProblem(undefined);
    try {
      await signIn(by === "key" ? { key: key.trim() } : { name: name.trim(), password, ...(code === null ? {} : { code: code.trim() }) });
    } catch (error) {
      if (error instanceof Refused && error.code === "totp_required" && code === null) setCode("");
      else if (error instanceof Refused && error.status === 401 && error.code === "unauthenticated") setProblem(new Error(t("signin.wrong")));
      else setProblem(error instanceof Error ? error : new Error(String(error)));
    } finally {
      setBusy(false);
    }
  };
  const text = problem?.constructor === Error ? problem.message : null;
  return (
    <form
      class="signin"
      onSubmit={(event) => {
        event.preventDefault();
        void go();
      }}
    >
      <div class="tabs" role="group" aria-label={t("signin.how")}>
        {(["account", "key"] as const).map((way) => (
          <button key={way} type="button" aria-pressed={by === way} onClick={() => setBy(way)}>
            {t(way === "account" ? "signin.by_account" : "signin.by_key")}
          </button>
        ))}
      </div>
      {by === "account" ? (
        <>
          <div class="field">
            <label for={`${id}-name`}>{t("signin.name")}</label>
            <input id={`${id}-name`} name="username" autocomplete="username" required autoFocus={again !== undefined && again.kind !== "account"} value={name} onInput={(event) => setName(event.currentTarget.value)} />
          </div>
          <div class="field">
            <label for={`${id}-password`}>{t("signin.password")}</label>
            <input id={`${id}-password`} name="password" type="password" autocomplete="current-password" required autoFocus={again?.kind === "account"} value={password} onInput={(event) => setPassword(event.currentTarget.value)} />
          </div>
          {code !== null && (
            <div class="field">
              <label for={`${id}-code`}>{t("signin.code")}</label>
              <input
                id={`${id}-code`}
                name="code"
                inputMode="numeric"
                autocomplete="one-time-code"
                class="num"
                value={code}
                ref={(input) => {
                  if (input !== null && code === "") input.focus();
                }}
                onInput={(event) => setCode(event.currentTarget.value)}
              />
              <p class="help">{t("signin.code.help")}</p>
            </div>
          )}
        </>
      ) : (
        <div class="field">
          <label for={`${id}-key`}>{t("signin.key")}</label>
          <input id={`${id}-key`} name="key" type="password" autocomplete="off" required autoFocus={again !== undefined} value={key} onInput={(event) => setKey(event.currentTarget.value)} />
          <p class="help">{t("signin.key.help")}</p>
        </div>
      )}
      {text !== null ? (
        <div class="note note-bad" role="alert">
          <p>{text}</p>
        </div>
      ) : (
        <Trouble of={problem} />
      )}
      <div class="actions">
        <button type="submit" class="button primary wide" disabled={busy}>
          {t(busy ? "working" : "signin.go")}
        </button>
      </div>
    </form>
  );
}
