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
  #count = 0;
  #sum: CompensatedHistogram | undefined;

  add(histogram: NativeHistogram): void {
    if (this.findings.incompatible) return;
    this.findings.see(histogram);
    this.#count++;
    if (this.#sum === undefined) {
      this.#sum = startCompensation(histogram);
      return;
    }
    const next = addCompensated(this.#sum, histogram, true);
    if (next === undefined) {
      this.findings.incompatible = true;
      return;
    }
    this.#sum = next.sum;
    this.findings.boundsReconciled ||= next.boundsReconciled;
  }

  /** The sum so far, not compact; undefined before the first histogram and where they do not go together. */
  get value(): NativeHistogram | undefined {
    if (this.#sum === undefined || this.findings.incompatible) return undefined;
    return this.#count === 1 ? this.#sum.histogram : closeCompensation(this.#sum);
  }
}

/** A compensated mean of histograms: of their sum, until that would leave the range of doubles; a running mean then. */
export class HistogramMean {
  readonly findings = new HistogramFindings();
  #count = 0;
  /** The sum, or the mean where `#isRunning`. */
  #total: CompensatedHistogram | undefined;
  #isRunning = false;

  add(histogram: NativeHistogram): void {
    if (this.findings.incompatible) return;
    this.findings.see(histogram);
    this.#count++;
    if (this.#total === undefined) {
      this.#total = startCompensation(histogram);
      return;
    }
    if (!this.#isRunning) {
      // Where the sum would leave the range of doubles it is still needed as it was.
      const sum = this.#combine(this.#total, histogram, staysFinite(this.#total.histogram, histogram));
      if (sum === undefined) return;
      if (!hasInfinite(sum.histogram)) {
        this.#total = sum;
        return;
      }
      this.#isRunning = true;
      this.#total = divideCompensated(this.#total, this.#count - 1);
    }
    const share = (this.#count - 1) / this.#count;
    const scaled = {
      histogram: scaleHistogram(this.#total.histogram, share),
      loss: mapLoss(this.#total.loss, (lost) => lost * share),
    };
    this.#total = this.#combine(scaled, divideHistogram(histogram, this.#count), true) ?? this.#total;
  }

  #combine(
    total: CompensatedHistogram,
    histogram: NativeHistogram,
    overwrite: boolean,
  ): CompensatedHistogram | undefined {
    const next = addCompensated(total, histogram, overwrite);
    if (next === undefined) this.findings.incompatible = true;
    else this.findings.boundsReconciled ||= next.boundsReconciled;
    return next?.sum;
  }

  /** The mean so far, not compact; undefined before the first histogram and where they do not go together. */
  get value(): NativeHistogram | undefined {
    if (this.#total === undefined || this.findings.incompatible) return undefined;
    if (this.#count === 1) return this.#total.histogram;
    return closeCompensation(this.#isRunning ? this.#total : divideCompensated(this.#total, this.#count));
  }
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
