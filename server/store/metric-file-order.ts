/** The order of series in a block file. */

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
      const keyed = part.map((target) => ({ target, key: JSON.stringify(target.series.labels) }));
      keyed.sort((a, b) => (a.key < b.key ? -1 : 1));
      for (const { target } of keyed) yield target;
    }
  }
}
