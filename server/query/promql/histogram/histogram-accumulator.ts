/** Running sums and means of histograms, for `sum`, `avg`, `sum_over_time` and `avg_over_time`. */

import type { NativeHistogram } from "../../../model/histogram.ts";
import { divideHistogram, hasInfinite, scaleHistogram } from "./float-histogram.ts";
import {
  addCompensated,
  type CompensatedHistogram,
  closeCompensation,
  type HistogramLoss,
  startCompensation,
} from "./histogram-sum.ts";
import { RunningTotal } from "./running-total.ts";

/** What came up while histograms were put together; each is for a warning or info of the query. */
class HistogramFindings {
  #reset = false;
  #notReset = false;
  /** Exponential buckets met custom ones: there is no result. */
  incompatible = false;
  /** Custom bounds differed, and the result has those that all know. */
  boundsReconciled = false;

  see(histogram: NativeHistogram): void {
    if (histogram.resetHint === "reset") this.#reset = true;
    else if (histogram.resetHint === "not_reset") this.#notReset = true;
  }

  /** Some histograms had seen a counter reset and others none. */
  get resetCollision(): boolean {
    return this.#reset && this.#notReset;
  }
}

/** A compensated sum of histograms. */
export class HistogramSum {
  readonly findings = new HistogramFindings();
  #first: NativeHistogram | undefined;
  /** Undefined up to the second histogram. */
  #total: RunningTotal | undefined;

  /** Goes on with a sum of gauges; its arrays belong to this one. */
  static from(total: CompensatedHistogram): HistogramSum {
    const sum = new HistogramSum();
    sum.#first = total.histogram;
    sum.#total = new RunningTotal(total);
    return sum;
  }

  add(histogram: NativeHistogram): void {
    if (this.findings.incompatible) return;
    this.findings.see(histogram);
    if (this.#first === undefined) {
      this.#first = histogram;
      return;
    }
    this.#total ??= new RunningTotal(startCompensation(this.#first));
    if (this.#total.takes(histogram)) {
      this.#total.add(histogram);
      return;
    }
    const next = combine(this.#total.state, histogram, true, this.findings);
    if (next !== undefined) this.#total = new RunningTotal(next);
  }

  /** The sum so far, not compact; undefined before the first histogram and where they do not go together. */
  get value(): NativeHistogram | undefined {
    if (this.findings.incompatible) return undefined;
    return this.#total === undefined ? this.#first : closeCompensation(this.#total.state);
  }
}

/** A compensated mean of histograms: of their sum, until that would leave the range of doubles; a running mean then. */
export class HistogramMean {
  readonly findings = new HistogramFindings();
  #count = 0;
  #first: NativeHistogram | undefined;
  /** The sum; undefined up to the second histogram. */
  #total: RunningTotal | undefined;
  /** Set once the sum would have left the range of doubles. */
  #mean: CompensatedHistogram | undefined;

  add(histogram: NativeHistogram): void {
    if (this.findings.incompatible) return;
    this.findings.see(histogram);
    this.#count++;
    if (this.#first === undefined) this.#first = histogram;
    else if (this.#mean !== undefined) this.#addToMean(this.#mean, histogram);
    else this.#addToSum(this.#total ?? new RunningTotal(startCompensation(this.#first)), histogram);
  }

  #addToSum(total: RunningTotal, histogram: NativeHistogram): void {
    this.#total = total;
    if (total.takes(histogram)) {
      if (!total.overflowsWith(histogram)) {
        total.add(histogram);
        return;
      }
    } else {
      // Where the sum would leave the range of doubles it is still needed as it was.
      const { state } = total;
      const sum = combine(state, histogram, staysFinite(state.histogram, histogram), this.findings);
      if (sum === undefined) return;
      if (!hasInfinite(sum.histogram)) {
        this.#total = new RunningTotal(sum);
        return;
      }
    }
    this.#addToMean(divideCompensated(total.state, this.#count - 1), histogram);
  }

  #addToMean(mean: CompensatedHistogram, histogram: NativeHistogram): void {
    const share = (this.#count - 1) / this.#count;
    const scaled = {
      histogram: scaleHistogram(mean.histogram, share),
      loss: mapLoss(mean.loss, (lost) => lost * share),
    };
    this.#mean = combine(scaled, divideHistogram(histogram, this.#count), true, this.findings) ?? mean;
  }

  /** The mean so far, not compact; undefined before the first histogram and where they do not go together. */
  get value(): NativeHistogram | undefined {
    if (this.findings.incompatible) return undefined;
    if (this.#mean !== undefined) return closeCompensation(this.#mean);
    if (this.#total === undefined) return this.#first;
    return closeCompensation(divideCompensated(this.#total.state, this.#count));
  }
}

/** A total with one more histogram in it; undefined where they do not go together. */
function combine(
  total: CompensatedHistogram,
  histogram: NativeHistogram,
  overwrite: boolean,
  findings: HistogramFindings,
): CompensatedHistogram | undefined {
  const next = addCompensated(total, histogram, overwrite);
  if (next === undefined) findings.incompatible = true;
  else findings.boundsReconciled ||= next.boundsReconciled;
  return next?.sum;
}

/** Whether no number of a sum can be infinite, seen from the largest of each. */
function staysFinite(a: NativeHistogram, b: NativeHistogram): boolean {
  return largest(a) + largest(b) < Number.POSITIVE_INFINITY && !hasInfinite(a) && !hasInfinite(b);
}

function largest({ zeroCount, count, sum, positiveCounts, negativeCounts }: NativeHistogram): number {
  let most = Math.abs(zeroCount) + Math.abs(count) + (Number.isNaN(sum) ? 0 : Math.abs(sum));
  // Buckets may be joined, so it is their sum that counts.
  for (const counts of [positiveCounts, negativeCounts]) {
    for (let k = 0; k < counts.length; k++) most += Math.abs(counts[k] ?? 0);
  }
  return most;
}

function divideCompensated({ histogram, loss }: CompensatedHistogram, divisor: number): CompensatedHistogram {
  return { histogram: divideHistogram(histogram, divisor), loss: mapLoss(loss, (lost) => lost / divisor) };
}

function mapLoss(loss: HistogramLoss, change: (lost: number) => number): HistogramLoss {
  return {
    zeroCount: change(loss.zeroCount),
    count: change(loss.count),
    sum: change(loss.sum),
    positive: loss.positive.map(change),
    negative: loss.negative.map(change),
  };
}
