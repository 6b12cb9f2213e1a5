// Tables: sorted by their heads, each cell named for narrow screens, where a row becomes a slip.
import type { ComponentChildren } from "preact";
import { t } from "../language.ts";

export interface Column<Row> {
  name: string;
  title: string;
  cell: (row: Row) => ComponentChildren;
  /** What it is sorted by; without it, it is not. */
  by?: (row: Row) => number | string;
  number?: boolean;
  /** Part of the row's head on a narrow screen. */
  head?: boolean;
  class?: string;
}

export interface Sorting {
  by: string;
  down: boolean;
}

export function sorted<Row>(rows: readonly Row[], columns: readonly Column<Row>[], { by, down }: Sorting): Row[] {
  const value = columns.find((column) => column.name === by)?.by;
  if (value === undefined) return [...rows];
  const order = (a: Row, b: Row) => {
    const [x, y] = [value(a), value(b)];
    return typeof x === "string" || typeof y === "string" ? String(x).localeCompare(String(y)) : x - y;
  };
  return [...rows].sort((a, b) => (down ? -order(a, b) : order(a, b)));
}

interface TableProps<Row> {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  id: (row: Row) => string;
  sorting?: Sorting;
  onSort?: (sorting: Sorting) => void;
  class?: string;
}

export function Table<Row>({ label, columns, rows, id, sorting, onSort, class: extra = "" }: TableProps<Row>) {
  return (
    <div class="table-box">
      <table class={`table ${extra}`} aria-label={label}>
        <thead>
          <tr>
            {columns.map((column) => (
              <Head key={column.name} column={column} sorting={sorting} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={id(row)}>
              {columns.map((column) => (
                <td key={column.name} class={cellClass(column)} data-title={column.title}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function cellClass<Row>(column: Column<Row>): string {
  return [column.number ? "num right" : "", column.head ? "head-cell" : "", column.class ?? ""].filter((one) => one !== "").join(" ");
}

function Head<Row>({ column, sorting, onSort }: { column: Column<Row>; sorting: Sorting | undefined; onSort: ((sorting: Sorting) => void) | undefined }) {
  const here = sorting?.by === column.name;
  const aria = here ? (sorting.down ? "descending" : "ascending") : undefined;
  return (
    <th scope="col" class={cellClass(column)} aria-sort={aria}>
      {column.by !== undefined && onSort !== undefined ? (
        <button type="button" class="sort" onClick={() => onSort({ by: column.name, down: here ? !sorting.down : column.number === true })}>
          {column.title}
          <span aria-hidden="true">{here ? (sorting.down ? " ↓" : " ↑") : ""}</span>
        </button>
      ) : (
        column.title
      )}
    </th>
  );
}

/** More of a list that comes in pages. */
export function More({ more, busy }: { more: (() => void) | null; busy: boolean }) {
  if (more === null) return null;
  return (
    <p class="more">
      <button type="button" class="button" disabled={busy} onClick={more}>
        {t(busy ? "loading" : "more")}
      </button>
    </p>
  );
}
