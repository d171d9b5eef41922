/** Numbers as people read them. */

/** `340 µs`, `12.3 ms`, `2.41 s`; a dash for what is not known. */
export function durationText(ns: number | null): string {
  if (ns === null || !Number.isFinite(ns)) return "–";
  if (ns < 1e6) return `${(ns / 1e3).toFixed(0)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(ns < 1e7 ? 2 : 1)} ms`;
  return `${(ns / 1e9).toFixed(2)} s`;
}

/** Requests a second: `0.25/s`, `12.4/s`, `3,100/s`. */
export function rateText(perSecond: number): string {
  const digits = perSecond < 1 ? 2 : perSecond < 100 ? 1 : 0;
  return `${perSecond.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}/s`;
}

/** `0 %`, `0.4 %`, `12 %`. */
export function shareText(part: number, whole: number): string {
  if (whole === 0) return "–";
  const percent = (100 * part) / whole;
  return `${percent.toFixed(percent > 0 && percent < 10 ? 1 : 0)} %`;
}

/** Wall-clock time of day of Unix nanoseconds, to the millisecond. */
export function timeText(ns: string): string {
  const at = new Date(Number(BigInt(ns) / 1_000_000n));
  return `${at.toLocaleTimeString("en-GB")}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
