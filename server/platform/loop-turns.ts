/** Turns of the event loop, one after the other. */

/** Gives one turn of the loop to each who waits, in their order, however many they are. */
export class LoopTurns {
  #last: Promise<unknown> = Promise.resolve();

  /** Resolves in a turn that nobody else is given. */
  next(): Promise<unknown> {
    this.#last = this.#last.then(() => new Promise(setImmediate));
    return this.#last;
  }
}
