// When to ask again.
import { Problem } from "./problem.ts";

const FIRST_MS = 1_000;
const MOST_MS = 30_000;

/** After failures: twice as long each time, spread over half of it so that a crowd that failed together does not return together; never before the server
 * said. `failures` counts from 1. */
export function backOffMs(failures: number, error?: unknown): number {
  const most = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 10));
  const own = most * (0.5 + Math.random() / 2);
  const told = error instanceof Problem ? (error.retryAfterMs ?? 0) : 0;
  return told === 0 ? own : Math.max(own, told * (1 + Math.random() / 4));
}

/** After an answer: as told, and up to a twentieth later, so that those who came in one second do not ask in one second for ever. */
export function pollMs(pollingPeriod: number): number {
  return pollingPeriod * (1 + Math.random() / 20);
}

/** Sleeps, or ends early when the page is looked at again or the network is back; rejects when aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((done, failed) => {
    const page = typeof document === "undefined" ? undefined : document;
    const end = (finish: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      page?.removeEventListener("visibilitychange", seen);
      if (page) removeEventListener("online", wake);
      finish();
    };
    const wake = () => end(done);
    const seen = () => {
      if (!document.hidden) wake();
    };
    const abort = () => end(() => failed(signal?.reason as Error));
    const timer = setTimeout(wake, ms);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    page?.addEventListener("visibilitychange", seen);
    if (page) addEventListener("online", wake);
  });
}
