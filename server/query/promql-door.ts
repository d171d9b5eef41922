/**
 * PromQL for the faces: plans and selects here, evaluates and renders in a worker.
 *
 * A worker answers one query at a time. One that outlives its time or dies is replaced; its query answers 503.
 */

import { Worker } from "node:worker_threads";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { SeriesSamples } from "../model/series.ts";
import type { StoreReader } from "../store/reader.ts";
import type {
  InstantRequest,
  PromqlDoor,
  QueryCaller,
  QueryOptions,
  RangeRequest,
  RangeTimes,
  RenderedAnswer,
} from "./doors.ts";
import { packedBuffers, packSamples } from "./promql/packed-samples.ts";
import { PROMQL_DEFAULTS, type PromqlQuery, type PromqlSettings, planQuery } from "./promql/query.ts";
import { samplesSize } from "./promql/query-budget.ts";
import { type AnswerCut, renderError, renderFailure } from "./promql/render.ts";
import type { WorkerReply, WorkerRequest } from "./promql-worker.ts";

/** Where the worker's code is in a clone; bundles say where theirs is. */
function workerOfClone(): URL {
  return new URL("./promql-worker.ts", import.meta.url);
}

/** Steps of a range query. */
export const RANGE_STEPS_MAX = 11_000;

/** Queries that run or wait: a dashboard sends all of its panels at once, and nobody there tries again. */
const QUERIES_MAX = 256;

/** How long after its own deadline a worker may take to notice it. */
const TIMEOUT_GRACE_MS = 250;

/** What the door reads from and is bounded by. */
export interface PromqlDoorOptions {
  readonly reader: Pick<StoreReader, "select">;
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly workerUrl?: URL | undefined;
  /** Threads that evaluate; one where two cores are. */
  readonly workers?: number | undefined;
  readonly settings?: Partial<PromqlSettings> | undefined;
  /** Told of a worker that died of a bug: the error belongs in the log. */
  readonly onWorkerFailure?: ((cause: Error) => void) | undefined;
}

/** Opens the door; workers start with the first queries. */
export function openPromqlDoor(options: PromqlDoorOptions): PromqlDoor {
  return new WorkerDoor(options);
}

/** A thread and the query it is busy with. */
interface Slot {
  worker: Worker | undefined;
  job: Job | undefined;
}

interface Job {
  readonly id: number;
  readonly query: PromqlQuery;
  readonly cut: AnswerCut;
  readonly deadlineMs: number;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (answer: RenderedAnswer) => void;
}

/** Jobs wait in order of arrival; a slot without a job is free. */
class WorkerDoor implements PromqlDoor {
  readonly #options: PromqlDoorOptions;
  readonly #settings: PromqlSettings;
  readonly #slots: Slot[];
  readonly #waiting: Job[] = [];
  #nextId = 1;
  #closed = false;

  constructor(options: PromqlDoorOptions) {
    this.#options = options;
    this.#settings = { ...PROMQL_DEFAULTS, ...options.settings };
    this.#slots = Array.from({ length: options.workers ?? 1 }, () => ({ worker: undefined, job: undefined }));
  }

  instant(request: InstantRequest): Promise<RenderedAnswer> {
    const { query, timeMs } = request;
    return this.#run({ text: query, startMs: timeMs, endMs: timeMs, stepMs: 0, ...this.#shared(request) }, request);
  }

  range(request: RangeRequest): Promise<RenderedAnswer> {
    const refused = rangeRefusal(request);
    if (refused !== undefined) return Promise.resolve(renderError("bad_data", refused));
    const { query, startMs, endMs } = request;
    const stepMs = Math.max(1, Math.floor(request.stepMs));
    return this.#run({ text: query, startMs, endMs, stepMs, ...this.#shared(request) }, request);
  }

  #shared({ timeoutMs, lookbackMs, useStartTimestamps }: QueryOptions): Pick<PromqlQuery, "timeoutMs" | "settings"> {
    const settings = {
      ...this.#settings,
      lookbackMs: lookbackMs ?? this.#settings.lookbackMs,
      useStartTimestamps: useStartTimestamps ?? this.#settings.useStartTimestamps,
    };
    return { timeoutMs, settings };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const job of this.#waiting.splice(0)) this.#settle(job, renderError("unavailable", "the server is stopping"));
    const stopping = this.#slots.map(async (slot) => {
      const { job, worker } = slot;
      slot.job = undefined;
      slot.worker = undefined;
      if (job !== undefined) this.#settle(job, renderError("unavailable", "the server is stopping"));
      await worker?.terminate();
    });
    await Promise.all(stopping);
  }

  #run(query: PromqlQuery, { seriesMax, warnings }: QueryCaller): Promise<RenderedAnswer> {
    if (this.#closed) return Promise.resolve(renderError("unavailable", "the server is stopping"));
    const running = this.#slots.filter((slot) => slot.job !== undefined).length;
    const waiting = this.#waiting.length;
    if (running + waiting >= QUERIES_MAX) {
      const busy = new ThalwegError("query_busy", { running, waiting, max: QUERIES_MAX });
      return Promise.resolve(renderError("unavailable", busy.message));
    }
    return new Promise((resolve) => {
      const job: Job = {
        id: this.#nextId++,
        query,
        cut: { seriesMax, warnings },
        deadlineMs: this.#options.clock.monotonicMs() + query.timeoutMs,
        timer: setTimeout(() => this.#expire(job), query.timeoutMs + TIMEOUT_GRACE_MS),
        resolve,
      };
      this.#waiting.push(job);
      this.#next();
    });
  }

  #settle(job: Job, answer: RenderedAnswer): void {
    clearTimeout(job.timer);
    job.resolve(answer);
  }

  /** Gives the first waiting job to a free slot. */
  #next(): void {
    const slot = this.#slots.find((one) => one.job === undefined);
    const job = slot === undefined ? undefined : this.#waiting.shift();
    if (slot === undefined || job === undefined) return;
    slot.job = job;
    this.#send(slot, job).catch((cause: unknown) => {
      if (slot.job !== job) return; // it ended while its series were gathered
      slot.job = undefined;
      const failure = renderFailure(cause);
      if (failure === undefined) this.#report(cause);
      this.#settle(job, failure ?? renderError("internal", "the query failed; the log says why"));
      this.#next();
    });
  }

  async #send(slot: Slot, job: Job): Promise<void> {
    const timeoutMs = job.deadlineMs - this.#options.clock.monotonicMs();
    if (timeoutMs <= 0) throw new ThalwegError("query_timeout", { timeoutMs: job.query.timeoutMs });
    const query = { ...job.query, timeoutMs };
    const samples = packSamples(await this.#select(query));
    if (slot.job !== job) return;
    slot.worker ??= this.#start(slot);
    const request: WorkerRequest = { id: job.id, query, cut: job.cut, samples };
    slot.worker.postMessage(request, packedBuffers(samples));
  }

  async #select(query: PromqlQuery): Promise<SeriesSamples[][]> {
    let asked = 0;
    const selected: SeriesSamples[][] = [];
    for (const { matchers, minMs, maxMs } of planQuery(query).selections) {
      const series = await this.#options.reader.select(matchers, minMs, maxMs);
      for (const one of series) asked += samplesSize(one);
      if (asked > query.settings.samplesMax) {
        throw new ThalwegError("query_samples_max", { asked, max: query.settings.samplesMax });
      }
      selected.push(series);
    }
    return selected;
  }

  #start(slot: Slot): Worker {
    const worker = new Worker(this.#options.workerUrl ?? workerOfClone(), { name: "promql" });
    worker.on("message", (reply: WorkerReply) => {
      const { job } = slot;
      if (slot.worker !== worker || job === undefined || job.id !== reply.id) return;
      slot.job = undefined;
      this.#settle(job, { status: reply.status, body: reply.body });
      this.#next();
    });
    worker.on("error", (cause) => this.#report(cause));
    worker.on("exit", () => this.#lose(slot, worker));
    worker.unref();
    return worker;
  }

  /** A worker ended by itself: what it was busy with is lost, and the next job starts another. */
  #lose(slot: Slot, worker: Worker): void {
    if (slot.worker !== worker) return;
    const { job } = slot;
    slot.worker = undefined;
    slot.job = undefined;
    if (job !== undefined) {
      this.#settle(job, renderError("unavailable", "the query worker stopped while it ran this query; try again"));
    }
    if (!this.#closed) this.#next();
  }

  #expire(job: Job): void {
    const waitingAt = this.#waiting.indexOf(job);
    if (waitingAt !== -1) this.#waiting.splice(waitingAt, 1);
    const slot = this.#slots.find((one) => one.job === job);
    if (slot !== undefined) {
      const { worker } = slot;
      slot.worker = undefined;
      slot.job = undefined;
      worker?.terminate().catch((cause: unknown) => this.#report(cause));
    }
    this.#settle(job, renderError("timeout", "query timed out in query execution"));
    this.#next();
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
