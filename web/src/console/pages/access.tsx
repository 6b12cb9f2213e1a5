// Who may come in: one's own account, all accounts, keys, sessions, and the keys that sign passes.
import { href } from "../data/route.ts";
import { may, session, who } from "../data/session.ts";
import { t, word } from "../language.ts";
import { Heading, Panel, Tabs, Words } from "../parts/basic.tsx";
import { Accounts } from "./access/accounts.tsx";
import { Keys, PassKeys } from "./access/keys.tsx";
import { Password, Totp } from "./access/own.tsx";
import { Sessions } from "./access/sessions.tsx";

export function Access({ tab }: { tab: string }) {
  const names = ["me", "sessions", ...(may("admin") ? ["accounts", "keys"] : [])] as ("me" | "sessions" | "accounts" | "keys")[];
  const shown = names.find((name) => name === tab) ?? (may("admin") && tab === "" ? "accounts" : "me");
  return (
    <>
      <Heading title={t("access.title")} />
      <Tabs of={names.map((name) => ({ name, title: t(`access.tab.${name}`), to: href(["access", name]) }))} current={shown} label={t("access.title")} />
      {shown === "accounts" ? (
        <Accounts />
      ) : shown === "keys" ? (
        <>
          <Keys />
          <PassKeys />
        </>
      ) : shown === "sessions" ? (
        <Sessions />
      ) : (
        <Me />
      )}
    </>
  );
}

function Me() {
  const me = who.value;
  if (me === null || session.value.is === "none") return null;
  return (
    <div class="two">
      <Panel title={t("me.title")}>
        <dl class="facts">
          <div>
            <dt>{t("signin.name")}</dt>
            <dd>
              <Words text={me.name} lines={3} />
            </dd>
          </div>
          <div>
            <dt>{t("access.role")}</dt>
            <dd>
              {word("role", me.role)} <p class="help">{t(`role.${me.role}.help`)}</p>
            </dd>
          </div>
          <div>
            <dt>{t("me.by")}</dt>
            <dd>{t(me.kind === "account" ? "me.by_account" : "me.by_key")}</dd>
          </div>
        </dl>
      </Panel>
      {me.kind === "account" && (
        <>
          <Password />
          <Totp on={me.totp === true} />
        </>
      )}
    </div>
  );
}
