/**
 * Calls whose second side came after the first was given up: which of them to look for in the store.
 *
 * Keys of halves that were given up are remembered as hashes, the latest `REMEMBERED` of them and not over a restart. A
 * half that meets such a key is asked for at once; one that began before the start of the program is asked for before
 * it would be given up itself.
 */

import { type HalfEdge, SIDE_CLIENT } from "./half-edges.ts";

/** Slots for keys; a power of two. A key takes the place of the one before in its slot. */
const REMEMBERED = 2 ** 18;
/** Halves that wait to be looked for; beyond it they are given up unseen, and counted. */
const ASKED_MAX = 1_024;

/** One side of a call, whose other side may be stored. Ids are halves of 32 bits in the order of `BatchHalves`. */
export interface LateCall {
  /** The side that is missing. */
  readonly missing: "client" | "server";
  readonly trace: readonly [number, number, number, number];
  /** Id of the client's span, the parent of the server's. */
  readonly key: readonly [number, number];
  /** Id of the span whose other side is looked for. */
  readonly own: readonly [number, number];
  /** It waited long enough: nothing found, it is given up. */
  readonly isExpired: boolean;
}

/** Remembers what was given up, and what is to be looked for. */
export class LateHalves {
  /** By slot: another hash of the key, 0 where there is none. */
  readonly #keys = new Uint32Array(REMEMBERED);
  #isEmpty = true;
  #asked: LateCall[] = [];
  refused = 0;

  /** A half with a key stays alone. */
  remember(half: HalfEdge): void {
    this.#isEmpty = false;
    this.#keys[slotOf(half, half.side)] = hashOf(half, half.side, 0x27d4_eb2f) | 1;
  }

  /** Whether the other side of a half was given up, as far as is remembered. */
  wasGivenUp(half: HalfEdge, otherSide: number): boolean {
    return !this.#isEmpty && this.#keys[slotOf(half, otherSide)] === (hashOf(half, otherSide, 0x27d4_eb2f) | 1) >>> 0;
  }

  /** @returns Whether the other side will be looked for. */
  ask(half: HalfEdge, isExpired: boolean): boolean {
    if (this.#asked.length >= ASKED_MAX) {
      this.refused += half.weight;
      return false;
    }
    const { trace0, trace1, trace2, trace3, key0, key1, own0, own1 } = half;
    this.#asked.push({
      missing: half.side === SIDE_CLIENT ? "server" : "client",
      trace: [trace0, trace1, trace2, trace3],
      key: [key0, key1],
      own: [own0, own1],
      isExpired,
    });
    return true;
  }

  /** Calls to look for, the oldest first; they are not told again. */
  take(callsMax: number): LateCall[] {
    return this.#asked.splice(0, callsMax);
  }
}

function slotOf(half: HalfEdge, side: number): number {
  return hashOf(half, side, 0x9e37_79b1) & (REMEMBERED - 1);
}

function hashOf({ trace0, trace1, trace2, trace3, key0, key1 }: HalfEdge, side: number, seed: number): number {
  let hash = Math.imul(key0 ^ side ^ seed, 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 15) ^ key1, seed);
  hash = Math.imul(hash ^ (hash >>> 15) ^ trace0 ^ trace1, seed);
  hash = Math.imul(hash ^ (hash >>> 15) ^ trace2, seed);
  hash = Math.imul(hash ^ (hash >>> 15) ^ trace3, seed);
  return (hash ^ (hash >>> 16)) >>> 0;
}
