/**
 * The thread in which PromQL is parsed, planned and evaluated, and answers are rendered.
 *
 * It gets plain data and gives bytes; it knows neither store nor clock of the main thread. One job at a time: plan,
 * samples, evaluate, answer.
 */

import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { parentPort, workerData } from "node:worker_threads";
import { ThalwegError } from "../model/errors.ts";
import { lowerThreadPriority } from "../platform/thread-priority.ts";
import { ChunkStore, unpackChunks } from "./promql/chunked-series.ts";
import { sourceOf } from "./promql/downsampled.ts";
import type { FedSeries } from "./promql/encoded-columns.ts";
import { unpackNewest } from "./promql/newest-samples.ts";
import { KnownLabels } from "./promql/packed-labels.ts";
import { unpackSamples } from "./promql/packed-samples.ts";
import { evaluateQuery, type PlannedQuery, type PromqlQuery, parseQuery, planTree } from "./promql/query.ts";
import type { QueryWatch } from "./promql/query-budget.ts";
import { type AnswerShow, renderFailure, renderOutcome } from "./promql/render.ts";
import { KnownPages, type SharedPage } from "./promql/shared-pages.ts";
import { unpackNumbers } from "./promql/window-numbers.ts";
import type { FromWorker, SelectedPart, ToWorker, WorkerStart } from "./promql-messages.ts";
import { renderText } from "./promql-text-answers.ts";
import { valuesAnswer, type WorkerAnswer } from "./promql-values.ts";
import { QueryCells } from "./query-cells.ts";
import { smallTree } from "./small-queries.ts";

/** The heap is measured once for so many looks at the budget. */
const HEAP_EVERY = 32;
/** A query stops where a collection leaves more than this share of the most: the next one would come too soon. */
const HEAP_LEFT_SHARE = 0.9;
/** Beyond this, heap and buffers together, garbage is collected before the next query. */
const COLLECT_BYTES = 64 * 2 ** 20;
/** Nor is it collected before so much has come to what a full collection left: that again would find as little. */
const COLLECT_GROWTH_BYTES = 32 * 2 ** 20;

/** The query that is planned, while its samples arrive. */
interface Job {
  readonly id: number;
  readonly query: PromqlQuery;
  readonly show: AnswerShow | "values";
  readonly plan: PlannedQuery;
  readonly planMs: number;
  readonly selected: FedSeries[][];
  /** By selection, where samples lie that are still encoded. */
  readonly stores: (ChunkStore | undefined)[];
}

// The door makes workers with exactly this.
const { cells: buffer, slot, limits } = workerData as WorkerStart;
const cells = new QueryCells(buffer);
let job: Job | undefined;
/** Heap and buffers after the last full collection that was asked for. */
let leftBytes = 0;
/** Labels of this query and of earlier ones. */
const known = new KnownLabels();
const knownPages = new KnownPages();
const startHeapBytes = getHeapStatistics().used_heap_size;

setFlagsFromString("--expose-gc");
// A context made after the flag was set has the function, and V8 has no other name for it.
const collectGarbage = runInNewContext("gc") as (options?: { readonly type: "minor" }) => void;

/** Tells the others what this worker holds, and stops the query where they have no room, or where nobody waits. */
function watchOf(id: number): QueryWatch {
  let looks = 0;
  return {
    monotonicMs: () => performance.now(),
    check: (held) => {
      if (cells.isStopped(slot, id)) throw new ThalwegError("query_canceled", {});
      const values = cells.holdValues(slot, held);
      if (values.total > limits.valuesMax && values.isLargest) {
        throw new ThalwegError("query_samples_max", { asked: values.total, max: limits.valuesMax });
      }
      if (looks++ % HEAP_EVERY === 0) checkHeap();
    },
  };
}

/** What V8 has not collected yet counts only once a collection did not help. */
function checkHeap(): void {
  const { heapBytesMax } = limits;
  const measure = () => cells.holdHeap(slot, Math.max(0, getHeapStatistics().used_heap_size - startHeapBytes));
  const { total, isLargest } = measure();
  if (total <= heapBytesMax || !isLargest) return;
  collectGarbage();
  const left = measure();
  if (left.isLargest && left.total > HEAP_LEFT_SHARE * heapBytesMax) {
    throw new ThalwegError("query_memory_max", { asked: total, max: heapBytesMax });
  }
}

function plan(message: ToWorker & { readonly kind: "plan" }): void {
  const { id, query, show } = message;
  attempt(id, () => {
    const sinceMs = performance.now();
    const tree = parseQuery(query);
    const planned = planTree(query, tree);
    const planMs = performance.now() - sinceMs;
    job = { id, query, show, plan: planned, planMs, selected: planned.selections.map(() => []), stores: [] };
    const selections = planned.selections.map(({ selector, matchers, minMs, maxMs, isNewest, call }) => {
      return { matchers, minMs, maxMs, isNewest, call, source: sourceOf(selector) };
    });
    send({ kind: "selections", id, selections, tree: smallTree(query, tree) });
    return undefined;
  });
}

function evaluate(message: ToWorker & { readonly kind: "evaluate" }, { query, ...rest }: Job): void {
  const { id, timeoutMs, queueMs, selectMs } = message;
  attempt(id, () => {
    const sinceMs = performance.now();
    const outcome = evaluateQuery({ ...query, timeoutMs }, rest.plan, rest.selected, watchOf(id));
    const timings = { queueMs, planMs: rest.planMs, selectMs, evaluateMs: performance.now() - sinceMs };
    const { show } = rest;
    const answer =
      show === "values"
        ? valuesAnswer(outcome)
        : renderOutcome(outcome, { ...show, bytesMax: limits.answerBytesMax, timings });
    return { answer, samplesPeak: outcome.samplesPeak };
  });
}

/** Sends what `run` gives, or the answer to what it throws. A bug ends the worker, and the main thread answers. */
function attempt(id: number, run: () => { answer: WorkerAnswer; samplesPeak: number } | undefined): void {
  try {
    const outcome = run();
    if (outcome !== undefined) finish(id, outcome.answer, outcome.samplesPeak);
  } catch (cause) {
    const failure = renderFailure(cause);
    if (failure === undefined) throw cause;
    finish(id, failure, 0);
  }
}

function finish(id: number, answer: WorkerAnswer, samplesPeak: number): void {
  const { buffer } = answer.body;
  send({ kind: "answer", id, answer, samplesPeak }, buffer instanceof ArrayBuffer ? [buffer] : []);
  leave();
}

/** Lets go of the job and of all that it held. */
function leave(): void {
  // Who called may still hold the job while garbage is collected.
  if (job !== undefined) job.selected.length = 0;
  if (job !== undefined) job.stores.length = 0;
  job = undefined;
  known.tidy();
  if (!holdsMuch()) return;
  // Nearly all of it is young and died with the query: to look for what lives among it is a tenth of the work.
  collectGarbage({ type: "minor" });
  if (!holdsMuch()) return;
  collectGarbage();
  leftBytes = heldBytes();
}

function holdsMuch(): boolean {
  return heldBytes() > Math.max(COLLECT_BYTES, leftBytes + COLLECT_GROWTH_BYTES);
}

function heldBytes(): number {
  const { used_heap_size: heapBytes, external_memory: bufferBytes } = getHeapStatistics();
  return heapBytes + bufferBytes;
}

function send(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

function receive(message: ToWorker): void {
  if (message.kind === "evaluate" && message.last !== undefined) receive(message.last);
  if (message.kind === "samples") known.add(message.samples);
  if (message.kind === "newest") known.add(message.newest);
  if (message.kind === "numbers") known.add(message.numbers);
  if (message.kind === "chunks") known.add(message.chunks);
  const pages =
    message.kind === "chunks" && message.chunks.pages !== undefined ? knownPages.take(message.chunks.pages) : [];
  if (message.kind === "plan") plan(message);
  else if (message.kind === "text") {
    const { id, text, wish, settings } = message;
    attempt(id, () => ({ answer: renderText(text, wish, settings), samplesPeak: 0 }));
  }
  // A job that was answered or forgotten may still have parts on their way.
  else if (message.id !== job?.id) return;
  else if (message.kind === "forget") leave();
  else if (message.kind === "evaluate") evaluate(message, job);
  else {
    const selected = job.selected[message.selection];
    for (const one of unpackPart(message, pages, job)) selected?.push(one);
  }
}

function unpackPart(part: SelectedPart, pages: readonly SharedPage[], { stores }: Job): readonly FedSeries[] {
  switch (part.kind) {
    case "samples":
      return unpackSamples(part.samples, known);
    case "newest":
      return unpackNewest(part.newest, known);
    case "chunks": {
      const { columns } = part.chunks;
      if (columns !== undefined) stores[part.selection] = new ChunkStore(columns, pages);
      const store = stores[part.selection];
      return store === undefined ? [] : unpackChunks(part.chunks, store, known);
    }
    case "numbers":
      return unpackNumbers(part.numbers, known);
  }
}

lowerThreadPriority();
parentPort?.on("message", receive);
