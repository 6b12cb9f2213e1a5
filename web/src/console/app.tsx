// The console's frame: head, ways, the page that the hash names, and what lies over it: a lost connection, an ended session.
import { useEffect, useRef, useState } from "preact/hooks";
import { link } from "./data/api.ts";
import { unsent } from "./data/drafts.ts";
import { route } from "./data/route.ts";
import { session, signOut, who } from "./data/session.ts";
import { seconds } from "./format.ts";
import { language, LANGUAGES, speak, t, word, type Language } from "./language.ts";
import { Access } from "./pages/access.tsx";
import { Audit } from "./pages/audit.tsx";
import { ClaimPage, Claims } from "./pages/claims.tsx";
import { NewOffer, NewZone } from "./pages/new.tsx";
import { Now } from "./pages/now.tsx";
import { OfferPage } from "./pages/offer.tsx";
import { SignIn } from "./pages/signin.tsx";
import { System } from "./pages/system.tsx";
import { WebhookPage, Webhooks } from "./pages/webhooks.tsx";
import { ZonePage } from "./pages/zone.tsx";
import { Empty, Heading, Skeleton, Words } from "./parts/basic.tsx";
import { Boundary } from "./parts/boundary.tsx";
import { Dialog } from "./parts/dialog.tsx";
import { paint, theme, THEMES, type Theme } from "./theme.ts";

export function App() {
  const now = session.value;
  if (now.is === "unknown") {
    return (
      <main class="gate">
        <Lost />
        <Skeleton rows={3} />
      </main>
    );
  }
  if (now.is === "none") return <Gate />;
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.querySelector<HTMLElement>("[data-heading]")?.focus();
        }}
      >
        {t("skip")}
      </a>
      <Head />
      <Lost />
      <main id="main" class="main">
        <Boundary key={route.value.parts.slice(0, 2).join("/")}>
          <Page />
        </Boundary>
      </main>
      {now.is === "ended" && (
        <Dialog title={t("ended.title")} onClose={null}>
          <p>{t(unsent.value > 0 ? "ended.kept" : "ended.text")}</p>
          <SignIn again={now.who} />
        </Dialog>
      )}
    </>
  );
}

function Gate() {
  useEffect(() => {
    document.title = `${t("signin.title")} · Bunho`;
  }, [language.value]);
  return (
    <main class="gate">
      <div class="slip">
        <p class="slip-brand" lang="ko" aria-hidden="true">
          번호
        </p>
        <h1>{t("signin.title")}</h1>
        <SignIn />
        <div class="slip-foot">
          <Choices />
        </div>
      </div>
    </main>
  );
}

const WAYS = [
  ["now", "nav.now", "#/"],
  ["claims", "nav.claims", "#/claims"],
  ["audit", "nav.audit", "#/audit"],
  ["webhooks", "nav.webhooks", "#/webhooks"],
  ["system", "nav.system", "#/system"],
  ["access", "nav.access", "#/access"],
] as const;

function Head() {
  const first = route.value.parts[0] ?? "";
  const here = first === "" || first === "zones" || first === "offers" || first === "new" ? "now" : first;
  const [open, setOpen] = useState(false);
  const menu = useRef<HTMLDivElement>(null);
  useEffect(() => setOpen(false), [route.value]);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !menu.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("keydown", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("keydown", away);
    };
  }, [open]);
  const me = who.value;
  return (
    <header class="head">
      <a class="brand" href="#/">
        <span lang="ko" class="brand-mark" aria-hidden="true">
          번호
        </span>
        <span>Bunho</span>
      </a>
      <nav class="ways" aria-label={t("nav.label")}>
        {WAYS.map(([name, title, to]) => (
          <a key={name} href={to} aria-current={here === name ? "page" : undefined}>
            {t(title)}
          </a>
        ))}
      </nav>
      <div class="me" ref={menu}>
        <button type="button" class="plain-button me-button" aria-expanded={open} aria-haspopup="true" onClick={() => setOpen(!open)}>
          <Words text={me?.name ?? ""} /> <span class="soft">{me === null ? "" : word("role", me.role)}</span> <span aria-hidden="true">▾</span>
        </button>
        {open && (
          <div class="menu">
            <Choices />
            <a href="#/access/me">{t("nav.me")}</a>
            <button type="button" class="plain-button" onClick={() => void signOut().catch(() => undefined)}>
              {t("signout")}
            </button>
          </div>
        )}
      </div>
    </header>
  );
}

function Choices() {
  return (
    <div class="choices">
      <label>
        <span class="soft">{t("language")}</span>
        <select value={language.value} onChange={(event) => speak(event.currentTarget.value as Language)}>
          {Object.entries(LANGUAGES).map(([code, name]) => (
            <option key={code} value={code} lang={code}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        <span class="soft">{t("theme")}</span>
        <select value={theme.value} onChange={(event) => paint(event.currentTarget.value as Theme)}>
          {THEMES.map((one) => (
            <option key={one} value={one}>
              {t(`theme.${one}`)}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}

/** Says that the server is away, since when, and that what one sees is as old. */
function Lost() {
  const state = link.value;
  return (
    <div role="status" class="lost-place">
      {!state.up && (
        <p class="lost">
          <strong>{t("lost.title")}</strong> {t("lost.text", { at: seconds(new Date(state.since)) })}
        </p>
      )}
    </div>
  );
}

function Page() {
  const [kind = "", id = "", tab = ""] = route.value.parts;
  switch (kind) {
    case "":
      return <Now />;
    case "zones":
      return id === "" ? <Now /> : <ZonePage key={id} id={id} tab={tab} />;
    case "offers":
      return id === "" ? <Now /> : <OfferPage key={id} id={id} tab={tab} />;
    case "new":
      return id === "offer" ? <NewOffer /> : <NewZone />;
    case "claims":
      return id === "" ? <Claims /> : <ClaimPage key={id} id={id} />;
    case "webhooks":
      return id === "" ? <Webhooks /> : <WebhookPage key={id} id={id} />;
    case "audit":
      return <Audit />;
    case "system":
      return <System />;
    case "access":
      return <Access tab={id} />;
    default:
      return (
        <>
          <Heading title={t("nowhere.title")} />
          <Empty title={t("nowhere.text")}>
            <a class="button" href="#/">
              {t("nav.now")}
            </a>
          </Empty>
        </>
      );
  }
}
