/**
 * Whether a rule has proved itself in a process: how often its guesses could be checked, and how often they were right.
 */

/** Checks that count, and how many are needed at least. */
const WINDOW = 200;
const AT_LEAST = 20;
const SHARE = 0.98;

/** The last checks of one rule in one process. */
export class Evidence {
  readonly #checks = new Uint8Array(WINDOW);
  #count = 0;
  #good = 0;
  /** Checks still to pass before what spoke against the rule is forgotten. */
  #disproved = 0;

  learn(isGood: boolean): void {
    const at = this.#count % WINDOW;
    if (this.#count >= WINDOW) this.#good -= this.#checks[at] as number;
    this.#checks[at] = isGood ? 1 : 0;
    if (isGood) this.#good += 1;
    this.#count += 1;
    // The counter stays below twice the window, and its remainder names the oldest entry.
    if (this.#count === 2 * WINDOW) this.#count = WINDOW;
    if (this.#disproved > 0) this.#disproved -= 1;
  }

  /** Something happened that cannot happen where the rule holds. */
  disprove(): void {
    this.#disproved = WINDOW;
  }

  /** Too few guesses were checked yet, and all of them were right. */
  get isOnTrial(): boolean {
    return this.#disproved === 0 && this.#count < AT_LEAST && this.#good === this.#count;
  }

  /** Enough guesses were checked, nearly all were right, and nothing spoke against the rule. */
  get isProven(): boolean {
    return this.#disproved === 0 && this.#count >= AT_LEAST && this.#good >= SHARE * Math.min(this.#count, WINDOW);
  }
}
