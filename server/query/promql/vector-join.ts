/** How labels of two vectors are matched, and what the labels of their results are. */

import { isComparison } from "../../../grammar/promql-check.ts";
import type { PromqlBinary } from "../../../grammar/promql-tree.ts";
import type { Labels } from "../../model/series.ts";
import type { Evaluation } from "./evaluation.ts";
import { isTrim } from "./histogram-operators.ts";
import { keptJoined } from "./kept-labels.ts";
import { dropMetricName, filterLabels, labelValue, setLabel } from "./series-labels.ts";
import { matchedBy } from "./vector-signature.ts";

/** One operator between two vectors, as far as labels go. */
export interface LabelJoin {
  /** Whether a label takes part in matching. */
  readonly matched: (name: string) => boolean;
  /** Tells from other operators which labels take part. */
  readonly matching: string;
  /** Labels of the result of a series of the many side with one of the one side. */
  readonly labelsOf: (many: Labels, one: Labels) => Labels;
}

/** What an operator does with labels. */
export function joinOf(node: PromqlBinary, { delayedNameRemoval }: Pick<Evaluation, "delayedNameRemoval">): LabelJoin {
  const { op, bool, matching } = node;
  const dropsName = (!isComparison(op) && !isTrim(op)) || (bool && !delayedNameRemoval);
  const joining = JSON.stringify([matching.on, matching.labels, dropsName, matching.group, matching.include]);
  const make = (many: Labels, one: Labels): Labels => {
    let labels = dropsName ? dropMetricName(many) : many;
    if (matching.group === undefined) {
      const names = new Set(matching.labels);
      labels = filterLabels(labels, (name) => names.has(name) === matching.on);
    }
    for (const name of matching.include) labels = setLabel(labels, name, labelValue(one, name));
    return labels;
  };
  return {
    matched: matchedBy(node),
    matching: JSON.stringify(["match", matching.on, matching.labels]),
    labelsOf: (many, one) => keptJoined(many, one, joining, () => make(many, one)),
  };
}
