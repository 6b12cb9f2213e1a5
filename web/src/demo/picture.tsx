// The line at the door, a dot for each: who waits, who slips away, who is inside, who has paid, and oneself. Dots walk; where people want less motion, they
// are simply where they are.
import { useEffect, useRef } from "preact/hooks";
import { count, crowd } from "./crowd.ts";
import { language, t } from "./words.ts";
import { visit } from "./visit.ts";

/** Who slipped away is counted by the server until they are missed. */
const MISSED_AFTER_MS = 20_000;
const ME = -1;
const DOOR = 0.24;
/** Room for one dot: few sizes, so that a line that closes up does not keep growing. */
const CELLS = [18, 14, 11, 9, 8];

interface Dot {
  x: number;
  y: number;
  toX: number;
  toY: number;
  kind: string;
  /** 1: there, 0: gone. */
  shown: number;
  leaving: boolean;
  since: number;
}

export function Picture() {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const found = canvas.current;
    return found ? animate(found) : undefined;
  }, []);
  const here = visit.value;
  const people = crowd.value?.people ?? "";
  const inside = count(people, "i") + (here.at === "inside" ? 1 : 0);
  const label =
    here.at === "waiting"
      ? t("picture_you", { rank: here.place.rank, behind: here.place.behind, inside })
      : t("picture", { waiting: count(people, "w"), inside });
  return (
    <figure class="picture">
      <canvas ref={canvas} role="img" aria-label={label} />
      <figcaption class="legend">
        <span class="dot dot-waiting">{t("legend_waiting")}</span>
        <span class="dot dot-silent">{t("legend_silent")}</span>
        <span class="dot dot-paid">{t("legend_paid")}</span>
        {here.at === "waiting" || here.at === "inside" ? <span class="dot dot-me">{t("legend_you")}</span> : null}
      </figcaption>
    </figure>
  );
}

/** Draws until told to end. */
function animate(canvas: HTMLCanvasElement): () => void {
  const dots = new Map<number, Dot>();
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let frame = 0;
  let last = performance.now();
  const draw = (now: number) => {
    const step = calm.matches ? 1 : 1 - Math.exp(-(now - last) / 260);
    last = now;
    const ratio = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    if (pen && width > 0) {
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      const { more, cell } = place(dots, width, height, now);
      for (const dot of dots.values()) {
        dot.x += (dot.toX - dot.x) * step;
        dot.y += (dot.toY - dot.y) * step;
        dot.shown += ((dot.leaving ? 0 : 1) - dot.shown) * step * (dot.leaving ? 0.35 : 1);
      }
      paint(pen, dots, { width, height, more, small: Math.min(4.6, cell * 0.34), now: calm.matches ? 0 : now });
    }
    frame = requestAnimationFrame(draw);
  };
  frame = requestAnimationFrame(draw);
  return () => cancelAnimationFrame(frame);
}

/** A number between 0 and 1 that belongs to somebody. */
const own = (who: number, salt: number): number => {
  const x = Math.sin(who * 127.1 + salt * 311.7) * 43_758.545;
  return x - Math.floor(x);
};

/** Says where everybody is to go. Returns how many stand too far back to be drawn, and the room of one. */
function place(dots: Map<number, Dot>, width: number, height: number, now: number): { more: number; cell: number } {
  const people = crowd.value?.people ?? "";
  const here = visit.value;
  const door = Math.max(92, width * DOOR);
  const line: number[] = [];
  const move = (who: number, kind: string, toX: number, toY: number, leaving = false) => {
    const dot = dots.get(who);
    if (!dot) {
      if (!leaving) dots.set(who, { x: width + 12, y: height * own(who, 5), toX, toY, kind, shown: 0, leaving, since: now });
      return;
    }
    if (dot.kind !== kind) dot.since = now;
    Object.assign(dot, { toX, toY, kind, leaving });
  };
  for (let who = 0; who < people.length; who += 1) {
    const kind = people[who] ?? ".";
    const dot = dots.get(who);
    const missed = dot?.kind === "s" && now - dot.since > MISSED_AFTER_MS;
    if (kind === "w" || (kind === "s" && dot && !missed)) line.push(who);
    else if (kind === "i") move(who, kind, 12 + own(who, 1) * (door - 32), 30 + own(who, 2) * (height - 44));
    else if (dot) move(who, kind, kind === "p" || kind === "e" ? -20 : dot.toX, kind === "p" || kind === "e" ? dot.toY : height + 20, true);
  }
  if (here.at === "waiting") {
    // Those who are no part of the crowd: others who visit, and whoever this page does not know of.
    for (let others = line.length; others < here.place.rank - 1; others += 1) line.push(ME - 1 - others);
    line.splice(here.place.rank - 1, 0, ME);
    for (let at = line.length; at < here.place.rank + here.place.behind; at += 1) line.push(ME - 1 - at);
  }
  const strangers = new Set(line.filter((who) => who < ME));
  if (here.at === "inside") move(ME, "me", door / 2, height / 2);
  else if (here.at !== "waiting") dots.delete(ME);

  // As large as fits, but so that oneself and some behind are seen.
  const room = { x: width - door - 14, y: height - 16 };
  const wanted = Math.min(line.length, Math.max(line.indexOf(ME) + 40, 160));
  const cell = CELLS.find((side) => Math.floor(room.x / side) * Math.floor(room.y / side) >= wanted) ?? 8;
  const rows = Math.max(1, Math.floor(room.y / cell));
  const drawn = Math.floor(room.x / cell) * rows;
  line.forEach((who, at) => {
    // Column by column, up and down as a rope would be laid.
    const column = Math.floor(at / rows);
    const within = column % 2 === 0 ? at % rows : rows - 1 - (at % rows);
    const x = door + 14 + column * cell + cell / 2;
    const y = 8 + within * cell + cell / 2 + (room.y - rows * cell) / 2;
    const far = at >= drawn;
    move(who, who === ME ? "me" : (people[who] ?? "w"), far ? width + 14 : x, y, false);
  });
  for (const [who, dot] of dots) {
    if ((dot.leaving && dot.shown < 0.02) || who >= people.length || (who < ME && !strangers.has(who))) dots.delete(who);
  }
  return { more: Math.max(0, line.length - drawn), cell };
}

interface View {
  width: number;
  height: number;
  more: number;
  /** Radius of a dot in the line. */
  small: number;
  /** 0: nothing moves by itself. */
  now: number;
}

function paint(pen: CanvasRenderingContext2D, dots: Map<number, Dot>, view: View): void {
  const { width, height, more, small, now } = view;
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const font = style.getPropertyValue("--font");
  const door = Math.max(92, width * DOOR);
  pen.clearRect(0, 0, width, height);
  // The shop, its awning, and the door that the line comes to.
  pen.fillStyle = colour("slip");
  pen.strokeStyle = colour("line");
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.roundRect(4, 14, door - 6, height - 20, 8);
  pen.fill();
  pen.stroke();
  const stripes = 6;
  for (let i = 0; i < stripes; i += 1) {
    pen.fillStyle = i % 2 === 0 ? colour("mark") : colour("slip");
    const w = (door - 2) / stripes;
    pen.beginPath();
    pen.roundRect(2 + i * w, 4, w, 16, [0, 0, 7, 7]);
    pen.fill();
    pen.stroke();
  }
  pen.fillStyle = colour("paper");
  pen.fillRect(door - 4, height / 2 - 16, 5, 32);
  for (const [who, dot] of [...dots].sort(([a], [b]) => b - a)) {
    const me = who === ME;
    const radius = me ? 7.5 : dot.kind === "w" || dot.kind === "s" ? small : 4.2;
    const bob = now && !dot.leaving ? Math.sin(now / 420 + own(who, 3) * 6.3) * 0.7 : 0;
    pen.globalAlpha = Math.max(0, Math.min(1, dot.shown));
    pen.beginPath();
    pen.arc(dot.x, dot.y + bob, radius, 0, Math.PI * 2);
    if (dot.kind === "s") {
      pen.strokeStyle = colour("edge");
      pen.lineWidth = 1.2;
      pen.stroke();
    } else {
      pen.fillStyle = colour(me ? "mark" : dot.kind === "p" ? "good" : dot.kind === "i" ? "ink" : "edge");
      pen.fill();
    }
    if (me) {
      pen.strokeStyle = colour("slip");
      pen.lineWidth = 2;
      pen.stroke();
      label(pen, t("you"), dot.x, dot.y, width, colour, font);
    }
  }
  pen.globalAlpha = 1;
  if (more > 0) {
    const text = `+${more.toLocaleString(language.value)}`;
    pen.font = `600 12px ${font}`;
    const w = pen.measureText(text).width + 12;
    pen.fillStyle = colour("paper");
    pen.beginPath();
    pen.roundRect(width - w - 2, height - 22, w, 20, 10);
    pen.fill();
    pen.fillStyle = colour("soft");
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(text, width - w / 2 - 2, height - 11.5);
  }
}

function label(pen: CanvasRenderingContext2D, text: string, x: number, y: number, width: number, colour: (name: string) => string, font: string): void {
  pen.font = `700 12px ${font}`;
  const w = pen.measureText(text).width + 12;
  const left = Math.min(Math.max(2, x - w / 2), width - w - 2);
  const top = y > 34 ? y - 30 : y + 12;
  pen.fillStyle = colour("mark");
  pen.beginPath();
  pen.roundRect(left, top, w, 19, 9);
  pen.fill();
  pen.fillStyle = colour("on-mark");
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(text, left + w / 2, top + 10);
}
