// Who is told by HTTP of what happens: all of them, or one with what waits for it and what was given up.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { path } from "../data/api.ts";
import { usePolled } from "../data/poll.ts";
import { href } from "../data/route.ts";
import { may } from "../data/session.ts";
import type { Webhook } from "../data/types.ts";
import { t, word } from "../language.ts";
import { Empty, Heading, Moment, Panel, Skeleton, Trouble, Words } from "../parts/basic.tsx";
import { Table } from "../parts/table.tsx";
import { Once } from "./access/accounts.tsx";
import { Acts } from "./webhooks/acts.tsx";
import { Deliveries } from "./webhooks/deliveries.tsx";
import { Edit } from "./webhooks/edit.tsx";

export interface Made {
  name: string;
  secret: string;
}

const EVERY_MS = 3_000;

export function Webhooks() {
  const { data, problem, refresh } = usePolled<{ webhooks: Webhook[]; known_events: string[] }>("webhooks", EVERY_MS);
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<Made>();
  return (
    <>
      <Heading
        title={t("webhook.title")}
        aside={
          may("admin") && (
            <button type="button" class="button primary" onClick={() => setMaking(true)}>
              {t("webhook.new")}
            </button>
          )
        }
      />
      <Panel title={t("webhook.all")}>
        <p class="soft">{t("webhook.intro")}</p>
        <Trouble of={problem} />
        {data === undefined ? (
          problem === undefined && <Skeleton />
        ) : data.webhooks.length === 0 ? (
          <Empty title={t("webhook.none")} />
        ) : (
          <Table
            label={t("webhook.all")}
            rows={data.webhooks}
            id={(hook) => hook.id}
            columns={[
              {
                name: "name",
                title: t("webhook.name"),
                head: true,
                cell: (hook) => (
                  <a href={href(["webhooks", hook.id])}>
                    <Words text={hook.name} />
                  </a>
                ),
              },
              { name: "state", title: t("now.state"), cell: (hook) => <Standing of={hook} /> },
              { name: "url", title: t("webhook.url"), cell: (hook) => <Words text={hook.url} /> },
              { name: "last", title: t("webhook.last"), cell: (hook) => <Last of={hook} /> },
              { name: "pending", title: t("webhook.pending"), number: true, cell: (hook) => hook.pending.toLocaleString() },
              { name: "dead", title: t("webhook.dead"), number: true, cell: (hook) => hook.dead.toLocaleString() },
            ]}
          />
        )}
      </Panel>
      {making && (
        <Edit
          known={data?.known_events ?? []}
          onClose={() => setMaking(false)}
          done={(answer) => {
            if (answer !== undefined) setMade(answer);
            refresh();
          }}
        />
      )}
      {made !== undefined && <Secret of={made} onClose={() => setMade(undefined)} />}
    </>
  );
}

export function WebhookPage({ id }: { id: string }) {
  const { data: hook, problem, refresh } = usePolled<Webhook>(path("webhooks", id), EVERY_MS);
  const [made, setMade] = useState<Made>();
  return (
    <>
      <Heading title={hook?.name ?? id}>
        <Words text={hook?.name ?? id} lines={3} />
      </Heading>
      <Trouble of={problem} />
      {hook === undefined ? (
        problem === undefined && <Skeleton />
      ) : (
        <>
          <Panel title={t("webhook.one")} aside={<a href={href(["webhooks"])}>{t("webhook.all")}</a>}>
            <dl class="facts">
              <Fact name={t("now.state")}>
                <Standing of={hook} />
              </Fact>
              <Fact name={t("webhook.url")}>
                <Words text={hook.url} lines={3} />
              </Fact>
              <Fact name={t("webhook.events")}>{hook.events.map((event) => word("event", event)).join(", ")}</Fact>
              {hook.offer !== null && (
                <Fact name={t("webhook.offer")}>
                  <a href={href(["offers", hook.offer])}>
                    <Words text={hook.offer} />
                  </a>
                </Fact>
              )}
              {hook.app !== null && (
                <Fact name={t("webhook.app")}>
                  <Words text={hook.app} />
                </Fact>
              )}
              <Fact name={t("webhook.last")}>
                <Last of={hook} />
              </Fact>
              <Fact name={t("webhook.delivered")}>{hook.delivered.toLocaleString()}</Fact>
              {hook.previous_secret_until !== null && (
                <Fact name={t("webhook.previous_until")}>
                  <Moment at={hook.previous_secret_until} />
                </Fact>
              )}
            </dl>
            <Acts hook={hook} refresh={refresh} made={setMade} />
          </Panel>
          <Deliveries hook={hook} state="dead" refresh={refresh} />
          <Deliveries hook={hook} state="pending" refresh={refresh} />
        </>
      )}
      {made !== undefined && <Secret of={made} onClose={() => setMade(undefined)} />}
    </>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Secret({ of, onClose }: { of: Made; onClose: () => void }) {
  return <Once title={t("webhook.secret_of", { name: of.name })} secret={of.secret} onClose={onClose} />;
}

/** How it does, in words. */
function Standing({ of }: { of: Webhook }) {
  if (of.disabled_reason !== null) return <b>{word("webhook.off", of.disabled_reason)}</b>;
  if (!of.enabled) return <span class="soft">{t("webhook.off")}</span>;
  return of.failures > 0 ? <b>{t("webhook.failing", { n: of.failures })}</b> : <>{t("webhook.on")}</>;
}

function Last({ of }: { of: Webhook }) {
  if (of.last_attempt_at === null) return <span class="soft">{t("webhook.never")}</span>;
  return (
    <>
      <Moment at={of.last_attempt_at} /> <Words text={of.last_error ?? t("webhook.took", { status: of.last_status ?? 0 })} />
    </>
  );
}
