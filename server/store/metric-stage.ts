/**
 * Judges what writes bring, as Prometheus' head does, and gathers what goes to the log as one group.
 *
 * A write is judged by what was accepted before it. What it says against itself is left out too, but not reported, since
 * Prometheus drops that at its commit without a word.
 */

import { STALE_NAN } from "../model/float-chunk.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import { histogramFault } from "../model/histogram-validate.ts";
import { labelsText } from "../model/labels-text.ts";
import type { Exemplar, FloatRows, Labels, LabelsHandle, SampleToAppend, SeriesToAppend } from "../model/series.ts";
import { isStale } from "./metric-chunk.ts";
import { compareExemplars, type ExemplarRing } from "./metric-exemplars.ts";
import { isTotal, totalAfter } from "./metric-increment.ts";
import { type Counted, OutcomeCounter, orderRefusal } from "./metric-outcome.ts";
import {
  asNewestAfter,
  isRepeat,
  KIND_FLOAT,
  type MetricSeries,
  type NewestSample,
  newestIn,
  newestOf,
  setNewest,
  staleHistogramAt,
} from "./metric-series.ts";
import { aloneInColumns, type FloatColumns, type Sample } from "./metric-track.ts";
import type { Turns } from "./turns.ts";
import type { SampleRefusal } from "./writer.ts";

/** Time stamps further from 1970 than this cannot be told apart as whole milliseconds in the log. */
const TIMESTAMP_MS_MAX = 2 ** 50;
/** The clock is looked at once for so many series. */
const CLOCK_EVERY = 64;
/** The same for rows, which cost less. */
const ROWS_AT_ONCE = 256;

/** What one call to the writing door brings. */
export type Write =
  | { readonly kind: "samples"; readonly samples: readonly SampleToAppend[] }
  | {
      readonly kind: "series";
      readonly series: readonly SeriesToAppend[];
      /** Come first. */
      readonly rows?: FloatRows | undefined;
    };

/** What there is to a staged sample beside time and value: it is late, or more than a float. */
export interface StagedMore {
  readonly sample: Sample;
  readonly late: boolean;
  readonly counted: Counted;
  readonly outcome: OutcomeCounter;
}

/** Buckets that the running totals of one write may have together: a point of few may become a total of hundreds. */
const TOTAL_BUCKETS_MAX = 2_000_000;
/** Rows at first; more are made where a group has more. */
const ROWS_AT_FIRST = 4096;
/** Rooms that are larger than this are not kept for the next group. */
const ROWS_KEPT_MAX = 262_144;

/** Samples that passed, row by row, and what their series' newest sample was before each. */
export class StagedSamples {
  count = 0;
  /** Longer than `count`: what groups before left stays, so that room is not made anew for each. */
  series: MetricSeries[] = [];
  timestampsMs = new Float64Array(ROWS_AT_FIRST);
  values = new Float64Array(ROWS_AT_FIRST);
  #beforeMs = new Float64Array(ROWS_AT_FIRST);
  #beforeIdentities = new Float64Array(ROWS_AT_FIRST);
  #beforeKinds = new Uint8Array(ROWS_AT_FIRST);
  readonly #more = new Map<number, StagedMore>();

  /** Adds a row of columns; its series' newest sample must still be the one before. */
  add(series: MetricSeries, { timestampsMs, values }: FloatColumns, from: number): void {
    const row = this.count++;
    if (row === this.values.length) this.#resize(2 * row);
    this.series[row] = series;
    this.timestampsMs[row] = timestampsMs[from] as number; // in range: the caller's row, here and below
    this.values[row] = values[from] as number;
    this.#beforeMs[row] = series.newestMs;
    this.#beforeIdentities[row] = series.newestIdentity;
    this.#beforeKinds[row] = series.newestKind;
  }

  addMore(series: MetricSeries, more: StagedMore): void {
    this.#more.set(this.count, more);
    this.add(series, aloneInColumns(more.sample.timestampMs, more.sample.value), 0);
  }

  /** Undefined where the row is a float in order. */
  moreOf(row: number): StagedMore | undefined {
    return this.#more.size === 0 ? undefined : this.#more.get(row);
  }

  /** The newest sample of a row's series before the row. */
  before(row: number): NewestSample {
    return {
      ms: this.#beforeMs[row] as number, // in range: the caller's row, here and below
      kind: this.#beforeKinds[row] as number,
      identity: this.#beforeIdentities[row] as number,
    };
  }

  clear(): void {
    this.count = 0;
    this.#more.clear();
    if (this.values.length <= ROWS_KEPT_MAX) return;
    this.series = [];
    this.#resize(ROWS_AT_FIRST);
  }

  #resize(rows: number): void {
    const grown = (from: Float64Array): Float64Array<ArrayBuffer> => {
      const to = new Float64Array(rows);
      to.set(from.subarray(0, Math.min(rows, from.length)));
      return to;
    };
    this.timestampsMs = grown(this.timestampsMs);
    this.values = grown(this.values);
    this.#beforeMs = grown(this.#beforeMs);
    this.#beforeIdentities = grown(this.#beforeIdentities);
    const kinds = new Uint8Array(rows);
    kinds.set(this.#beforeKinds.subarray(0, Math.min(rows, this.#beforeKinds.length)));
    this.#beforeKinds = kinds;
  }
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
  /** It counts since the sample before. */
  readonly increment?: boolean | undefined;
  readonly untold?: boolean | undefined;
  readonly series?: MetricSeries | undefined;
}

/** What a stage needs of the head. */
export interface StageRules {
  /** How much older than the newest sample of all a late one may be; 0 takes none. */
  readonly windowMs: number;
  /** Why there is no room for another series. */
  readonly whySeriesMax: () => string;
  /** Newest sample of all when the group is staged. */
  readonly newestMs: number;
  /** The series with these labels, made where there is none; undefined where there are too many. */
  readonly seriesOf: (labels: Labels) => MetricSeries | undefined;
  /** The same for labels that come again as the same object. */
  readonly lastingSeriesOf: (labels: Labels) => MetricSeries | undefined;
  readonly seriesOfHandle: (handle: LabelsHandle) => MetricSeries | undefined;
  readonly exemplars: ExemplarRing<MetricSeries>;
}

let writes = 0;

/** One group of writes on its way to the log. */
export class Stage {
  readonly samples: StagedSamples;
  readonly exemplars: StagedExemplar[] = [];
  maxMs = Number.NEGATIVE_INFINITY;
  /** Running totals of this group that are histograms: the series have those of groups before. */
  readonly #totals = new Map<MetricSeries, NativeHistogram>();
  /** Buckets that totals of the write at hand may still have. */
  #totalBucketsLeft = 0;
  readonly #rules: StageRules;

  /** @param samples Empty; the caller keeps its room for the next group. */
  constructor(rules: StageRules, samples: StagedSamples) {
    this.samples = samples;
    this.#rules = rules;
  }

  /** Judges one write. @returns Its outcome so far; applying it may still take something back. */
  async add(write: Write, turns: Turns): Promise<OutcomeCounter> {
    const outcome = new OutcomeCounter();
    writes++;
    this.#totalBucketsLeft = TOTAL_BUCKETS_MAX;
    if (write.kind === "samples") {
      for (const [i, { labels, timestampMs, value, histogram }] of write.samples.entries()) {
        if (i % CLOCK_EVERY === 0 && turns.isDue) await turns.pass();
        const series = this.#rules.lastingSeriesOf(labels);
        if (histogram === undefined && this.#keepNewest(series, aloneInColumns(timestampMs, value), 0)) {
          outcome.keep("samples");
          continue;
        }
        const sample = { timestampMs, value, histogram, startMs: 0 };
        const counted = histogram === undefined ? "samples" : "histograms";
        this.#sample({ labels, sample, counted, integer: histogram?.integer, series }, outcome);
      }
    } else {
      if (write.rows !== undefined) await this.#rows(write.rows, outcome, turns);
      for (const [i, series] of write.series.entries()) {
        if (i % CLOCK_EVERY === 0 && turns.isDue) await turns.pass();
        outcome.watch(i, () => this.#series(series, outcome));
      }
    }
    return outcome;
  }

  /** Forgets the group: the newest sample of each series is the one before the group again. */
  rollBack(): void {
    const { samples } = this;
    for (let row = samples.count - 1; row >= 0; row--) {
      const series = samples.series[row];
      if (series !== undefined) setNewest(series, samples.before(row));
    }
  }

  async #rows(rows: FloatRows, outcome: OutcomeCounter, turns: Turns): Promise<void> {
    let kept = 0;
    for (let from = 0; from < rows.count; from += ROWS_AT_ONCE) {
      if (turns.isDue) await turns.pass();
      kept += this.#rowsBetween(rows, from, Math.min(rows.count, from + ROWS_AT_ONCE), outcome);
    }
    outcome.keep("samples", kept);
  }

  /** @returns How many of the rows are kept, and not yet counted so. */
  #rowsBetween(rows: FloatRows, from: number, to: number, outcome: OutcomeCounter): number {
    const { handles } = rows;
    const { seriesOfHandle } = this.#rules;
    let kept = 0;
    for (let row = from; row < to; row++) {
      const handle = handles[row] as LabelsHandle; // in range: the caller's bounds
      const series = seriesOfHandle(handle);
      if (this.#keepNewest(series, rows, row)) kept++;
      else {
        const sample = { ...floatAt(rows, row), histogram: undefined, startMs: 0 };
        this.#sample({ labels: handle.labels, sample, counted: "samples", series }, outcome);
      }
    }
    return kept;
  }

  /** Keeps a value that is newer than all before, which needs no further look; a NaN may be a stale marker. */
  #keepNewest(series: MetricSeries | undefined, floats: FloatColumns, row: number): boolean {
    const timestampMs = floats.timestampsMs[row] as number; // in range: the caller's row, here and below
    const value = floats.values[row] as number;
    if (series === undefined || !(timestampMs > series.newestMs) || Number.isNaN(value) || !isTimestamp(timestampMs)) {
      return false;
    }
    const { samples } = this;
    if (series.stagedBy !== writes) {
      series.stagedBy = writes;
      series.stagedAt = samples.count;
    }
    samples.add(series, floats, row);
    series.newestMs = timestampMs;
    series.newestKind = KIND_FLOAT;
    series.newestIdentity = value;
    if (timestampMs > this.maxMs) this.maxMs = timestampMs;
    return true;
  }

  #series(toAppend: SeriesToAppend, outcome: OutcomeCounter): void {
    const { labels, timestampsMs, values, histograms, startsMs, exemplars, untold } = toAppend;
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
      const increment = toAppend.increments === true && !stale;
      const integer = histogram?.integer;
      series = this.#sample({ labels, sample, counted, integer, increment, untold, series }, outcome);
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
    if (series !== undefined && incoming.increment === true) this.#increment(series, incoming, outcome);
    else if (series !== undefined) this.#ordered(series, incoming, outcome);
    else {
      outcome.refuse(counted, "series_max", `${this.#rules.whySeriesMax()} for series ${labelsText(labels)}`);
    }
    return series;
  }

  /**
   * Keeps the running total. What has the time of the newest sample is in that already and was sent again; within one write
   * it is another's, and what is older can no longer be added.
   */
  #increment(series: MetricSeries, incoming: Incoming, outcome: OutcomeCounter): void {
    const { sample, counted } = incoming;
    const newest = newestIn(series);
    if (sample.timestampMs > newest.ms) {
      if (sample.histogram !== undefined && this.#totalBucketsLeft <= 0) {
        const why = `running totals of one write have ${TOTAL_BUCKETS_MAX} buckets already`;
        outcome.refuse(counted, "total_buckets_max", `${why} for series ${labelsText(series.labels)}`);
        return;
      }
      const total = totalAfter(newest, this.#totals.get(series) ?? series.head?.last?.histogram, sample);
      const { histogram } = total;
      if (histogram !== undefined) {
        this.#totalBucketsLeft -= histogram.positiveCounts.length + histogram.negativeCounts.length;
        this.#totals.set(series, histogram);
      }
      this.#ordered(series, { ...incoming, sample: total }, outcome);
    } else if (sample.timestampMs === newest.ms && series.stagedBy !== writes && isTotal(newest, sample)) {
      outcome.keep(counted);
    } else {
      const refusal = sample.timestampMs === newest.ms ? "duplicate" : "out_of_order";
      outcome.refuse(counted, refusal, orderRefusal(refusal, sample, newest, series.labels));
    }
  }

  #ordered(series: MetricSeries, incoming: Incoming, outcome: OutcomeCounter): void {
    const { sample, counted, integer = false, untold = false } = incoming;
    const newest = newestIn(series);
    const before = series.stagedBy === writes ? this.samples.before(series.stagedAt) : newest;
    // A stale marker that came as a histogram goes on as the stale float, but is compared as what it was.
    const isPlain = counted === "samples" || sample.histogram !== undefined;
    const came = isPlain ? newestOf(sample) : staleHistogramAt(sample.timestampMs, integer);
    const told = this.#judge(came, before);
    if (told === "out_of_order" || told === "too_old" || told === "duplicate") {
      outcome.refuse(counted, told, untold ? undefined : orderRefusal(told, sample, before, series.labels));
      return;
    }
    const verdict = told === "repeat" ? told : this.#judge(came, newest);
    if (verdict === "repeat") {
      outcome.keep(counted);
    } else if (verdict === "append" || verdict === "late") {
      outcome.keep(counted);
      this.#keep(series, { sample, late: verdict === "late", counted, outcome }, came);
    } else {
      outcome.refuseUnreported(counted, verdict);
    }
  }

  #keep(series: MetricSeries, more: StagedMore, came: NewestSample): void {
    const { samples } = this;
    const { sample, late } = more;
    if (series.stagedBy !== writes) {
      series.stagedBy = writes;
      series.stagedAt = samples.count;
    }
    if (came.ms > this.maxMs) this.maxMs = came.ms;
    const newest = late ? undefined : asNewestAfter(newestIn(series), came);
    if (late || sample.histogram !== undefined || sample.startMs !== 0) samples.addMore(series, more);
    else samples.add(series, aloneInColumns(sample.timestampMs, sample.value), 0);
    if (newest !== undefined) setNewest(series, newest);
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
    if (series === undefined || !Number.isFinite(series.newestMs)) return "exemplar_series";
    if (!isTimestamp(exemplar.timestampMs)) return "timestamp";
    return this.#rules.exemplars.check(series, exemplar);
  }
}

type Verdict = "append" | "late" | "repeat" | "out_of_order" | "too_old" | "duplicate";

function floatAt({ timestampsMs, values }: FloatColumns, row: number): { timestampMs: number; value: number } {
  return { timestampMs: timestampsMs[row] as number, value: values[row] as number }; // in range: the caller's row
}

function isTimestamp(ms: number): boolean {
  return Number.isInteger(ms) && Math.abs(ms) <= TIMESTAMP_MS_MAX;
}

/** A start that is no time says nothing. */
function knownStart(startMs: number | undefined): number {
  return startMs !== undefined && isTimestamp(startMs) ? startMs : 0;
}
