/** Counts what becomes of one write, and words the first refusal for each reason as Prometheus does. */

import { labelsText } from "../model/labels-text.ts";
import type { Labels } from "../model/series.ts";
import { type NewestSample, numberOfSample } from "./metric-series.ts";
import type { Sample } from "./metric-track.ts";
import type { AppendOutcome, SampleRefusal, ToldRefusal } from "./writer.ts";

/** Kinds of things that are counted apart. */
export type Counted = "samples" | "histograms" | "exemplars";

/** The outcome of one write while it is being made up. */
export class OutcomeCounter {
  readonly #kept = { samples: 0, histograms: 0, exemplars: 0 };
  readonly #unreported = { samples: 0, histograms: 0, exemplars: 0 };
  readonly #refused = new Map<SampleRefusal, number>();
  readonly #refusedSeries: number[] = [];
  /** Samples and histograms refused so far. */
  #refusals = 0;
  /** By what is refused and why. */
  readonly #told = new Map<string, { readonly of: ToldRefusal["of"]; readonly text: string; more: number }>();

  keep(counted: Counted, count = 1): void {
    this.#kept[counted] += count;
  }

  /** @param text What the sender is told; undefined where Prometheus says nothing. */
  refuse(counted: Counted, reason: SampleRefusal, text: string | undefined): void {
    this.#refused.set(reason, (this.#refused.get(reason) ?? 0) + 1);
    if (counted !== "exemplars") this.#refusals++;
    if (text === undefined) return;
    const of = counted === "exemplars" ? counted : "samples";
    const told = this.#told.get(`${of} ${reason}`);
    if (told === undefined) this.#told.set(`${of} ${reason}`, { of, text, more: 0 });
    else told.more++;
  }

  /** Refuses what Prometheus would tell the sender as written. */
  refuseUnreported(counted: Counted, reason: SampleRefusal): void {
    this.refuse(counted, reason, undefined);
    this.#unreported[counted]++;
  }

  /** Runs `judge` on series number `index` of the write, and remembers whether a sample or histogram of it was refused. */
  watch(index: number, judge: () => void): void {
    const before = this.#refusals;
    judge();
    if (this.#refusals > before) this.#refusedSeries.push(index);
  }

  /** Moves something that was kept to the refused. */
  takeBack(counted: Counted, reason: SampleRefusal): void {
    this.#kept[counted]--;
    this.refuseUnreported(counted, reason);
  }

  outcome(): AppendOutcome {
    return {
      ...this.#kept,
      refused: this.#refused,
      refusedSeries: this.#refusedSeries,
      unreported: this.#unreported,
      refusals: [...this.#told.values()],
    };
  }
}

/** Prometheus' words for a refusal by order. */
export function orderRefusal(
  reason: "out_of_order" | "too_old" | "duplicate",
  sample: Sample,
  newest: NewestSample,
  labels: Labels,
): string {
  const why = {
    out_of_order: "out of order sample",
    too_old: "too old sample",
    duplicate: duplicateText(sample, newest),
  }[reason];
  return `${why} for series ${labelsText(labels)}`;
}

function duplicateText({ timestampMs, value, histogram }: Sample, newest: NewestSample): string {
  if (histogram !== undefined || timestampMs === 0) return "duplicate sample for timestamp";
  const number = numberOfSample(newest);
  const existing = number === undefined ? "existing is a histogram" : `existing ${number}`;
  return `duplicate sample for timestamp ${timestampMs}; overrides not allowed: ${existing}, new value ${value}`;
}
