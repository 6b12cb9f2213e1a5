// What this browser keeps of its place: in localStorage, which all tabs share and hear of; the ticket also in a cookie, which the page for browsers without
// scripts reads. Where both are blocked the ticket stands behind the # of the page's address, so that a reload still keeps the place.
import { randomKey, type Entry } from "@bunho/client";

export interface Kept {
  /** Whoever joins with it twice has one place: two tabs that open at once. */
  key: string;
  token?: string | undefined;
  /** The last answer, and when it came. */
  entry?: Entry | undefined;
  at: number;
  /** The first rank that was shown, and how far the bar has come: it never goes back. */
  start: number;
  best: number;
  /** The place is no more. */
  end?: "gone" | "left" | undefined;
}

export const fresh = (): Kept => ({ key: randomKey(), at: 0, start: 0, best: 0 });

/** After so long a ticket is no reason to say that it is gone: somebody comes for the first time today. */
const FORGOTTEN_MS = 60 * 60 * 1000;
const COOKIE = "bunho_ticket";
/** Two tabs that open at once hear of each other's storage late, and of cookies at once. */
const KEY_COOKIE = "bunho_key";
const FRAGMENT = /^#t=([\w.-]+)$/;

export class Memory {
  private readonly name: string;
  /** Whether storage takes what it is given. */
  private stores = true;

  constructor(zone: string) {
    this.name = `bunho:${zone}`;
  }

  /** What is kept, or a new beginning. */
  load(now: number): Kept {
    const key = cookie(KEY_COOKIE);
    let kept = this.read();
    // A tab that opened just before has begun anew; what it stored has not come here yet.
    if (key !== undefined && kept?.key !== key) kept = { ...fresh(), key };
    kept ??= fresh();
    const over = kept.end !== undefined || (kept.entry?.canEnter && Date.parse(kept.entry.passExpiresAt) < now) === true;
    if (over || (kept.token !== undefined && now - kept.at > FORGOTTEN_MS)) return this.save(fresh());
    // Before anything is asked, so that a tab that opens now finds the key.
    kept.token ??= cookie(COOKIE) ?? FRAGMENT.exec(location.hash)?.[1];
    return this.save(kept);
  }

  /** What other tabs may have written meanwhile. */
  read(): Kept | undefined {
    try {
      return parse(localStorage.getItem(this.name));
    } catch {
      return undefined;
    }
  }

  save(kept: Kept): Kept {
    try {
      localStorage.setItem(this.name, JSON.stringify(kept));
    } catch {
      this.stores = false;
    }
    const token = kept.token ?? "";
    setCookie(KEY_COOKIE, kept.key, 86_400, location.pathname);
    setCookie(COOKIE, token, token === "" ? 0 : 86_400, location.pathname);
    if (!this.stores && cookie(COOKIE) !== token) history.replaceState(null, "", token === "" ? location.pathname + location.search : `#t=${token}`);
    return kept;
  }

  /** Calls with what another tab wrote. */
  onChange(changed: (kept: Kept) => void): void {
    addEventListener("storage", (event) => {
      if (event.key !== this.name) return;
      const kept = parse(event.newValue);
      if (kept) changed(kept);
    });
  }
}

function parse(text: string | null): Kept | undefined {
  try {
    const kept = JSON.parse(text ?? "") as Partial<Kept> | null;
    return typeof kept?.key === "string" && typeof kept.at === "number" ? { ...fresh(), ...kept } : undefined;
  } catch {
    return undefined;
  }
}

export function cookie(name: string): string | undefined {
  try {
    return new RegExp(`(?:^|; )${name}=([^;]+)`).exec(document.cookie)?.[1];
  } catch {
    return undefined;
  }
}

export function setCookie(name: string, value: string, seconds: number, path: string): void {
  const secure = location.protocol === "https:" ? ";secure" : "";
  try {
    document.cookie = `${name}=${value};path=${path};max-age=${Math.max(0, Math.floor(seconds))};samesite=lax${secure}`;
  } catch {
    // Blocked: the address carries what it would.
  }
}
