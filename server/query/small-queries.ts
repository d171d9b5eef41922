/**
 * Small instant queries, answered on the main thread: to hand them to a worker and back costs several times as much as to
 * evaluate them.
 *
 * Invariants: a text comes here with the tree that a worker made of it, once few series were found for it: nothing is
 * parsed here; beyond few series or samples the worker takes over again, and where gathering them took longer than a
 * turn; a turn of the loop has a few milliseconds for all of them together, and what comes then goes to the workers.
 */

import type { PromqlExpression } from "../../grammar/promql-tree.ts";
import { ThalwegError } from "../model/errors.ts";
import type { Labels } from "../model/series.ts";
import type { SelectLimits } from "../store/reader.ts";
import type { FedSeries } from "./promql/encoded-columns.ts";
import { areKept, forgetKeptLabels, keepLabels } from "./promql/kept-labels.ts";
import { newestSeries } from "./promql/newest-samples.ts";
import type { Selection } from "./promql/plan.ts";
import { evaluateQuery, type PlannedQuery, type PromqlOutcome, type PromqlQuery, planTree } from "./promql/query.ts";
import { samplesSize } from "./promql/query-budget.ts";
import { forgetOrders } from "./promql/series-order.ts";
import { histogramReader, madeSeries } from "./promql/window-histograms.ts";
import { numberSeries, windowReader } from "./promql/window-numbers.ts";
import type { QueryReader } from "./query-feed.ts";

/** Texts that are remembered, and the longest of them. */
const TEXTS_MAX = 256;
const UNITS_MAX = 512;
/** Nodes of a tree, series of all its selectors together, and samples of them; buckets count. */
const NODES_MAX = 32;
const SERIES_MAX = 256;
const SAMPLES_MAX = 8_192;
/** Of an answer: labels may be long. */
const ANSWER_BYTES_MAX = 2 ** 20;
/** For all small queries of a turn together. */
const TURN_MS_MAX = 3;
/** Queries that are under way together: more than one only where some wait for a turn, or for a disk. */
const RUNNING_MAX = 4;
/**
 * How long a text is left to workers once more was found for it, or the loop turned meanwhile: four times as long each
 * time, and as briefly as at first once it went well. Code that runs for the first time is slow, and so is a busy machine.
 */
const REST_MS_MIN = 16;
const REST_MS_MAX = 30_000;
/** Sets of labels of which what was made of them is kept. */
const KEPT_SETS_MAX = 8_192;

/** What looks at each series for as long as its texts say, or at more steps than one. */
const LONG_CALLS: ReadonlySet<string> = new Set(["info", "label_join", "label_replace"]);

/** How a query went in a worker. */
export interface QuerySize {
  readonly series: number;
  /** Samples that were read, not those that went to the worker. */
  readonly samples: number;
}

interface KnownText {
  readonly tree: PromqlExpression;
  /** Not evaluated here before. */
  restsUntilMs: number;
  /** How long it rests the next time. */
  restMs: number;
}

/** The small queries of one door. */
export class SmallQueries {
  readonly #reader: QueryReader;
  readonly #monotonicMs: () => number;
  /** In order of use. */
  readonly #texts = new Map<string, KnownText>();
  #spentMs = 0;
  /** Counts turns of the loop, as far as queries were asked for in them. */
  #turn = 0;
  #isTurnCounted = false;
  #running = 0;
  #keptSets = 0;

  constructor(reader: QueryReader, monotonicMs: () => number) {
    this.#reader = reader;
    this.#monotonicMs = monotonicMs;
  }

  /** Notes how a query went in a worker, which gave its `smallTree`. */
  learn({ text }: PromqlQuery, tree: PromqlExpression, { series, samples }: QuerySize): void {
    if (series > SERIES_MAX || samples > SAMPLES_MAX || this.#texts.has(text)) return;
    this.#texts.set(text, { tree, restsUntilMs: 0, restMs: REST_MS_MIN });
    if (this.#texts.size <= TEXTS_MAX) return;
    for (const [oldest] of this.#texts) {
      this.#texts.delete(oldest);
      return;
    }
  }

  /** Whether `evaluate` should be tried, and there is time for it in this turn. */
  takes(query: PromqlQuery): boolean {
    const known = this.#texts.get(query.text);
    if (known === undefined || !isPlain(query) || this.#spentMs >= TURN_MS_MAX) return false;
    if (this.#running >= RUNNING_MAX) return false;
    return known.restsUntilMs <= this.#monotonicMs();
  }

  /**
   * Evaluates a query, mostly before it returns to the loop.
   *
   * @param render Makes the answer, or throws `query_answer_max` where it is longer than `bytesMax`.
   * @returns Undefined where it is for a worker.
   * @throws As `planQuery` and `evaluateQuery`; the reason of the signal once it is aborted.
   */
  async evaluate<Answer>(
    query: PromqlQuery,
    signal: AbortSignal | undefined,
    render: (outcome: PromqlOutcome, bytesMax: number) => Answer,
  ): Promise<Answer | undefined> {
    const known = this.#texts.get(query.text);
    if (known === undefined) return undefined;
    this.#texts.delete(query.text);
    this.#texts.set(query.text, known);
    const sinceMs = this.#monotonicMs();
    this.#countTurn();
    const turn = this.#turn;
    this.#running++;
    try {
      const plan = planTree(query, known.tree);
      const selected = await this.#select(plan, query, signal);
      if (selected === undefined) {
        rest(known, sinceMs);
        return undefined;
      }
      return render(evaluateQuery(query, plan, selected, { monotonicMs: this.#monotonicMs }), ANSWER_BYTES_MAX);
    } catch (cause) {
      if (!(cause instanceof ThalwegError && cause.code === "query_answer_max")) throw cause;
      rest(known, sinceMs);
      return undefined;
    } finally {
      this.#running--;
      const nowMs = this.#monotonicMs();
      const isResting = known.restsUntilMs > sinceMs;
      if (this.#turn === turn) {
        this.#spentMs += nowMs - sinceMs;
        if (!isResting) known.restMs = REST_MS_MIN;
      } else if (!isResting) {
        // Many of these at once would each take their part of every turn; of those of workers few are gathered at a time.
        rest(known, nowMs);
      }
    }
  }

  /** Series of each selection; undefined where they are too many. */
  async #select(
    plan: PlannedQuery,
    query: PromqlQuery,
    signal: AbortSignal | undefined,
  ): Promise<FedSeries[][] | undefined> {
    const room = { samplesMax: Math.min(SAMPLES_MAX, query.settings.samplesMax), seriesMax: SERIES_MAX, signal };
    const selected: FedSeries[][] = [];
    try {
      for (const selection of plan.selections) {
        const { series, samples } = await readSelection(this.#reader, selection, room);
        room.samplesMax -= samples;
        room.seriesMax -= series.length;
        if (room.samplesMax < 0 || room.seriesMax < 0) return undefined;
        for (const { labels } of series) this.#keep(labels);
        selected.push(series);
      }
    } catch (cause) {
      if (cause instanceof ThalwegError && /^query_(?:samples|series)_max$/.test(cause.code)) return undefined;
      throw cause;
    }
    return selected;
  }

  #keep(labels: Labels): void {
    if (areKept(labels)) return;
    if (this.#keptSets === KEPT_SETS_MAX) {
      forgetKeptLabels();
      forgetOrders();
      this.#keptSets = 0;
    }
    this.#keptSets++;
    keepLabels(labels);
  }

  #countTurn(): void {
    if (this.#isTurnCounted) return;
    this.#isTurnCounted = true;
    setImmediate(() => {
      this.#isTurnCounted = false;
      this.#turn++;
      this.#spentMs = 0;
    });
  }
}

/** Series of a selection on this thread, read in the shortest way that there is, and how many samples were looked at. */
export async function readSelection(
  reader: QueryReader,
  { matchers, minMs, maxMs, isNewest, call }: Omit<Selection, "selector">,
  limits?: Omit<SelectLimits, "source" | "room">,
): Promise<{ readonly series: FedSeries[]; readonly samples: number }> {
  if (isNewest && reader.selectNewest !== undefined) {
    const found = await reader.selectNewest(matchers, minMs, maxMs, limits);
    return { series: [...newestSeries(found), ...found.others], samples: sizeOf(found.others) + found.labels.length };
  }
  if (call !== undefined && reader.selectNumbers !== undefined) {
    const readers = { floats: windowReader(call), histograms: histogramReader(call) };
    const found = await reader.selectNumbers({ matchers, minMs, maxMs, ...readers }, limits);
    const made = found.made.map(({ labels, histogram }) => madeSeries(labels, histogram));
    return {
      series: [...numberSeries(found), ...made, ...found.others],
      samples: sizeOf(found.others) + found.samples,
    };
  }
  const series = await reader.select(matchers, minMs, maxMs, limits);
  return { series, samples: sizeOf(series) };
}

function rest(known: KnownText, nowMs: number): void {
  known.restsUntilMs = nowMs + known.restMs;
  known.restMs = Math.min(REST_MS_MAX, 4 * known.restMs);
}

/** An instant query that nobody wants to know more of than its answer. */
function isPlain({ startMs, endMs, stepMs, explain = false, stats = "none", settings }: PromqlQuery): boolean {
  return stepMs === 0 && startMs === endMs && !explain && stats === "none" && settings.sourceResolutionMs === 0;
}

function sizeOf(series: readonly FedSeries[]): number {
  return series.reduce((sum, one) => sum + samplesSize(one), 0);
}

/** The tree of a query, where it is one of those that may be evaluated here. */
export function smallTree(query: PromqlQuery, tree: PromqlExpression): PromqlExpression | undefined {
  return isPlain(query) && query.text.length <= UNITS_MAX && nodesOf(tree) <= NODES_MAX ? tree : undefined;
}

/** How many nodes a tree has; more than any limit where one of them may look at each series for long. */
function nodesOf(node: PromqlExpression): number {
  switch (node.kind) {
    case "number":
    case "string":
      return 1;
    case "selector":
      return node.mode === undefined ? 1 : Number.POSITIVE_INFINITY;
    case "range":
      return 1 + nodesOf(node.selector);
    case "subquery":
      return Number.POSITIVE_INFINITY;
    case "paren":
    case "unary":
      return 1 + nodesOf(node.operand);
    case "binary":
      return 1 + nodesOf(node.left) + nodesOf(node.right);
    case "aggregate":
      if (node.op === "count_values") return Number.POSITIVE_INFINITY;
      return 1 + nodesOf(node.operand) + (node.parameter === undefined ? 0 : nodesOf(node.parameter));
    case "call":
      if (LONG_CALLS.has(node.name)) return Number.POSITIVE_INFINITY;
      return node.args.reduce((sum, argument) => sum + nodesOf(argument), 1);
  }
}
