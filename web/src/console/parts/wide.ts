// Whether there is room for two things side by side. While a dialog is open the page under it stays as it is: turning a phone, or a window that is
// pulled narrower, must not take away what somebody is about to confirm.
import { effect, signal } from "@preact/signals";

export const wide = signal(false);
/** Dialogs that are open. */
export const dialogs = signal(0);

const query = window.matchMedia("(min-width: 1280px)");
const room = signal(query.matches);
query.addEventListener("change", () => (room.value = query.matches));

effect(() => {
  const has = room.value;
  if (dialogs.value === 0) wide.value = has;
});
