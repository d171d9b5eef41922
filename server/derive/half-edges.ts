/**
 * Spans that wait for the other side of their call, found by key and forgotten in order of arrival.
 *
 * Invariants: a half is in exactly one arrival list, and in one hash chain unless it has no key; of each list there
 * are at most as many halves as its limit; objects are used again, so nobody keeps one after `remove`.
 *
 * Lists and chains are links between slots, in arrays of numbers beside the objects: most searches find nothing, and
 * then touch no object, and the collector has no links to follow.
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

const SLOTS_AT_FIRST = 1024;
/** Bits that hold a side. */
const SIDE_BITS = 3;
/** No slot; slots count from 1. */
const NONE = 0;
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
  /** Where the table keeps it, for good. */
  readonly slot: number;
}

/** Fields that tell a span from all others. */
export type IdField = "trace0" | "trace1" | "trace2" | "trace3" | "own0" | "own1";

interface ArrivalList {
  oldest: number;
  newest: number;
  count: number;
}

/** Links of all slots; 0 is none. */
interface Links {
  readonly older: Uint32Array;
  readonly newer: Uint32Array;
  /** Whole tag of a half in a chain. */
  readonly tag: Int32Array;
  readonly chainPrevious: Uint32Array;
  readonly chainNext: Uint32Array;
  /** First slot by tag. All sides of one key are in one chain, so that a span's searches go to one place in memory. */
  readonly buckets: Uint32Array;
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
  readonly #waiting: ArrivalList = { oldest: NONE, newest: NONE, count: 0 };
  readonly #settled: ArrivalList = { oldest: NONE, newest: NONE, count: 0 };
  readonly #claims: ArrivalList = { oldest: NONE, newest: NONE, count: 0 };
  /** By slot. */
  readonly #halves: HalfEdge[] = [emptyHalf(NONE)];
  #links: Links = emptyLinks(SLOTS_AT_FIRST);
  #ghosts = 0;
  readonly #free: HalfEdge[] = [];

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

  /** Whether any half is a duplicate: without them it makes no difference whether duplicates are passed over. */
  get hasGhosts(): boolean {
    return this.#ghosts > 0;
  }

  get isFull(): boolean {
    return this.#waiting.count >= this.#limits.waitingMax;
  }

  /** A half to fill in, not yet in the table: then `add` or `release` it. */
  acquire(): HalfEdge {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const half = emptyHalf(this.#halves.length);
    this.#halves.push(half);
    if (half.slot >= this.#links.older.length) this.#grow();
    return half;
  }

  /** Takes back a half that is in no list. */
  release(half: HalfEdge): void {
    half.service = "";
    half.peer = "";
    this.#free.push(half);
  }

  /**
   * Puts a half at the end of its side's list, and under its key unless `keyed` is false.
   *
   * Settled halves and claims beyond their limit push out the oldest; for waiting ones ask `isFull` first.
   */
  add(half: HalfEdge, keyed = true): void {
    const list = this.#listOf(half.side);
    const { older, newer } = this.#links;
    const { slot } = half;
    older[slot] = list.newest;
    newer[slot] = NONE;
    if (list.newest === NONE) list.oldest = slot;
    else newer[list.newest] = slot;
    list.newest = slot;
    list.count++;
    if ((half.flags & FLAG_GHOST) !== 0) this.#ghosts++;
    if (keyed) this.#chain(half);
    if (list === this.#waiting) return;
    const max = half.side === SIDE_SETTLED ? this.#limits.settledMax : this.#limits.claimsMax;
    const oldest = list.count > max ? this.#halves[list.oldest] : undefined;
    if (oldest !== undefined) this.remove(oldest);
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
    const tag = tagOf(side, key.trace0, key.trace2, key0, key1);
    for (let slot = this.#first(tag), steps = 0; slot !== NONE && steps < CHAIN_STEPS_MAX; steps++) {
      const half = this.#at(slot, tag);
      if (half?.side === side && half.key0 === key0 && half.key1 === key1 && hasIds(half, key)) return half;
      slot = this.#links.chainNext[slot] ?? NONE;
    }
    return undefined;
  }

  /** The waiting server half that stands for the same call as `half`, one of them as the other's duplicate. */
  findTwin(half: HalfEdge): HalfEdge | undefined {
    if (this.#ghosts === 0) return undefined;
    const tag = tagOf(half.side, half.trace0, half.trace2, half.key0, half.key1);
    for (let slot = this.#first(tag), steps = 0; slot !== NONE && steps < CHAIN_STEPS_MAX; steps++) {
      const other = this.#at(slot, tag);
      if (other?.side === half.side && (isDuplicateOf(other, half) || isDuplicateOf(half, other))) return other;
      slot = this.#links.chainNext[slot] ?? NONE;
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
    const tag = tagOf(side, like.trace0, like.trace2, key0, key1);
    const { tag: tags, chainNext } = this.#links;
    for (let slot = this.#first(tag), steps = 0; slot !== NONE && steps < CHAIN_STEPS_MAX; steps++) {
      const half = tags[slot] === tag ? this.#halves[slot] : undefined;
      if (half !== undefined && isFound(half, { side, like, key0, key1, real })) return half;
      slot = chainNext[slot] ?? NONE;
    }
    return undefined;
  }

  /** Oldest waiting half that arrived at or before `arrivedMs`. */
  oldestWaiting(arrivedMs: number): HalfEdge | undefined {
    return this.#oldestOf(this.#waiting, arrivedMs);
  }

  /** Forgets settled halves and claims that arrived at or before `arrivedMs`. */
  forgetSettled(arrivedMs: number): void {
    for (const list of [this.#settled, this.#claims]) {
      for (let half = this.#oldestOf(list, arrivedMs); half !== undefined; half = this.#oldestOf(list, arrivedMs)) {
        this.remove(half);
      }
    }
  }

  /** All halves, each list in order of arrival. */
  *all(): Generator<HalfEdge> {
    for (const list of [this.#waiting, this.#settled, this.#claims]) {
      for (let slot = list.oldest; slot !== NONE; slot = this.#links.newer[slot] ?? NONE) {
        const half = this.#halves[slot];
        if (half !== undefined) yield half;
      }
    }
  }

  #oldestOf(list: ArrivalList, arrivedMs: number): HalfEdge | undefined {
    const oldest = list.oldest === NONE ? undefined : this.#halves[list.oldest];
    return oldest !== undefined && oldest.arrivedMs <= arrivedMs ? oldest : undefined;
  }

  #listOf(side: number): ArrivalList {
    if (side === SIDE_SETTLED) return this.#settled;
    return side === SIDE_CLAIM ? this.#claims : this.#waiting;
  }

  /** First slot of a tag's chain. */
  #first(tag: number): number {
    const { buckets } = this.#links;
    return buckets[bucketOf(tag, buckets)] ?? NONE;
  }

  /** The half of a slot if its tag is this one. */
  #at(slot: number, tag: number): HalfEdge | undefined {
    return this.#links.tag[slot] === tag ? this.#halves[slot] : undefined;
  }

  #detach(half: HalfEdge): void {
    const list = this.#listOf(half.side);
    const { older, newer } = this.#links;
    const before = older[half.slot] ?? NONE;
    const after = newer[half.slot] ?? NONE;
    if (before === NONE) list.oldest = after;
    else newer[before] = after;
    if (after === NONE) list.newest = before;
    else older[after] = before;
    list.count--;
    if ((half.flags & FLAG_GHOST) !== 0) this.#ghosts--;
    this.#unchain(half.slot);
  }

  #chain({ slot, side, trace0, trace2, key0, key1 }: HalfEdge): void {
    const { buckets, tag, chainPrevious, chainNext } = this.#links;
    const own = tagOf(side, trace0, trace2, key0, key1);
    const at = bucketOf(own, buckets);
    const head = buckets[at] ?? NONE;
    tag[slot] = own;
    chainPrevious[slot] = NONE;
    chainNext[slot] = head;
    if (head !== NONE) chainPrevious[head] = slot;
    buckets[at] = slot;
  }

  #unchain(slot: number): void {
    const { buckets, tag, chainPrevious, chainNext } = this.#links;
    const at = bucketOf(tag[slot] ?? 0, buckets);
    const before = chainPrevious[slot] ?? NONE;
    const after = chainNext[slot] ?? NONE;
    if (before !== NONE) chainNext[before] = after;
    else if (buckets[at] === slot) buckets[at] = after;
    else return; // It has no key.
    if (after !== NONE) chainPrevious[after] = before;
    chainPrevious[slot] = NONE;
    chainNext[slot] = NONE;
  }

  /** Makes room for more slots. Chains keep their order, the newest first. */
  #grow(): void {
    const before = this.#links;
    const after = emptyLinks(2 * before.older.length);
    for (const name of ["older", "newer", "tag"] as const) after[name].set(before[name]);
    const chained: number[] = [];
    for (const head of before.buckets) {
      for (let slot = head; slot !== NONE; slot = before.chainNext[slot] ?? NONE) chained.push(slot);
    }
    this.#links = after;
    // Each is put before the others of its chain.
    for (let slot = chained.pop(); slot !== undefined; slot = chained.pop()) {
      const half = this.#halves[slot];
      if (half !== undefined) this.#chain(half);
    }
  }
}

/** What a half is searched by. */
interface Search {
  readonly side: number;
  readonly like: HalfEdge;
  readonly key0: number;
  readonly key1: number;
  readonly real: boolean;
}

function isFound(half: HalfEdge, { side, like, key0, key1, real }: Search): boolean {
  return (
    half.side === side &&
    half.key0 === key0 &&
    half.key1 === key1 &&
    half.trace2 === like.trace2 &&
    half.trace0 === like.trace0 &&
    half.trace3 === like.trace3 &&
    half.trace1 === like.trace1 &&
    (half.connection === like.connection || half.connection === 0 || like.connection === 0) &&
    !(real && (half.flags & FLAG_GHOST) !== 0)
  );
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

function emptyLinks(slots: number): Links {
  return {
    older: new Uint32Array(slots),
    newer: new Uint32Array(slots),
    tag: new Int32Array(slots),
    chainPrevious: new Uint32Array(slots),
    chainNext: new Uint32Array(slots),
    buckets: new Uint32Array(slots),
  };
}

function emptyHalf(slot: number): HalfEdge {
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
    slot,
  };
}

/**
 * Hash of a half's key with its side in the lowest bits.
 *
 * Ids are random already in most traces; the multiplications spread those that count up.
 */
function tagOf(side: number, trace0: number, trace2: number, key0: number, key1: number): number {
  let hash = Math.imul(key0, 0x9e37_79b1) ^ Math.imul(key1, 0x85eb_ca6b);
  hash ^= Math.imul(trace2 ^ (hash >>> 15), 0xc2b2_ae35);
  hash ^= Math.imul(trace0 ^ (hash >>> 13), 0x27d4_eb2f);
  hash ^= hash >>> 16;
  return (hash << SIDE_BITS) | side;
}

function bucketOf(tag: number, buckets: Uint32Array): number {
  return (tag >>> SIDE_BITS) & (buckets.length - 1);
}
