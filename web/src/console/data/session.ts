// Who uses the console. A session that ends under an open page leaves the page as it is: what was typed stays, and one signs in over it.
import { computed, signal } from "@preact/signals";
import { admin, onUnknown, Refused } from "./api.ts";
import type { Role, Who } from "./types.ts";

export type Session = { is: "unknown" } | { is: "none" } | { is: "open"; who: Who } | { is: "ended"; who: Who };

export const session = signal<Session>({ is: "unknown" });

/** Raised by every sign-in, so that what waits for one asks again. */
export const signedIn = signal(0);

export const who = computed(() => (session.value.is === "open" || session.value.is === "ended" ? session.value.who : null));

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

/** Whether the one who is signed in may do what this role may. */
export function may(role: Role): boolean {
  return who.value !== null && RANK[who.value.role] >= RANK[role];
}

onUnknown(() => {
  const now = session.value;
  if (now.is === "open") session.value = { is: "ended", who: now.who };
});

/** Asks the server who this is; again and again while it cannot be reached, since nothing can be shown before. */
export async function recall(): Promise<void> {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8_000)) {
    try {
      opened(await admin<Who>("GET", "session"));
      return;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) {
        session.value = { is: "none" };
        return;
      }
      await new Promise((done) => setTimeout(done, wait));
    }
  }
}

export async function signIn(credentials: { key: string } | { name: string; password: string; code?: string }): Promise<void> {
  opened(await admin<Who>("POST", "session", { body: credentials }));
}

function opened(who: Who): void {
  session.value = { is: "open", who };
  signedIn.value += 1;
}

export async function signOut(): Promise<void> {
  await admin("DELETE", "session");
  session.value = { is: "none" };
}
