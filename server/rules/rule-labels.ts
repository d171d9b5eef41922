/** Labels as rules change them. */

import type { Labels } from "../model/series.ts";

/** Labels with others put over them; an empty value takes a label away. */
export function withLabels(labels: Labels, ...others: readonly Labels[]): Labels {
  const merged = new Map(labels);
  for (const [name, value] of others.flat()) {
    if (value === "") merged.delete(name);
    else merged.set(name, value);
  }
  return [...merged].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** Labels without the metric's name. */
export function withoutName(labels: Labels): Labels {
  return labels.filter(([name]) => name !== "__name__");
}
