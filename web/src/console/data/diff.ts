// What changed between two views, and how two changes of one thing go together.

export interface Change {
  name: string;
  before: unknown;
  after: unknown;
}

export const same = (a: unknown, b: unknown): boolean => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, inner]) => [name, sorted(inner)]));
}

/** Fields that differ, nested ones by their path. What one side does not have is null on that side. */
export function differences(before: object | null | undefined, after: object | null | undefined, prefix = ""): Change[] {
  const a = (before ?? {}) as Record<string, unknown>;
  const b = (after ?? {}) as Record<string, unknown>;
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return names.flatMap((name) => {
    const [was, is] = [a[name] ?? null, b[name] ?? null];
    if (same(was, is)) return [];
    if (plain(was) && plain(is)) return differences(was, is, `${prefix}${name}.`);
    return [{ name: prefix + name, before: was, after: is }];
  });
}

const plain = (value: unknown): value is object => value !== null && typeof value === "object" && !Array.isArray(value);

export interface Conflict {
  name: string;
  base: unknown;
  mine: unknown;
  theirs: unknown;
  /** Whether both changed it, to different things. */
  both: boolean;
}

/** What the other operator changed since `base`, beside what I changed. */
export function conflicts(base: Record<string, unknown>, mine: Record<string, unknown>, theirs: Record<string, unknown>): Conflict[] {
  return Object.keys(base)
    .filter((name) => !same(base[name], theirs[name]))
    .map((name) => ({
      name,
      base: base[name],
      mine: mine[name],
      theirs: theirs[name],
      both: !same(base[name], mine[name]) && !same(mine[name], theirs[name]),
    }));
}

/** Theirs, with what I alone changed; where both did, as chosen: mine for the names given. */
export function merged(
  base: Record<string, unknown>,
  mine: Record<string, unknown>,
  theirs: Record<string, unknown>,
  keepMine: ReadonlySet<string>,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.keys(base).map((name) => {
      const changedByMe = !same(base[name], mine[name]);
      const changedByThem = !same(base[name], theirs[name]);
      return [name, changedByMe && (!changedByThem || keepMine.has(name)) ? mine[name] : theirs[name]];
    }),
  );
}
