// Whether there is room for two things side by side.
import { signal } from "@preact/signals";

const room = window.matchMedia("(min-width: 1280px)");
export const wide = signal(room.matches);
room.addEventListener("change", () => (wide.value = room.matches));
