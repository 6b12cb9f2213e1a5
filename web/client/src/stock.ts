// An offer's numbers as they change.
import { problem, request, type Server } from "./http.ts";
import type { CallOptions } from "./line.ts";
import type { Stock } from "./offers.ts";
import { backOffMs, sleep } from "./pace.ts";
import { mayPass, NoAnswer } from "./problem.ts";

/** Silence after which a stream counts as broken: the server says something every 15 s. */
const SILENCE_MS = 40_000;

/**
 * The stock of an offer: the first at once, then each change, at most ten a second. Connects again by itself; ends when aborted (without an error) and throws
 * what asking again cannot mend, such as `unknown_offer`.
 */
export async function* stock(server: Server, offer: string, options: CallOptions = {}): AsyncGenerator<Stock, void, void> {
  const { signal } = options;
  for (let failures = 0; !signal?.aborted; ) {
    try {
      for await (const text of eventData(server, `/v1/offers/${encodeURIComponent(offer)}/stock`, signal)) {
        failures = 0;
        yield JSON.parse(text) as Stock;
      }
    } catch (error) {
      if (signal?.aborted) return;
      if (!mayPass(error)) throw error;
    }
    failures += 1;
    await sleep(backOffMs(failures), signal).catch(() => undefined);
  }
}

/** The `data` of server-sent events, over fetch: the same in browsers and Node.js, and with headers. */
async function* eventData(server: Server, path: string, signal: AbortSignal | undefined): AsyncGenerator<string, void, void> {
  const ending = new AbortController();
  const abort = () => ending.abort();
  signal?.addEventListener("abort", abort);
  let timer = setTimeout(abort, SILENCE_MS);
  try {
    const response = await request(server, "GET", path, { headers: { accept: "text/event-stream" }, signal: ending.signal });
    if (!response.ok) throw problem(response, await response.text());
    const reader = response.body?.getReader();
    const decoder = new TextDecoder();
    let buffered = "";
    for (;;) {
      const read = await reader?.read();
      if (!read || read.done) return;
      clearTimeout(timer);
      timer = setTimeout(abort, SILENCE_MS);
      buffered += decoder.decode(read.value, { stream: true });
      const events = buffered.split(/\r?\n\r?\n/);
      buffered = events.pop() ?? "";
      for (const event of events) {
        const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (lines.length > 0) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } catch (error) {
    if (error instanceof TypeError || ending.signal.aborted) throw new NoAnswer(`GET ${path}: the stream broke`, { cause: error });
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
    ending.abort();
  }
}
