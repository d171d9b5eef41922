/**
 * PromQL for the faces: queues queries, gathers what they select here, evaluates and renders in workers.
 *
 * A worker has one job at a time. A query is answered the moment its time is over or its client leaves; its worker is
 * free again once it noticed, and is replaced where it does not.
 */

import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import { SampleRoom } from "../model/sample-room.ts";
import { releaseSharedBytes } from "../model/shared-bytes.ts";
import type {
  EvaluateOutcome,
  EvaluateRequest,
  InstantRequest,
  PromqlDoor,
  QueryCaller,
  QueryOptions,
  RangeRequest,
  RangeTimes,
  RenderedAnswer,
  SelectorsOutcome,
} from "./doors.ts";
import { chunkBuffers } from "./promql/chunked-series.ts";
import { newestBuffers } from "./promql/newest-samples.ts";
import { packedBuffers } from "./promql/packed-samples.ts";
import { PROMQL_DEFAULTS, type PromqlOutcome, type PromqlQuery, type PromqlSettings } from "./promql/query.ts";
import { renderError, renderFailure, renderOutcome } from "./promql/render.ts";
import { numberBuffers } from "./promql/window-numbers.ts";
import type { SelectedPart, TextWish, ToWorker, WorkerLimits } from "./promql-messages.ts";
import { PromqlSlot, type SlotEvent } from "./promql-slot.ts";
import { readSelectors } from "./promql-text-answers.ts";
import { readValues, type WorkerAnswer } from "./promql-values.ts";
import { QueryCells } from "./query-cells.ts";
import { feedQuery, type QueryReader } from "./query-feed.ts";
import { SmallQueries } from "./small-queries.ts";

/** Where the worker's code is in a clone; bundles say where theirs is. */
function workerOfClone(): URL {
  return new URL("./promql-worker.ts", import.meta.url);
}

/** Steps of a range query. */
const RANGE_STEPS_MAX = 11_000;

/** Queries that run or wait: a dashboard sends all of its panels at once, and nobody there tries again. */
const QUERIES_MAX = 256;

/** How long a text may take that is only parsed. */
const TEXT_TIMEOUT_MS = 10_000;

/** The longest that a timer of Node waits; a longer one would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Why gathering for a job ends: one for all, since an error of its own costs as much as to parse the query. */
const ANSWERED = new Error("the query is answered");

/** Prometheus' words. */
const CANCELED = "query was canceled in expression evaluation";
const TIMED_OUT = "query timed out in expression evaluation";
/** Why nobody waits for a small query; what it gathers is little, and left to come to its end. */
const TIME_UP = new Error(TIMED_OUT);

const STOPPING = "the server is stopping";

/** What the door reads from and is bounded by. */
export interface PromqlDoorOptions {
  readonly reader: QueryReader;
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly workerUrl?: URL | undefined;
  /** Threads that evaluate; one unless given. */
  readonly workers?: number | undefined;
  readonly settings?: Partial<PromqlSettings> | undefined;
  readonly limits?: Partial<QueryLimits> | undefined;
  /** Told when a query begins to run, and in which of the places 0 to `workers - 1`. */
  readonly onBegin?: ((place: number, text: string) => void) | undefined;
  /** Told when a place is free again. */
  readonly onEnd?: ((place: number) => void) | undefined;
  /** Told of every query once it is answered. */
  readonly onAnswer?: ((report: QueryReport) => void) | undefined;
  /** Told of a worker that died of a bug: the error belongs in the log. */
  readonly onWorkerFailure?: ((cause: Error) => void) | undefined;
}

/** What all queries may take. */
interface QueryLimits extends WorkerLimits {
  /** Series that one query may select. */
  readonly seriesMax: number;
}

const LIMITS_DEFAULT: QueryLimits = {
  valuesMax: 50_000_000,
  heapBytesMax: 512 * 2 ** 20,
  answerBytesMax: 256 * 2 ** 20,
  seriesMax: 1_000_000,
};

/** How a query went. */
export interface QueryReport {
  readonly query: Pick<PromqlQuery, "text" | "startMs" | "endMs" | "stepMs">;
  /** HTTP status of the answer. */
  readonly status: number;
  /** `ok`, or Prometheus' kind of error. */
  readonly outcome: string;
  readonly queueMs: number;
  readonly totalMs: number;
  readonly answerBytes: number;
  /** The most values that were held at once; 0 where the worker did not say. */
  readonly samplesPeak: number;
}

/** Opens the door; workers start with the first queries. */
export function openPromqlDoor(options: PromqlDoorOptions): PromqlDoor {
  return new WorkerDoor(options);
}

interface Job {
  readonly id: number;
  /** Undefined for a text that is only parsed. */
  readonly query: PromqlQuery | undefined;
  readonly first: ToWorker;
  readonly queuedMs: number;
  readonly deadlineMs: number;
  readonly timer: NodeJS.Timeout;
  /** Aborted once the job is answered. */
  readonly answered: AbortController;
  readonly resolve: (answer: WorkerAnswer) => void;
  /** Where its worker is: it plans or evaluates while `busy`, and waits for samples while `fed`. */
  state: "waiting" | "busy" | "fed" | "ended";
  /** Holds its samples; given back when it has ended and none are decoded any longer. */
  readonly room: SampleRoom;
  isGathering: boolean;
  beganMs: number;
}

/** Jobs wait in order of arrival. */
class WorkerDoor implements PromqlDoor {
  readonly #options: PromqlDoorOptions;
  readonly #settings: PromqlSettings;
  readonly #limits: QueryLimits;
  readonly #cells: QueryCells;
  readonly #slots: readonly PromqlSlot[];
  readonly #running = new Map<number, { readonly job: Job; readonly slot: PromqlSlot }>();
  readonly #waiting: Job[] = [];
  readonly #small: SmallQueries;
  #nextId = 1;
  #closed = false;

  constructor(options: PromqlDoorOptions) {
    const workers = options.workers ?? 1;
    this.#options = options;
    this.#settings = { ...PROMQL_DEFAULTS, ...options.settings };
    this.#limits = { ...LIMITS_DEFAULT, ...options.limits };
    this.#cells = new QueryCells(workers);
    this.#small = new SmallQueries(options.reader, () => options.clock.monotonicMs());
    this.#slots = Array.from({ length: workers }, (_, index) => this.#makeSlot(index));
  }

  instant(request: InstantRequest): Promise<RenderedAnswer> {
    const { query, timeMs } = request;
    return this.#query({ text: query, startMs: timeMs, endMs: timeMs, stepMs: 0, ...this.#shared(request) }, request);
  }

  range(request: RangeRequest): Promise<RenderedAnswer> {
    const refused = rangeRefusal(request);
    if (refused !== undefined) return Promise.resolve(renderError("bad_data", refused));
    const { query, startMs, endMs } = request;
    const stepMs = Math.max(1, Math.floor(request.stepMs));
    return this.#query({ text: query, startMs, endMs, stepMs, ...this.#shared(request) }, request);
  }

  async evaluate({ query: text, timeMs, timeoutMs, signal }: EvaluateRequest): Promise<EvaluateOutcome> {
    const id = this.#nextId++;
    const times = { startMs: timeMs, endMs: timeMs, stepMs: 0 };
    const query = { text, ...times, timeoutMs, settings: this.#settings, explain: false };
    const first = { kind: "plan", id, query, show: "values" } as const;
    return readValues(await this.#submit({ query, first, timeoutMs, signal }));
  }

  format(text: string, signal?: AbortSignal): Promise<RenderedAnswer> {
    return this.#text(text, "format", signal);
  }

  tree(text: string, signal?: AbortSignal): Promise<RenderedAnswer> {
    return this.#text(text, "tree", signal);
  }

  async selectors(text: string, signal?: AbortSignal): Promise<SelectorsOutcome> {
    return readSelectors(await this.#text(text, "selectors", signal));
  }

  #text(text: string, wish: TextWish, signal: AbortSignal | undefined): Promise<RenderedAnswer> {
    const id = this.#nextId++;
    const first = { kind: "text", id, text, wish, settings: this.#settings } as const;
    return this.#submit({ query: undefined, first, timeoutMs: TEXT_TIMEOUT_MS, signal });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const job of this.#waiting.splice(0)) this.#settle(job, renderError("unavailable", STOPPING));
    for (const { job } of this.#running.values()) this.#settle(job, renderError("unavailable", STOPPING));
    await Promise.all(this.#slots.map((slot) => slot.close()));
    this.#running.clear();
  }

  #shared(options: QueryOptions): Pick<PromqlQuery, "timeoutMs" | "settings" | "explain" | "stats"> {
    const { timeoutMs, lookbackMs, sourceResolutionMs, useStartTimestamps, explain, stats } = options;
    const settings = {
      ...this.#settings,
      lookbackMs: lookbackMs ?? this.#settings.lookbackMs,
      sourceResolutionMs: sourceResolutionMs ?? 0,
      useStartTimestamps: useStartTimestamps ?? this.#settings.useStartTimestamps,
    };
    return { timeoutMs, settings, explain, stats };
  }

  async #query(query: PromqlQuery, caller: QueryCaller): Promise<RenderedAnswer> {
    const answer = this.#closed || !this.#small.takes(query) ? undefined : await this.#answerHere(query, caller);
    if (answer !== undefined) return answer;
    const id = this.#nextId++;
    const { seriesMax, warnings, signal } = caller;
    const first = { kind: "plan", id, query, show: { seriesMax, warnings } } as const;
    return this.#submit({ query, first, timeoutMs: query.timeoutMs, signal });
  }

  /** Answers a small query on this thread; undefined where it is for a worker. */
  async #answerHere(
    query: PromqlQuery,
    { seriesMax, warnings, signal }: QueryCaller,
  ): Promise<WorkerAnswer | undefined> {
    const sinceMs = this.#options.clock.monotonicMs();
    let samplesPeak = 0;
    let answer: WorkerAnswer | undefined;
    let timer: NodeJS.Timeout | undefined;
    const render = (outcome: PromqlOutcome, bytesMax: number) => {
      samplesPeak = outcome.samplesPeak;
      return renderOutcome(outcome, {
        seriesMax,
        warnings,
        bytesMax: Math.min(bytesMax, this.#limits.answerBytesMax),
      });
    };
    const timeUp = new Promise<never>((_, reject) => {
      timer = setTimeout(reject, Math.min(query.timeoutMs, TIMER_MS_MAX), TIME_UP);
    });
    try {
      answer = await Promise.race([this.#small.evaluate(query, signal, render), timeUp]);
      if (answer === undefined) return undefined;
    } catch (cause) {
      if (cause === TIME_UP) answer = renderError("timeout", TIMED_OUT);
      else answer = signal?.aborted === true ? renderError("canceled", CANCELED) : this.#renderFailure(cause);
    } finally {
      clearTimeout(timer);
    }
    const totalMs = this.#options.clock.monotonicMs() - sinceMs;
    this.#tell(query, answer, { queueMs: 0, totalMs, samplesPeak });
    return answer;
  }

  #submit(asked: {
    readonly query: PromqlQuery | undefined;
    readonly first: ToWorker;
    readonly timeoutMs: number;
    readonly signal: AbortSignal | undefined;
  }): Promise<WorkerAnswer> {
    if (this.#closed) return Promise.resolve(renderError("unavailable", STOPPING));
    const running = this.#running.size;
    const waiting = this.#waiting.length;
    if (running + waiting >= QUERIES_MAX) {
      const busy = new ThalwegError("query_busy", { running, waiting, max: QUERIES_MAX });
      return Promise.resolve(renderError("unavailable", busy.message));
    }
    return new Promise((resolve) => {
      const nowMs = this.#options.clock.monotonicMs();
      const job: Job = {
        id: asked.first.id,
        query: asked.query,
        first: asked.first,
        queuedMs: nowMs,
        deadlineMs: nowMs + asked.timeoutMs,
        timer: setTimeout(() => this.#giveUp(job, "timeout"), Math.min(asked.timeoutMs, TIMER_MS_MAX)),
        answered: new AbortController(),
        resolve,
        state: "waiting",
        room: new SampleRoom(),
        isGathering: false,
        beganMs: nowMs,
      };
      asked.signal?.addEventListener("abort", () => this.#giveUp(job, "canceled"), { signal: job.answered.signal });
      this.#waiting.push(job);
      this.#next();
    });
  }

  #makeSlot(index: number): PromqlSlot {
    return new PromqlSlot({
      index,
      workerUrl: this.#options.workerUrl ?? workerOfClone(),
      start: { cells: this.#cells.buffer, slot: index, limits: this.#limits },
      cells: this.#cells,
      onEvent: (id, event) => this.#hear(id, event),
    });
  }

  /** Gives waiting jobs to free slots. */
  #next(): void {
    if (this.#closed) return;
    for (const slot of this.#slots) {
      if (!slot.isFree) continue;
      const job = this.#waiting.shift();
      if (job === undefined) return;
      job.state = "busy";
      job.beganMs = this.#options.clock.monotonicMs();
      this.#running.set(job.id, { job, slot });
      if (job.query !== undefined) this.#options.onBegin?.(slot.index, job.query.text);
      slot.begin(job.id, job.first);
    }
  }

  #hear(id: number, event: SlotEvent): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    const { job, slot } = running;
    if (event.kind === "selections") {
      job.state = "fed";
      if (job.answered.signal.aborted) this.#abandon(job, slot);
      else this.#feed(job, slot, event).catch((cause: unknown) => this.#fail(job, slot, cause));
      return;
    }
    this.#end(job, slot);
    if (event.kind === "answer") this.#settle(job, event.answer, event.samplesPeak);
    else this.#lose(job, event.cause);
    this.#next();
  }

  async #feed(
    job: Job,
    slot: PromqlSlot,
    { selections, tree }: SlotEvent & { readonly kind: "selections" },
  ): Promise<void> {
    const { clock, reader } = this.#options;
    const sinceMs = clock.monotonicMs();
    job.isGathering = true;
    const sent = slot.takeLabels();
    let last: { readonly part: SelectedPart; readonly buffers: ArrayBuffer[] } | undefined;
    const pass = (part: SelectedPart, buffers: ArrayBuffer[]) => {
      if (last !== undefined) slot.send(last.part, last.buffers);
      last = { part, buffers };
    };
    const gathering = feedQuery({
      reader,
      sent,
      selections,
      samplesMax: Math.min(this.#settings.samplesMax, Math.max(0, this.#limits.valuesMax - this.#cells.values)),
      seriesMax: this.#limits.seriesMax,
      room: job.room,
      signal: job.answered.signal,
      onPart: (selection, samples) => {
        pass({ kind: "samples", id: job.id, selection, samples }, packedBuffers(samples));
      },
      onNewest: (selection, newest) => {
        pass({ kind: "newest", id: job.id, selection, newest }, newestBuffers(newest));
      },
      onChunks: (selection, chunks) => {
        pass({ kind: "chunks", id: job.id, selection, chunks }, chunkBuffers(chunks));
      },
      onNumbers: (selection, numbers) => {
        pass({ kind: "numbers", id: job.id, selection, numbers }, numberBuffers(numbers));
      },
    });
    try {
      const read = await gathering;
      if (job.query !== undefined && tree !== undefined) this.#small.learn(job.query, tree, read);
    } finally {
      job.isGathering = false;
      if (job.state === "ended") job.room.release();
    }
    if (job.answered.signal.aborted) return;
    const nowMs = clock.monotonicMs();
    const timeoutMs = job.deadlineMs - nowMs;
    job.state = "busy";
    const queueMs = job.beganMs - job.queuedMs;
    const message = {
      kind: "evaluate",
      id: job.id,
      last: last?.part,
      timeoutMs,
      queueMs,
      selectMs: nowMs - sinceMs,
    } as const;
    slot.send(message, last?.buffers);
    slot.keepLabels(sent);
  }

  /** Its samples could not be gathered. */
  #fail(job: Job, slot: PromqlSlot, cause: unknown): void {
    if (!job.answered.signal.aborted) this.#settle(job, this.#renderFailure(cause));
    if (this.#running.has(job.id)) this.#abandon(job, slot);
  }

  /** A bug is told to the log, and not to the client. */
  #renderFailure(cause: unknown): RenderedAnswer {
    const failure = renderFailure(cause);
    if (failure !== undefined) return failure;
    this.#report(cause);
    return renderError("internal", "the query failed; the log says why");
  }

  /** Its worker waits for samples that will not come. */
  #abandon(job: Job, slot: PromqlSlot): void {
    slot.forget(job.id);
    this.#end(job, slot);
    this.#next();
  }

  /** Answers a job before its time, and has its worker stop. */
  #giveUp(job: Job, why: "timeout" | "canceled"): void {
    const where = job.state === "waiting" ? "query queue" : "expression evaluation";
    const words = why === "timeout" ? `query timed out in ${where}` : `query was canceled in ${where}`;
    this.#settle(job, renderError(why, words));
    const waitingAt = this.#waiting.indexOf(job);
    if (waitingAt !== -1) this.#waiting.splice(waitingAt, 1);
    const slot = this.#running.get(job.id)?.slot;
    if (slot === undefined) return;
    if (job.state === "fed") this.#abandon(job, slot);
    else slot.stop(job.id);
  }

  #lose(job: Job, cause: Error | undefined): void {
    if (cause !== undefined) this.#report(cause);
    this.#settle(job, renderError("unavailable", "the query worker stopped while it ran this query; try again"));
  }

  #end(job: Job, slot: PromqlSlot): void {
    this.#running.delete(job.id);
    job.state = "ended";
    // Samples may still be decoded into it, for nobody.
    if (!job.isGathering) job.room.release();
    if (job.query !== undefined) this.#options.onEnd?.(slot.index);
  }

  /** The first answer counts. */
  #settle(job: Job, answer: WorkerAnswer, samplesPeak = 0): void {
    if (job.answered.signal.aborted) {
      releaseSharedBytes(answer.body);
      return;
    }
    clearTimeout(job.timer);
    job.answered.abort(ANSWERED);
    job.resolve(answer);
    if (job.query === undefined) return;
    const nowMs = this.#options.clock.monotonicMs();
    const queueMs = (job.state === "waiting" ? nowMs : job.beganMs) - job.queuedMs;
    this.#tell(job.query, answer, { queueMs, totalMs: nowMs - job.queuedMs, samplesPeak });
  }

  #tell(
    query: PromqlQuery,
    { status, errorType, body }: WorkerAnswer,
    measured: Pick<QueryReport, "queueMs" | "totalMs" | "samplesPeak">,
  ): void {
    this.#options.onAnswer?.({ query, status, outcome: errorType ?? "ok", answerBytes: body.length, ...measured });
  }

  #report(cause: unknown): void {
    this.#options.onWorkerFailure?.(cause instanceof Error ? cause : new Error(String(cause)));
  }
}

/** What Prometheus refuses in the times of a range query, in its words; undefined where it refuses nothing. */
export function rangeRefusal({ startMs, endMs, stepMs }: RangeTimes): string | undefined {
  const bad = (parameter: string, why: string) => `invalid parameter "${parameter}": ${why}`;
  if (endMs < startMs) return bad("end", "end timestamp must not be before start time");
  if (!(stepMs > 0)) {
    return bad("step", "zero or negative query resolution step widths are not accepted. Try a positive integer");
  }
  if (Math.floor((endMs - startMs) / stepMs) > RANGE_STEPS_MAX) {
    return "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
  }
  return undefined;
}
