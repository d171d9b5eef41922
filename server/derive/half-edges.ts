/**
 * Spans that wait for the other side of their call, found by key and forgotten in order of arrival.
 *
 * Invariants: a half is in exactly one arrival list, and in one hash chain unless it has no key; of each list there
 * are at most as many halves as its limit; objects are used again, so nobody keeps one after `remove`.
 */

/** A client or producer span that waits. */
export const SIDE_CLIENT = 1;
/** A client or producer span whose call is counted; kept for a while, since more consumers may name it. */
export const SIDE_SETTLED = 2;
/** A server or consumer span that waits. */
export const SIDE_SERVER = 3;
/** Says that the span with this id is counted already, through its duplicate. */
export const SIDE_CLAIM = 4;

/** The span is a duplicate of another: it may tell who called, and vanishes uncounted. */
export const FLAG_GHOST = 1;
/** No parent. */
export const FLAG_ROOT = 2;
/** The call failed. */
export const FLAG_FAILED = 4;
/** Seen by the agent, which computes parent ids: an unseen parent is an unknown caller. */
export const FLAG_KERNEL = 8;
/** Counted by another half already, or one of several keys of a span; vanishes uncounted when it stays alone. */
export const FLAG_QUIET = 16;
/** A client span the agent saw whose parent was carried by the call itself: it stands under that parent's id. */
export const FLAG_CARRIED = 32;
/** Its other side is looked for in the store. */
export const FLAG_LOOKED_FOR = 64;
/** A client of a database that the agent saw, whose name is the peer's: the database may be a process it sees too. */
export const FLAG_DATABASE = 128;

/** Slots of a hash table this full are doubled. */
const LOAD_MAX = 1;
const BUCKETS_AT_FIRST = 1024;
/** Steps along one hash chain; only keys made to collide have longer chains. */
const CHAIN_STEPS_MAX = 64;

/** One waiting span. Ids are halves of 32 bits, signed, in the order of `BatchHalves`. */
export interface HalfEdge {
  side: number;
  trace0: number;
  trace1: number;
  trace2: number;
  trace3: number;
  /** The span id both sides agree on: the client's own, the server's parent. */
  key0: number;
  key1: number;
  own0: number;
  own1: number;
  duplicateOf0: number;
  duplicateOf1: number;
  /** Hash of the client's address and port; 0 matches any. Tells apart calls that carry one parent id. */
  connection: number;
  kind: number;
  flags: number;
  weight: number;
  service: string;
  peer: string;
  latencyNs: number;
  startNs: number;
  arrivedMs: number;
  bucketMs: number;
  older: HalfEdge | undefined;
  newer: HalfEdge | undefined;
  chainPrevious: HalfEdge | undefined;
  chainNext: HalfEdge | undefined;
}

/** Fields that tell a span from all others. */
export type IdField = "trace0" | "trace1" | "trace2" | "trace3" | "own0" | "own1";

interface ArrivalList {
  oldest: HalfEdge | undefined;
  newest: HalfEdge | undefined;
  count: number;
}

/** Copies what a half says of its span and its call, not its place in the table. */
export function copySpan(from: HalfEdge, to: HalfEdge): void {
  const { side, trace0, trace1, trace2, trace3, key0, key1, own0, own1, duplicateOf0, duplicateOf1 } = from;
  const { connection, kind, flags, weight, service, peer, latencyNs, startNs, arrivedMs, bucketMs } = from;
  Object.assign(to, { side, trace0, trace1, trace2, trace3, key0, key1, own0, own1, duplicateOf0, duplicateOf1 });
  Object.assign(to, { connection, kind, flags, weight, service, peer, latencyNs, startNs, arrivedMs, bucketMs });
}

/** Limits of the three lists. */
export interface HalfEdgeLimits {
  readonly waitingMax: number;
  readonly settledMax: number;
  readonly claimsMax: number;
}

/** The table; see the file's head. */
export class HalfEdges {
  readonly #limits: HalfEdgeLimits;
  readonly #waiting: ArrivalList = { oldest: undefined, newest: undefined, count: 0 };
  readonly #settled: ArrivalList = { oldest: undefined, newest: undefined, count: 0 };
  readonly #claims: ArrivalList = { oldest: undefined, newest: undefined, count: 0 };
  #buckets: (HalfEdge | undefined)[] = emptyBuckets(BUCKETS_AT_FIRST);
  #keyed = 0;
  #ghosts = 0;
  #free: HalfEdge | undefined;

  constructor(limits: HalfEdgeLimits) {
    this.#limits = limits;
  }

  get waiting(): number {
    return this.#waiting.count;
  }

  /** Halves of all lists. */
  get count(): number {
    return this.#waiting.count + this.#settled.count + this.#claims.count;
  }

  get claims(): number {
    return this.#claims.count;
  }

  get isFull(): boolean {
    return this.#waiting.count >= this.#limits.waitingMax;
  }

  /** A half to fill in, not yet in the table: then `add` or `release` it. */
  acquire(): HalfEdge {
    const half = this.#free;
    if (half === undefined) return emptyHalf();
    this.#free = half.newer;
    half.newer = undefined;
    return half;
  }

  /** Takes back a half that is in no list. */
  release(half: HalfEdge): void {
    half.service = "";
    half.peer = "";
    half.older = undefined;
    half.newer = this.#free;
    this.#free = half;
  }

  /**
   * Puts a half at the end of its side's list, and under its key unless `keyed` is false.
   *
   * Settled halves and claims beyond their limit push out the oldest; for waiting ones ask `isFull` first.
   */
  add(half: HalfEdge, keyed = true): void {
    const list = this.#listOf(half.side);
    half.older = list.newest;
    half.newer = undefined;
    if (list.newest === undefined) list.oldest = half;
    else list.newest.newer = half;
    list.newest = half;
    list.count++;
    if ((half.flags & FLAG_GHOST) !== 0) this.#ghosts++;
    if (keyed) this.#chain(half);
    const max = half.side === SIDE_SETTLED ? this.#limits.settledMax : this.#limits.claimsMax;
    if (list !== this.#waiting && list.count > max && list.oldest !== undefined) this.remove(list.oldest);
  }

  /** Takes a half out of the table; it must not be used afterwards. */
  remove(half: HalfEdge): void {
    this.#detach(half);
    this.release(half);
  }

  /** Lets a waiting half wait once more from `nowMs` on. */
  renew(half: HalfEdge, nowMs: number): void {
    this.#detach(half);
    half.arrivedMs = nowMs;
    this.add(half);
  }

  /** A waiting half of a side by its key and its span's own id. */
  findOwn(side: number, key: Pick<HalfEdge, IdField>, keys: readonly [number, number]): HalfEdge | undefined {
    const [key0, key1] = keys;
    const hash = hashOf(side, key.trace0, key.trace2, key0, key1);
    let half = this.#buckets[hash & (this.#buckets.length - 1)];
    for (let steps = 0; half !== undefined && steps < CHAIN_STEPS_MAX; steps++) {
      if (half.side === side && half.key0 === key0 && half.key1 === key1 && hasIds(half, key)) return half;
      half = half.chainNext;
    }
    return undefined;
  }

  /** The waiting server half that stands for the same call as `half`, one of them as the other's duplicate. */
  findTwin(half: HalfEdge): HalfEdge | undefined {
    if (this.#ghosts === 0) return undefined;
    const hash = hashOf(half.side, half.trace0, half.trace2, half.key0, half.key1);
    let other = this.#buckets[hash & (this.#buckets.length - 1)];
    for (let steps = 0; other !== undefined && steps < CHAIN_STEPS_MAX; steps++) {
      if (other.side === half.side && (isDuplicateOf(other, half) || isDuplicateOf(half, other))) return other;
      other = other.chainNext;
    }
    return undefined;
  }

  /** Turns a waiting or new client half into a settled one, which is kept from `nowMs` on. */
  settle(half: HalfEdge, inTable: boolean, nowMs: number): void {
    if (inTable) this.#detach(half);
    half.side = SIDE_SETTLED;
    half.arrivedMs = nowMs;
    this.add(half);
  }

  /** Newest half of a side under a key; with `real`, duplicates are passed over. */
  find(side: number, like: HalfEdge, key0: number, key1: number, real: boolean): HalfEdge | undefined {
    const hash = hashOf(side, like.trace0, like.trace2, key0, key1);
    let half = this.#buckets[hash & (this.#buckets.length - 1)];
    for (let steps = 0; half !== undefined && steps < CHAIN_STEPS_MAX; steps++) {
      if (
        half.side === side &&
        half.key0 === key0 &&
        half.key1 === key1 &&
        half.trace2 === like.trace2 &&
        half.trace0 === like.trace0 &&
        half.trace3 === like.trace3 &&
        half.trace1 === like.trace1 &&
        (half.connection === like.connection || half.connection === 0 || like.connection === 0) &&
        !(real && (half.flags & FLAG_GHOST) !== 0)
      ) {
        return half;
      }
      half = half.chainNext;
    }
    return undefined;
  }

  /** Oldest waiting half that arrived at or before `arrivedMs`. */
  oldestWaiting(arrivedMs: number): HalfEdge | undefined {
    const { oldest } = this.#waiting;
    return oldest !== undefined && oldest.arrivedMs <= arrivedMs ? oldest : undefined;
  }

  /** Forgets settled halves and claims that arrived at or before `arrivedMs`. */
  forgetSettled(arrivedMs: number): void {
    for (const list of [this.#settled, this.#claims]) {
      while (list.oldest !== undefined && list.oldest.arrivedMs <= arrivedMs) this.remove(list.oldest);
    }
  }

  /** All halves, each list in order of arrival. */
  *all(): Generator<HalfEdge> {
    for (const list of [this.#waiting, this.#settled, this.#claims]) {
      for (let half = list.oldest; half !== undefined; half = half.newer) yield half;
    }
  }

  #listOf(side: number): ArrivalList {
    if (side === SIDE_SETTLED) return this.#settled;
    return side === SIDE_CLAIM ? this.#claims : this.#waiting;
  }

  #detach(half: HalfEdge): void {
    const list = this.#listOf(half.side);
    if (half.older === undefined) list.oldest = half.newer;
    else half.older.newer = half.newer;
    if (half.newer === undefined) list.newest = half.older;
    else half.newer.older = half.older;
    list.count--;
    if ((half.flags & FLAG_GHOST) !== 0) this.#ghosts--;
    half.older = undefined;
    half.newer = undefined;
    this.#unchain(half);
  }

  #chain(half: HalfEdge): void {
    if (this.#keyed >= this.#buckets.length * LOAD_MAX) this.#grow();
    this.#keyed++;
    const at = this.#bucketOf(half);
    const head = this.#buckets[at];
    half.chainPrevious = undefined;
    half.chainNext = head;
    if (head !== undefined) head.chainPrevious = half;
    this.#buckets[at] = half;
  }

  #unchain(half: HalfEdge): void {
    const at = this.#bucketOf(half);
    if (half.chainPrevious !== undefined) half.chainPrevious.chainNext = half.chainNext;
    else if (this.#buckets[at] === half) this.#buckets[at] = half.chainNext;
    else return; // It has no key.
    if (half.chainNext !== undefined) half.chainNext.chainPrevious = half.chainPrevious;
    half.chainPrevious = undefined;
    half.chainNext = undefined;
    this.#keyed--;
  }

  #grow(): void {
    const buckets = this.#buckets;
    this.#buckets = emptyBuckets(buckets.length * 2);
    for (const head of buckets) {
      for (let half = head; half !== undefined; ) {
        const next: HalfEdge | undefined = half.chainNext;
        const at = this.#bucketOf(half);
        const newHead = this.#buckets[at];
        half.chainPrevious = undefined;
        half.chainNext = newHead;
        if (newHead !== undefined) newHead.chainPrevious = half;
        this.#buckets[at] = half;
        half = next;
      }
    }
  }

  #bucketOf(half: HalfEdge): number {
    return hashOf(half.side, half.trace0, half.trace2, half.key0, half.key1) & (this.#buckets.length - 1);
  }
}

function hasIds(half: HalfEdge, ids: Pick<HalfEdge, IdField>): boolean {
  return (
    half.own0 === ids.own0 &&
    half.own1 === ids.own1 &&
    half.trace0 === ids.trace0 &&
    half.trace1 === ids.trace1 &&
    half.trace2 === ids.trace2 &&
    half.trace3 === ids.trace3
  );
}

function isDuplicateOf(ghost: HalfEdge, half: HalfEdge): boolean {
  return (
    (ghost.flags & FLAG_GHOST) !== 0 &&
    ghost.duplicateOf0 === half.own0 &&
    ghost.duplicateOf1 === half.own1 &&
    ghost.trace0 === half.trace0 &&
    ghost.trace1 === half.trace1 &&
    ghost.trace2 === half.trace2 &&
    ghost.trace3 === half.trace3
  );
}

function emptyBuckets(length: number): (HalfEdge | undefined)[] {
  return new Array<HalfEdge | undefined>(length).fill(undefined);
}

function emptyHalf(): HalfEdge {
  return {
    side: 0,
    trace0: 0,
    trace1: 0,
    trace2: 0,
    trace3: 0,
    key0: 0,
    key1: 0,
    own0: 0,
    own1: 0,
    duplicateOf0: 0,
    duplicateOf1: 0,
    connection: 0,
    kind: 0,
    flags: 0,
    weight: 1,
    service: "",
    peer: "",
    latencyNs: 0,
    startNs: 0,
    arrivedMs: 0,
    bucketMs: 0,
    older: undefined,
    newer: undefined,
    chainPrevious: undefined,
    chainNext: undefined,
  };
}

/** Ids are random already in most traces; the multiplications spread those that count up. */
function hashOf(side: number, trace0: number, trace2: number, key0: number, key1: number): number {
  let hash = Math.imul(key0 ^ side, 0x9e37_79b1) ^ Math.imul(key1, 0x85eb_ca6b);
  hash ^= Math.imul(trace2 ^ (hash >>> 15), 0xc2b2_ae35);
  hash ^= Math.imul(trace0 ^ (hash >>> 13), 0x27d4_eb2f);
  return hash ^ (hash >>> 16);
}
