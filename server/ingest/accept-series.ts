/**
 * The way in for series that other programs write: limit, store, count, and say what became of them.
 *
 * Invariant: `received = stored + rejected` holds in the counters of the signals `metrics` (samples and histograms) and
 * `exemplars` whenever no write is under way.
 */

import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import { EXPONENTIAL_SCHEMA_MAX } from "../model/histogram.ts";
import { isTooFine, reduceResolution } from "../model/histogram-resolution.ts";
import { labelsText } from "../model/labels-text.ts";
import type { FloatRows, SeriesToAppend } from "../model/series.ts";
import type { AppendOutcome, StoreWriter } from "../store/writer.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";
import { type RemoteWrite, seriesOfWrite } from "../wire/remote-write.ts";

/** How far ahead of the clock a sample may be; the limit of Prometheus' receiver. */
const AHEAD_MS_MAX = 10 * 60_000;
const RETRY_AFTER_SECONDS = 2;
const EXEMPLAR_REASON = "exemplar_";

/** The outcome of a write without series. */
const NOTHING: AppendOutcome = {
  samples: 0,
  histograms: 0,
  exemplars: 0,
  refused: new Map(),
  refusedSeries: [],
  unreported: { samples: 0, histograms: 0, exemplars: 0 },
  refusals: [],
};

/** How series came; the `transport` label. */
export type SeriesTransport = "remote_write" | "grpc" | "http" | "scrape" | "influx" | "statsd";

/** What accepting series needs. */
export interface AcceptSeriesDeps {
  readonly writer: StoreWriter;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

/** What became of a write, as remote write tells it. */
export type SeriesOutcome =
  | {
      /** Durable, but for what `faults` tell of. */
      readonly kind: "written";
      /** What the sender is told as written. */
      readonly samples: number;
      readonly histograms: number;
      readonly exemplars: number;
      /** Sentences about what was left out and must not be sent again; empty where nothing was. */
      readonly faults: readonly string[];
      /** Places in the write of the series of which a sample or histogram was left out. */
      readonly refusedSeries: ReadonlySet<number>;
      /** Why samples and histograms of these were left out, in the words of `thalweg_ingest_rejected_total`. */
      readonly refusedFor: ReadonlySet<string>;
    }
  | {
      /** Nothing was kept; the sender shall try again after so long. */
      readonly kind: "refused";
      readonly reason: string;
      readonly retryAfterSeconds: number;
    };

/** Stores what a write brought; resolves once it is durable. */
export async function acceptSeries(
  deps: AcceptSeriesDeps,
  write: RemoteWrite,
  transport: SeriesTransport = "remote_write",
): Promise<SeriesOutcome> {
  const ledger = new Ledger(deps.telemetry, write, transport);
  for (const metadata of write.metadata) deps.writer.describe(metadata);
  const faults = [...write.faults];
  const refusedSeries = new Set<number>();
  const maxMs = deps.clock.nowMs() + AHEAD_MS_MAX;
  const { rows, series } = rowsWithin(write, maxMs);
  const ahead = { text: "", more: -1 };
  const coarse = withinTime(series, { maxMs, ledger, ahead, refusedSeries }).map(coarser);
  let outcome: AppendOutcome;
  try {
    outcome = coarse.length === 0 && rows === undefined ? NOTHING : await deps.writer.appendSeries(coarse, rows);
  } catch (error) {
    ledger.refuseAll(transport);
    if (!(error instanceof ThalwegError) || error.code !== "store_unavailable") throw error;
    return { kind: "refused", reason: error.message, retryAfterSeconds: RETRY_AFTER_SECONDS };
  }
  ledger.settle(outcome);
  for (const index of outcome.refusedSeries) refusedSeries.add(index);
  // Version 1 says nothing of exemplars.
  const refusals = outcome.refusals.filter(({ of }) => of === "samples" || write.version === 2);
  const told = ahead.more >= 0 ? [ahead, ...refusals] : refusals;
  faults.push(...told.map(({ text }) => text));
  const more = told.reduce((sum, refusal) => sum + refusal.more, 0);
  if (more > 0) faults.push(`and ${more} more for the same reasons`);
  const { unreported } = outcome;
  const floats = outcome.samples + unreported.samples;
  const stale = Math.min(write.staleHistograms, floats);
  return {
    kind: "written",
    samples: floats - stale,
    histograms: outcome.histograms + unreported.histograms + stale,
    exemplars: outcome.exemplars + unreported.exemplars,
    faults,
    refusedSeries,
    refusedFor: ledger.refusedFor,
  };
}

/** Counts one write. What is neither left out before nor refused by the store is stored. */
class Ledger {
  readonly #telemetry: Telemetry;
  /** Samples and histograms that are not accounted for yet. */
  #samples: number;
  #exemplars: number;
  /** Why samples that a write could bring to the store were left out. */
  readonly refusedFor = new Set<string>();

  constructor(telemetry: Telemetry, write: RemoteWrite, transport: SeriesTransport) {
    this.#telemetry = telemetry;
    this.#samples = write.received.samples + write.received.histograms;
    this.#exemplars = write.received.exemplars;
    const received = "thalweg_ingest_received_total";
    telemetry.count(received, { signal: "metrics", transport }, this.#samples);
    telemetry.count(received, { signal: "exemplars", transport }, this.#exemplars);
    for (const [reason, count] of write.rejected) this.#leaveOut(reason, count);
    for (const [reason, count] of write.rejectedExemplars) this.rejectExemplars(reason, count);
  }

  rejectSamples(reason: string, count: number): void {
    this.refusedFor.add(reason);
    this.#leaveOut(reason, count);
  }

  #leaveOut(reason: string, count: number): void {
    this.#samples -= count;
    this.#telemetry.count("thalweg_ingest_rejected_total", { signal: "metrics", reason }, count);
  }

  rejectExemplars(reason: string, count: number): void {
    this.#exemplars -= count;
    this.#telemetry.count("thalweg_ingest_rejected_total", { signal: "exemplars", reason }, count);
  }

  /** Nothing was kept. Senders try again, but targets and StatsD do not tell the same twice. */
  refuseAll(transport: SeriesTransport): void {
    if (transport === "scrape" || transport === "statsd") {
      const lost = (signal: "metrics" | "exemplars", count: number) =>
        this.#telemetry.count("thalweg_ingest_lost_total", { signal, reason: "store_unavailable" }, count);
      lost("metrics", this.#samples);
      lost("exemplars", this.#exemplars);
      return;
    }
    this.rejectSamples("store_unavailable", this.#samples);
    this.rejectExemplars("store_unavailable", this.#exemplars);
  }

  settle(outcome: AppendOutcome): void {
    let exemplarsLeft = this.#exemplars - outcome.exemplars;
    for (const [reason, count] of outcome.refused) {
      if (!reason.startsWith(EXEMPLAR_REASON)) continue;
      this.rejectExemplars(reason, count);
      exemplarsLeft -= count;
    }
    // Reasons of both kinds are counted together: what exemplars of their own reasons leave open is theirs.
    for (const [reason, count] of outcome.refused) {
      if (reason.startsWith(EXEMPLAR_REASON)) continue;
      const ofExemplars = Math.min(count, exemplarsLeft);
      exemplarsLeft -= ofExemplars;
      if (ofExemplars > 0) this.rejectExemplars(reason, ofExemplars);
      if (count > ofExemplars) this.rejectSamples(reason, count - ofExemplars);
    }
    this.#telemetry.count("thalweg_ingest_stored_total", { signal: "metrics" }, this.#samples);
    this.#telemetry.count("thalweg_ingest_stored_total", { signal: "exemplars" }, this.#exemplars);
  }
}

interface TimeLimit {
  readonly maxMs: number;
  readonly ledger: Ledger;
  /** What to tell of those beyond it: the first, and how many more. */
  readonly ahead: { text: string; more: number };
  readonly refusedSeries: Set<number>;
}

/** The write as it is, or all of it as series where a row is too far ahead of the clock. */
function rowsWithin(write: RemoteWrite, maxMs: number): Pick<RemoteWrite, "rows" | "series"> {
  const { rows, series } = write;
  if (rows === undefined || rows.count === 0) return { rows: undefined, series };
  return hasRowAfter(rows, maxMs) ? { rows: undefined, series: seriesOfWrite(write) } : { rows, series };
}

function hasRowAfter({ timestampsMs, count }: FloatRows, maxMs: number): boolean {
  for (let row = 0; row < count; row++) if ((timestampsMs[row] as number) > maxMs) return true; // in range: the loop's bounds
  return false;
}

/** Leaves out what is too far ahead of the clock. */
function withinTime(all: readonly SeriesToAppend[], limit: TimeLimit): readonly SeriesToAppend[] {
  const { maxMs } = limit;
  const isAhead = ({ timestampsMs, exemplars }: SeriesToAppend) =>
    timestampsMs.some((ms) => ms > maxMs) || exemplars?.some(({ timestampMs }) => timestampMs > maxMs) === true;
  if (!all.some(isAhead)) return all;
  return all.map((series, index) => (isAhead(series) ? cutAhead(series, index, limit) : series));
}

function cutAhead(series: SeriesToAppend, index: number, limit: TimeLimit): SeriesToAppend {
  const { maxMs, ledger, ahead, refusedSeries } = limit;
  const { labels, timestampsMs, values, histograms, startsMs, exemplars, increments } = series;
  const kept = Uint32Array.from(timestampsMs.keys()).filter((at) => (timestampsMs[at] ?? 0) <= maxMs);
  const over = timestampsMs.length - kept.length;
  if (over > 0) {
    ledger.rejectSamples("timestamp", over);
    refusedSeries.add(index);
    ahead.text ||= `out of bounds: timestamp is too far in the future for series ${labelsText(labels)}`;
    ahead.more += over;
  }
  const examples = exemplars?.filter(({ timestampMs }) => timestampMs <= maxMs);
  ledger.rejectExemplars("timestamp", (exemplars?.length ?? 0) - (examples?.length ?? 0));
  return {
    labels,
    increments,
    timestampsMs: picked(timestampsMs, kept),
    values: picked(values, kept),
    histograms: histograms === undefined ? undefined : Array.from(kept, (at) => histograms[at]),
    startsMs: startsMs === undefined ? undefined : picked(startsMs, kept),
    exemplars: examples,
  };
}

/** Copied as bytes, so that stale markers stay what they are. */
function picked(column: Float64Array, rows: Uint32Array): Float64Array {
  const bits = new BigUint64Array(column.buffer, column.byteOffset, column.length);
  const kept = new BigUint64Array(rows.length);
  for (const [to, from] of rows.entries()) kept[to] = bits[from] as bigint; // in range: rows of the column
  return new Float64Array(kept.buffer);
}

function coarser(series: SeriesToAppend): SeriesToAppend {
  const { histograms } = series;
  if (histograms?.some((each) => each !== undefined && isTooFine(each)) !== true) return series;
  return {
    ...series,
    histograms: histograms.map((each) =>
      each !== undefined && isTooFine(each) ? reduceResolution(each, EXPONENTIAL_SCHEMA_MAX) : each,
    ),
  };
}
