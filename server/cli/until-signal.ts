/** Waits for the signal that ends a program. */

/** Signals that come within so many milliseconds are one wish. */
const SECOND_SIGNAL_MS = 1_000;

/**
 * Resolves at the first signal; one that comes a second later or more ends the process at once.
 *
 * Ctrl-C reaches the program twice, from the terminal and from the launcher: both are one wish.
 */
export function untilSignal(signals: readonly NodeJS.Signals[]): Promise<void> {
  return new Promise((resolve) => {
    let firstMs: number | undefined;
    for (const signal of signals) {
      process.on(signal, () => {
        if (firstMs === undefined) firstMs = performance.now();
        else if (performance.now() - firstMs > SECOND_SIGNAL_MS) process.exit(3);
        resolve();
      });
    }
  });
}
