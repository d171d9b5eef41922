/** How much one selection of series may gather. */

import { ThalwegError } from "../model/errors.ts";
import { sizeOfEncoded } from "../model/series.ts";
import type { SampleRun } from "./metric-chunk.ts";
import type { SelectLimits } from "./reader.ts";

/** Counts what a selection gathers. @throws ThalwegError `query_samples_max` or `query_series_max` from whatever goes beyond. */
export class SelectBudget {
  readonly #limits: SelectLimits | undefined;
  #expected = 0;
  #samples = 0;
  #series = 0;

  constructor(limits: SelectLimits | undefined) {
    this.#limits = limits;
  }

  /** Samples that will be spent: what is certain before it is decoded. */
  expect(samples: number): void {
    this.#expected += samples;
    this.#check(this.#expected);
  }

  /** A series of so many floats. */
  spendFloats(samples: number): void {
    this.#samples += samples;
    this.#series++;
    this.#check(this.#samples);
    this.#checkSeries();
  }

  /** One series. */
  spend(run: SampleRun): void {
    this.#samples += costOf(run);
    this.#series++;
    this.#check(this.#samples);
    this.#checkSeries();
  }

  #checkSeries(): void {
    const limits = this.#limits;
    if (limits !== undefined && this.#series > limits.seriesMax) {
      throw new ThalwegError("query_series_max", { max: limits.seriesMax });
    }
  }

  #check(samples: number): void {
    const limits = this.#limits;
    if (limits !== undefined && samples > limits.samplesMax) {
      throw new ThalwegError("query_samples_max", { asked: samples, max: limits.samplesMax });
    }
  }
}

/** A float counts one, a histogram one for each bucket and one more; one that is still encoded as much as it takes bytes. */
function costOf({ timestampsMs, histograms, encoded = [] }: SampleRun): number {
  let cost = timestampsMs.length;
  for (const one of encoded) cost += sizeOfEncoded(one);
  if (histograms === undefined) return cost;
  for (const histogram of histograms) {
    if (histogram !== undefined) cost += histogram.positiveCounts.length + histogram.negativeCounts.length;
  }
  return cost;
}
