/**
 * Requests and calls of one process by the `X-Request-ID` that they carried: a proxy gives a call the id of the request it
 * was made for, or makes an id and puts it into the call and into its answer.
 *
 * Invariants: an id draws a parent only where one request of the last two generations has it, in its head or in its
 * answer; once two have, it draws none. Ids are kept in two generations of `generationMax`, at most `waitingMax` calls wait
 * for an answer with theirs.
 */

/** Ids of a generation; a proxy at 1,000 requests a second has those of some seconds. */
const GENERATION_MAX = 4096;
const WAITING_MAX = 1024;
/** A shorter one is more likely a counter than an id. */
const ID_CHARS_MIN = 8;

/** Several requests have this id. */
const SHARED = "shared";

/** A call that waits, and since when. */
interface WaitingCall<Call> {
  readonly call: Call;
  readonly id: string;
  readonly startNs: number;
}

/** See the file's head. */
export class RequestIds<Request, Call> {
  #young = new Map<string, Request | typeof SHARED>();
  #old = new Map<string, Request | typeof SHARED>();
  /** In order of their start. */
  #waiting: WaitingCall<Call>[] = [];

  /** Whether calls wait. */
  get isWaitedFor(): boolean {
    return this.#waiting.length > 0;
  }

  /** A request came that carries `id`; empty where it carries none. */
  requestCame(request: Request, id: string): void {
    if (id.length >= ID_CHARS_MIN) this.#claim(id, request);
  }

  /** The one request that carried `id`; undefined where none or several did. */
  requestOf(id: string): Request | undefined {
    const known = this.#young.get(id) ?? this.#old.get(id);
    return known === SHARED ? undefined : known;
  }

  /**
   * Lets a call wait for an answer that carries its id.
   *
   * @returns False where that cannot be: there is no id, it is a request's already, or there is no room.
   */
  wait(call: Call, id: string, startNs: number): boolean {
    const isKnown = this.#young.has(id) || this.#old.has(id);
    if (id.length < ID_CHARS_MIN || isKnown || this.#waiting.length >= WAITING_MAX) return false;
    this.#waiting.push({ call, id, startNs });
    return true;
  }

  /**
   * A request was answered. `carried` is the id of its own head, `answered` that of its answer.
   *
   * @returns Calls made since `startNs` that carried the answer's id, which are this request's.
   */
  requestAnswered(request: Request, carried: string, answered: string, startNs: number): Call[] {
    // A proxy that hands the id of a request back says nothing by it.
    if (answered.length < ID_CHARS_MIN || answered === carried) return [];
    const isOnly = this.#claim(answered, request);
    const own: Call[] = [];
    const kept: WaitingCall<Call>[] = [];
    for (const waiting of this.#waiting) {
      if (isOnly && waiting.id === answered && waiting.startNs >= startNs) own.push(waiting.call);
      else kept.push(waiting);
    }
    this.#waiting = kept;
    return own;
  }

  /** Calls made before `oldestNs`, when the oldest request that is open came: no answer to come is for them. */
  giveUp(oldestNs: number): Call[] {
    let count = 0;
    for (const { startNs } of this.#waiting) {
      if (startNs >= oldestNs) break;
      count++;
    }
    return count === 0 ? [] : this.#waiting.splice(0, count).map(({ call }) => call);
  }

  /** @returns Whether no other request has the id. */
  #claim(id: string, request: Request): boolean {
    const isOnly = !this.#young.has(id) && !this.#old.has(id);
    if (this.#young.size >= GENERATION_MAX && !this.#young.has(id)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(id, isOnly ? request : SHARED);
    return isOnly;
  }
}
