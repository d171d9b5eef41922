/**
 * Places the nodes of a service graph in columns: callers to the left of what they call.
 *
 * Loops are cut where they close; the same graph always gets the same picture.
 */

/** A link from one node to another, by name. */
export interface LayoutLink {
  readonly from: string;
  readonly to: string;
}

/** Where a node stands: column from the left, row from the top, both from 0. */
export interface LayoutPlace {
  readonly column: number;
  readonly row: number;
}

/** Passes over the columns that put nodes near their neighbours. */
const SWEEPS = 4;

/** @returns A place for every name, in time proportional to names and links. */
export function layoutGraph(names: readonly string[], links: readonly LayoutLink[]): Map<string, LayoutPlace> {
  const sorted = [...names].sort();
  const forward = cutLoops(sorted, links);
  const column = new Map(sorted.map((name) => [name, 0]));
  for (const name of orderByCallers(sorted, forward)) {
    for (const to of forward.get(name) ?? []) {
      column.set(to, Math.max(column.get(to) ?? 0, (column.get(name) ?? 0) + 1));
    }
  }
  const columns: string[][] = [];
  for (const name of sorted) {
    const at = column.get(name) ?? 0;
    while (columns.length <= at) columns.push([]);
    columns[at]?.push(name);
  }
  for (let sweep = 0; sweep < SWEEPS; sweep++) sortByNeighbours(columns, links);
  const places = new Map<string, LayoutPlace>();
  columns.forEach((inColumn, at) => {
    inColumn.forEach((name, row) => {
      places.set(name, { column: at, row });
    });
  });
  return places;
}

/** Links by caller, without those that lead back to a node that is still being visited. */
function cutLoops(names: readonly string[], links: readonly LayoutLink[]): Map<string, string[]> {
  const out = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const link of links) if (link.from !== link.to && out.has(link.to)) out.get(link.from)?.push(link.to);
  const called = new Set(links.filter((link) => link.from !== link.to).map((link) => link.to));
  const kept = new Map<string, string[]>(names.map((name) => [name, []]));
  const state = new Map<string, "open" | "done">();
  for (const root of [...names.filter((name) => !called.has(name)), ...names]) {
    if (state.has(root)) continue;
    const stack = [{ name: root, next: 0 }];
    state.set(root, "open");
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const to = out.get(top.name)?.[top.next++];
      if (to === undefined) {
        state.set(top.name, "done");
        stack.pop();
      } else if (state.get(to) !== "open") {
        kept.get(top.name)?.push(to);
        if (!state.has(to)) {
          state.set(to, "open");
          stack.push({ name: to, next: 0 });
        }
      }
    }
  }
  return kept;
}

function orderByCallers(names: readonly string[], forward: ReadonlyMap<string, readonly string[]>): string[] {
  const waiting = new Map(names.map((name) => [name, 0]));
  for (const targets of forward.values()) for (const to of targets) waiting.set(to, (waiting.get(to) ?? 0) + 1);
  const ready = names.filter((name) => waiting.get(name) === 0);
  for (let at = 0; at < ready.length; at++) {
    for (const to of forward.get(ready[at] ?? "") ?? []) {
      const left = (waiting.get(to) ?? 0) - 1;
      waiting.set(to, left);
      if (left === 0) ready.push(to);
    }
  }
  return ready;
}

function sortByNeighbours(columns: string[][], links: readonly LayoutLink[]): void {
  const rowOf = new Map<string, number>();
  const setRows = (names: readonly string[]) => {
    names.forEach((name, row) => {
      rowOf.set(name, row);
    });
  };
  columns.forEach(setRows);
  for (const names of columns) {
    const wish = new Map<string, number>();
    for (const name of names) {
      const near = links.filter((link) => link.from === name || link.to === name);
      const rows = near.map((link) => rowOf.get(link.from === name ? link.to : link.from) ?? 0);
      wish.set(
        name,
        rows.length === 0 ? (rowOf.get(name) ?? 0) : rows.reduce((sum, row) => sum + row, 0) / rows.length,
      );
    }
    names.sort((left, right) => (wish.get(left) ?? 0) - (wish.get(right) ?? 0) || left.localeCompare(right));
    setRows(names);
  }
}
