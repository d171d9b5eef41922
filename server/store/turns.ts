/** Lets the event loop turn during long work on the main thread. */

import { setImmediate as nextTurn } from "node:timers/promises";

/** How long work may go on before others get a turn; several turns may lie between a request and its answer. */
const SLICE_MS = 3;

/** Says when a turn is due, and passes it. */
export class Turns {
  readonly #signal: AbortSignal | undefined;
  #endsMs = performance.now() + SLICE_MS;

  /** @param signal Aborted when nobody waits for the work any longer. */
  constructor(signal?: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** A slice is over: `pass` should be called. */
  get isDue(): boolean {
    return performance.now() >= this.#endsMs;
  }

  /** @throws The reason of the signal once it is aborted. */
  async pass(): Promise<void> {
    await nextTurn();
    this.#signal?.throwIfAborted();
    this.#endsMs = performance.now() + SLICE_MS;
  }
}
