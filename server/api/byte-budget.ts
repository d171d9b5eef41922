/**
 * How many bytes of request bodies, raw and decompressed, may lie in memory at a time.
 */

/** What a body may take before it counts as a large one. */
export const LARGE_FROM_BYTES = 2 ** 20;

/** How much of a body's bytes comes from the room of large ones: all of them, or none. */
export function largeBytesOf(bytes: number): number {
  return bytes > LARGE_FROM_BYTES ? bytes : 0;
}

/** So much of what it holds must come of a body within `PACE_MS`, or it may have to give way. */
const PACE_PART = 1 / 32;
/** At the least pace a body is whole in 64 s: only who would be cut off for the time of its request is slower. */
const PACE_MS = 2_000;

/** A body that still comes. */
interface Incoming {
  readonly held: { readonly bytes: number; readonly large: number };
  /** When the last part came that was large enough. */
  readonly pacedAtMs: number;
  /** Ends the body and gives back what it holds. */
  giveWay(): void;
}

/**
 * Bodies share one budget. Bodies of more than `LARGE_FROM_BYTES` share a part of it, so that a few of them neither fill
 * the memory nor keep out the many small ones, nor these them.
 *
 * A sender that drips holds room for as long as its request may take. Where others find none, the slowest that came to
 * a halt give way, so that a handful of them keep out nobody; as long as there is room, anybody may be slow.
 *
 * Invariants: `0 <= used`; `used` is the sum of what was taken and not given back; `#incoming` is in the order of
 * `pacedAtMs`.
 */
export class ByteBudget {
  readonly bytesMax: number;
  readonly #largeBytesMax: number;
  readonly #smallBytesMax: number;
  readonly #nowMs: () => number;
  readonly #incoming = new Set<Incoming>();
  #used = 0;
  #large = 0;

  /**
   * @param largeBytesMax What all large bodies may take; all of it unless given.
   * @param smallBytesMax What all others may take; all of it unless given.
   * @param nowMs A clock that never steps back; the process' own unless given.
   */
  constructor(
    bytesMax: number,
    largeBytesMax = bytesMax,
    smallBytesMax = bytesMax,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#nowMs = nowMs;
    this.bytesMax = bytesMax;
    this.#largeBytesMax = largeBytesMax;
    this.#smallBytesMax = smallBytesMax;
  }

  get used(): number {
    return this.#used;
  }

  /** Takes `bytes`, or takes nothing and answers false where that would exceed the maximum. */
  take(bytes: number): boolean {
    return this.takePart(bytes, 0);
  }

  give(bytes: number): void {
    this.givePart(bytes, 0);
  }

  /** Whether `takePart` would succeed; others may have given way for it. `asker` never does. */
  hasRoom(bytes: number, large: number, asker?: Incoming): boolean {
    return this.#fits(bytes, large) || this.#makeRoom(bytes, large, asker);
  }

  /** A body begins to come, or goes on in time. @returns When that was. */
  paced(body: Incoming): number {
    this.#incoming.delete(body);
    this.#incoming.add(body);
    return this.#nowMs();
  }

  /** A body is whole, or comes no more. */
  left(body: Incoming): void {
    this.#incoming.delete(body);
  }

  #fits(bytes: number, large: number): boolean {
    return (
      this.#used + bytes <= this.bytesMax &&
      this.#large + large <= this.#largeBytesMax &&
      // What is given back is never refused.
      (bytes <= large || this.#used - this.#large + bytes - large <= this.#smallBytesMax)
    );
  }

  /** Lets bodies give way that came to a halt, no more than are needed, and none where all were not enough. */
  #makeRoom(bytes: number, large: number, asker: Incoming | undefined): boolean {
    const haltedBeforeMs = this.#nowMs() - PACE_MS;
    const isLargeFull = this.#large + large > this.#largeBytesMax;
    const giving: Incoming[] = [];
    let [less, lessLarge] = [0, 0];
    for (const body of this.#incoming) {
      if (body.pacedAtMs > haltedBeforeMs) return false;
      if (body === asker || (isLargeFull ? body.held.large : body.held.bytes) === 0) continue;
      giving.push(body);
      less += body.held.bytes;
      lessLarge += body.held.large;
      if (!this.#fits(bytes - less, large - lessLarge)) continue;
      for (const each of giving) each.giveWay();
      return true;
    }
    return false;
  }

  /** As `take`; `large` of the bytes come from the room of large bodies, and may be more or less than `bytes`. */
  takePart(bytes: number, large: number, asker?: Incoming): boolean {
    if (!this.hasRoom(bytes, large, asker)) return false;
    this.#used += bytes;
    this.#large += large;
    return true;
  }

  givePart(bytes: number, large: number): void {
    this.#used -= bytes;
    this.#large -= large;
  }
}

/** What one body holds of a budget: its bytes as they came, and those they decompress to. */
export class BodyRoom implements Incoming {
  readonly #budget: ByteBudget;
  #onGiveWay: (() => void) | undefined;
  #raw = 0;
  #decoded = 0;
  #large = 0;
  #pacedAtMs = 0;
  #bytesSincePace = 0;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  get held(): { readonly bytes: number; readonly large: number } {
    return { bytes: this.#raw + this.#decoded, large: this.#large };
  }

  get pacedAtMs(): number {
    return this.#pacedAtMs;
  }

  giveWay(): void {
    this.release();
    this.#onGiveWay?.();
  }

  /** The body begins to come. `onGiveWay` is called where it halts and others need its room, given back by then. */
  begin(onGiveWay: () => void): void {
    this.#onGiveWay = onGiveWay;
    this.#pacedAtMs = this.#budget.paced(this);
  }

  /** So many more bytes of it came. */
  comes(bytes: number): void {
    this.#bytesSincePace += bytes;
    if (this.#onGiveWay === undefined || this.#bytesSincePace < this.#raw * PACE_PART) return;
    this.#bytesSincePace = 0;
    this.#pacedAtMs = this.#budget.paced(this);
  }

  /** It is whole, and needs what it holds. */
  end(): void {
    this.#onGiveWay = undefined;
    this.#budget.left(this);
  }

  /** Takes what is missing to hold so many bytes as they came; false, and nothing taken, where there is no room. */
  holdRaw(bytes: number): boolean {
    return this.#hold(bytes, this.#decoded);
  }

  /** Whether so many bytes as they come would find room now; takes nothing. */
  hasRoomFor(bytes: number): boolean {
    return this.#budget.hasRoom(bytes, largeBytesOf(bytes), this);
  }

  /** @see holdRaw */
  holdDecoded(bytes: number): boolean {
    return this.#hold(this.#raw, bytes);
  }

  /** Gives back the bytes as they came. */
  dropRaw(): void {
    this.#hold(0, this.#decoded);
  }

  /** Gives everything back; may be called again. */
  release(): void {
    this.#budget.left(this);
    this.#hold(0, 0);
  }

  /** Only the larger of the two counts as large: a body must be able to become as large as one may be. */
  #hold(raw: number, decoded: number): boolean {
    const more = raw + decoded - this.#raw - this.#decoded;
    const large = largeBytesOf(Math.max(raw, decoded));
    const moreLarge = large - this.#large;
    if (more <= 0 && moreLarge <= 0) this.#budget.givePart(-more, -moreLarge);
    else if (!this.#budget.takePart(more, moreLarge, this)) return false;
    this.#raw = raw;
    this.#decoded = decoded;
    this.#large = large;
    return true;
  }
}
