/**
 * A map from whole numbers whose entries come and go with every message.
 *
 * JavaScript's own `Map` is the wrong tool there: it makes a new table each time its holes fill up, and the old table
 * points to the next one. Once a table has become old, the short collections of the engine take all that its successors
 * ever held for alive, which doubled the agent's CPU. Here entries are cleared in place.
 *
 * Invariant: an entry lies at its hash's place or behind it with no hole between; at most half of the places are taken.
 */

const CAPACITY_AT_FIRST = 64;
const NO_KEY = -1;

/**
 * Keys are whole numbers from 0 to 2^53. Room grows with the number of entries and is kept. Where there is a maximum, one more
 * entry makes the map forget all others: they are guesses that are learned anew, and none is worth more than the next.
 */
export class NumberMap<Value> {
  #keys = new Float64Array(CAPACITY_AT_FIRST).fill(NO_KEY);
  #values = new Array<Value | undefined>(CAPACITY_AT_FIRST).fill(undefined);
  #size = 0;
  readonly #sizeMax: number;

  constructor(sizeMax = Number.POSITIVE_INFINITY) {
    this.#sizeMax = sizeMax;
  }

  get size(): number {
    return this.#size;
  }

  get(key: number): Value | undefined {
    return this.#values[this.#placeOf(key)];
  }

  set(key: number, value: Value): void {
    let at = this.#placeOf(key);
    if (this.#keys[at] === NO_KEY) {
      if (this.#size >= this.#sizeMax) {
        this.clear();
        at = this.#placeOf(key);
      }
      if (2 * (this.#size + 1) > this.#keys.length) {
        this.#grow();
        at = this.#placeOf(key);
      }
      this.#size++;
      this.#keys[at] = key;
    }
    this.#values[at] = value;
  }

  /** @returns Whether there was an entry. */
  delete(key: number): boolean {
    const keys = this.#keys;
    const values = this.#values;
    const mask = keys.length - 1;
    let hole = this.#placeOf(key);
    if (keys[hole] === NO_KEY) return false;
    this.#size--;
    // Entries behind the hole move up unless that would put them before their own place.
    for (let at = (hole + 1) & mask; keys[at] !== NO_KEY; at = (at + 1) & mask) {
      const home = hashOf(keys[at] as number) & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      keys[hole] = keys[at] as number;
      values[hole] = values[at];
      hole = at;
    }
    keys[hole] = NO_KEY;
    values[hole] = undefined;
    return true;
  }

  clear(): void {
    this.#keys = new Float64Array(CAPACITY_AT_FIRST).fill(NO_KEY);
    this.#values = new Array<Value | undefined>(CAPACITY_AT_FIRST).fill(undefined);
    this.#size = 0;
  }

  /** Where the key is, or the free place where it would be. */
  #placeOf(key: number): number {
    const keys = this.#keys;
    const mask = keys.length - 1;
    let at = hashOf(key) & mask;
    while (keys[at] !== key && keys[at] !== NO_KEY) at = (at + 1) & mask;
    return at;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#keys = new Float64Array(2 * keys.length).fill(NO_KEY);
    this.#values = new Array<Value | undefined>(2 * keys.length).fill(undefined);
    for (let from = 0; from < keys.length; from++) {
      const key = keys[from] as number;
      if (key === NO_KEY) continue;
      const at = this.#placeOf(key);
      this.#keys[at] = key;
      this.#values[at] = values[from];
    }
  }
}

function hashOf(key: number): number {
  let hash = Math.imul(key | 0, 0x9e3779b1 | 0) ^ Math.imul((key / 0x1_0000_0000) | 0, 0x85ebca6b | 0);
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35 | 0);
  return hash ^ (hash >>> 16);
}
