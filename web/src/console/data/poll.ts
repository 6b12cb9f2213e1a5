// What is asked again and again, and what is asked page by page.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { admin, link, query, Refused, Unreachable } from "./api.ts";
import { session, signedIn } from "./session.ts";

export interface Polled<T> {
  data: T | undefined;
  problem: Error | undefined;
  refresh: () => void;
}

/** Waits between tries while the server is away, milliseconds. */
const AWAY_MS = [1_000, 2_000, 4_000, 8_000];

/** What is at `path`, asked every `everyMs`; 0: once. Asks nothing while nobody looks or nobody is signed in, and at once when that ends. */
export function usePolled<T>(path: string | null, everyMs: number): Polled<T> {
  const [state, setState] = useState<{ path: string | null; data?: T; problem?: Error }>({ path });
  const asked = useRef<() => void>(() => undefined);
  const again = signedIn.value;
  useEffect(() => {
    if (path === null) return;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let away = 0;
    let busy = false;
    const plan = (ms: number) => {
      clearTimeout(timer);
      timer = setTimeout(() => void look(), ms);
    };
    const look = async () => {
      clearTimeout(timer);
      if (busy || document.hidden || session.value.is !== "open") return;
      busy = true;
      try {
        const data = await admin<T>("GET", path, { stop: stop.signal });
        away = 0;
        setState({ path, data });
      } catch (error) {
        if (stop.signal.aborted) return;
        const problem = error instanceof Error ? error : new Error(String(error));
        // What was last seen stays in sight; the head of the page says that the server is away.
        setState((before) => (before.path === path && before.data !== undefined ? { path, data: before.data, problem } : { path, problem }));
        if (error instanceof Unreachable) away += 1;
        if (error instanceof Refused && error.status === 404) return;
      } finally {
        busy = false;
      }
      if (away > 0) plan(AWAY_MS[Math.min(away, AWAY_MS.length) - 1] ?? 8_000);
      else if (everyMs > 0) plan(everyMs);
    };
    asked.current = () => void look();
    const woken = () => {
      if (!document.hidden) void look();
    };
    document.addEventListener("visibilitychange", woken);
    window.addEventListener("online", woken);
    void look();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", woken);
      window.removeEventListener("online", woken);
    };
  }, [path, everyMs, again]);
  const refresh = useCallback(() => asked.current(), []);
  const current = state.path === path;
  return { data: current ? state.data : undefined, problem: current ? state.problem : undefined, refresh };
}

export interface Pages<Row> {
  rows: Row[] | undefined;
  more: (() => void) | null;
  busy: boolean;
  problem: Error | undefined;
  refresh: () => void;
}

/** A list that comes in pages, each with the cursor of the next. */
export function usePages<Row>(path: string | null, list: string, values: Record<string, string>): Pages<Row> {
  const [state, setState] = useState<{ rows?: Row[]; cursor: string | null; problem?: Error }>({ cursor: null });
  const [busy, setBusy] = useState(false);
  const [round, setRound] = useState(0);
  const asked = `${path ?? ""}${query(values)}`;
  const again = signedIn.value;
  const latest = useRef("");
  const load = useCallback(
    async (cursor: string | null, before: Row[]) => {
      if (path === null) return;
      latest.current = asked;
      setBusy(true);
      try {
        const answer = await admin<Record<string, unknown>>("GET", `${path}${query({ ...values, cursor })}`);
        if (latest.current !== asked) return;
        setState({ rows: [...before, ...(answer[list] as Row[])], cursor: (answer["next_cursor"] as string | null | undefined) ?? null });
      } catch (error) {
        if (latest.current !== asked) return;
        setState({ rows: before, cursor, problem: error instanceof Error ? error : new Error(String(error)) });
      } finally {
        setBusy(false);
      }
    },
    [asked, list],
  );
  const up = link.value.up;
  useEffect(() => {
    if (up && session.value.is === "open") void load(null, []);
  }, [load, round, again, up]);
  const { rows, cursor, problem } = state;
  return { rows, busy, problem, more: cursor === null ? null : () => void load(cursor, rows ?? []), refresh: () => setRound((n) => n + 1) };
}
