/**
 * Judges what writes bring, as Prometheus' head does, and gathers what goes to the log as one group.
 *
 * A write is judged by what was accepted before it. What it says against itself is left out too, but not reported, since
 * Prometheus drops that at its commit without a word.
 */

import { histogramFault } from "../model/histogram-validate.ts";
import { labelsText } from "../model/labels-text.ts";
import type { Exemplar, Labels, SampleToAppend, SeriesToAppend } from "../model/series.ts";
import { isStale, STALE_NAN } from "./metric-chunk.ts";
import { compareExemplars, type ExemplarRing } from "./metric-exemplars.ts";
import { type Counted, OutcomeCounter, orderRefusal } from "./metric-outcome.ts";
import {
  asNewestAfter,
  isRepeat,
  type MetricSeries,
  type NewestSample,
  newestOf,
  staleHistogramAt,
} from "./metric-series.ts";
import type { Sample } from "./metric-track.ts";
import type { Turns } from "./turns.ts";
import type { SampleRefusal } from "./writer.ts";

/** Time stamps further from 1970 than this cannot be told apart as whole milliseconds in the log. */
const TIMESTAMP_MS_MAX = 2 ** 50;
/** The clock is looked at once for so many series. */
const CLOCK_EVERY = 64;

/** What one call to the writing door brings. */
export type Write =
  | { readonly kind: "samples"; readonly samples: readonly SampleToAppend[] }
  | { readonly kind: "series"; readonly series: readonly SeriesToAppend[] };

/** A sample that passed, with the write it came by. */
export interface StagedSample {
  readonly series: MetricSeries;
  readonly item: Sample;
  readonly newest: NewestSample;
  readonly late: boolean;
  readonly counted: Counted;
  readonly outcome: OutcomeCounter;
}

/** An exemplar that passed. */
export interface StagedExemplar {
  readonly series: MetricSeries;
  readonly item: Exemplar;
  readonly outcome: OutcomeCounter;
}

interface Incoming {
  readonly labels: Labels;
  readonly sample: Sample;
  readonly counted: Counted;
  /** A stale histogram is one of whole counts. */
  readonly integer?: boolean | undefined;
  readonly series?: MetricSeries | undefined;
}

/** What a stage needs of the head. */
export interface StageRules {
  /** How much older than the newest sample of all a late one may be; 0 takes none. */
  readonly windowMs: number;
  readonly seriesMax: number;
  /** Newest sample of all when the group is staged. */
  readonly newestMs: number;
  /** The series with these labels, made where there is none; undefined where there are too many. */
  readonly seriesOf: (labels: Labels) => MetricSeries | undefined;
  /** The same for labels that come again as the same object. */
  readonly lastingSeriesOf: (labels: Labels) => MetricSeries | undefined;
  readonly exemplars: ExemplarRing<MetricSeries>;
}

let writes = 0;

/** One group of writes on its way to the log. */
export class Stage {
  readonly samples: StagedSample[] = [];
  readonly exemplars: StagedExemplar[] = [];
  maxMs = Number.NEGATIVE_INFINITY;
  readonly #rules: StageRules;

  constructor(rules: StageRules) {
    this.#rules = rules;
  }

  /** Judges one write. @returns Its outcome so far; applying it may still take something back. */
  async add(write: Write, turns: Turns): Promise<OutcomeCounter> {
    const outcome = new OutcomeCounter();
    writes++;
    if (write.kind === "samples") {
      for (const [i, { labels, timestampMs, value, histogram }] of write.samples.entries()) {
        if (i % CLOCK_EVERY === 0 && turns.isDue) await turns.pass();
        const sample = { timestampMs, value, histogram, startMs: 0 };
        const series = this.#rules.lastingSeriesOf(labels);
        const counted = histogram === undefined ? "samples" : "histograms";
        this.#sample({ labels, sample, counted, integer: histogram?.integer, series }, outcome);
      }
    } else {
      for (const [i, series] of write.series.entries()) {
        if (i % CLOCK_EVERY === 0 && turns.isDue) await turns.pass();
        outcome.watch(i, () => this.#series(series, outcome));
      }
    }
    return outcome;
  }

  /** Forgets the group: the newest logged sample of each series is the newest applied one again. */
  rollBack(): void {
    for (const { series } of this.samples) series.logged = series.applied;
  }

  #series(toAppend: SeriesToAppend, outcome: OutcomeCounter): void {
    const { labels, timestampsMs, values, histograms, startsMs, exemplars } = toAppend;
    let series = toAppend.lasting === true ? this.#rules.lastingSeriesOf(labels) : undefined;
    for (let i = 0; i < timestampsMs.length; i++) {
      const histogram = histograms?.[i];
      const stale = histogram !== undefined && isStale(histogram.sum);
      const sample = {
        timestampMs: timestampsMs[i] ?? 0,
        value: stale ? STALE_NAN : histogram === undefined ? (values[i] ?? 0) : Number.NaN,
        histogram: stale ? undefined : histogram,
        startMs: knownStart(startsMs?.[i]),
      };
      const counted = histogram === undefined ? "samples" : "histograms";
      series = this.#sample({ labels, sample, counted, integer: histogram?.integer, series }, outcome);
    }
    if (exemplars === undefined || exemplars.length === 0) return;
    series ??= this.#rules.seriesOf(labels);
    for (const exemplar of [...exemplars].sort(compareExemplars)) this.#exemplar(series, exemplar, outcome);
  }

  /** @returns The sample's series, where it was looked for. */
  #sample(incoming: Incoming, outcome: OutcomeCounter): MetricSeries | undefined {
    const { labels, counted } = incoming;
    const { timestampMs, histogram } = incoming.sample;
    const fault = histogram === undefined ? undefined : histogramFault(histogram);
    if (fault !== undefined) {
      outcome.refuse(counted, "histogram_invalid", `${fault} for series ${labelsText(labels)}`);
      return incoming.series;
    }
    if (!isTimestamp(timestampMs)) {
      outcome.refuse(counted, "timestamp", `out of bounds for series ${labelsText(labels)}`);
      return incoming.series;
    }
    const series = incoming.series ?? this.#rules.seriesOf(labels);
    if (series !== undefined) this.#ordered(series, incoming, outcome);
    else {
      const why = `the limit of ${this.#rules.seriesMax} series is reached`;
      outcome.refuse(counted, "series_max", `${why} for series ${labelsText(labels)}`);
    }
    return series;
  }

  #ordered(series: MetricSeries, { sample, counted, integer = false }: Incoming, outcome: OutcomeCounter): void {
    if (series.stagedBy !== writes) {
      series.stagedBy = writes;
      series.beforeWrite = series.logged;
    }
    // A stale marker that came as a histogram goes on as the stale float, but is compared as what it was.
    const isPlain = counted === "samples" || sample.histogram !== undefined;
    const came = isPlain ? newestOf(sample) : staleHistogramAt(sample.timestampMs, integer);
    const told = this.#judge(came, series.beforeWrite);
    if (told === "out_of_order" || told === "too_old" || told === "duplicate") {
      outcome.refuse(counted, told, orderRefusal(told, sample, series.beforeWrite, series.labels));
      return;
    }
    const verdict = told === "repeat" ? told : this.#judge(came, series.logged);
    if (verdict === "repeat") {
      outcome.keep(counted);
    } else if (verdict === "append" || verdict === "late") {
      outcome.keep(counted);
      const newest = asNewestAfter(series.logged, came);
      if (verdict === "append") series.logged = newest;
      if (newest.ms > this.maxMs) this.maxMs = newest.ms;
      this.samples.push({ series, item: sample, newest, late: verdict === "late", counted, outcome });
    } else {
      outcome.refuseUnreported(counted, verdict);
    }
  }

  #judge(sample: NewestSample, stored: NewestSample): Verdict {
    if (sample.ms > stored.ms) return "append";
    if (sample.ms === stored.ms) return isRepeat(sample, stored) ? "repeat" : "duplicate";
    const { windowMs, newestMs } = this.#rules;
    if (windowMs === 0) return "out_of_order";
    return sample.ms >= newestMs - windowMs ? "late" : "too_old";
  }

  #exemplar(series: MetricSeries | undefined, exemplar: Exemplar, outcome: OutcomeCounter): void {
    const verdict = this.#judgeExemplar(series, exemplar);
    if (verdict === "repeat") outcome.keep("exemplars");
    else if (verdict === "new" && series !== undefined) {
      outcome.keep("exemplars");
      this.exemplars.push({ series, item: exemplar, outcome });
    } else if (verdict !== "new") {
      const told = verdict === "exemplar_out_of_order" && series !== undefined;
      const text = told ? `out of order exemplar for series ${labelsText(series.labels)}` : undefined;
      outcome.refuse("exemplars", verdict, text);
    }
  }

  #judgeExemplar(series: MetricSeries | undefined, exemplar: Exemplar): "new" | "repeat" | SampleRefusal {
    if (series === undefined || !Number.isFinite(series.logged.ms)) return "exemplar_series";
    if (!isTimestamp(exemplar.timestampMs)) return "timestamp";
    return this.#rules.exemplars.check(series, exemplar);
  }
}

type Verdict = "append" | "late" | "repeat" | "out_of_order" | "too_old" | "duplicate";

function isTimestamp(ms: number): boolean {
  return Number.isInteger(ms) && Math.abs(ms) <= TIMESTAMP_MS_MAX;
}

/** A start that is no time says nothing. */
function knownStart(startMs: number | undefined): number {
  return startMs !== undefined && isTimestamp(startMs) ? startMs : 0;
}
