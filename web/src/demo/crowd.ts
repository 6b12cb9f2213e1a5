// The crowd that one may bring, as its server tells of it.
import { signal } from "@preact/signals";
import { NoAnswer, Problem } from "@bunho/client";
import { post, sayProblem } from "./mine.ts";

export const SIZES = [100, 500, 2_000] as const;

export interface Crowd {
  size: number;
  mine: boolean;
  ends_at: string;
  going: boolean;
  /** A letter for each: `.` coming, `w` waiting, `s` slipped away, `l` left, `i` inside, `p` paid, `e` empty-handed. */
  people: string;
}

export const crowd = signal<Crowd | null>(null);
export const calling = signal(false);

const LOOK_MS = 1_000;
const REST_MS = 5_000;

async function look(): Promise<void> {
  // Not recorded: it is a toy of the demo's, and no part of the API.
  const response = await fetch("/demo/api/crowd");
  if (response.ok) crowd.value = ((await response.json()) as { crowd: Crowd | null }).crowd;
}

export async function bring(size: number): Promise<void> {
  if (calling.value) return;
  calling.value = true;
  try {
    crowd.value = (await post<{ crowd: Crowd }>("/crowd", { size })).crowd;
  } catch (error) {
    sayProblem("crowd", error);
  } finally {
    calling.value = false;
  }
}

export async function sendHome(): Promise<void> {
  if (crowd.value) crowd.value = { ...crowd.value, going: true };
  try {
    await post("/crowd", {}, "DELETE");
    await look();
  } catch (error) {
    if (!(error instanceof Problem || error instanceof NoAnswer || error instanceof TypeError)) throw error;
  }
}

export function keepWatching(): void {
  const again = () => {
    const next = () => setTimeout(again, crowd.value ? LOOK_MS : REST_MS);
    if (document.hidden) next();
    else look().then(next, next);
  };
  again();
}

export const count = (people: string, letter: string): number => people.split(letter).length - 1;
