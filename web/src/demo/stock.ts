// The stock of what is looked at, as the server pushes it.
import { signal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { offers, stock, type Offer, type Stock } from "@bunho/client";
import { open } from "./calls.ts";

const GLANCE_MS = 10_000;
const known = new Map<string, Signal<Stock | undefined>>();

export function stockOf(offer: string): Signal<Stock | undefined> {
  const found = known.get(offer) ?? signal<Stock | undefined>(undefined);
  known.set(offer, found);
  return found;
}

/** Follows an offer's stock for as long as it is shown. */
export function useStock(offer: string): Stock | undefined {
  useEffect(() => {
    const ending = new AbortController();
    void (async () => {
      for await (const now of stock(open, offer, { signal: ending.signal })) stockOf(offer).value = now;
    })().catch(() => undefined);
    return () => ending.abort();
  }, [offer]);
  return stockOf(offer).value;
}

/** Looks at all of them now and then: browsers allow six connections to one host, too few for a stream each. */
export function useGlance(): void {
  useEffect(() => {
    const look = () => {
      if (document.hidden) return;
      const shown = (all: Offer[]) => {
        for (const one of all) stockOf(one.id).value = one;
      };
      void offers(open).then(shown, () => undefined);
    };
    look();
    const timer = setInterval(look, GLANCE_MS);
    return () => clearInterval(timer);
  }, []);
}
