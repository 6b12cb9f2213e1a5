// Where one is: in the hash, so that reloading, going back and sending a link work without the server knowing of it.
import { signal } from "@preact/signals";

export interface Route {
  parts: string[];
  query: URLSearchParams;
}

export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/").filter((part) => part !== "").map(decoded);
  return { parts, query: new URLSearchParams(query) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = signal<Route>({ parts: [], query: new URLSearchParams() });

export function href(parts: string[], query: Record<string, string> = {}): string {
  const some = Object.entries(query).filter(([, value]) => value !== "");
  const asked = some.length === 0 ? "" : `?${new URLSearchParams(some).toString()}`;
  return `#/${parts.map(encodeURIComponent).join("/")}${asked}`;
}

export function go(to: string): void {
  window.location.hash = to.slice(1);
}

/** Changes what is asked of the page that one is on, without a step in the history. */
export function ask(query: Record<string, string>): void {
  window.history.replaceState(null, "", href(route.value.parts, query));
  route.value = parse(window.location.hash);
}

export function follow(): void {
  const look = () => (route.value = parse(window.location.hash));
  window.addEventListener("hashchange", look);
  look();
}
