/**
 * `info(v, {…})`: adds labels of info metrics, such as `target_info`, to the series of a vector.
 *
 * @see Prometheus, promql/info.go
 */

import type { PromqlCall, PromqlMatcher } from "../../../grammar/promql-tree.ts";
import type { Labels, SeriesSamples } from "../../model/series.ts";
import type { Evaluate, Evaluation } from "./evaluation.ts";
import { infoMatchers } from "./info-matchers.ts";
import { infoReference } from "./info-reference.ts";
import { PromqlExecutionError, sameLabelsetError } from "./query-error.ts";
import { compileRegex } from "./regex.ts";
import { selectInstant } from "./select-steps.ts";
import { isMetricLabel, labelsKey, labelValue, METRIC_NAME, printLabels, setLabel } from "./series-labels.ts";
import {
  ABSENT,
  FLOAT,
  histogramAt,
  makeSeries,
  putHistogram,
  releaseSeries,
  type StepGrid,
  type StepSeries,
} from "./step-vector.ts";
import { presence } from "./vector-signature.ts";

/** Labels by which series and info series find each other. */
const IDENTIFYING = ["instance", "job"] as const;

/** Evaluates a call of `info()`. @throws PromqlExecutionError where info series contradict each other. */
export function evaluateInfo(
  node: PromqlCall,
  grid: StepGrid,
  evaluation: Evaluation,
  evaluate: Evaluate,
): StepSeries[] {
  const [first, selector] = node.args;
  const value = first === undefined ? undefined : evaluate(first, grid);
  if (value?.kind !== "vector") throw new Error("info wants a vector");
  const matchers = infoMatchers(selector?.kind === "selector" ? selector.matchers : undefined);
  const base = value.series.map((series) => ({
    series,
    isInfo: matchers.name.every((matcher) => matches(matcher, labelValue(series.labels, METRIC_NAME))),
  }));
  const enriched = base.filter(({ isInfo }) => !isInfo).map(({ series }) => series);
  const infos = identified(evaluation.samples.get(node) ?? [], enriched).map((samples) =>
    sampleTimes(samples, node, grid, evaluation),
  );
  evaluation.statistics?.countSeries(infos.length);
  for (const info of infos) evaluation.statistics?.countSelected(info, false);
  const join = new InfoJoin({ infos, data: matchers.data, grid, evaluation });
  join.chooseNewest(presence(value.series, grid.steps));
  for (const { series, isInfo } of base) {
    if (isInfo) join.copy(series, series.labels);
    else join.enrich(series);
  }
  releaseSeries(infos, evaluation.budget);
  releaseSeries(value.series, evaluation.budget);
  return join.out;
}

function matches({ kind, value }: PromqlMatcher, text: string): boolean {
  switch (kind) {
    case "=":
      return text === value;
    case "!=":
      return text !== value;
    case "=~":
      return compileRegex(value).testExact(text);
    case "!~":
      return !compileRegex(value).testExact(text);
  }
}

/** Which of the identifying labels a series has. */
function patternOf(labels: Labels): string {
  return IDENTIFYING.map((name) => (labelValue(labels, name) === "" ? "-" : "+")).join("");
}

/** Info series that have the same identifying labels as some series, with values that occur there. */
function identified(all: readonly SeriesSamples[], series: readonly StepSeries[]): readonly SeriesSamples[] {
  const patterns = new Map<string, Map<string, Set<string>>>();
  for (const { labels } of series) {
    const pattern = patternOf(labels);
    if (!pattern.includes("+")) continue;
    let values = patterns.get(pattern);
    if (values === undefined) {
      values = new Map(IDENTIFYING.map((name) => [name, new Set<string>()]));
      patterns.set(pattern, values);
    }
    for (const name of IDENTIFYING) values.get(name)?.add(labelValue(labels, name));
  }
  return all.filter(({ labels }) => {
    const values = patterns.get(patternOf(labels));
    return (
      values !== undefined && IDENTIFYING.every((name) => values.get(name)?.has(labelValue(labels, name)) === true)
    );
  });
}

/** The seconds at which the samples of an info series are that hold at each step. */
function sampleTimes(
  samples: SeriesSamples,
  node: PromqlCall,
  grid: StepGrid,
  { times, budget }: Evaluation,
): StepSeries {
  const { atMs, offsetMs, isUniform } = infoReference(node.args[0]);
  const isPinned = isUniform && atMs !== undefined;
  const lookGrid: StepGrid = {
    ...grid,
    startMs: (isPinned ? atMs : grid.startMs) - (isUniform ? offsetMs : 0),
    stepMs: isPinned ? 0 : grid.stepMs,
  };
  const { lookbackMs } = times;
  if (samples.histograms !== undefined) {
    const values = selectInstant(samples, lookGrid, { lookbackMs, read: "value" }, budget);
    if (values.present.some((kind) => kind !== FLOAT && kind !== ABSENT)) {
      throw new PromqlExecutionError(
        `this should be an info metric, with float samples: ${printLabels(samples.labels)}`,
      );
    }
    releaseSeries([values], budget);
  }
  return selectInstant(samples, lookGrid, { lookbackMs, read: "time" }, budget);
}

/** Key of what a series and an info series have to agree in. */
function signature(labels: Labels): string {
  return labelsKey(IDENTIFYING.map((name) => [name, labelValue(labels, name)] as const));
}

interface InfoJoinOptions {
  /** Seconds of the samples, as values. */
  readonly infos: readonly StepSeries[];
  readonly data: readonly PromqlMatcher[];
  readonly grid: StepGrid;
  readonly evaluation: Evaluation;
}

/** Puts series and info series together, step by step. */
class InfoJoin {
  readonly out: StepSeries[] = [];
  readonly #outByKey = new Map<string, StepSeries>();
  readonly #infos: readonly StepSeries[];
  readonly #grid: StepGrid;
  readonly #evaluation: Evaluation;
  /** Labels that are added; all where no matcher names one. */
  readonly #wanted: ReadonlySet<string>;
  /** Series without a match stay: no matcher asks for a label that is there. */
  readonly #keepsUnmatched: boolean;
  /** By signature and info metric: which info series holds at each step, -1 where none does. */
  readonly #newest = new Map<string, Map<string, Int32Array>>();

  constructor({ infos, data, grid, evaluation }: InfoJoinOptions) {
    this.#infos = infos;
    this.#grid = grid;
    this.#evaluation = evaluation;
    this.#wanted = new Set(data.map(({ name }) => name));
    this.#keepsUnmatched = data.every((matcher) => matches(matcher, ""));
  }

  /** Of info series with the same name and identity the one with the newest sample counts. */
  chooseNewest(hasBase: Uint8Array): void {
    for (const [index, info] of this.#infos.entries()) {
      const newest = this.#newestOf(signature(info.labels), labelValue(info.labels, METRIC_NAME));
      for (let k = 0; k < this.#grid.steps; k++) {
        if (info.present[k] === ABSENT || hasBase[k] === 0) continue;
        const rival = this.#infos[newest[k] ?? -1];
        const seconds = info.values[k] ?? 0;
        const rivalSeconds = rival?.values[k] ?? Number.NEGATIVE_INFINITY;
        if (rival !== undefined && rivalSeconds === seconds) contradict(rival, info, seconds);
        if (seconds > rivalSeconds) newest[k] = index;
      }
    }
  }

  #newestOf(identity: string, name: string): Int32Array {
    let byName = this.#newest.get(identity);
    if (byName === undefined) {
      byName = new Map();
      this.#newest.set(identity, byName);
    }
    let newest = byName.get(name);
    if (newest === undefined) {
      newest = new Int32Array(this.#grid.steps).fill(-1);
      byName.set(name, newest);
    }
    return newest;
  }

  /** Adds a series with the labels of the info series that hold at each step. */
  enrich(series: StepSeries): void {
    const columns = [...(this.#newest.get(signature(series.labels))?.values() ?? [])];
    const known = new Map<string, Labels>();
    for (let k = 0; k < this.#grid.steps; k++) {
      if (series.present[k] === ABSENT) continue;
      const chosen = columns.map((newest) => newest[k] ?? -1).filter((index) => index !== -1);
      if (chosen.length === 0 && !this.#keepsUnmatched) continue;
      const key = chosen.join();
      let labels = known.get(key);
      if (labels === undefined) {
        labels = this.#enrichedLabels(series.labels, chosen);
        known.set(key, labels);
      }
      this.#put(series, k, labels);
    }
  }

  #enrichedLabels(labels: Labels, chosen: readonly number[]): Labels {
    const added = new Map<string, string>();
    for (const index of chosen) {
      for (const [name, value] of this.#infos[index]?.labels ?? []) {
        if (isMetricLabel(name) || (this.#wanted.size > 0 && !this.#wanted.has(name))) continue;
        const before = added.get(name);
        if (before !== undefined && before !== value) throw new PromqlExecutionError(`conflicting label: ${name}`);
        if (labelValue(labels, name) === "") added.set(name, value);
      }
    }
    let out = labels;
    for (const [name, value] of added) out = setLabel(out, name, value);
    return out;
  }

  /** Adds all values of a series. */
  copy(series: StepSeries, labels: Labels): void {
    for (let k = 0; k < this.#grid.steps; k++) if (series.present[k] !== ABSENT) this.#put(series, k, labels);
  }

  #put(series: StepSeries, step: number, labels: Labels): void {
    const { budget } = this.#evaluation;
    const key = labelsKey(labels);
    let target = this.#outByKey.get(key);
    if (target === undefined) {
      target = makeSeries(labels, series.dropName, this.#grid, budget);
      this.#outByKey.set(key, target);
      this.out.push(target);
    }
    if (target.present[step] !== ABSENT) throw sameLabelsetError();
    const histogram = histogramAt(series, step);
    if (histogram !== undefined) {
      putHistogram(target, step, histogram, budget);
      return;
    }
    target.present[step] = FLOAT;
    target.values[step] = series.values[step] ?? Number.NaN;
  }
}

function contradict(existing: StepSeries, other: StepSeries, seconds: number): never {
  const at = Math.round(seconds * 1000);
  const both = `existing ${printLabels(existing.labels)} @ ${at}, new ${printLabels(other.labels)} @ ${at}`;
  throw new PromqlExecutionError(`found duplicate series for info metric: ${both}`);
}
