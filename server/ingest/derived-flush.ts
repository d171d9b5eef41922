/**
 * Stores what derive makes: series as samples, edges by minute, and the state they come from.
 *
 * Invariants: samples of a flush are stored only after the snapshot that counts the same spans, so no counter in the
 * store is ever ahead of what a restart restores; the zeros of a series are stored before a snapshot knows it; edges
 * and snapshot are one transaction. So a crash at any point loses or doubles nothing.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { DerivedStreams } from "../derive/derived-streams.ts";
import type { SampleToAppend } from "../model/series.ts";
import type { FlushDeps } from "./flush-deps.ts";
import { lateCalls } from "./late-calls.ts";

/** Flushes fall on whole multiples of this. */
const FLUSH_EVERY_MS = 5_000;
/** How often waiting spans are looked through; a new edge is flushed at the next look. */
const TICK_MS = 500;
/** Samples handed to the store at a time, so that no append holds the loop for long. */
const APPEND_SAMPLES_MAX = 8_192;
/** Span names and edges whose series are begun at a time: some twenty each, and one costs as much as several spans. */
const BEGUN_AT_ONCE = 128;

/** Flushes on time, and early when something appeared. */
export class DerivedFlush {
  readonly #streams: DerivedStreams;
  readonly #deps: FlushDeps;
  readonly #onStored: () => void;
  readonly #lookForLate: () => Promise<boolean>;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #appeared = false;
  #slot = Number.NEGATIVE_INFINITY;
  #flushedMs = Number.NEGATIVE_INFINITY;
  #trouble: string | undefined;

  /** @param onStored Called after every flush that stored all. */
  constructor(streams: DerivedStreams, deps: FlushDeps, onStored: () => void) {
    this.#streams = streams;
    this.#onStored = onStored;
    this.#deps = deps;
    this.#lookForLate = lateCalls(streams, deps);
  }

  /** Why the last flush failed; undefined where it did not. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  start(): void {
    this.#timer = setInterval(() => this.tick(), TICK_MS);
    this.#timer.unref();
  }

  /** A series or an edge appeared: the next tick flushes. */
  appeared(): void {
    this.#appeared = true;
  }

  /** Gives up on spans that waited too long, and starts a flush where one is due. */
  tick(): void {
    const nowMs = this.#deps.clock.nowMs();
    if (this.#streams.expire(nowMs)) this.#appeared = true;
    void this.#lookForLate().then((appeared) => {
      if (appeared) this.#appeared = true;
    });
    const slot = Math.floor(nowMs / FLUSH_EVERY_MS);
    if (this.#running !== undefined || (!this.#appeared && slot === this.#slot)) return;
    this.#slot = slot;
    this.#running = this.#flushLogged();
  }

  /** Flushes now, after the one that runs. Rejects where something could not be stored. */
  async flush(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    const flush = this.#flush();
    this.#running = flush.then(
      () => this.#ended(),
      () => this.#ended(),
    );
    await flush;
  }

  /** Stops the timer and stores the last state. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #flushLogged(): Promise<void> {
    try {
      await this.#flush();
      this.#trouble = undefined;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#trouble = `Derived series cannot be stored: ${why}`;
      this.#deps.telemetry.count("thalweg_derive_flush_failures_total", {});
      this.#deps.log.warn({ error }, "derived series could not be stored, the next flush tries again");
    }
    this.#ended();
  }

  #ended(): void {
    this.#running = undefined;
  }

  async #flush(): Promise<void> {
    const { writer, clock } = this.#deps;
    const streams = this.#streams;
    this.#appeared = false;
    await this.#beginSeries();
    // From here to the first await nothing is observed: snapshot, minutes and samples count the same spans.
    const nowMs = Math.max(clock.nowMs(), this.#flushedMs + 1);
    this.#flushedMs = nowMs;
    const mustSave = streams.changed;
    const samples = streams.samples(nowMs);
    const exemplars = streams.exemplars(nowMs);
    if (mustSave) {
      const rows = streams.takeRows();
      try {
        await writer.saveDerived(streams.snapshot(), rows);
      } catch (error) {
        streams.giveBack(rows, nowMs);
        streams.markUnwritten();
        throw error;
      }
    }
    try {
      await this.#append(samples);
    } catch (error) {
      streams.markUnwritten();
      throw error;
    }
    if (exemplars.length > 0) await writer.appendSeries(exemplars);
    this.#onStored();
  }

  /** Stores the zeros of series that appeared, with pauses as long as the work: thousands come at once, and spans with them. */
  async #beginSeries(): Promise<void> {
    const { clock } = this.#deps;
    for (;;) {
      const startMs = clock.monotonicMs();
      const { samples, cadences } = this.#streams.zeros(clock.nowMs(), BEGUN_AT_ONCE);
      if (samples.length > 0) await this.#append(samples);
      for (const cadence of cadences) cadence.zeroed = true;
      if (cadences.length < BEGUN_AT_ONCE) return;
      await sleep(clock.monotonicMs() - startMs);
    }
  }

  async #append(samples: readonly SampleToAppend[]): Promise<void> {
    for (let from = 0; from < samples.length; from += APPEND_SAMPLES_MAX) {
      await this.#deps.writer.appendSamples(samples.slice(from, from + APPEND_SAMPLES_MAX));
    }
  }
}
