/**
 * Small queries, answered on the main thread: to hand them to a worker and back costs several times as much as to
 * evaluate them.
 *
 * Invariants: a text comes here with the tree that a worker made of it, once few series were found for it: nothing is
 * parsed here; beyond few series, samples or values the worker takes over again, where gathering them for one step took
 * longer than a turn, and where evaluating takes long; a turn of the loop has a few milliseconds for all of them together,
 * and what comes then goes to the workers, or waits for the next turn where its samples came from a disk.
 */

import { setImmediate as nextTurn } from "node:timers/promises";

import type { PromqlExpression } from "../../grammar/promql-tree.ts";
import { ThalwegError } from "../model/errors.ts";
import { SampleRoom } from "../model/sample-room.ts";
import type { Labels } from "../model/series.ts";
import type { FedSeries } from "./promql/encoded-columns.ts";
import { areKept, forgetKeptLabels, keepLabels } from "./promql/kept-labels.ts";
import { queryGrid } from "./promql/plan.ts";
import { evaluateQuery, type PlannedQuery, type PromqlOutcome, type PromqlQuery, planTree } from "./promql/query.ts";
import type { QueryWatch } from "./promql/query-budget.ts";
import { forgetOrders } from "./promql/series-order.ts";
import type { QueryReader } from "./query-feed.ts";
import { readSelection } from "./small-selection.ts";

/** Texts that are remembered, a range query for its length and step, and the longest of them. */
const TEXTS_MAX = 256;
const UNITS_MAX = 512;
/** Nodes of a tree, series of all its selectors together, and samples of them; buckets count. */
const NODES_MAX = 32;
const SERIES_MAX = 256;
const SAMPLES_MAX = 8_192;
/** Of a range query: samples, which are mostly passed once, those of ranges once for each step that looks at them, and values. */
const RANGE_SAMPLES_MAX = 65_536;
const LOOKS_MAX = 131_072;
const VALUES_MAX = 16_384;
/** Of an answer: labels may be long. */
const ANSWER_BYTES_MAX = 2 ** 20;
/** For all small queries of a turn together. */
const TURN_MS_MAX = 3;
/** Evaluation that takes longer is given up. */
const EVALUATE_MS_MAX = 6;
/** Why it is; one for all. */
const TOO_LONG = new Error("the query takes long, and is for a worker");
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
  learn(query: PromqlQuery, tree: PromqlExpression, { series, samples }: QuerySize): void {
    const key = keyOf(query);
    if (series > SERIES_MAX || samples > samplesMaxOf(query) || this.#texts.has(key)) return;
    if (series * queryGrid(query).steps > VALUES_MAX) return;
    this.#texts.set(key, { tree, restsUntilMs: 0, restMs: REST_MS_MIN });
    if (this.#texts.size <= TEXTS_MAX) return;
    for (const [oldest] of this.#texts) {
      this.#texts.delete(oldest);
      return;
    }
  }

  /** Whether `evaluate` should be tried, and there is time for it in this turn. */
  takes(query: PromqlQuery): boolean {
    if (!isPlain(query) || this.#spentMs >= TURN_MS_MAX || this.#running >= RUNNING_MAX) return false;
    const known = this.#texts.get(keyOf(query));
    if (known === undefined) return false;
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
    const key = keyOf(query);
    const known = this.#texts.get(key);
    if (known === undefined) return undefined;
    this.#texts.delete(key);
    this.#texts.set(key, known);
    let sinceMs = this.#monotonicMs();
    let turn = this.#countTurn();
    const room = new SampleRoom();
    this.#running++;
    try {
      const plan = planTree(query, known.tree);
      const selected = await this.#select(plan, query, room, signal);
      if (selected === undefined) {
        rest(known, sinceMs);
        return undefined;
      }
      if (query.stepMs > 0 && this.#turn !== turn) {
        turn = await this.#turnWithTime(signal);
        sinceMs = this.#monotonicMs();
      }
      return render(evaluateQuery(query, plan, selected, this.#watch()), ANSWER_BYTES_MAX);
    } catch (cause) {
      if (cause !== TOO_LONG && !(cause instanceof ThalwegError && cause.code === "query_answer_max")) throw cause;
      rest(known, sinceMs);
      return undefined;
    } finally {
      room.release();
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
    room: SampleRoom,
    signal: AbortSignal | undefined,
  ): Promise<FedSeries[][] | undefined> {
    const { steps, stepMs } = queryGrid(query);
    let samplesMax = Math.min(samplesMaxOf(query), query.settings.samplesMax);
    let seriesMax = SERIES_MAX;
    let looksMax = LOOKS_MAX;
    const selected: FedSeries[][] = [];
    try {
      for (const selection of plan.selections) {
        const limits = { samplesMax, seriesMax, room, signal };
        const { series, samples } = await readSelection(this.#reader, selection, limits);
        samplesMax -= samples;
        seriesMax -= series.length;
        looksMax -= steps > 1 ? samples * Math.max(1, (selection.rangeMs ?? 0) / stepMs) : samples;
        if (samplesMax < 0 || seriesMax < 0 || looksMax < 0 || (SERIES_MAX - seriesMax) * steps > VALUES_MAX) {
          return undefined;
        }
        for (const { labels } of series) this.#keep(labels);
        selected.push(series);
      }
    } catch (cause) {
      if (cause instanceof ThalwegError && /^query_(?:samples|series)_max$/.test(cause.code)) return undefined;
      throw cause;
    }
    return selected;
  }

  /** Ends an evaluation that takes long. */
  #watch(): QueryWatch {
    const monotonicMs = this.#monotonicMs;
    const endMs = monotonicMs() + EVALUATE_MS_MAX;
    const check = () => {
      if (monotonicMs() > endMs) throw TOO_LONG;
    };
    return { monotonicMs, check };
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

  /** Waits for a turn in which there is time left. @returns That turn. */
  async #turnWithTime(signal: AbortSignal | undefined): Promise<number> {
    while (this.#spentMs >= TURN_MS_MAX) {
      await nextTurn();
      signal?.throwIfAborted();
    }
    return this.#countTurn();
  }

  /** @returns The number of this turn. */
  #countTurn(): number {
    if (this.#isTurnCounted) return this.#turn;
    this.#isTurnCounted = true;
    setImmediate(() => {
      this.#isTurnCounted = false;
      this.#turn++;
      this.#spentMs = 0;
    });
    return this.#turn;
  }
}

/** Under which a query is known: what a range query takes hangs on its length and step. */
function keyOf({ text, startMs, endMs, stepMs }: PromqlQuery): string {
  return stepMs === 0 ? text : `${endMs - startMs}/${stepMs} ${text}`;
}

function samplesMaxOf({ stepMs }: PromqlQuery): number {
  return stepMs === 0 ? SAMPLES_MAX : RANGE_SAMPLES_MAX;
}

function rest(known: KnownText, nowMs: number): void {
  known.restsUntilMs = nowMs + known.restMs;
  known.restMs = Math.min(REST_MS_MAX, 4 * known.restMs);
}

/** A query that nobody wants to know more of than its answer. */
function isPlain({ explain = false, stats = "none", settings }: PromqlQuery): boolean {
  return !explain && stats === "none" && settings.sourceResolutionMs === 0;
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
