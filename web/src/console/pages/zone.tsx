// A zone: how it goes now, and what one can do about it.
import { useState } from "preact/hooks";
import { admin, path } from "../data/api.ts";
import { length, pick, ZONE_FIELDS, type Settings } from "../data/fields.ts";
import { useIds } from "../data/ids.ts";
import { usePolled } from "../data/poll.ts";
import { href } from "../data/route.ts";
import { may } from "../data/session.ts";
import type { Zone, ZoneLive, ZoneSettings } from "../data/types.ts";
import { count, moment, span } from "../format.ts";
import { t } from "../language.ts";
import { Bar, Figures, Heading, Note, Panel, Skeleton, State, Tabs, Trouble, Words } from "../parts/basic.tsx";
import { Chart } from "../parts/chart.tsx";
import { Confirm } from "../parts/dialog.tsx";
import { Look } from "../parts/look.tsx";
import { SettingsForm } from "../parts/settings.tsx";
import { UndoButton } from "../parts/undo.tsx";
import { wide } from "../parts/wide.ts";
import { paceSentence, pauseWords, resetWords, resumeWords, zoneWords } from "../words/zone.ts";
import { Minutes } from "./minutes.tsx";

const putZone = (id: string) => (settings: Settings, revision: number) => admin<Zone>("PUT", path("zones", id), { body: settings, revision });

export function ZonePage({ id, tab }: { id: string; tab: string }) {
  const { data, problem, refresh } = usePolled<ZoneLive>(`${path("zones", id)}/live`, 2_000);
  // What was just put is newer than what was last polled.
  const [put, setPut] = useState<Zone>();
  const zone: Zone | undefined = put !== undefined && data !== undefined && put.revision > data.revision ? { ...data, ...put } : data;
  const shown = tab === "" || (tab === "change" && wide.value) ? "live" : tab;
  const tabs = ["live", ...(wide.value ? [] : ["change"]), "history", "look"].map((name) => ({
    name,
    title: t(`zone.tab.${name as "live" | "change" | "history" | "look"}`),
    to: href(name === "live" ? ["zones", id] : ["zones", id, name]),
  }));
  const done = (next?: Zone) => {
    if (next !== undefined) setPut(next);
    refresh();
  };
  return (
    <>
      <Heading title={zone?.name ?? id} aside={zone !== undefined && may("operator") && <Acts zone={zone} done={done} />}>
        <a class="up" href="#/">
          {t("nav.now")}
        </a>{" "}
        <Words text={zone?.name ?? id} lines={3} />{" "}
        {zone !== undefined && zone.name !== id && (
          <small class="soft id">
            <Words text={id} />
          </small>
        )}
      </Heading>
      <Tabs of={tabs} current={shown} label={t("zone.tabs")} />
      {zone === undefined || data === undefined ? (
        <>
          <Trouble of={problem} />
          {problem === undefined && <Skeleton rows={6} />}
        </>
      ) : shown === "history" ? (
        <Minutes id={id} />
      ) : shown === "look" ? (
        <Look id={id} name={zone.name} message={zone.message} />
      ) : shown === "change" ? (
        <Change zone={zone} done={done} />
      ) : (
        <div class="zone">
          <div class="zone-live">
            <Live zone={zone} live={data} />
          </div>
          {wide.value && <Change zone={zone} done={done} />}
        </div>
      )}
    </>
  );
}

function Live({ zone, live }: { zone: Zone; live: ZoneLive }) {
  const now = new Date();
  const limit = zone.entry_limit_per_minute;
  const eta = zone.estimated_seconds;
  const at = live.slots.map((slot) => Date.parse(slot.at) / 1_000);
  const told = live.eta.map((sample) => Date.parse(sample.at) / 1_000);
  const median = medianError(live.eta);
  return (
    <>
      <Figures
        of={[
          { name: t("zone.state"), value: <State of={zone.state} />, note: stateNote(zone, now) },
          { name: t("now.waiting"), value: count(zone.waiting), note: <bdi>{zone.state === "waiting" ? paceSentence(zone, zone, now).text : ""}</bdi> },
          {
            name: t("now.entered"),
            value: (
              <>
                {count(zone.entered_last_minute)} <span class="soft">/ {limit === null ? "∞" : count(limit)}</span>
              </>
            ),
            note: <Bar part={zone.entered_last_minute} whole={limit} />,
          },
          { name: t("zone.eta"), value: eta === null ? "–" : span(eta), note: eta === null ? t("zone.eta_unknown") : t("zone.eta_at", { at: moment(new Date(now.getTime() + eta * 1_000), now) }) },
          { name: t("zone.active"), value: count(zone.active), note: zone.active_limit === null ? t("zone.active_free") : t("zone.active_limit_note", { n: zone.active_limit }) },
        ]}
      />
      {zone.message !== null && (
        <p class="message">
          <span class="soft">{t("zone.message_now")}</span> <Words text={zone.message} lines={3} />
        </p>
      )}
      <div class="charts">
        <Chart
          title={t("zone.chart.entered", { span: span(zone.slot_seconds) })}
          fine
          at={at}
          series={[
            { name: t("zone.chart.entered_name"), values: live.slots.map((slot) => slot.entered), color: "ink", shape: "bars" },
            ...(live.slot_quota === null ? [] : [{ name: t("zone.chart.quota"), values: live.slots.map(() => live.slot_quota), color: "mark" as const, shape: "limit" as const }]),
          ]}
        />
        <Chart title={t("zone.chart.waiting")} fine at={at} series={[{ name: t("now.waiting"), values: live.slots.map((slot) => slot.waiting), color: "ink", shape: "area" }]} />
        <Chart title={t("zone.chart.left")} fine at={at} series={[{ name: t("zone.chart.left_name"), values: live.slots.map((slot) => slot.left), color: "soft", shape: "bars" }]} />
        <Chart
          title={t("zone.chart.eta")}
          fine
          at={told}
          show={span}
          series={[
            { name: t("zone.chart.told"), values: live.eta.map((sample) => sample.told), color: "soft", shape: "line" },
            { name: t("zone.chart.kept"), values: live.eta.map((sample) => sample.kept), color: "mark", shape: "dots" },
          ]}
        />
      </div>
      {median !== null && <p class="soft small">{t("zone.eta_error", { n: live.eta.length, percent: Math.round(median * 100) })}</p>}
    </>
  );
}

/** How far off what was told was, in the middle of the samples. */
export function medianError(samples: { told: number; kept: number }[]): number | null {
  const errors = samples.filter((sample) => sample.kept > 0).map((sample) => Math.abs(sample.told - sample.kept) / sample.kept).sort((a, b) => a - b);
  return errors[Math.floor((errors.length - 1) / 2)] ?? null;
}

function stateNote(zone: Zone, now: Date): string {
  if (zone.state === "not_open" && zone.opens_at !== null) return t("zone.opens_at_note", { at: moment(new Date(zone.opens_at), now) });
  if (zone.state === "waiting" && zone.closes_at !== null) return t("zone.closes_at_note", { at: moment(new Date(zone.closes_at), now) });
  return t(`state.${zone.state}.help`);
}

function Change({ zone, done }: { zone: Zone; done: (zone?: Zone) => void }) {
  const allowed = may("operator");
  const ids = useIds(allowed);
  return (
    <Panel title={t("zone.change")} class="zone-change">
      <SettingsForm<Zone>
        of="zone"
        id={zone.id}
        fields={ZONE_FIELDS}
        view={zone}
        words={(before, after) => zoneWords(before as unknown as ZoneSettings, after as unknown as ZoneSettings, zone, new Date())}
        put={putZone(zone.id)}
        reread={() => admin<Zone>("GET", path("zones", zone.id))}
        onDone={done}
        ids={ids}
        allowed={allowed}
      />
    </Panel>
  );
}

function Acts({ zone, done }: { zone: Zone; done: (zone?: Zone) => void }) {
  const [open, setOpen] = useState<"pause" | "resume" | "reset" | "message" | "delete">();
  const shut = () => setOpen(undefined);
  const post = async (verb: string) => done(await admin<Zone>("POST", path("zones", zone.id, verb)));
  const put = putZone(zone.id);
  return (
    <>
      {zone.paused ? (
        <button type="button" class="button primary" onClick={() => setOpen("resume")}>
          {t("zone.resume")}
        </button>
      ) : (
        <button type="button" class="button" onClick={() => setOpen("pause")}>
          {t("zone.pause")}
        </button>
      )}
      <button type="button" class="button" onClick={() => setOpen("message")}>
        {t("zone.message_act")}
      </button>
      <UndoButton
        of="zone"
        id={zone.id}
        revision={zone.revision}
        said={(undo) =>
          undo.by === "settings"
            ? zoneWords(zone, undo.settings as unknown as ZoneSettings, zone, new Date())
            : undo.by === "resume"
              ? resumeWords(zone, zone, new Date())
              : pauseWords(zone)
        }
        put={(settings, revision) => put(settings, revision)}
        onDone={() => done()}
      />
      {may("admin") && (
        <button type="button" class="button danger-quiet" onClick={() => setOpen("reset")}>
          {t("zone.reset")}
        </button>
      )}
      {zone.waiting === 0 && zone.active === 0 && (
        <button type="button" class="button danger-quiet" onClick={() => setOpen("delete")}>
          {t("delete")}
        </button>
      )}
      {open === "pause" && <Confirm title={t("zone.pause_title")} said={pauseWords(zone)} yes={t("zone.pause")} onClose={shut} act={() => post("pause")} />}
      {open === "resume" && <Confirm title={t("zone.resume_title")} said={resumeWords(zone, zone, new Date())} yes={t("zone.resume")} onClose={shut} act={() => post("resume")} />}
      {open === "reset" && <Confirm title={t("zone.reset_title")} said={resetWords(zone)} yes={t("zone.reset")} type={zone.id} danger onClose={shut} act={() => post("reset")} />}
      {open === "delete" && (
        <Confirm
          title={t("zone.delete_title")}
          said={[{ text: t("zone.delete_text"), grave: true }]}
          yes={t("delete")}
          type={zone.id}
          danger
          onClose={shut}
          act={async () => {
            await admin("DELETE", path("zones", zone.id));
            window.location.hash = "#/";
          }}
        />
      )}
      {open === "message" && <Message zone={zone} onClose={shut} send={async (message) => done(await put({ ...pick(ZONE_FIELDS, zone), message }, zone.revision))} />}
    </>
  );
}

function Message({ zone, onClose, send }: { zone: Zone; onClose: () => void; send: (message: string | null) => Promise<void> }) {
  const [text, setText] = useState(zone.message ?? "");
  const long = length(text.trim());
  return (
    <Confirm
      title={t("zone.message_title")}
      said={[{ text: t("zone.message_text", { n: zone.waiting }), grave: false }]}
      yes={t(text.trim() === "" ? "zone.message_clear" : "zone.message_send")}
      possible={long <= 200}
      onClose={onClose}
      act={() => send(text.trim() === "" ? null : text.trim())}
    >
      <div class="field">
        <label for="message-text">{t("zone.message")}</label>
        <textarea id="message-text" rows={3} dir="auto" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        <p class={long > 200 ? "help wrong" : "help"}>{t("form.length", { length: long, most: 200 })}</p>
      </div>
      {zone.waiting === 0 && <Note tone="plain" text={t("zone.message_nobody")} />}
    </Confirm>
  );
}
