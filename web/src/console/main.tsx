// The console: everything that an operator sees and does. Pages are in pages/, what they are made of in parts/, the way to the server in data/.
import { render } from "preact";
import { App } from "./app.tsx";
import { guardLeaving } from "./data/drafts.ts";
import { follow } from "./data/route.ts";
import { recall } from "./data/session.ts";
import { beginLanguage } from "./language.ts";
import { beginTheme } from "./theme.ts";
import "../style/tokens.css";
import "./style/theme.css";
import "./style/base.css";
import "./style/frame.css";
import "./style/forms.css";
import "./style/table.css";
import "./style/pages.css";

beginLanguage();
beginTheme();
follow();
guardLeaving();

// A slash goes to the search of the page that one is on, as in most tools that people who type use.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement) return;
  const search = document.querySelector<HTMLElement>("[data-search]");
  if (search === null || document.querySelector("dialog[open]") !== null) return;
  event.preventDefault();
  search.focus();
});

// Going to another page begins at its heading.
let path = window.location.hash.split("?")[0];
window.addEventListener("hashchange", () => {
  const next = window.location.hash.split("?")[0];
  if (next === path) return;
  path = next;
  window.scrollTo(0, 0);
  requestAnimationFrame(() => document.querySelector<HTMLElement>("[data-heading]")?.focus({ preventScroll: true }));
});

const root = document.getElementById("app");
if (root !== null) render(<App />, root);
void recall();
