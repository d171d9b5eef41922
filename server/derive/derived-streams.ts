/**
 * Everything derived from spans: RED and the service graph, as one state that is saved and restored as a whole.
 *
 * Invariant: the state counts exactly the spans of commits up to `sequence`. A state restored from `snapshot` that
 * observes the later commits again is the state of a program that never stopped, waiting spans included.
 */

import { ByteReader } from "../model/byte-reader.ts";
import { ByteWriter } from "../model/byte-writer.ts";
import type { MetricMetadata, SampleToAppend, SeriesToAppend } from "../model/series.ts";
import type { SpanBatch } from "../model/span-batch.ts";
import { takeInHand } from "./batch-in-hand.ts";
import { halvesOf } from "./batch-rows.ts";
import type { Cadence } from "./cadence.ts";
import { EDGE_METADATA, type MinuteRow } from "./edge-series.ts";
import { type GraphCounts, type GraphLimits, ServiceGraph } from "./graph.ts";
import type { LateCall } from "./late-halves.ts";
import { RED_METADATA, RedMetrics } from "./red.ts";
import { type TracePair, TracePairs } from "./trace-pairs.ts";
import { UNPAIRED_METADATA } from "./unpaired-series.ts";

const STATE_VERSION = 3;

/** Type and help of all derived series. */
export const DERIVED_METADATA: readonly MetricMetadata[] = [...RED_METADATA, ...EDGE_METADATA, ...UNPAIRED_METADATA];

/** Sizes that tests make small. */
export interface DerivedLimits {
  readonly red?: { readonly seriesMax?: number; readonly perServiceMax?: number };
  readonly graph?: GraphLimits;
}

/** Spans of some calls, read back; `sequences` and `arrivedMs` (Unix milliseconds) are by row. */
export interface StoredCalls {
  readonly batch: SpanBatch;
  readonly sequences: Float64Array;
  readonly arrivedMs: Float64Array;
}

/** One that has too many of something: a service with span names, a node of the graph with edges. */
export interface Offender {
  readonly of: "span_name" | "edge";
  readonly name: string;
  readonly calls: number;
}

/** What was derived beside the state; the shape of the store's rows of the same name. */
export interface DerivedRows {
  readonly edges: readonly MinuteRow[];
  readonly aliases: readonly TracePair[];
}

/** RED and graph. */
export class DerivedStreams {
  readonly red: RedMetrics;
  readonly #graph: ServiceGraph;
  readonly #pairs = new TracePairs();
  readonly #out = new ByteWriter();
  #sequence = 0;
  #changed = false;

  constructor(limits: DerivedLimits = {}) {
    this.red = new RedMetrics(limits.red);
    this.#graph = new ServiceGraph(limits.graph);
  }

  /** The last commit that is counted. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Whether the state differs from the last snapshot taken or restored. */
  get changed(): boolean {
    return this.#changed;
  }

  /**
   * Counts the spans of one commit; commits come in order, each once.
   *
   * @returns Whether a series or an edge appeared.
   */
  observe(batch: SpanBatch, sequence: number, nowMs: number): boolean {
    this.#sequence = Math.max(this.#sequence, sequence);
    this.#changed = true;
    const rows = halvesOf(batch);
    this.#pairs.observe(batch, rows);
    const redAppeared = this.red.observe(batch, rows, nowMs);
    return this.#graph.observe(batch, rows, nowMs) || redAppeared;
  }

  /** Gives up on spans that waited too long. Returns whether a series or an edge appeared. */
  expire(nowMs: number): boolean {
    const before = this.#graph.counts().waiting;
    const appeared = this.#graph.expire(nowMs);
    if (this.#graph.counts().waiting !== before) this.#changed = true;
    return appeared;
  }

  /** Calls whose other side may be stored; look for each, and tell `settleLate` what was found. */
  takeLate(callsMax: number): LateCall[] {
    return this.#graph.takeLate(callsMax);
  }

  /** Pairs late halves with what the store has of their calls. Returns whether a series appeared. */
  settleLate(calls: readonly LateCall[], stored: StoredCalls, nowMs: number): boolean {
    this.#changed = true;
    const { batch, sequences, arrivedMs } = stored;
    const hand = takeInHand(batch, halvesOf(batch), nowMs);
    return this.#graph.settleLate(calls, { ...hand, sequences, arrivedMs }, this.#sequence);
  }

  /** Calls by edge and minute, and traces that are one, since the last time. Store them with the snapshot, or give them back. */
  takeRows(): DerivedRows {
    return { edges: this.#graph.takeMinutes(), aliases: this.#pairs.take() };
  }

  giveBack({ edges, aliases }: DerivedRows, nowMs: number): void {
    this.#changed = true;
    this.#graph.giveBack(edges, nowMs);
    this.#pairs.giveBack(aliases);
  }

  /**
   * Zeros that come before the first values of new series; mark what is returned `zeroed` once they are stored.
   *
   * @param groupsMax Names of spans and edges, each with some twenty series; all unless given.
   */
  zeros(nowMs: number, groupsMax = Number.POSITIVE_INFINITY): { samples: SampleToAppend[]; cadences: Cadence[] } {
    const samples: SampleToAppend[] = [];
    const ofNames = this.red.pushZeros(nowMs, samples, groupsMax);
    const ofGraph = this.#graph.pushZeros(nowMs, samples, groupsMax - ofNames.length);
    return { samples, cadences: [...ofNames, ...ofGraph] };
  }

  /** Values of series that are due at `nowMs`. */
  samples(nowMs: number): SampleToAppend[] {
    const samples: SampleToAppend[] = [];
    this.red.pushDue(nowMs, samples);
    this.#graph.pushDue(nowMs, samples);
    return samples;
  }

  /** Exemplars that are due; append them after the samples of the same flush. */
  exemplars(nowMs: number): SeriesToAppend[] {
    return this.red.takeExemplars(nowMs);
  }

  /** Makes every series due, after samples could not be stored. */
  markUnwritten(): void {
    this.red.markUnwritten();
    this.#graph.markUnwritten();
  }

  /** Who has more span names or edges than are kept apart, with the calls that went to overflow series. */
  offenders(): Offender[] {
    const ofNames = this.red
      .overflow()
      .map(({ service, calls }) => ({ of: "span_name", name: service, calls }) as const);
    return [...ofNames, ...this.#graph.overflow().map(({ name, calls }) => ({ of: "edge", name, calls }) as const)];
  }

  graphCounts(): GraphCounts {
    return this.#graph.counts();
  }

  /** The state as bytes. Take the rows in the same turn of the loop: they are not part of it. */
  snapshot(): { sequence: number; state: Uint8Array } {
    this.#out.clear();
    this.#out.byte(STATE_VERSION);
    this.#out.varint(this.#sequence);
    this.red.write(this.#out);
    this.#graph.write(this.#out);
    this.#changed = false;
    return { sequence: this.#sequence, state: this.#out.take() };
  }

  /**
   * Takes over what `snapshot` told; call it on fresh streams only.
   *
   * @throws BytesEndError or RangeError where the bytes are damaged or of another version: begin with fresh streams.
   */
  restore(state: Uint8Array, nowMs: number): void {
    const reader = new ByteReader(state);
    const version = reader.byte();
    if (version !== STATE_VERSION) throw new RangeError(`derived state has version ${version}, not ${STATE_VERSION}`);
    this.#sequence = reader.varint();
    this.red.read(reader, nowMs);
    this.#graph.read(reader, nowMs);
  }
}
