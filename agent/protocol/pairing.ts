/**
 * How sure it is which answer belongs to which request, on a connection whose requests are answered in order.
 *
 * What waits from an earlier write, with an answer seen in between, shows a client that does not wait for its answers.
 * Once something of such a client was lost, nothing is paired until silence shows that no answer is owed.
 */

/** After this much silence nothing is owed. */
const SETTLED_QUIET_NS = 20e6;

/** Follows the directions of slices, and what is known of answers that are owed. */
export class Pairing {
  /** Direction of the last slice; -1 before the first. */
  last: 0 | 1 | -1 = -1;
  /** The slice at hand is the client's, and what came before it was the server's. */
  turned = false;
  lastNs = 0;
  /** Answers may come to what was not seen. */
  isUnsure = false;
  /** It is certain that no answer was owed at some time, and nothing was lost since. */
  isSettled: boolean;
  /** The client was seen to send while older requests of an earlier write waited. */
  multiplexes = false;
  #quietNs = 0;

  constructor(joinedLate: boolean) {
    this.isSettled = !joinedLate;
  }

  slice(direction: 0 | 1, timeNs: number): void {
    this.turned = direction === 0 && this.last === 1;
    this.#quietNs = timeNs - this.lastNs;
    this.last = direction;
    this.lastNs = timeNs;
  }

  /** Requests or answers were lost. */
  lost(): void {
    this.isSettled = false;
    this.isUnsure = true;
  }

  /** Nothing waits: may a request that was just read be paired with the answer to come? */
  begins(): boolean {
    const isQuiet = this.#quietNs >= SETTLED_QUIET_NS;
    if (isQuiet) this.isSettled = true;
    if (this.isUnsure && this.multiplexes && !isQuiet) return false;
    this.isUnsure = false;
    return true;
  }
}
