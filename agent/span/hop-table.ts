/**
 * Open hops by the identity of their request, and by what is left of it behind address translation.
 *
 * Invariants: a hop is found while a side of it is open or may still come: until both ends were seen or the linger is
 * over. Hops that linger form a list by arrival, so that one that is over leaves at once and nothing keeps it. The second
 * index holds only hops of which one end was seen; a key that two of them share joins nobody.
 */

import type { Hop, JoinReason } from "./hop.ts";
import { lanesKey } from "./message-identity.ts";
import { NumberMap } from "./number-map.ts";

/** Hops found at one time. At 40,000 requests/s with the usual linger 10,000 are. */
const hopsMax = 131_072;
/** Several half-seen hops have this key. */
const SHARED = "shared";

/** Hops by identity, settled one after the other as their linger ends. */
export class HopTable {
  readonly #lingerNs: number;
  readonly #byKey = new NumberMap<Hop>();
  readonly #byNatKey = new NumberMap<Hop | typeof SHARED>();
  #first: Hop | undefined;
  #last: Hop | undefined;

  /** @param lingerNs How long a hop waits for its client side. */
  constructor(lingerNs: number) {
    this.#lingerNs = lingerNs;
  }

  /** Hops found now. */
  get size(): number {
    return this.#byKey.size;
  }

  find(high: number, low: number): Hop | undefined {
    const hop = this.#byKey.get(lanesKey(high, low));
    return hop !== undefined && hop.high === high && hop.low === low ? hop : undefined;
  }

  /** A hop of which only the other end was seen, behind translated addresses; undefined where none or several fit. */
  findTranslated(natKey: number, missing: "client" | "server"): Hop | undefined {
    const hop = this.#byNatKey.get(natKey);
    if (hop === undefined || hop === SHARED || (hop.settled && missing === "client") || hop[missing] !== undefined)
      return undefined;
    this.#byNatKey.delete(natKey);
    return hop;
  }

  /** The hop has both ends; translation need not be tried. */
  joined(hop: Hop): void {
    if (this.#byNatKey.get(hop.natKey) === hop) this.#byNatKey.delete(hop.natKey);
  }

  /** Adds a hop; undefined where the table is full. `natKey` 0 keeps it out of the second index. */
  add(high: number, low: number, natKey: number, joinedBy: JoinReason, nowNs: number): Hop | undefined {
    if (this.#byKey.size >= hopsMax) return undefined;
    const hop: Hop = {
      high,
      low,
      key: lanesKey(high, low),
      natKey,
      client: undefined,
      server: undefined,
      context: undefined,
      parent: undefined,
      below: undefined,
      joinedBy,
      settleAtNs: nowNs + this.#lingerNs,
      settled: false,
      awaitsUntilNs: 0,
      trace: undefined,
      openSides: 0,
      waiting: undefined,
      earlier: this.#last,
      later: undefined,
    };
    this.#byKey.set(hop.key, hop);
    if (this.#last === undefined) this.#first = hop;
    else this.#last.later = hop;
    this.#last = hop;
    if (natKey !== 0) this.#byNatKey.set(natKey, this.#byNatKey.get(natKey) === undefined ? hop : SHARED);
    return hop;
  }

  /** The next hop whose linger is over, which the caller settles; undefined where none is. */
  lingered(nowNs: number): Hop | undefined {
    const hop = this.#first;
    if (hop === undefined || hop.settleAtNs > nowNs) return undefined;
    this.#unlink(hop);
    const known = this.#byNatKey.get(hop.natKey);
    if (known === hop || known === SHARED) this.#byNatKey.delete(hop.natKey);
    return hop;
  }

  /** Forgets a hop of which nothing more comes. */
  forget(hop: Hop): void {
    if (this.#byKey.get(hop.key) !== hop) return;
    this.#byKey.delete(hop.key);
    this.#unlink(hop);
  }

  /** Takes a hop off the list; one that is not on it stays as it is. */
  #unlink(hop: Hop): void {
    if (hop.earlier !== undefined) hop.earlier.later = hop.later;
    else if (this.#first === hop) this.#first = hop.later;
    else return;
    if (hop.later !== undefined) hop.later.earlier = hop.earlier;
    else this.#last = hop.earlier;
    hop.earlier = undefined;
    hop.later = undefined;
  }
}
