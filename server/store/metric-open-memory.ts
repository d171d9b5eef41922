/**
 * Memory of samples that are not encoded yet: rows of values cut from pages that threads can share, and columns of times
 * that series of one scrape have in common.
 *
 * Invariants: a row belongs to one series; a column grows at its end only, and what lies before a series' own count never
 * changes; a series whose times differ from those in its column takes one of its own.
 */

/** Samples of a row, by size; a series moves to the next where one is full. */
const ROW_SAMPLES = [8, 32, 64] as const;
/** Most samples that a series has open: each takes eight bytes, a sealed one takes one or two. */
export const OPEN_SAMPLES_MAX = 64;
/** Values of a page: 64 KiB. */
const PAGE_VALUES = 8192;
/** Pages that are kept for rows of any size: as series grow together, each page that they leave is taken at once again. */
const SPARE_PAGES_MAX = 16;
const COLUMN_OBJECT_BYTES = 200;
/**
 * Columns that a series may begin with: live ones come scrape by scrape, and all of them begin the last. A log is read
 * series by series, each through all its columns, of which all but the last are sealed and gone before the next series.
 */
const BEGUN_MAX = 4;

/** Times that the open samples of one or more series begin with. */
export interface TimeColumn {
  ms: Float64Array;
  /** Times in it; a series may have fewer samples. */
  count: number;
  users: number;
}

/** A row of values: `values[base, base + capacity)`. */
export interface ValueRow {
  /** That `values` are of; undefined where the row has no room. */
  page: ValuePage | undefined;
  values: Float64Array;
  base: number;
  capacity: number;
}

/** Rows of one size. */
export interface ValuePage {
  readonly values: Float64Array;
  readonly free: number[];
}

interface RowsOfSize {
  readonly samples: number;
  /** Those with a free row, in no order. */
  readonly pages: ValuePage[];
}

const NO_VALUES = new Float64Array(0);

/** The open samples of all series of one store. */
export class OpenMemory {
  readonly #rows: readonly RowsOfSize[] = ROW_SAMPLES.map((samples) => ({ samples, pages: [] }));
  readonly #spare: Float64Array[] = [];
  /** Begun last, the newest at the end, and forked last: neighbours in a request are of one scrape. */
  readonly #begun: TimeColumn[] = [];
  #forked: TimeColumn | undefined;
  #forkedFrom: TimeColumn | undefined;
  #forkedAt = 0;
  #timeBytes = 0;

  /** Bytes of all columns of times. */
  get timeBytes(): number {
    return this.#timeBytes;
  }

  /** Moves `row`, whose first `count` values are kept, to one with more room. There is one: rows are sealed before. */
  grow(row: ValueRow, count: number): void {
    const next = this.#rows.find(({ samples }) => samples > row.capacity);
    if (next === undefined) throw new Error("an open run is longer than the longest row");
    const page = next.pages.at(-1) ?? this.#addPage(next);
    const base = page.free.pop();
    if (base === undefined) throw new Error("a page without rows");
    if (page.free.length === 0) next.pages.pop();
    const { values } = page;
    for (let i = 0; i < count; i++) values[base + i] = row.values[row.base + i] as number; // in range: both rows are longer
    this.release(row);
    row.page = page;
    row.values = values;
    row.base = base;
    row.capacity = next.samples;
  }

  /**
   * Gives the row back. Series grow together, so whole pages come back, which go or are taken for other rows; but for the
   * last one with room, which the next row would make anew.
   */
  release(row: ValueRow): void {
    const { page, base, capacity } = row;
    const rows = this.#rows.find(({ samples }) => samples === capacity);
    if (page !== undefined && rows !== undefined) {
      page.free.push(base);
      if (page.free.length === 1) rows.pages.push(page);
      else if (page.free.length === PAGE_VALUES / capacity && rows.pages.length > 1) {
        rows.pages.splice(rows.pages.indexOf(page), 1);
        if (this.#spare.length < SPARE_PAGES_MAX) this.#spare.push(page.values);
      }
    }
    row.page = undefined;
    row.values = NO_VALUES;
    row.base = 0;
    row.capacity = 0;
  }

  /**
   * The column in which time `at` of a series is `times[row]`, as those before are in `column`; undefined before the first.
   * A number that functions hand on may be an object, so the time is told by its place.
   */
  timeAt(column: TimeColumn | undefined, at: number, times: Float64Array, row: number): TimeColumn {
    const ms = times[row] as number; // in range: the caller's row
    if (column === undefined) return this.#begin(ms);
    if (at < column.count) return column.ms[at] === ms ? column : this.#fork(column, at, ms);
    if (at === column.ms.length) this.#lengthen(column);
    column.ms[at] = ms;
    column.count = at + 1;
    return column;
  }

  /** A column that no other series will have, with the first `count` times of another, which is left. */
  alone(column: TimeColumn, count: number): TimeColumn {
    const copy = this.#make(column, count);
    this.leave(column);
    return copy;
  }

  /** A series has no samples in a column any more. */
  leave(column: TimeColumn): void {
    column.users--;
    if (column.users > 0) return;
    this.#timeBytes -= 8 * column.ms.length + COLUMN_OBJECT_BYTES;
    const begun = this.#begun.indexOf(column);
    if (begun >= 0) this.#begun.splice(begun, 1);
    if (this.#forked === column) this.#forked = undefined;
    if (this.#forkedFrom === column) this.#forkedFrom = undefined;
  }

  #begin(ms: number): TimeColumn {
    const begun = this.#begun;
    for (let i = begun.length - 1; i >= 0; i--) {
      const column = begun[i] as TimeColumn; // in range: the loop's bounds
      if (column.ms[0] !== ms) continue;
      column.users++;
      return column;
    }
    const column = this.#make(undefined, 0);
    column.ms[0] = ms;
    column.count = 1;
    if (begun.length === BEGUN_MAX) begun.shift();
    begun.push(column);
    return column;
  }

  #fork(from: TimeColumn, at: number, ms: number): TimeColumn {
    const forked = this.#forked;
    let column = forked;
    if (forked !== undefined && this.#forkedFrom === from && this.#forkedAt === at && forked.ms[at] === ms) {
      forked.users++;
    } else {
      column = this.#make(from, at);
      if (at === column.ms.length) this.#lengthen(column);
      column.ms[at] = ms;
      column.count = at + 1;
      this.#forked = column;
      this.#forkedFrom = from;
      this.#forkedAt = at;
    }
    this.leave(from);
    return column as TimeColumn; // made or found above
  }

  #make(from: TimeColumn | undefined, count: number): TimeColumn {
    const ms = new Float64Array(ROW_SAMPLES.find((samples) => samples > count) ?? OPEN_SAMPLES_MAX);
    if (from !== undefined) ms.set(from.ms.subarray(0, count));
    this.#timeBytes += 8 * ms.length + COLUMN_OBJECT_BYTES;
    return { ms, count, users: 1 };
  }

  #lengthen(column: TimeColumn): void {
    const ms = new Float64Array(ROW_SAMPLES.find((samples) => samples > column.ms.length) ?? 2 * column.ms.length);
    ms.set(column.ms);
    this.#timeBytes += 8 * (ms.length - column.ms.length);
    column.ms = ms;
  }

  #addPage({ samples, pages }: RowsOfSize): ValuePage {
    const values = this.#spare.pop() ?? new Float64Array(new SharedArrayBuffer(8 * PAGE_VALUES));
    const free: number[] = [];
    for (let base = PAGE_VALUES - samples; base >= 0; base -= samples) free.push(base);
    const page = { values, free };
    pages.push(page);
    return page;
  }
}
