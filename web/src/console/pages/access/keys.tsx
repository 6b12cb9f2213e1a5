// Keys of services and people, and keys that sign passes.
import { useState } from "preact/hooks";
import { admin, path } from "../../data/api.ts";
import { usePolled } from "../../data/poll.ts";
import type { KeyRow } from "../../data/types.ts";
import { t, word } from "../../language.ts";
import { Empty, Moment, Panel, Skeleton, Trouble, Words } from "../../parts/basic.tsx";
import { Confirm } from "../../parts/dialog.tsx";
import { Table } from "../../parts/table.tsx";
import { Once, RoleChoice } from "./accounts.tsx";

const ROLES = ["service", "viewer", "operator", "admin"];

export function Keys() {
  const { data, problem, refresh } = usePolled<{ keys: KeyRow[] }>("keys", 15_000);
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<KeyRow>();
  const [once, setOnce] = useState<{ name: string; key: string }>();
  return (
    <Panel
      title={t("access.tab.keys")}
      aside={
        <button type="button" class="button primary" onClick={() => setMaking(true)}>
          {t("key.new")}
        </button>
      }
    >
      <p class="soft">{t("key.intro")}</p>
      <Trouble of={problem} />
      {data === undefined ? (
        problem === undefined && <Skeleton />
      ) : data.keys.length === 0 ? (
        <Empty title={t("key.none")} />
      ) : (
        <Table
          label={t("access.tab.keys")}
          rows={data.keys}
          id={(key) => key.id}
          columns={[
            { name: "name", title: t("key.name"), head: true, cell: (key) => <Words text={key.name} /> },
            { name: "role", title: t("access.role"), cell: (key) => word("role", key.role) },
            { name: "id", title: t("new.id"), cell: (key) => <code>{key.id}</code> },
            { name: "made", title: t("claim.created"), cell: (key) => <Moment at={key.created_at} /> },
            {
              name: "acts",
              title: t("acts"),
              class: "acts",
              cell: (key) => (
                <button type="button" class="small-button danger-quiet" aria-label={`${t("key.revoke")}: ${key.name}`} onClick={() => setRevoking(key)}>
                  {t("key.revoke")}
                </button>
              ),
            },
          ]}
        />
      )}
      {making && (
        <NewKey
          onClose={() => setMaking(false)}
          made={(made) => {
            setOnce(made);
            refresh();
          }}
        />
      )}
      {revoking !== undefined && (
        <Confirm
          title={`${t("key.revoke")}: ${revoking.name.slice(0, 60)}`}
          said={[{ text: t("key.revoke_text"), grave: true }]}
          yes={t("key.revoke")}
          danger
          onClose={() => setRevoking(undefined)}
          act={async () => {
            await admin("DELETE", path("keys", revoking.id));
            refresh();
          }}
        />
      )}
      {once !== undefined && <Once title={t("key.made", { name: once.name })} secret={once.key} onClose={() => setOnce(undefined)} />}
    </Panel>
  );
}

function NewKey({ onClose, made }: { onClose: () => void; made: (key: { name: string; key: string }) => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("service");
  return (
    <Confirm
      title={t("key.new")}
      said={[{ text: t("key.new_text"), grave: false }]}
      yes={t("key.new_go")}
      possible={name.trim() !== ""}
      onClose={onClose}
      act={async () => made(await admin<{ name: string; key: string }>("POST", "keys", { body: { name: name.trim(), role } }))}
    >
      <div class="field">
        <label for="key-name">{t("key.name")}</label>
        <input id="key-name" autocomplete="off" dir="auto" maxLength={200} value={name} onInput={(event) => setName(event.currentTarget.value)} />
      </div>
      <RoleChoice role={role} set={setRole} roles={ROLES} />
    </Confirm>
  );
}

interface PassKey {
  kid: string;
  signing: boolean;
}

export function PassKeys() {
  const { data, problem, refresh } = usePolled<{ keys: PassKey[] }>("pass-keys", 15_000);
  const [doing, setDoing] = useState<{ drop?: string }>();
  return (
    <Panel
      title={t("passkey.title")}
      aside={
        <button type="button" class="button" onClick={() => setDoing({})}>
          {t("passkey.rotate")}
        </button>
      }
    >
      <p class="soft">{t("passkey.intro")}</p>
      <Trouble of={problem} />
      {data === undefined ? (
        problem === undefined && <Skeleton rows={2} />
      ) : (
        <Table
          label={t("passkey.title")}
          rows={data.keys}
          id={(key) => key.kid}
          columns={[
            { name: "kid", title: t("passkey.kid"), head: true, cell: (key) => <code>{key.kid}</code> },
            { name: "signing", title: t("now.state"), cell: (key) => t(key.signing ? "passkey.signing" : "passkey.verifying") },
            {
              name: "acts",
              title: t("acts"),
              class: "acts",
              cell: (key) =>
                !key.signing && (
                  <button type="button" class="small-button danger-quiet" aria-label={`${t("passkey.drop")}: ${key.kid}`} onClick={() => setDoing({ drop: key.kid })}>
                    {t("passkey.drop")}
                  </button>
                ),
            },
          ]}
        />
      )}
      {doing !== undefined && (
        <Confirm
          title={t(doing.drop === undefined ? "passkey.rotate" : "passkey.drop")}
          said={[{ text: t(doing.drop === undefined ? "passkey.rotate_text" : "passkey.drop_text"), grave: doing.drop !== undefined }]}
          yes={t(doing.drop === undefined ? "passkey.rotate" : "passkey.drop")}
          danger={doing.drop !== undefined}
          onClose={() => setDoing(undefined)}
          act={async () => {
            await (doing.drop === undefined ? admin("POST", "pass-keys") : admin("DELETE", path("pass-keys", doing.drop)));
            refresh();
          }}
        />
      )}
    </Panel>
  );
}
