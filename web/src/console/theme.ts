// Light, dark, or as the system says.
import { computed, effect, signal } from "@preact/signals";
import { load, store } from "./store.ts";

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

export const theme = signal<Theme>("auto");
const systemDark = signal(false);
export const dark = computed(() => (theme.value === "auto" ? systemDark.value : theme.value === "dark"));

export function beginTheme(): void {
  const stored = load("theme");
  theme.value = THEMES.find((one) => one === stored) ?? "auto";
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const look = () => (systemDark.value = system.matches);
  system.addEventListener("change", look);
  look();
  effect(() => {
    document.documentElement.dataset["theme"] = dark.value ? "dark" : "light";
  });
}

export function paint(chosen: Theme): void {
  store("theme", chosen);
  theme.value = chosen;
}
