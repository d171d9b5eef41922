/** Which series `info()` takes its labels from. */

import type { PromqlMatcher } from "../../../grammar/promql-tree.ts";
import { METRIC_NAME } from "./series-labels.ts";

/** Matchers of info series: of the metric's name, and of the labels that are to be added. */
export interface InfoMatchers {
  /** At least one. */
  readonly name: readonly PromqlMatcher[];
  readonly data: readonly PromqlMatcher[];
}

const TARGET_INFO: PromqlMatcher = { name: METRIC_NAME, kind: "=", value: "target_info" };
const ANY_INFO: PromqlMatcher = { name: METRIC_NAME, kind: "=~", value: ".+_info" };

/**
 * Splits the matchers of `info()`'s second argument.
 *
 * Without a name it is `target_info`; where names are only excluded, every metric that ends in `_info`.
 */
export function infoMatchers(matchers: readonly PromqlMatcher[] = []): InfoMatchers {
  const name = matchers.filter((matcher) => matcher.name === METRIC_NAME);
  const data = matchers.filter((matcher) => matcher.name !== METRIC_NAME);
  if (name.length === 0) return { name: [TARGET_INFO], data };
  if (name.some(({ kind }) => kind === "=" || kind === "=~")) return { name, data };
  return { name: [ANY_INFO, ...name], data };
}
