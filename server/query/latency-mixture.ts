/** Percentiles of a time from the percentiles of its minutes. */

/** Requests of one minute and three of their percentiles, in milliseconds. */
export interface LatencyPart {
  readonly requests: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

/** Halvings of the interval: enough for 12 digits. */
const STEPS = 48;

/**
 * The quantile of all requests together.
 *
 * Each part is taken as a distribution through its three percentiles, linear in the logarithm of time. Equal parts
 * give their own percentile back; in between the answer lies within the parts' own percentiles.
 *
 * @returns Milliseconds, or null where nothing was measured.
 */
export function mixtureQuantile(parts: readonly LatencyPart[], quantile: 0.5 | 0.95 | 0.99): number | null {
  let total = 0;
  let low = Number.POSITIVE_INFINITY;
  let high = 0;
  for (const part of parts) {
    total += part.requests;
    const own = quantile === 0.5 ? part.p50Ms : quantile === 0.95 ? part.p95Ms : part.p99Ms;
    low = Math.min(low, own);
    high = Math.max(high, own);
  }
  if (total === 0) return null;
  if (low === high || low <= 0) return high;
  let from = Math.log(low);
  let to = Math.log(high);
  for (let step = 0; step < STEPS; step++) {
    const middle = (from + to) / 2;
    let below = 0;
    for (const part of parts) below += part.requests * shareBelow(part, middle);
    if (below < quantile * total) from = middle;
    else to = middle;
  }
  return Math.exp(to);
}

/** Share of a part's requests that took less than e^`logMs`. */
function shareBelow(part: LatencyPart, logMs: number): number {
  const p50 = Math.log(part.p50Ms);
  const p95 = Math.log(Math.max(part.p95Ms, part.p50Ms));
  const p99 = Math.log(Math.max(part.p99Ms, part.p95Ms));
  if (logMs <= p50) return p95 > p50 ? Math.max(0, 0.5 - (0.45 * (p50 - logMs)) / (p95 - p50)) : logMs < p50 ? 0 : 0.5;
  if (logMs <= p95) return 0.5 + (0.45 * (logMs - p50)) / (p95 - p50);
  if (logMs <= p99) return 0.95 + (0.04 * (logMs - p95)) / (p99 - p95);
  return p99 > p95 ? Math.min(1, 0.99 + (0.04 * (logMs - p99)) / (p99 - p95)) : 1;
}
