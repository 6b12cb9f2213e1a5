// Whether there is room for two things side by side. While a dialog is open the page under it stays as it is: turning a phone, or a window that is
// pulled narrower, must not take away what somebody is about to confirm.
import { effect, signal } from "@preact/signals";

/** Dialogs that are open. */
export const dialogs = signal(0);

const query = window.matchMedia("(min-width: 1280px)");
const room = signal(query.matches);
export const wide = signal(query.matches);

/** One dialog may follow another at once. */
const BETWEEN_DIALOGS_MS = 300;
query.addEventListener("change", () => (room.value = query.matches));

effect(() => {
  const has = room.value;
  if (dialogs.value > 0) return;
  const timer = setTimeout(() => (wide.value = has), BETWEEN_DIALOGS_MS);
  return () => clearTimeout(timer);
});
