/** `label_replace`, `label_join`, `absent` and the labels they make. */

import { unwrapParens } from "../../../grammar/promql-check.ts";
import type { PromqlExpression, PromqlMatcher } from "../../../grammar/promql-tree.ts";
import type { Labels } from "../../model/series.ts";
import type { QueryBudget } from "./query-budget.ts";
import { PromqlExecutionError } from "./query-error.ts";
import { compileRegex, regexMatchesEmpty } from "./regex.ts";
import { isMetricLabel, labelValue, METRIC_NAME, setLabel } from "./series-labels.ts";
import { mergeEqualSeries, type StepSeries } from "./step-vector.ts";

/** Any text but the empty one names a label; a byte that belongs to no UTF-8 arrives as a lone surrogate. */
export function isLabelName(name: string): boolean {
  return name !== "" && name.isWellFormed();
}

/** Expands `$1`, `${name}` and `$$` as Go's regular expressions do: a name that is no group is empty. */
export function expandTemplate(template: string, groupOf: (name: string) => string): string {
  return template.replace(/\$(?:\$|(\w+)|\{(\w+)\})/g, (whole, bare?: string, braced?: string) => {
    if (whole === "$$") return "$";
    return groupOf(bare ?? braced ?? "");
  });
}

/**
 * `label_replace(v, target, replacement, source, regex)`.
 *
 * Room for a text is taken before it is made: it may be many times as long as the one it is made of.
 */
export function labelReplace(
  series: readonly StepSeries[],
  args: readonly string[],
  budget: QueryBudget,
): StepSeries[] {
  const [target = "", replacement = "", source = "", pattern = ""] = args;
  let regex: ReturnType<typeof compileRegex>;
  try {
    regex = compileRegex(pattern);
  } catch {
    // What is wrong with it is not told, as Prometheus does not.
    throw new PromqlExecutionError(`invalid regular expression in label_replace(): ${pattern}`);
  }
  if (!isLabelName(target))
    throw new PromqlExecutionError(`invalid destination label name in label_replace(): ${target}`);
  const names = regex.namedGroups();
  const references = replacement.split("$").length - 1;
  for (const one of series) {
    const text = labelValue(one.labels, source);
    const matcher = regex.matcher(text);
    if (!matcher.matches()) continue;
    budget.holdText(replacement.length + references * text.length);
    const value = expandTemplate(replacement, (name) => {
      const index = /^\d+$/.test(name) ? Number(name) : names[name];
      if (index === undefined || index > regex.groupCount()) return "";
      return matcher.group(index) ?? "";
    });
    relabel(one, target, value);
  }
  return mergeEqualSeries(series);
}

/** `label_join(v, target, separator, source…)`; takes room as `labelReplace`. */
export function labelJoin(series: readonly StepSeries[], args: readonly string[], budget: QueryBudget): StepSeries[] {
  const [target = "", separator = "", ...sources] = args;
  if (!isLabelName(target)) throw new PromqlExecutionError(`invalid destination label name in label_join(): ${target}`);
  for (const source of sources) {
    if (!isLabelName(source)) throw new PromqlExecutionError(`invalid source label name in label_join(): ${source}`);
  }
  for (const one of series) {
    const parts = sources.map((source) => labelValue(one.labels, source));
    let units = separator.length * parts.length;
    for (const part of parts) units += part.length;
    budget.holdText(units);
    relabel(one, target, parts.join(separator));
  }
  return mergeEqualSeries(series);
}

/** A name that is set is no longer to be dropped. */
function relabel(series: StepSeries, target: string, value: string): void {
  series.labels = setLabel(series.labels, target, value);
  if (target === METRIC_NAME) series.dropName = false;
}

/**
 * Labels of `absent(v)`: those that the selector asks for by `=`; one that is asked for again later is left out.
 *
 * Conditions that only take series away count as later than all others: Prometheus' index has put them there by then.
 */
export function absentLabels(node: PromqlExpression): Labels {
  const inner = unwrapParens(node);
  const selector = inner.kind === "range" ? inner.selector : inner;
  if (selector.kind !== "selector") return [];
  let labels: Labels = [];
  const seen = new Set<string>();
  const isLate = (matcher: PromqlMatcher) => isNegative(matcher) && matchesEmpty(matcher);
  const late = selector.matchers.filter(isLate);
  for (const { name, kind, value } of [...selector.matchers.filter((one) => !isLate(one)), ...late]) {
    if (isMetricLabel(name)) continue;
    const isFirst = kind === "=" && !seen.has(name);
    labels = setLabel(labels, name, isFirst ? value : "");
    if (isFirst) seen.add(name);
  }
  return labels;
}

function isNegative({ kind }: PromqlMatcher): boolean {
  return kind === "!=" || kind === "!~";
}

/** Whether a negative condition lets series without the label through. */
function matchesEmpty({ kind, value }: PromqlMatcher): boolean {
  return kind === "!=" ? value !== "" : !regexMatchesEmpty(value);
}
