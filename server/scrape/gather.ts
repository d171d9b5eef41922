/** One answer of a target to series: labels put on, limits held, what is gone since the last scrape found. */

import { EXPONENTIAL_SCHEMA_MIN, type NativeHistogram } from "../model/histogram.ts";
import { isExponential, reduceResolution } from "../model/histogram-resolution.ts";
import { labelsText } from "../model/labels-text.ts";
import {
  type Exemplar,
  type Labels,
  type MetricMetadata,
  type SeriesToAppend,
  STALE_NAN_BITS,
} from "../model/series.ts";
import type { ByteRoom } from "../platform/body-blocks.ts";
import type { HttpAnswer } from "../platform/http-get.ts";
import { type ExposedMetadata, type ExposedSample, ExpositionError, formatOf } from "../wire/exposition.ts";
import { NhcbSink } from "../wire/exposition-nhcb.ts";
import { ownText } from "../wire/exposition-text.ts";
import { readProtobuf, readText, type TurnQueue } from "./read-answer.ts";
import { sampleLabels } from "./sample-labels.ts";
import type { HistogramSettings, ScrapeJob, ScrapeLimits } from "./scrape-job.ts";

/** What a sample takes until it is stored: an object and two numbers, of which each has an array where it has a time of its own. */
const SAMPLE_BYTES = 200;
const TIMED_BYTES = 350;
/** Beside the samples: what a histogram and an exemplar take, and each of their buckets and labels. */
const PART_BYTES = 300;
/** Room is taken in steps. */
const STEP_BYTES = 64 * 1024;
/** UTF-16 units of help and of names that are kept. */
const METADATA_UNITS_MAX = 4_096;
/** UTF-16 units of an exemplar that is told apart from the one before; the store takes none with more than 128 letters. */
const EXAMPLE_UNITS_MAX = 1_024;

/** A series of earlier scrapes of the same target; without labels where the rules drop it. */
interface KnownSeries {
  readonly labels: Labels | undefined;
  readonly identity: string;
  lastScrape: number;
  /** The last exemplar that came without a time, as text; a target shows it again until there is another. */
  lastExample: string;
}

/** Whose answer it is, and the time of samples that have none of their own. */
interface ScrapedTarget {
  readonly labels: Labels;
  readonly timeMs: number;
  readonly histograms: HistogramSettings;
}

/** How an answer is read. */
interface ReadBy {
  readonly job: ScrapeJob;
  readonly histograms: HistogramSettings;
}

/** What a scrape brought. */
interface Gathered {
  readonly series: readonly SeriesToAppend[];
  readonly metadata: readonly MetricMetadata[];
  /** Samples of the answer. */
  readonly scraped: number;
  /** Samples that the rules left. */
  readonly kept: number;
  /** Series that were not in the scrape before. */
  readonly added: number;
  readonly histograms: number;
  readonly exemplars: number;
  /** Samples left out since their series came before in the same answer. */
  readonly repeated: number;
  /** What the caller gives back to the room once the samples are stored. */
  readonly heldBytes: number;
  /** Series whose end is to be marked when they are gone, by identity. */
  readonly tracked: ReadonlyMap<string, Labels>;
}

/** What came of an answer: all of it, or why nothing counts and how far it was read. */
export type GatherOutcome =
  | { readonly kind: "gathered"; readonly gathered: Gathered }
  | { readonly kind: "failed"; readonly reason: string; readonly scraped: number; readonly kept: number };

/** What is remembered of a target between its scrapes. */
export class Gatherer {
  #known = new Map<string, KnownSeries>();
  #described = new Map<string, MetricMetadata>();
  #scrape = 0;
  readonly #turns: TurnQueue;
  readonly #room: ByteRoom;

  /** @param turns Shared with all who read answers, as is the room. */
  constructor(turns: TurnQueue, room: ByteRoom) {
    this.#turns = turns;
    this.#room = room;
  }

  /** Rules or labels changed: nothing of before holds. */
  forget(): void {
    // An answer that is being read goes on with what it has.
    this.#known = new Map();
  }

  /** What the target said of its metrics last. */
  get metadata(): Iterable<MetricMetadata> {
    return this.#described.values();
  }

  /**
   * Reads an answer, with turns for others in between; of its body nothing is left then.
   *
   * Of an answer that is wrong somewhere nothing counts.
   */
  async gather(answer: HttpAnswer, job: ScrapeJob, target: ScrapedTarget): Promise<GatherOutcome> {
    const sink = new AnswerSink(job, target, {
      known: this.#known,
      scrape: ++this.#scrape,
      room: this.#room,
    });
    try {
      await this.#read(answer, { job, histograms: target.histograms }, sink);
    } catch (error) {
      this.#room.give(sink.heldBytes);
      if (!(error instanceof ExpositionError)) throw error;
      return { kind: "failed", reason: error.message, scraped: sink.scraped, kept: sink.kept };
    }
    for (const [key, { lastScrape }] of this.#known) if (lastScrape < this.#scrape) this.#known.delete(key);
    return { kind: "gathered", gathered: { ...sink.outcome(), metadata: this.#news(sink.metadata) } };
  }

  async #read(answer: HttpAnswer, { job, histograms }: ReadBy, sink: AnswerSink): Promise<void> {
    const nhcb = histograms.convertClassic ? new NhcbSink(sink, histograms.alwaysClassic) : undefined;
    const into = nhcb ?? sink;
    const format = formatOf(answer.contentType, job.fallback);
    if (format === "protobuf") {
      await readProtobuf(answer.body, { choice: histograms, sink: into, turns: this.#turns });
    } else await readText(answer.body, { openMetrics: format === "openmetrics", sink: into, turns: this.#turns });
    nhcb?.finish();
    const { samples } = job.limits;
    if (samples > 0 && sink.kept > samples) throw new ExpositionError("sample limit exceeded");
  }

  /** Metadata that was not told before. */
  #news(metadata: ReadonlyMap<string, MetricMetadata>): MetricMetadata[] {
    const before = this.#described;
    this.#described = new Map(metadata);
    return [...metadata.values()].filter((each) => {
      const known = before.get(each.name);
      return known?.type !== each.type || known.help !== each.help || known.unit !== each.unit;
    });
  }
}

interface Memory {
  readonly known: Map<string, KnownSeries>;
  readonly scrape: number;
  readonly room: ByteRoom;
}

/** Takes the samples of one answer. */
class AnswerSink {
  readonly metadata = new Map<string, MetricMetadata>();
  scraped = 0;
  kept = 0;
  /** Taken from the room. */
  heldBytes = 0;
  #bytes = 0;
  readonly #job: ScrapeJob;
  readonly #target: ScrapedTarget;
  readonly #memory: Memory;
  readonly #series: SeriesToAppend[] = [];
  readonly #tracked = new Map<string, Labels>();
  readonly #untimed = new Set<KnownSeries>();
  /** Shared by all samples that come without a time. */
  readonly #timesMs: Float64Array;

  #added = 0;
  #histograms = 0;
  #exemplars = 0;
  #repeated = 0;

  constructor(job: ScrapeJob, target: ScrapedTarget, memory: Memory) {
    this.#job = job;
    this.#target = target;
    this.#memory = memory;
    this.#timesMs = Float64Array.of(target.timeMs);
  }

  describe(told: ExposedMetadata): void {
    const before = this.metadata.get(told.name) ?? { name: told.name, type: "unknown", help: "", unit: "" };
    const { name, type = before.type, help = before.help, unit = before.unit } = told;
    if (name.length > METADATA_UNITS_MAX) return;
    this.metadata.set(name, { name, type, help: help.slice(0, METADATA_UNITS_MAX), unit });
  }

  sample(exposed: ExposedSample): void {
    this.scraped++;
    const series = this.#seriesOf(exposed);
    const { labels } = series;
    if (labels === undefined) return;
    this.kept++;
    const ownMs = this.#job.honorTimestamps ? exposed.timestampMs : undefined;
    if (ownMs === undefined) {
      if (this.#untimed.has(series)) {
        this.#repeated++;
        return;
      }
      this.#untimed.add(series);
    }
    if (ownMs === undefined || this.#job.trackTimestampsStaleness) this.#tracked.set(series.identity, labels);
    const timeMs = ownMs ?? this.#target.timeMs;
    const { value } = exposed;
    const histogram = exposed.histogram && withinLimits(exposed.histogram, this.#job.limits);
    if (histogram !== undefined) this.#histograms++;
    const exemplars = exemplarsOf(exposed, timeMs, series);
    this.#exemplars += exemplars.length;
    this.#hold(bytesOf(exposed, ownMs !== undefined));
    this.#series.push({
      labels,
      lasting: true,
      timestampsMs: ownMs === undefined ? this.#timesMs : Float64Array.of(ownMs),
      values: Float64Array.of(value),
      histograms: histogram === undefined ? undefined : [histogram],
      exemplars: exemplars.length === 0 ? undefined : exemplars,
    });
  }

  outcome(): Omit<Gathered, "metadata"> {
    return {
      series: this.#series,
      scraped: this.scraped,
      kept: this.kept,
      added: this.#added,
      histograms: this.#histograms,
      exemplars: this.#exemplars,
      repeated: this.#repeated,
      heldBytes: this.heldBytes,
      tracked: this.#tracked,
    };
  }

  #hold(bytes: number): void {
    this.#bytes += bytes;
    while (this.heldBytes < this.#bytes) {
      if (!this.#memory.room.take(STEP_BYTES)) {
        throw new ExpositionError("there is no room for the samples beside those of other answers that are read");
      }
      this.heldBytes += STEP_BYTES;
    }
  }

  #seriesOf(exposed: ExposedSample): KnownSeries {
    const { known, scrape } = this.#memory;
    const found = known.get(exposed.key);
    if (found !== undefined) {
      found.lastScrape = scrape;
      return found;
    }
    const outcome = sampleLabels(exposed.labels(), this.#target.labels, this.#job);
    if (outcome.kind === "invalid") throw new ExpositionError(outcome.reason);
    const labels = outcome.kind === "labels" ? outcome.labels : undefined;
    const series = {
      labels,
      identity: labels === undefined ? "" : labelsText(labels),
      lastScrape: scrape,
      lastExample: "",
    };
    known.set(ownText(exposed.key), series);
    if (labels !== undefined) this.#added++;
    return series;
  }
}

function bytesOf({ histogram, exemplars }: ExposedSample, isTimed: boolean): number {
  let bytes = isTimed ? SAMPLE_BYTES + TIMED_BYTES : SAMPLE_BYTES;
  for (const { labels } of exemplars) bytes += PART_BYTES * (1 + labels.length);
  if (histogram === undefined) return bytes;
  const { positiveSpans, negativeSpans, positiveCounts, negativeCounts, customValues } = histogram;
  const numbers = positiveCounts.length + negativeCounts.length + customValues.length;
  return bytes + 2 * PART_BYTES + 8 * numbers + 40 * (positiveSpans.length + negativeSpans.length);
}

/** A histogram within a job's limits. @throws ExpositionError Where the coarsest buckets are still too many. */
function withinLimits(histogram: NativeHistogram, limits: ScrapeLimits): NativeHistogram {
  let within = histogram;
  if (isExponential(within) && within.schema > limits.histogramSchema) {
    within = reduceResolution(within, limits.histogramSchema);
  }
  if (limits.buckets <= 0) return within;
  while (within.positiveCounts.length + within.negativeCounts.length > limits.buckets) {
    if (!isExponential(within) || within.schema <= EXPONENTIAL_SCHEMA_MIN) {
      throw new ExpositionError("histogram bucket limit exceeded");
    }
    within = reduceResolution(within, within.schema - 1);
  }
  return within;
}

/**
 * The exemplars of a sample, oldest first. One without a time gets that of the sample, once: until there is another it is
 * the same one. As in Prometheus, native histograms have none without a time.
 */
function exemplarsOf({ exemplars, histogram }: ExposedSample, timeMs: number, series: KnownSeries): Exemplar[] {
  const found: Exemplar[] = [];
  for (const { labels: exposed, value, timestampMs } of exemplars) {
    if (timestampMs === undefined && histogram !== undefined) continue;
    const labels = exposed.filter(([, text]) => text !== "").sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    if (timestampMs === undefined) {
      const text = `${value} ${labelsText(labels)}`;
      if (text === series.lastExample) continue;
      series.lastExample = text.length > EXAMPLE_UNITS_MAX ? "" : text;
    }
    found.push({ labels, value, timestampMs: timestampMs ?? timeMs });
  }
  return found.sort((a, b) => a.timestampMs - b.timestampMs);
}

/** Marks the end of a series. */
export function staleMarker(labels: Labels, timeMs: number): SeriesToAppend {
  const values = new Float64Array(1);
  new BigUint64Array(values.buffer)[0] = STALE_NAN_BITS;
  return { labels, timestampsMs: Float64Array.of(timeMs), values };
}
