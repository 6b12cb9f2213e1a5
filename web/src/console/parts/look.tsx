// How a zone's waiting page looks and what it says, with the page itself beside the form.
import { useEffect, useRef, useState } from "preact/hooks";
import { admin, path, Refused } from "../data/api.ts";
import { usePolled } from "../data/poll.ts";
import { may } from "../data/session.ts";
import type { PageLook } from "../data/types.ts";
import { language, t, word } from "../language.ts";
import { Note, Panel, Skeleton, Trouble } from "./basic.tsx";

const LOGO_BYTES_MAX = 32 * 1_024;
const TALES = ["en", "ko"] as const;
const COLORS = { paper: "#faf8f3", slip: "#ffffff", ink: "#1c1b19", mark: "#b93521" } as const;
/** States that the preview can show. */
const STATES = ["waiting", "not_open", "paused", "closed", "sold_out"] as const;

// The waiting page's own strings name the texts that can be replaced, and are what stands there otherwise.
const STRINGS = Object.fromEntries(
  Object.entries(import.meta.glob<Record<string, string>>("../../wait/strings/*.json", { eager: true, import: "default" })).map(([file, strings]) => [file.slice(-7, -5), strings]),
);

type Draft = Omit<PageLook, "revision">;

const without = ({ title, logo, colors, texts, return_to }: PageLook): Draft => ({ title, logo, colors, texts, return_to });

export function Look({ id, name, message }: { id: string; name: string; message: string | null }) {
  const at = `${path("zones", id)}/page`;
  const { data, problem, refresh } = usePolled<PageLook>(at, 0);
  const [draft, setDraft] = useState<Draft>();
  const [trouble, setTrouble] = useState<Error>();
  const [done, setDone] = useState(false);
  const [busy, setBusy] = useState(false);
  if (data === undefined) return problem === undefined ? <Skeleton /> : <Trouble of={problem} />;
  const look = draft ?? without(data);
  const allowed = may("operator");
  const change = (part: Partial<Draft>) => {
    setDone(false);
    setDraft({ ...look, ...part });
  };
  const save = async () => {
    setBusy(true);
    try {
      await admin("PUT", at, { body: look, revision: data.revision });
      setDraft(undefined);
      setTrouble(undefined);
      setDone(true);
    } catch (error) {
      setTrouble(error instanceof Error ? error : new Error(String(error)));
      if (!(error instanceof Refused)) return;
    } finally {
      setBusy(false);
      refresh();
    }
  };
  return (
    <div class="look">
      <Panel title={t("look.title")}>
        <p class="soft">{t("look.intro")}</p>
        {!allowed && <Note tone="plain" text={t("form.viewer")} />}
        <form
          class="settings"
          onSubmit={(event) => {
            event.preventDefault();
            void save();
          }}
        >
          <LookFields look={look} change={change} locked={!allowed} name={name} />
          <Trouble of={trouble} />
          {done && <Note tone="good" text={t("form.done")} />}
          {allowed && (
            <div class="actions sticky">
              <button type="submit" class="button primary" disabled={draft === undefined || busy}>
                {t(busy ? "working" : "look.save")}
              </button>
              <button type="button" class="button" disabled={draft === undefined} onClick={() => setDraft(undefined)}>
                {t("form.drop")}
              </button>
            </div>
          )}
        </form>
      </Panel>
      <Preview id={id} look={look} message={message} />
    </div>
  );
}

interface PartProps {
  look: Draft;
  change: (part: Partial<Draft>) => void;
  locked: boolean;
}

function LookFields({ look, change, locked, name }: PartProps & { name: string }) {
  const [places, setPlaces] = useState<string>();
  const title = (tale: string, text: string) => {
    const next = { ...look.title, [tale]: text };
    const some = Object.entries(next).filter(([, value]) => value !== "");
    change({ title: some.length === 0 ? null : Object.fromEntries(some) });
  };
  return (
    <>
      <fieldset class="fieldset">
        <legend>{t("look.titles")}</legend>
        <div class="fields">
          {TALES.map((tale) => (
            <div class="field" key={tale}>
              <label for={`title-${tale}`}>{t(`look.in.${tale}`)}</label>
              <input id={`title-${tale}`} lang={tale} dir="auto" disabled={locked} placeholder={name.slice(0, 60)} value={look.title?.[tale] ?? ""} onInput={(event) => title(tale, event.currentTarget.value)} />
            </div>
          ))}
        </div>
      </fieldset>
      <Logo look={look} change={change} locked={locked} />
      <fieldset class="fieldset">
        <legend>{t("look.colors")}</legend>
        <label class="switch">
          <input type="checkbox" disabled={locked} checked={look.colors !== null} onChange={(event) => change({ colors: event.currentTarget.checked ? { ...COLORS } : null })} /> {t("look.own_colors")}
        </label>
        {look.colors !== null && (
          <div class="colors">
            {(Object.keys(COLORS) as (keyof typeof COLORS)[]).map((one) => (
              <label key={one} class="color">
                <input type="color" disabled={locked} value={look.colors?.[one] ?? COLORS[one]} onInput={(event) => change({ colors: { ...COLORS, ...look.colors, [one]: event.currentTarget.value } })} />
                {t(`look.color.${one}`)}
              </label>
            ))}
          </div>
        )}
      </fieldset>
      <fieldset class="fieldset">
        <legend>{t("look.return_to")}</legend>
        <div class="field">
          <label for="return-to">{t("look.return_to.label")}</label>
          <textarea
            id="return-to"
            rows={3}
            disabled={locked}
            spellcheck={false}
            value={places ?? look.return_to.join("\n")}
            onInput={(event) => {
              setPlaces(event.currentTarget.value);
              change({ return_to: event.currentTarget.value.split(/\s+/).filter((line) => line !== "") });
            }}
          />
          <p class="help">{t("look.return_to.help")}</p>
        </div>
      </fieldset>
      <Texts look={look} change={change} locked={locked} />
    </>
  );
}

function Logo({ look, change, locked }: PartProps) {
  const [wrong, setWrong] = useState<string>();
  const choose = async (file: File | undefined) => {
    if (file === undefined) return;
    const bad = !/^image\/(png|jpeg|webp)$/.test(file.type) ? t("look.logo_kind") : file.size > LOGO_BYTES_MAX ? t("look.logo_large", { n: Math.ceil(file.size / 1_024) }) : undefined;
    setWrong(bad);
    if (bad !== undefined) return;
    const bytes = new Uint8Array(await file.arrayBuffer());
    change({ logo: `data:${file.type};base64,${btoa(String.fromCharCode(...bytes))}` });
  };
  return (
    <fieldset class="fieldset">
      <legend>{t("look.logo")}</legend>
      <div class="logo-row">
        {look.logo !== null && <img class="logo" src={look.logo} alt={t("look.logo")} />}
        <label class="small-button file">
          {t("look.logo_choose")}
          <input type="file" accept="image/png,image/jpeg,image/webp" disabled={locked} onChange={(event) => void choose(event.currentTarget.files?.[0])} />
        </label>
        {look.logo !== null && (
          <button type="button" class="small-button" disabled={locked} onClick={() => change({ logo: null })}>
            {t("look.logo_none")}
          </button>
        )}
      </div>
      <p class={wrong === undefined ? "help" : "help wrong"} role={wrong === undefined ? undefined : "alert"}>
        {wrong ?? t("look.logo_help")}
      </p>
    </fieldset>
  );
}

function Texts({ look, change, locked }: PartProps) {
  const keys = Object.keys(STRINGS["en"] ?? {});
  if (keys.length === 0) return null;
  const set = (tale: string, key: string, text: string) => {
    const next = { ...look.texts[tale], [key]: text };
    change({ texts: { ...look.texts, [tale]: Object.fromEntries(Object.entries(next).filter(([, value]) => value !== "")) } });
  };
  return (
    <details class="fieldset">
      <summary>{t("look.texts")}</summary>
      <p class="help">{t("look.texts_help")}</p>
      {keys.map((key) => (
        <div class="text-pair" key={key}>
          <code>{key}</code>
          {TALES.map((tale) => (
            <input
              key={tale}
              lang={tale}
              dir="auto"
              aria-label={`${key} · ${t(`look.in.${tale}`)}`}
              disabled={locked}
              placeholder={STRINGS[tale]?.[key] ?? ""}
              value={look.texts[tale]?.[key] ?? ""}
              onInput={(event) => set(tale, key, event.currentTarget.value)}
            />
          ))}
        </div>
      ))}
    </details>
  );
}

function Preview({ id, look, message }: { id: string; look: Draft; message: string | null }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const [state, setState] = useState<string>("waiting");
  const [tale, setTale] = useState<string>(language.value);
  const [ready, setReady] = useState(0);
  useEffect(() => {
    frame.current?.contentWindow?.postMessage({ bunho: "preview", page: look, message, state, lang: tale }, window.location.origin);
  }, [look, state, tale, ready, message]);
  return (
    <Panel
      title={t("look.preview")}
      class="look-preview"
      aside={
        <>
          <label>
            <span class="hidden">{t("look.preview_state")}</span>
            <select value={state} onChange={(event) => setState(event.currentTarget.value)}>
              {STATES.map((one) => (
                <option key={one} value={one}>
                  {word("state", one)}
                </option>
              ))}
            </select>
          </label>
          <label>
            <span class="hidden">{t("language")}</span>
            <select value={tale} onChange={(event) => setTale(event.currentTarget.value)}>
              {TALES.map((one) => (
                <option key={one} value={one}>
                  {t(`look.in.${one}`)}
                </option>
              ))}
            </select>
          </label>
        </>
      }
    >
      <iframe ref={frame} class="preview-frame" title={t("look.preview")} src={`/wait/${encodeURIComponent(id)}?preview=1`} onLoad={() => setReady((n) => n + 1)} />
    </Panel>
  );
}
