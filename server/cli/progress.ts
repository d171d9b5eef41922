/** A line that shows how far a long work is, where a person looks on. */

/** Draws at most this often. */
const EVERY_MS = 200;
const BAR_WIDTH = 24;

/** Shows progress on standard error while it is a terminal, and nothing otherwise. */
export class ProgressLine {
  readonly #what: string;
  readonly #startedMs = performance.now();
  #drawnMs = -EVERY_MS;

  constructor(what: string) {
    this.#what = what;
  }

  /** @param done Of `total`, in the same unit. */
  show(done: number, total: number, said: string): void {
    const nowMs = performance.now();
    if (!process.stderr.isTTY || nowMs - this.#drawnMs < EVERY_MS) return;
    this.#drawnMs = nowMs;
    const part = total > 0 ? Math.min(1, done / total) : 0;
    const filled = Math.round(part * BAR_WIDTH);
    const leftSeconds = part > 0 ? Math.round((((nowMs - this.#startedMs) / part) * (1 - part)) / 1000) : undefined;
    const bar = `${"█".repeat(filled)}${"░".repeat(BAR_WIDTH - filled)}`;
    const left = leftSeconds === undefined ? "" : `, ${leftSeconds} s left`;
    process.stderr.write(`\r\x1b[K${this.#what} ${bar} ${(100 * part).toFixed(0)} %  ${said}${left}`);
  }

  clear(): void {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
}
