// Open sessions: one's own; for admins, everybody's.
import { useState } from "preact/hooks";
import { admin, path } from "../../data/api.ts";
import { usePolled } from "../../data/poll.ts";
import type { SessionRow } from "../../data/types.ts";
import { t, word } from "../../language.ts";
import { Empty, Moment, Panel, Skeleton, Trouble, Words } from "../../parts/basic.tsx";
import { Confirm } from "../../parts/dialog.tsx";
import { Table } from "../../parts/table.tsx";

export function Sessions() {
  const { data, problem, refresh } = usePolled<{ sessions: SessionRow[] }>("sessions", 15_000);
  const [ending, setEnding] = useState<SessionRow>();
  return (
    <Panel title={t("access.tab.sessions")}>
      <Trouble of={problem} />
      {data === undefined ? (
        problem === undefined && <Skeleton />
      ) : data.sessions.length === 0 ? (
        <Empty title={t("session.none")} />
      ) : (
        <Table
          label={t("access.tab.sessions")}
          rows={data.sessions}
          id={(session) => session.id}
          columns={[
            {
              name: "name",
              title: t("signin.name"),
              head: true,
              cell: (session) => (
                <>
                  <Words text={session.name} /> {session.current && <span class="soft small">{t("session.this")}</span>}
                </>
              ),
            },
            { name: "role", title: t("access.role"), cell: (session) => word("role", session.role) },
            { name: "opened", title: t("session.opened"), cell: (session) => <Moment at={session.opened_at} /> },
            { name: "ends", title: t("session.ends"), cell: (session) => <Moment at={session.expires_at} /> },
            { name: "from", title: t("session.from"), cell: (session) => <Words text={`${session.address ?? "–"} ${session.user_agent ?? ""}`.trim()} /> },
            {
              name: "acts",
              title: t("acts"),
              class: "acts",
              cell: (session) => (
                <button type="button" class="small-button danger-quiet" aria-label={`${t("session.end")}: ${session.name} ${session.opened_at}`} onClick={() => setEnding(session)}>
                  {t("session.end")}
                </button>
              ),
            },
          ]}
        />
      )}
      {ending !== undefined && (
        <Confirm
          title={t("session.end")}
          said={[{ text: t(ending.current ? "session.end_own" : "session.end_text"), grave: true }]}
          yes={t("session.end")}
          danger
          onClose={() => setEnding(undefined)}
          act={async () => {
            await admin("DELETE", path("sessions", ending.id));
            refresh();
          }}
        />
      )}
    </Panel>
  );
}
