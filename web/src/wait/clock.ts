// The server's time, as well as this page can know it.

/**
 * Answers carry the server's time in whole seconds. When one was written it was, there, within that second, and here, between asking and hearing: so each
 * answer bounds the difference of the clocks, and a few bound it closely.
 */
export class ServerClock {
  private low = -Infinity;
  private high = Infinity;

  heard(date: string | null, sent: number, came: number): void {
    const second = Date.parse(date ?? "");
    if (Number.isNaN(second)) return;
    const low = second - came;
    const high = second + 1000 - sent;
    // A clock was set, here or there: what was known before is no more.
    const same = low <= this.high && high >= this.low;
    this.low = same ? Math.max(low, this.low) : low;
    this.high = same ? Math.min(high, this.high) : high;
  }

  now(here = Date.now()): number {
    return Number.isFinite(this.low) ? here + (this.low + this.high) / 2 : here;
  }
}

/** Time until an event, as `2 d 03:04:05` or `04:05`; `days` has `{n}` for their number. */
export function countdown(ms: number, days: string): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  const clock = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  const hours = Math.floor(seconds / 3600);
  if (hours === 0) return clock;
  const rest = `${two(hours % 24)}:${clock}`;
  return hours < 24 ? rest : `${days.replace("{n}", String(Math.floor(hours / 24)))} ${rest}`;
}
