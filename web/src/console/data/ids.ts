// Ids of what there is, for fields that name another thing.
import { usePolled } from "./poll.ts";

interface Named {
  id: string;
  app: string;
}

export function useIds(wanted: boolean): Record<"zones" | "offers" | "apps", string[]> {
  const zones = usePolled<{ zones: Named[] }>(wanted ? "zones" : null, 0).data?.zones ?? [];
  const offers = usePolled<{ offers: Named[] }>(wanted ? "offers" : null, 0).data?.offers ?? [];
  return {
    zones: zones.map((zone) => zone.id),
    offers: offers.map((offer) => offer.id),
    apps: [...new Set([...zones, ...offers].map((one) => one.app))],
  };
}
