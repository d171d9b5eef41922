/**
 * Numbers that the main thread and all PromQL workers see: what each worker holds, and which of its jobs shall stop.
 *
 * Invariant: a worker writes only what it holds itself; the main thread writes for a worker that has ended.
 */

/** Cells of each worker: id of the job to stop, values held, KiB of heap. */
const CELLS = 3;
const STOP = 0;
const VALUES = 1;
const HEAP_KIB = 2;
const KIB = 1024;

/** What one worker holds beside the others. */
export interface Holding {
  /** Of all workers together. */
  readonly total: number;
  /** No other worker holds more. */
  readonly isLargest: boolean;
}

/** The numbers, over shared memory. */
export class QueryCells {
  readonly buffer: SharedArrayBuffer;
  readonly #cells: Int32Array;

  /** @param source A number of workers, or the buffer of the cells that another thread made. */
  constructor(source: number | SharedArrayBuffer) {
    const isCount = typeof source === "number";
    this.buffer = isCount ? new SharedArrayBuffer(source * CELLS * Int32Array.BYTES_PER_ELEMENT) : source;
    this.#cells = new Int32Array(this.buffer);
  }

  /** Asks a worker to stop a job. */
  stop(slot: number, id: number): void {
    Atomics.store(this.#cells, slot * CELLS + STOP, id);
  }

  /** Whether a worker was asked to stop this job. */
  isStopped(slot: number, id: number): boolean {
    return Atomics.load(this.#cells, slot * CELLS + STOP) === id;
  }

  holdValues(slot: number, count: number): Holding {
    return this.#hold(slot, VALUES, count);
  }

  /** In whole KiB. */
  holdHeap(slot: number, bytes: number): Holding {
    const { total, isLargest } = this.#hold(slot, HEAP_KIB, Math.floor(bytes / KIB));
    return { total: total * KIB, isLargest };
  }

  /** Values that all workers hold. */
  get values(): number {
    let total = 0;
    for (let at = VALUES; at < this.#cells.length; at += CELLS) total += Atomics.load(this.#cells, at);
    return total;
  }

  /** A worker has ended and holds nothing. */
  clear(slot: number): void {
    for (const cell of [STOP, VALUES, HEAP_KIB]) Atomics.store(this.#cells, slot * CELLS + cell, 0);
  }

  #hold(slot: number, cell: number, count: number): Holding {
    Atomics.store(this.#cells, slot * CELLS + cell, count);
    let total = 0;
    let isLargest = true;
    for (let at = cell; at < this.#cells.length; at += CELLS) {
      const held = Atomics.load(this.#cells, at);
      total += held;
      if (held > count) isLargest = false;
    }
    return { total, isLargest };
  }
}
