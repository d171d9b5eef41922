/**
 * One series: labels, what it remembers of its newest sample, and its samples in memory while it has any there.
 *
 * Invariants: times of samples in order strictly grow; late samples may lie anywhere below the newest; what is being
 * sealed stays here until its block can be read.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import type { SampleRoom } from "../model/sample-room.ts";
import type { Labels } from "../model/series.ts";
import { isStale, type SampleRun, type SealedChunk } from "./metric-chunk.ts";
import { chunkEndOf, continuesChunk, histogramHash, withReadHint } from "./metric-hints.ts";
import { type Interval, withoutIntervals } from "./metric-intervals.ts";
import type { OpenMemory } from "./metric-open-memory.ts";
import {
  chunkBytes,
  copyFloats,
  copyLastOpen,
  emptyTrack,
  endsInFloat,
  type FloatColumns,
  type FloatScratch,
  findHistograms,
  firstOpenMs,
  insertSorted,
  isEmptyTrack,
  lastOpenMs,
  openSampleAt,
  openSamplesIn,
  pushFloat,
  pushSample,
  type Sample,
  samplesByRun,
  samplesInOrder,
  type Track,
  takeBelow,
  trackBytes,
  trackHasIn,
} from "./metric-track.ts";
import type { WindowScratch } from "./metric-window-histograms.ts";

/** Memory of a series that lies in blocks only: labels, index entries and this object. Measured, rounded up. */
export const SERIES_BYTES = 500;
/** What comes to it while it has samples in memory. */
export const HEAD_BYTES = 700;

const KIND_NONE = 0;
/** A float that is no stale marker, as `newestKind`. */
export const KIND_FLOAT = 1;
const KIND_STALE = 2;
const KIND_INTEGER_HISTOGRAM = 3;
const KIND_FLOAT_HISTOGRAM = 4;
/** A stale marker that came as a histogram, or after one. */
const KIND_STALE_INTEGER_HISTOGRAM = 5;
const KIND_STALE_FLOAT_HISTOGRAM = 6;

/** The newest sample of a series, as far as a repeat must be told from a conflict. */
export interface NewestSample {
  readonly ms: number;
  readonly kind: number;
  /** The float, or a hash of the histogram. */
  readonly identity: number;
}

/** Before the first sample. */
export const NO_SAMPLE: NewestSample = { ms: Number.NEGATIVE_INFINITY, kind: KIND_NONE, identity: 0 };

/** Chunks on their way to a block; late ones may lie anywhere among those in order. */
export interface TakenChunks {
  readonly inOrder: readonly SealedChunk[];
  readonly late: readonly SealedChunk[];
}

const NOTHING_TAKEN: TakenChunks = { inOrder: [], late: [] };

/** A histogram that is the newest sample, and the end of Prometheus' chunk that it stands in. */
interface LastHistogram {
  histogram: NativeHistogram;
  chunkEndMs: number;
}

/** Samples in memory. */
export interface HeadSamples {
  readonly inOrder: Track;
  late: Track | undefined;
  /** Taken for a block that cannot be read yet. */
  sealing: TakenChunks | undefined;
  /** The newest sample where it is a histogram. */
  last: LastHistogram | undefined;
}

/** One series. Fields are the store's own; readers get copies. */
export interface MetricSeries {
  /** The table it is in, which tells it from series of others, and where its open samples lie. */
  readonly owner: object;
  readonly memory: OpenMemory;
  readonly ref: number;
  readonly labels: Labels;
  head: HeadSamples | undefined;
  /** Blocks that hold samples of it. */
  blocks: number;
  /** Sixteen bytes that tell its labels from all others, one character each; made when first needed. */
  fingerprint: string | undefined;
  /** The newest sample that is staged or stored: a `NewestSample`, in place, since every sample changes it. */
  newestMs: number;
  newestKind: number;
  newestIdentity: number;
  /** Write that staged a sample last, and the row of the stage of its first one. */
  stagedBy: number;
  stagedAt: number;
  /** Log segment that declares this series; 0 where none does. */
  declaredIn: number;
  removed: boolean;
}

/** A series without samples. */
export function emptySeries(
  ref: number,
  labels: Labels,
  place: { readonly owner: object; readonly memory: OpenMemory },
): MetricSeries {
  // What every sample looks at comes first, so that it lies together.
  return {
    owner: place.owner,
    removed: false,
    newestMs: NO_SAMPLE.ms,
    newestKind: NO_SAMPLE.kind,
    newestIdentity: NO_SAMPLE.identity,
    stagedBy: 0,
    stagedAt: 0,
    head: undefined,
    declaredIn: 0,
    ref,
    memory: place.memory,
    labels,
    blocks: 0,
    fingerprint: undefined,
  };
}

/** The newest sample of a series. */
export function newestIn({ newestMs: ms, newestKind: kind, newestIdentity: identity }: MetricSeries): NewestSample {
  return { ms, kind, identity };
}

/** Notes the newest sample of a series. */
export function setNewest(series: MetricSeries, { ms, kind, identity }: NewestSample): void {
  series.newestMs = ms;
  series.newestKind = kind;
  series.newestIdentity = identity;
}

/** What tells a sample from others of its time. */
export function newestOf({ timestampMs: ms, value, histogram }: Sample): NewestSample {
  if (histogram !== undefined) {
    const kind = histogram.integer ? KIND_INTEGER_HISTOGRAM : KIND_FLOAT_HISTOGRAM;
    return { ms, kind, identity: histogramHash(histogram) };
  }
  return isStale(value) ? { ms, kind: KIND_STALE, identity: 0 } : { ms, kind: KIND_FLOAT, identity: value };
}

/** The same of a stale marker that came as a histogram. */
export function staleHistogramAt(ms: number, integer: boolean): NewestSample {
  return { ms, kind: integer ? KIND_STALE_INTEGER_HISTOGRAM : KIND_STALE_FLOAT_HISTOGRAM, identity: 0 };
}

/** What a series remembers of a sample after the one before: as in Prometheus, a stale marker takes the type of that. */
export function asNewestAfter(before: NewestSample, sample: NewestSample): NewestSample {
  if (sample.kind !== KIND_STALE) return sample;
  switch (before.kind) {
    case KIND_INTEGER_HISTOGRAM:
    case KIND_STALE_INTEGER_HISTOGRAM:
      return staleHistogramAt(sample.ms, true);
    case KIND_FLOAT_HISTOGRAM:
    case KIND_STALE_FLOAT_HISTOGRAM:
      return staleHistogramAt(sample.ms, false);
    default:
      return sample;
  }
}

/** Whether two samples of one time are the same. */
export function isRepeat(a: NewestSample, b: NewestSample): boolean {
  return a.kind === b.kind && Object.is(a.identity, b.identity);
}

/** Whether a sample is a histogram, and no stale marker. */
export function isHistogram({ kind }: NewestSample): boolean {
  return kind === KIND_INTEGER_HISTOGRAM || kind === KIND_FLOAT_HISTOGRAM;
}

/** The number that a sample is; undefined for a histogram. */
export function numberOfSample({ kind, identity }: NewestSample): number | undefined {
  if (kind === KIND_FLOAT) return identity;
  return kind === KIND_STALE ? Number.NaN : undefined;
}

/** As `appendSample` for a float. */
export function appendFloat(series: MetricSeries, floats: FloatColumns, row: number): number {
  const atFirst = series.head === undefined ? HEAD_BYTES : 0;
  const head = headOf(series);
  if (head.last !== undefined) head.last = undefined;
  return atFirst + pushFloat(head.inOrder, floats, row);
}

/**
 * Adds a sample newer than all others of the series.
 *
 * @returns By how many bytes the memory of the series grew (negative when a chunk was sealed).
 */
export function appendSample(series: MetricSeries, sample: Sample): number {
  const { timestampMs, histogram } = sample;
  const isFirst = series.head === undefined;
  const head = headOf(series);
  const atFirst = isFirst ? HEAD_BYTES : 0;
  if (histogram === undefined) {
    head.last = undefined;
    return atFirst + pushSample(head.inOrder, sample);
  }
  const { last } = head;
  const continues = last !== undefined && timestampMs < last.chunkEndMs && continuesChunk(last.histogram, histogram);
  const stored = withReadHint(histogram, continues);
  if (!continues) head.last = { histogram: stored, chunkEndMs: chunkEndOf(timestampMs) };
  else last.histogram = stored;
  return atFirst + pushSample(head.inOrder, { ...sample, histogram: stored });
}

/**
 * Adds a sample that is not newer than all others.
 *
 * @returns Bytes that the series grew by; or what the sample is to a late one of the same time.
 */
export function insertLate(series: MetricSeries, sample: Sample): number | "repeat" | "duplicate" {
  const { histogram } = sample;
  const known = series.head?.late;
  const there = known === undefined ? undefined : openSampleAt(known, sample.timestampMs);
  if (there !== undefined) return isRepeat(newestOf(there), newestOf(sample)) ? "repeat" : "duplicate";
  const atFirst = series.head === undefined ? HEAD_BYTES : 0;
  const head = headOf(series);
  head.late ??= emptyTrack(series.memory);
  const stored = histogram === undefined ? sample : { ...sample, histogram: withReadHint(histogram, false) };
  return atFirst + insertSorted(head.late, stored);
}

/** Takes late samples before `belowMs` for the block to come; readers still find them. @returns Whether there are any. */
export function setLateAside({ head }: MetricSeries, belowMs: number): boolean {
  if (head?.late === undefined) return false;
  const late = takeBelow(head.late, belowMs);
  if (isEmptyTrack(head.late)) head.late = undefined;
  if (late.length > 0) head.sealing = { inOrder: [], late };
  return late.length > 0;
}

/** Takes samples in order before `belowMs` too; readers still find them. */
export function takeForBlock({ head }: MetricSeries, belowMs: number): TakenChunks {
  if (head === undefined) return NOTHING_TAKEN;
  head.sealing = { inOrder: takeBelow(head.inOrder, belowMs), late: head.sealing?.late ?? [] };
  return head.sealing;
}

/** Takes back what was taken for a block that could not be written. */
export function putBack({ head, memory }: MetricSeries): void {
  if (head?.sealing === undefined) return;
  const { inOrder, late } = head.sealing;
  head.sealing = undefined;
  head.inOrder.chunks = [...inOrder, ...head.inOrder.chunks];
  if (late.length === 0) return;
  head.late ??= emptyTrack(memory);
  head.late.chunks = [...late, ...head.late.chunks];
}

/** Lets go of chunks that a block has taken over, and of all memory for samples where none is left. */
export function forgetTaken(series: MetricSeries): void {
  const { head } = series;
  if (head === undefined) return;
  head.sealing = undefined;
  if (isEmptyTrack(head.inOrder) && head.late === undefined) series.head = undefined;
}

/** Lets go of samples in memory that lie in an interval; nothing of the series may be on its way to a block. */
export function forgetSamples(series: MetricSeries, interval: Interval): void {
  const { head } = series;
  if (head === undefined) return;
  const forget = (track: Track) => {
    if (!trackHasIn(track, interval.minMs, interval.maxMs)) return;
    track.chunks = withoutIntervals(takeBelow(track, Number.POSITIVE_INFINITY), [interval]);
    head.last = undefined;
  };
  forget(head.inOrder);
  if (head.late !== undefined) forget(head.late);
  if (head.late !== undefined && isEmptyTrack(head.late)) head.late = undefined;
  if (isEmptyTrack(head.inOrder) && head.late === undefined) series.head = undefined;
}

/** Time of the first sample in order that is in memory and not taken; `Infinity` where there is none. */
export function firstInOrderMs({ inOrder }: HeadSamples): number {
  return inOrder.chunks[0]?.minMs ?? firstOpenMs(inOrder) ?? Number.POSITIVE_INFINITY;
}

/** Whether at least one sample in memory lies in `[minMs, maxMs]`. */
export function hasSampleIn(head: HeadSamples, minMs: number, maxMs: number): boolean {
  return tracksOf(head).some((track) => trackHasIn(track, minMs, maxMs));
}

/**
 * Copies the newest sample in a window to place `at` of columns, where it is a float and the newest of the series.
 *
 * @returns `nothing` where the newest of the series lies before the window; `unknown` where the window has to be read.
 */
export function copyNewestFloat(
  { head, newestMs }: MetricSeries,
  window: { readonly minMs: number; readonly maxMs: number },
  columns: { readonly timestampsMs: Float64Array; readonly values: Float64Array },
  at: number,
): "copied" | "nothing" | "unknown" {
  if (head === undefined || newestMs > window.maxMs) return "unknown";
  // What is on its way to the log is newer still, and what was deleted was: then others may be newer than the open ones.
  if (lastOpenMs(head.inOrder) !== newestMs || !endsInFloat(head.inOrder)) return "unknown";
  if (newestMs < window.minMs) return "nothing";
  copyLastOpen(head.inOrder, columns, at);
  return "copied";
}

/**
 * Copies the samples of memory in a window where they are floats in order.
 *
 * @returns `unknown` where they are not, or are too many: then the window has to be read otherwise.
 */
export function copyFloatsOf(
  { head }: MetricSeries,
  window: { readonly minMs: number; readonly maxMs: number },
  into: FloatScratch,
): "copied" | "nothing" | "unknown" {
  if (head === undefined) return "nothing";
  if (head.late !== undefined || head.sealing !== undefined) return "unknown";
  if (!copyFloats(head.inOrder, window.minMs, window.maxMs, into)) return "unknown";
  return into.low < into.high ? "copied" : "nothing";
}

/** As `copyFloatsOf` for samples that are histograms in order: they are found, and few of them decoded. */
export function findHistogramsOf(
  { head }: MetricSeries,
  window: { readonly minMs: number; readonly maxMs: number },
  into: WindowScratch,
): "found" | "nothing" | "unknown" {
  if (head === undefined) return "nothing";
  if (head.late !== undefined || head.sealing !== undefined) return "unknown";
  if (!findHistograms(head.inOrder, window.minMs, window.maxMs, into)) return "unknown";
  return into.low < into.high ? "found" : "nothing";
}

/** Samples of memory in `[minMs, maxMs]` as runs that are each in order, the caller's own. @param room Where they lie. */
export function runsIn(head: HeadSamples, minMs: number, maxMs: number, room?: SampleRoom | undefined): SampleRun[] {
  if (head.late === undefined && head.sealing === undefined) {
    const run = samplesInOrder(head.inOrder, minMs, maxMs, room);
    return run === undefined ? [] : [run];
  }
  const [inOrder, ...late] = tracksOf(head);
  const run = inOrder === undefined ? undefined : samplesInOrder(inOrder, minMs, maxMs);
  const lateRuns = late.flatMap((track) => samplesByRun(track, minMs, maxMs));
  return run === undefined ? lateRuns : [run, ...lateRuns];
}

/**
 * Samples of memory that may lie in `[minMs, maxMs]`: sealed chunks as they are, in order, and the others as runs, the
 * caller's own.
 */
export function encodedIn(
  head: HeadSamples,
  minMs: number,
  maxMs: number,
): { readonly chunks: readonly SealedChunk[]; readonly runs: readonly SampleRun[] } {
  if (head.late !== undefined || head.sealing !== undefined) return { chunks: [], runs: runsIn(head, minMs, maxMs) };
  const open = openSamplesIn(head.inOrder, minMs, maxMs);
  return {
    chunks: head.inOrder.chunks.filter((chunk) => chunk.maxMs >= minMs && chunk.minMs <= maxMs),
    runs: open === undefined ? [] : [open],
  };
}

/** Bytes of the samples of a series in memory. */
export function headBytes(head: HeadSamples | undefined): number {
  if (head === undefined) return 0;
  const { inOrder, late, sealing } = head;
  let bytes = HEAD_BYTES + trackBytes(inOrder);
  if (late !== undefined) bytes += trackBytes(late);
  if (sealing !== undefined) bytes += chunkBytes(sealing.inOrder) + chunkBytes(sealing.late);
  return bytes;
}

/** Stretches that the samples of a series are kept in. */
export function chunksIn({ inOrder, late, sealing }: HeadSamples): number {
  const taken = sealing === undefined ? 0 : sealing.inOrder.length + sealing.late.length;
  return taken + chunksOf(inOrder) + (late === undefined ? 0 : chunksOf(late));
}

function chunksOf({ chunks, count }: Track): number {
  return chunks.length + (count > 0 ? 1 : 0);
}

/** What is in order, then what is late, with what is being sealed. */
function tracksOf({ inOrder, late, sealing }: HeadSamples): Track[] {
  const tracks = [sealing === undefined ? inOrder : withChunks(inOrder, sealing.inOrder)];
  if (late !== undefined) tracks.push(late);
  if (sealing !== undefined && sealing.late.length > 0)
    tracks.push(withChunks(emptyTrack(inOrder.memory), sealing.late));
  return tracks;
}

function withChunks(track: Track, chunks: readonly SealedChunk[]): Track {
  return { ...track, chunks: [...chunks, ...track.chunks] };
}

function headOf(series: MetricSeries): HeadSamples {
  series.head ??= {
    inOrder: emptyTrack(series.memory),
    late: undefined,
    sealing: undefined,
    last: undefined,
  };
  return series.head;
}
