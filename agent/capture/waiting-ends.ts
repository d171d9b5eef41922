/**
 * Ends of sockets and processes on their way to the sink: none is told before the data that came before it.
 *
 * Invariants: an end waits until the data ring is read past its position; one whose process may still read what it had
 * received lingers a second longer. Ends beyond the limit of a queue do not wait in it.
 */

/** A socket's or process's end. */
export interface WaitingEnd {
  readonly kind: "socket" | "process";
  /** Cookie or pid. */
  readonly key: number;
  readonly timeNs: number;
  readonly reset: boolean;
  /** The process may still read what it had received. */
  readonly unread: boolean;
  /** Position of the data ring that must be read first. */
  readonly after: number;
}

const waitingEndsMax = 1 << 16;
/** How long what was received before the end may still be read. */
const lingerNs = 1e9;

/** The ends that wait, in order of their position, and those that linger, in order of time. */
export class WaitingEnds {
  readonly #finish: (end: WaitingEnd) => void;
  #waiting: WaitingEnd[] = [];
  #lingering: WaitingEnd[] = [];

  /** @param finish Is told of each end once, when its time has come. */
  constructor(finish: (end: WaitingEnd) => void) {
    this.#finish = finish;
  }

  add(end: WaitingEnd): void {
    if (this.#waiting.length >= waitingEndsMax) this.#finish(end);
    else this.#waiting.push(end);
  }

  /** The data ring was read up to `position`; `nowNs` is boot time, asked for only where something lingers. */
  readTo(position: number, nowNs: () => number): void {
    if (this.#waiting.length > 0) this.#finishWaiting(position);
    if (this.#lingering.length > 0) this.#finishLingering(nowNs() - lingerNs);
  }

  #finishWaiting(position: number): void {
    const waiting = this.#waiting;
    let done = 0;
    for (let end = waiting[done]; end !== undefined && end.after <= position; end = waiting[++done]) {
      if (end.unread && this.#lingering.length < waitingEndsMax) this.#lingering.push(end);
      else this.#finish(end);
    }
    if (done > 0) this.#waiting = waiting.slice(done);
  }

  #finishLingering(oldestNs: number): void {
    const keptFrom = this.#lingering.findIndex((end) => end.timeNs > oldestNs);
    const over = keptFrom < 0 ? this.#lingering : this.#lingering.slice(0, keptFrom);
    if (over.length === 0) return;
    for (const end of over) this.#finish(end);
    this.#lingering = keptFrom < 0 ? [] : this.#lingering.slice(keptFrom);
  }
}
