// The demo: three small shops that are real clients of the public API.
import "./style.css";
import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { Icon } from "./art.tsx";
import { Calls, Mine } from "./aside.tsx";
import { away } from "./calls.ts";
import { Coupon } from "./coupon.tsx";
import { keepWatching } from "./crowd.ts";
import { keepLooking } from "./mine.ts";
import { Shop } from "./shop.tsx";
import { Stay } from "./stay.tsx";
import { goOn } from "./visit.ts";
import { choose, language, languages, t } from "./words.ts";

const scenes = { shop: Shop, stay: Stay, coupon: Coupon } as const;
type Scene = keyof typeof scenes;
const named = (): Scene => {
  const name = location.hash.slice(1);
  return name in scenes ? (name as Scene) : "shop";
};
const shown = signal<Scene>(named());
addEventListener("hashchange", () => (shown.value = named()));

function Page() {
  const name = shown.value;
  const Scene = scenes[name];
  useEffect(() => scrollTo({ top: 0 }), [name]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        {t("skip")}
      </a>
      <header class="top">
        <p class="logo">
          <span class="stamp" lang="ko">
            번호
          </span>{" "}
          {t("title")}
        </p>
        <div class="languages" role="group" aria-label={t("language")}>
          {languages.map(([id, label]) => (
            <button key={id} type="button" lang={id} aria-pressed={language.value === id} onClick={() => choose(id)}>
              {label}
            </button>
          ))}
        </div>
      </header>
      <nav aria-label={t("places")}>
        {(Object.keys(scenes) as Scene[]).map((one) => (
          <a key={one} href={`#${one}`} aria-current={one === name ? "page" : undefined}>
            <Icon name={one} />
            {t(`nav_${one}`)}
          </a>
        ))}
      </nav>
      <p class={away.value ? "away" : "away empty"} role="status">
        {away.value ? t("away") : ""}
      </p>
      <div class="room">
        <main id="main" tabIndex={-1}>
          <Scene />
        </main>
        <aside>
          <Mine />
          <Calls />
        </aside>
      </div>
      <footer class="soft">{t("tagline")}</footer>
    </>
  );
}

effect(() => {
  document.documentElement.lang = language.value;
  document.title = t("title");
});
keepLooking();
keepWatching();
goOn();
const root = document.getElementById("app");
if (root) render(<Page />, root);
