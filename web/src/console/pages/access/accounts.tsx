// Accounts of people. A password that was made here is shown once.
import { useState } from "preact/hooks";
import { admin, path } from "../../data/api.ts";
import { usePolled } from "../../data/poll.ts";
import type { Account, Role } from "../../data/types.ts";
import { t, word } from "../../language.ts";
import { Copy, Empty, Moment, Panel, Skeleton, Trouble, Words } from "../../parts/basic.tsx";
import { Confirm, Dialog } from "../../parts/dialog.tsx";
import { Table } from "../../parts/table.tsx";

const ROLES: readonly Role[] = ["viewer", "operator", "admin"];

type Doing = { what: "new" } | { what: "role" | "disable" | "enable" | "reset" | "totp" | "delete"; account: Account };

export function Accounts() {
  const { data, problem, refresh } = usePolled<{ accounts: Account[] }>("accounts", 15_000);
  const [doing, setDoing] = useState<Doing>();
  const [once, setOnce] = useState<{ name: string; password: string }>();
  const shut = () => setDoing(undefined);
  const act = (what: Exclude<Doing, { what: "new" }>["what"], account: Account, text: string, quiet = false) => (
    <button type="button" class={quiet ? "small-button danger-quiet" : "small-button"} aria-label={`${text}: ${account.name}`} onClick={() => setDoing({ what, account })}>
      {text}
    </button>
  );
  return (
    <Panel
      title={t("access.tab.accounts")}
      aside={
        <button type="button" class="button primary" onClick={() => setDoing({ what: "new" })}>
          {t("account.new")}
        </button>
      }
    >
      <Trouble of={problem} />
      {data === undefined ? (
        problem === undefined && <Skeleton />
      ) : data.accounts.length === 0 ? (
        <Empty title={t("account.none")}>
          <p>{t("account.none_text")}</p>
        </Empty>
      ) : (
        <Table
          label={t("access.tab.accounts")}
          rows={data.accounts}
          id={(account) => account.name}
          columns={[
            { name: "name", title: t("signin.name"), head: true, cell: (account) => <b class={account.disabled ? "soft" : ""}>{<Words text={account.name} />}</b> },
            { name: "role", title: t("access.role"), cell: (account) => word("role", account.role) },
            { name: "state", title: t("now.state"), cell: (account) => t(account.disabled ? "account.disabled" : "account.enabled") },
            { name: "totp", title: t("account.totp"), cell: (account) => t(account.totp ? "yes" : "no") },
            { name: "seen", title: t("account.last"), cell: (account) => (account.last_signed_in_at === null ? t("account.never") : <Moment at={account.last_signed_in_at} />) },
            {
              name: "acts",
              title: t("acts"),
              class: "acts",
              cell: (account) => (
                <>
                  {act("role", account, t("account.role"))}
                  {act("reset", account, t("account.reset"))}
                  {account.totp && act("totp", account, t("account.totp_off"))}
                  {act(account.disabled ? "enable" : "disable", account, t(account.disabled ? "account.enable" : "account.disable"))}
                  {act("delete", account, t("delete"), true)}
                </>
              ),
            },
          ]}
        />
      )}
      {doing?.what === "new" && <NewAccount onClose={shut} done={refresh} once={setOnce} />}
      {doing !== undefined && doing.what !== "new" && <Change key={doing.what} doing={doing} onClose={shut} done={refresh} once={setOnce} />}
      {once !== undefined && <Once title={t("account.made", { name: once.name })} secret={once.password} onClose={() => setOnce(undefined)} />}
    </Panel>
  );
}

/** A secret that nobody will see again. */
export function Once({ title, secret, onClose }: { title: string; secret: string; onClose: () => void }) {
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{t("once.text")}</p>
      <p class="once">
        <code>{secret}</code> <Copy text={secret} />
      </p>
      <div class="actions">
        <button type="button" class="button primary" onClick={onClose}>
          {t("once.done")}
        </button>
      </div>
    </Dialog>
  );
}

interface DoingProps {
  onClose: () => void;
  done: () => void;
  once: (secret: { name: string; password: string }) => void;
}

export function RoleChoice({ role, set, roles = ROLES }: { role: string; set: (role: string) => void; roles?: readonly string[] }) {
  return (
    <div class="field">
      <label for="role-choice">{t("access.role")}</label>
      <select id="role-choice" value={role} onChange={(event) => set(event.currentTarget.value)}>
        {roles.map((one) => (
          <option key={one} value={one}>
            {word("role", one)}
          </option>
        ))}
      </select>
      <p class="help">{word("role", `${role}.help`)}</p>
    </div>
  );
}

function NewAccount({ onClose, done, once }: DoingProps) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("operator");
  return (
    <Confirm
      title={t("account.new")}
      said={[{ text: t("account.new_text"), grave: false }]}
      yes={t("account.new_go")}
      possible={name.trim() !== ""}
      onClose={onClose}
      act={async () => {
        const made = await admin<{ password?: string }>("POST", "accounts", { body: { name: name.trim(), role } });
        if (made.password !== undefined) once({ name: name.trim(), password: made.password });
        done();
      }}
    >
      <div class="field">
        <label for="account-name">{t("signin.name")}</label>
        <input id="account-name" autocomplete="off" autocapitalize="none" spellcheck={false} dir="auto" value={name} onInput={(event) => setName(event.currentTarget.value)} />
      </div>
      <RoleChoice role={role} set={setRole} />
    </Confirm>
  );
}

function Change({ doing, onClose, done, once }: DoingProps & { doing: Exclude<Doing, { what: "new" }> }) {
  const { what, account } = doing;
  const [role, setRole] = useState<string>(account.role);
  const at = path("accounts", account.name);
  const act = async () => {
    if (what === "delete") await admin("DELETE", at);
    else if (what === "role") await admin("PUT", at, { body: { role } });
    else if (what === "totp") await admin("PUT", at, { body: { totp: false } });
    else if (what === "reset") {
      const password = fresh();
      await admin("PUT", at, { body: { password } });
      once({ name: account.name, password });
    } else await admin("PUT", at, { body: { disabled: what === "disable" } });
    done();
  };
  return (
    <Confirm
      title={`${t(`account.${what === "delete" ? "delete" : what === "totp" ? "totp_off" : what}`)}: ${account.name.slice(0, 60)}`}
      said={[{ text: t(`account.${what}_text`), grave: what !== "role" && what !== "enable" }]}
      yes={t(what === "delete" ? "delete" : what === "totp" ? "account.totp_off" : `account.${what}`)}
      danger={what === "delete" || what === "disable"}
      possible={what !== "role" || role !== account.role}
      onClose={onClose}
      act={act}
    >
      {what === "role" && <RoleChoice role={role} set={setRole} />}
    </Confirm>
  );
}

/** A password that nobody has to think up: 20 characters of 32, 100 bits, none that look alike. */
function fresh(): string {
  const letters = "abcdefghijkmnpqrstuvwxyz23456789";
  return [...crypto.getRandomValues(new Uint8Array(20))].map((byte) => letters[byte % 32] ?? "").join("");
}
