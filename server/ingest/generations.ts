/**
 * A map that forgets what is old: at most two generations of so many entries, the older of which goes when the younger is
 * full or has lasted long enough.
 */

/** See the file's head. */
export class Generations<K, V> {
  readonly #entriesMax: number;
  readonly #lastsMs: number;
  #young = new Map<K, V>();
  #old = new Map<K, V>();
  #bornMs = Number.NEGATIVE_INFINITY;

  constructor(entriesMax: number, lastsMs: number) {
    this.#entriesMax = entriesMax;
    this.#lastsMs = lastsMs;
  }

  get(key: K): V | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  set(key: K, value: V): void {
    if (this.#young.size >= this.#entriesMax && !this.#young.has(key)) this.#turn();
    this.#young.set(key, value);
  }

  /** Forgets what is old; call it now and then. */
  age(nowMs: number): void {
    if (nowMs - this.#bornMs < this.#lastsMs) return;
    this.#turn();
    this.#bornMs = nowMs;
  }

  #turn(): void {
    this.#old = this.#young;
    this.#young = new Map();
  }
}
