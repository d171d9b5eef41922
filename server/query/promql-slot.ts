/**
 * One PromQL worker and the job it is busy with.
 *
 * Invariant: a slot is free only when its worker waits for a message. A job that is answered before its worker is done
 * (time over, client gone) keeps the slot until the worker notices, or is ended because it does not.
 */

import { Worker } from "node:worker_threads";
import { SentLabels } from "./promql/packed-labels.ts";
import type { FromWorker, ToWorker, WorkerStart } from "./promql-messages.ts";
import type { QueryCells } from "./query-cells.ts";

/** How long a worker may take to notice that it shall stop. */
const NOTICE_MS = 250;
/** V8 ends a worker beyond this many times its share; a single growing table may briefly need several. */
const HEAP_HEADROOM = 4;
const HEAP_MIB_MIN = 1024;
/** Results of a query mostly die with it: with less room for what is young they are copied while they live. */
const YOUNG_MIB = 96;
const MIB = 2 ** 20;

/** What a worker said about the job, or that it ended. */
export type SlotEvent =
  | (FromWorker & { readonly kind: "selections" })
  | (FromWorker & { readonly kind: "answer" })
  | { readonly kind: "lost"; readonly cause: Error | undefined };

/** How to make workers, and who hears of them. */
export interface SlotOptions {
  readonly index: number;
  readonly workerUrl: URL;
  readonly start: WorkerStart;
  readonly cells: QueryCells;
  /** Hears of the job with that id; not again after `answer` and `lost`, with which the slot is free. */
  readonly onEvent: (id: number, event: SlotEvent) => void;
}

/** A thread that is started with its first job, and again after it was ended. */
export class PromqlSlot {
  readonly #options: SlotOptions;
  #worker: Worker | undefined;
  #jobId: number | undefined;
  #labels: SentLabels | undefined;
  /** The worker that they went to. */
  #labelsOf: Worker | undefined;
  #noticeTimer: NodeJS.Timeout | undefined;

  constructor(options: SlotOptions) {
    this.#options = options;
  }

  get isFree(): boolean {
    return this.#jobId === undefined;
  }

  get index(): number {
    return this.#options.index;
  }

  /** Takes a job; its first message goes to the worker. */
  begin(id: number, message: ToWorker): void {
    this.#jobId = id;
    this.send(message);
  }

  send(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    this.#worker ??= this.#startWorker();
    this.#worker.postMessage(message, transfer);
  }

  /** The labels that its worker knows; they are given back with `keepLabels` once all of a query is sent. */
  takeLabels(): SentLabels {
    const labels = this.#labels ?? new SentLabels();
    this.#labels = undefined;
    this.#worker ??= this.#startWorker();
    this.#labelsOf = this.#worker;
    return labels;
  }

  /** The worker got all of them, unless it was replaced meanwhile; what is too many it forgets after the query. */
  keepLabels(labels: SentLabels): void {
    if (labels.isSmall && this.#worker === this.#labelsOf) this.#labels = labels;
  }

  /** The worker is waiting and shall not go on with its job: the slot is free at once. */
  forget(id: number): void {
    this.send({ kind: "forget", id });
    this.#free();
  }

  /** The worker is at work and shall stop its job: the slot is free once it did, or was ended. */
  stop(id: number): void {
    this.#options.cells.stop(this.#options.index, id);
    this.#noticeTimer ??= setTimeout(() => this.#end(undefined), NOTICE_MS);
  }

  /** Ends the worker; nobody hears of its job. */
  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#free();
    await worker?.terminate();
  }

  #startWorker(): Worker {
    const { workerUrl, start } = this.#options;
    this.#labels = undefined;
    const heapMib = Math.max(HEAP_MIB_MIN, Math.ceil((HEAP_HEADROOM * start.limits.heapBytesMax) / MIB));
    const worker = new Worker(workerUrl, {
      name: "promql",
      workerData: start,
      resourceLimits: { maxOldGenerationSizeMb: heapMib, maxYoungGenerationSizeMb: YOUNG_MIB },
    });
    let cause: Error | undefined;
    worker.on("message", (message: FromWorker) => {
      if (this.#worker === worker && message.id === this.#jobId) this.#hear(message);
    });
    worker.on("error", (error) => {
      cause = error instanceof Error ? error : new Error(String(error));
    });
    worker.on("exit", () => {
      if (this.#worker === worker) this.#end(cause ?? new Error("the worker ended by itself"));
    });
    worker.unref();
    return worker;
  }

  #hear(message: FromWorker): void {
    if (message.kind === "answer") this.#free();
    this.#options.onEvent(message.id, message);
  }

  /** Lets go of the worker, and tells of its job. Without a cause it was too slow to stop. */
  #end(cause: Error | undefined): void {
    const worker = this.#worker;
    const id = this.#jobId;
    this.#worker = undefined;
    this.#free();
    // What it held is gone once it ended; until then nobody counts it, which is a moment.
    worker?.terminate().catch(() => {});
    if (id !== undefined) this.#options.onEvent(id, { kind: "lost", cause });
  }

  #free(): void {
    clearTimeout(this.#noticeTimer);
    this.#noticeTimer = undefined;
    this.#jobId = undefined;
    this.#options.cells.clear(this.#options.index);
  }
}
