/** The order of series in a block file. */

import type { Labels } from "../model/series.ts";
import { labelValue } from "./metric-label-index.ts";
import type { MetricSeries } from "./metric-series.ts";

/** Series sorted at once; order within a metric only brings neighbours together. */
const SORTED_AT_ONCE = 4096;

/** Series of one metric next to each other, and within it by labels as far as that is cheap. */
export function* inFileOrder<T extends { readonly series: MetricSeries }>(targets: Iterable<T>): Generator<T> {
  const byMetric = new Map<string, T[]>();
  for (const target of targets) {
    const name = labelValue(target.series.labels, "__name__");
    const group = byMetric.get(name);
    if (group === undefined) byMetric.set(name, [target]);
    else group.push(target);
  }
  for (const name of [...byMetric.keys()].sort()) {
    const group = byMetric.get(name) ?? [];
    for (let from = 0; from < group.length; from += SORTED_AT_ONCE) {
      const part = group.slice(from, from + SORTED_AT_ONCE);
      part.sort((a, b) => compareLabels(a.series.labels, b.series.labels));
      yield* part;
    }
  }
}

/** Equal pairs are mostly the same object, as series share them. */
function compareLabels(a: Labels, b: Labels): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [left, right] = [a[i], b[i]];
    if (left === right || left === undefined || right === undefined) continue;
    if (left[0] !== right[0]) return left[0] < right[0] ? -1 : 1;
    if (left[1] !== right[1]) return left[1] < right[1] ? -1 : 1;
  }
  return a.length - b.length;
}
