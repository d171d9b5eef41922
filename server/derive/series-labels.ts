/** Labels of the series that derive makes. */

import type { Labels } from "../model/series.ts";

/** Label names and values in any order; empty values are left out, as Prometheus does. */
export type LabelPairs = readonly (readonly [name: string, value: string])[];

/** Stands in for label values beyond a cap. */
export const OVERFLOW_VALUE = "__cardinality_overflow__";

/** Longest label value; what is longer was shortened on its way in. */
const LABEL_UNITS_MAX = 1024;

/** Sorted labels of a series called `name`. */
export function labelsOf(name: string, pairs: LabelPairs): Labels {
  const labels: (readonly [string, string])[] = [["__name__", name]];
  for (const [label, value] of pairs) if (value !== "") labels.push([label, value]);
  return labels.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** A label value of bounded length; a cut never leaves half of a surrogate pair. */
export function boundedValue(value: string): string {
  if (value.length <= LABEL_UNITS_MAX) return value;
  const cut = value.slice(0, LABEL_UNITS_MAX);
  return cut.isWellFormed() ? cut : cut.slice(0, -1);
}
