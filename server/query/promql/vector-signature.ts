/** Which series of two vectors belong together. */

import type { PromqlBinary } from "../../../grammar/promql-tree.ts";
import { isMetricLabel, partialKey } from "./series-labels.ts";
import { ABSENT, type StepSeries } from "./step-vector.ts";

/** Whether a label takes part in matching. */
export function matchedBy({ matching }: PromqlBinary): (name: string) => boolean {
  const names = new Set(matching.labels);
  return matching.on ? (name) => names.has(name) : (name) => !names.has(name) && !isMetricLabel(name);
}

/** Series by the labels that take part, in order. */
export function bySignature(
  series: readonly StepSeries[],
  matched: (name: string) => boolean,
): Map<string, StepSeries[]> {
  const groups = new Map<string, StepSeries[]>();
  for (const one of series) {
    const key = partialKey(one.labels, matched);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return groups;
}

/** Steps at which any of the series has a value. */
export function presence(series: readonly StepSeries[], steps: number): Uint8Array {
  const any = new Uint8Array(steps);
  for (const { present } of series) for (let k = 0; k < steps; k++) if (present[k] !== ABSENT) any[k] = 1;
  return any;
}
