/** Where a query spent its time: a tree of the plan with what each part gave and took. */

import { printPromql } from "../../../grammar/promql-print.ts";
import type { PromqlExpression } from "../../../grammar/promql-tree.ts";
import type { SeriesSamples } from "../../model/series.ts";
import type { Selecting } from "./plan.ts";
import { samplesSize } from "./query-budget.ts";
import { ABSENT, type StepSeries, type StepValue } from "./step-vector.ts";

/** Parts that are shown; of larger queries the rest is only counted. */
const NODES_MAX = 1000;
const TEXT_LENGTH_MAX = 200;

/** A part of a query. */
export interface ExplainNode {
  /** Its text in canonical form, cut. */
  readonly node: string;
  readonly kind: string;
  /** Series that were selected, or that came out. */
  readonly series: number;
  /** Samples that were selected, or values that came out. */
  readonly samples: number;
  /** Times that it was evaluated; 0 where it is read by what is around it. */
  readonly calls: number;
  /** With all that is inside; of a selector only what it takes to find the samples of each step. */
  readonly ms: number;
  readonly children: readonly ExplainNode[];
}

interface Entry {
  series: number;
  samples: number;
  calls: number;
  ms: number;
}

/** Measures parts of a query while they are evaluated. */
export class QueryProfile {
  readonly #now: () => number;
  readonly #entries = new Map<PromqlExpression, Entry>();

  /** @param now Milliseconds that never step back. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Measures an evaluation. */
  measure(node: PromqlExpression, evaluate: () => StepValue): StepValue {
    const entry = this.#entryOf(node);
    entry.calls++;
    const sinceMs = this.#now();
    const value = evaluate();
    entry.ms += this.#now() - sinceMs;
    if (value.kind !== "vector") entry.samples += value.kind === "scalar" ? value.values.length : 1;
    else for (const series of value.series) count(entry, series);
    return value;
  }

  /** Measures series that are made one after the other; what is done with them in between does not count. */
  *measureStream(node: PromqlExpression, stream: Iterable<StepSeries>): Generator<StepSeries> {
    const entry = this.#entryOf(node);
    entry.calls++;
    let sinceMs = this.#now();
    for (const series of stream) {
      entry.ms += this.#now() - sinceMs;
      count(entry, series);
      yield series;
      sinceMs = this.#now();
    }
    entry.ms += this.#now() - sinceMs;
  }

  /** @param selected What was selected for each selector. */
  tree(root: PromqlExpression, selected: ReadonlyMap<Selecting, readonly SeriesSamples[]>): ExplainNode {
    let room = NODES_MAX;
    const nodeOf = (node: PromqlExpression): ExplainNode => {
      room--;
      const entry = this.#entries.get(node) ?? { series: 0, samples: 0, calls: 0, ms: 0 };
      const children: ExplainNode[] = [];
      for (const part of partsOf(node)) if (room > 0) children.push(nodeOf(part));
      const text = printPromql(node, { unquotedUtf8Names: false });
      const shown = text.length > TEXT_LENGTH_MAX ? `${text.slice(0, TEXT_LENGTH_MAX).toWellFormed()}…` : text;
      const { calls, ms } = entry;
      return { node: shown, kind: node.kind, ...amountOf(node, entry, selected), calls, ms: rounded(ms), children };
    };
    return nodeOf(root);
  }

  #entryOf(node: PromqlExpression): Entry {
    let entry = this.#entries.get(node);
    if (entry === undefined) {
      entry = { series: 0, samples: 0, calls: 0, ms: 0 };
      this.#entries.set(node, entry);
    }
    return entry;
  }
}

function count(entry: Entry, { present }: StepSeries): void {
  entry.series++;
  for (const one of present) if (one !== ABSENT) entry.samples++;
}

/** Of selectors what was selected, of others what came out. */
function amountOf(
  node: PromqlExpression,
  entry: Entry,
  selected: ReadonlyMap<Selecting, readonly SeriesSamples[]>,
): { readonly series: number; readonly samples: number } {
  const selector = node.kind === "range" ? node.selector : node;
  const found = selector.kind === "selector" ? selected.get(selector) : undefined;
  if (found === undefined) return { series: entry.series, samples: entry.samples };
  let samples = 0;
  for (const series of found) samples += samplesSize(series);
  return { series: found.length, samples };
}

/** What a part is made of. A run of operators is one part, since it is evaluated in one loop. */
function partsOf(node: PromqlExpression): readonly PromqlExpression[] {
  switch (node.kind) {
    case "number":
    case "string":
    case "selector":
    case "range":
      return [];
    case "paren":
    case "unary":
    case "subquery":
      return [node.operand];
    case "aggregate":
      return node.parameter === undefined ? [node.operand] : [node.parameter, node.operand];
    case "call":
      return node.args;
    case "binary": {
      const parts: PromqlExpression[] = [];
      let base: PromqlExpression = node;
      for (; base.kind === "binary"; base = base.left) parts.push(base.right);
      return [base, ...parts.reverse()];
    }
  }
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
