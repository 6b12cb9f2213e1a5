// Messages of a webhook that wait, or that were given up and wait for somebody.
import { useEffect, useState } from "preact/hooks";
import { admin, path } from "../../data/api.ts";
import { usePages } from "../../data/poll.ts";
import { may } from "../../data/session.ts";
import type { Delivery, Webhook } from "../../data/types.ts";
import { t, word } from "../../language.ts";
import { Empty, Moment, Panel, Skeleton, Trouble, Words } from "../../parts/basic.tsx";
import { Confirm } from "../../parts/dialog.tsx";
import { More, Table, type Column } from "../../parts/table.tsx";

interface DeliveriesProps {
  hook: Webhook;
  state: "dead" | "pending";
  refresh: () => void;
}

interface Doing {
  what: "redeliver" | "discard";
  /** None: all of them. */
  delivery?: Delivery;
}

export function Deliveries({ hook, state, refresh }: DeliveriesProps) {
  const pages = usePages<Delivery>(path("webhooks", hook.id, "deliveries"), "deliveries", { state });
  const [doing, setDoing] = useState<Doing>();
  const count = hook[state];
  // What was counted anew is looked at anew.
  useEffect(() => pages.refresh(), [count, hook.delivered, hook.failures]);
  const resends = state === "dead" && may("operator");
  // What waits for one that is turned on is sent.
  const discards = may("operator") && (state === "dead" || !hook.enabled);
  const button = (what: Doing["what"], text: string, delivery?: Delivery) => (
    <button
      type="button"
      class={what === "discard" ? "small-button danger-quiet" : "small-button"}
      aria-label={delivery === undefined ? undefined : `${text}: ${delivery.event}`}
      onClick={() => setDoing(delivery === undefined ? { what } : { what, delivery })}
    >
      {text}
    </button>
  );
  const columns: Column<Delivery>[] = [
    { name: "type", title: t("webhook.event"), head: true, cell: (one) => word("event", one.type.replace(/^io\.bunho\./, "")) },
    { name: "at", title: t("webhook.at"), cell: (one) => <Moment at={one.at} /> },
    { name: "event", title: t("webhook.message"), cell: (one) => <Words text={one.event} /> },
    { name: "attempts", title: t("webhook.attempts"), number: true, cell: (one) => one.attempts },
    { name: "why", title: t("webhook.why"), cell: (one) => (one.last_error === null ? "–" : <Words text={one.last_error} lines={3} />) },
    { name: "next", title: t("webhook.next"), cell: (one) => (one.next_attempt_at === null ? "–" : <Moment at={one.next_attempt_at} />) },
  ];
  const shown = state === "dead" ? columns.slice(0, 5) : columns;
  if (discards) {
    shown.push({
      name: "acts",
      title: t("acts"),
      class: "acts",
      cell: (one) => (
        <>
          {resends && button("redeliver", t("webhook.redeliver"), one)}
          {button("discard", t("webhook.discard"), one)}
        </>
      ),
    });
  }
  const some = pages.rows !== undefined && pages.rows.length > 0;
  return (
    <Panel
      title={t(`webhook.${state}`)}
      aside={
        discards &&
        some && (
          <>
            {resends && button("redeliver", t("webhook.redeliver_all"))} {button("discard", t("webhook.discard_all"))}
          </>
        )
      }
    >
      <p class="soft">{t(`webhook.${state}_text`)}</p>
      <Trouble of={pages.problem} />
      {pages.rows === undefined ? (
        pages.problem === undefined && <Skeleton rows={2} />
      ) : some ? (
        <Table label={t(`webhook.${state}`)} rows={pages.rows} id={(one) => String(one.delivery)} columns={shown} />
      ) : (
        <Empty title={t(`webhook.${state}_none`)} />
      )}
      <More more={pages.more} busy={pages.busy} />
      {doing !== undefined && (
        <Confirm
          title={t(`webhook.${doing.what}${doing.delivery === undefined ? "_all" : ""}`)}
          said={[{ text: t(`webhook.${doing.what}_said`), grave: doing.what === "discard" }]}
          yes={t(`webhook.${doing.what}${doing.delivery === undefined ? "_all" : ""}`)}
          danger={doing.what === "discard"}
          onClose={() => setDoing(undefined)}
          act={async () => {
            const one = doing.delivery === undefined ? {} : { delivery: doing.delivery.delivery };
            const body = doing.what === "discard" ? { ...one, state } : one;
            await admin("POST", path("webhooks", hook.id, doing.what), { body });
            pages.refresh();
            refresh();
          }}
        />
      )}
    </Panel>
  );
}
