/**
 * Scrapes one target at its interval and writes what it finds: its series, what the scrape was like, and marks where a
 * series ends.
 */

import type { Clock } from "../model/clock.ts";
import type { Labels, MetricMetadata, SeriesToAppend } from "../model/series.ts";
import type { ByteRoom } from "../platform/body-blocks.ts";
import { BodyTooLarge, type HttpAnswer } from "../platform/http-get.ts";
import type { RemoteWrite } from "../wire/remote-write.ts";
import { Gatherer, type GatherOutcome, staleMarker } from "./gather.ts";
import type { TurnQueue } from "./read-answer.ts";
import { reportLabels } from "./sample-labels.ts";
import type { ScrapeJob } from "./scrape-job.ts";
import type { TargetSpec } from "./target.ts";

/** A scrape that starts this late still has the time that was planned, so that times stay evenly apart. */
const ALIGN_MS_MAX = 2;

/** What a loop needs. */
export interface LoopDeps {
  readonly clock: Clock;
  /** Asks the target. The caller releases the body. @throws Error */
  readonly fetch: (job: ScrapeJob, target: TargetSpec) => Promise<HttpAnswer>;
  /** In which the answers of all targets are read. */
  readonly turns: TurnQueue;
  /** For all answers that are read, and their samples until they are stored. */
  readonly room: ByteRoom;
  /** Stores a write. @throws Error where nothing of it was kept. */
  readonly store: (write: RemoteWrite) => Promise<void>;
  readonly onScrape: (failed: boolean) => void;
}

/** How a target does. */
export interface TargetHealth {
  readonly health: "unknown" | "up" | "down";
  readonly lastError: string;
  /** Unix milliseconds; 0 where it was not scraped yet. */
  readonly lastScrapeMs: number;
  readonly lastDurationSeconds: number;
}

/** How a scrape went. */
interface Scraped {
  /** Why it failed; empty where it did not. */
  readonly error: string;
  /** Less than 0 where there are too many. */
  readonly bodyBytes: number;
  readonly timeMs: number;
  readonly startedMs: number;
}

/** One target's loop. */
export class TargetLoop {
  readonly #deps: LoopDeps;
  readonly #gatherer: Gatherer;
  readonly #reports = new Map<string, Labels>();
  #job: ScrapeJob;
  #target: TargetSpec;
  #tracked: ReadonlyMap<string, Labels> = new Map();
  /** Why nothing is to be scraped, such as too many targets. */
  #forcedError = "";
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #busy: Promise<void> | undefined;
  #health: TargetHealth = { health: "unknown", lastError: "", lastScrapeMs: 0, lastDurationSeconds: 0 };

  constructor(job: ScrapeJob, target: TargetSpec, deps: LoopDeps) {
    this.#job = job;
    this.#target = target;
    this.#deps = deps;
    this.#gatherer = new Gatherer(deps.turns, deps.room);
  }

  get target(): TargetSpec {
    return this.#target;
  }

  get health(): TargetHealth {
    return this.#health;
  }

  get metadata(): Iterable<MetricMetadata> {
    return this.#gatherer.metadata;
  }

  /** Why all scrapes are to fail from here on; empty for none. */
  force(error: string): void {
    this.#forcedError = error;
  }

  /** Goes on with another job or other labels before relabelling. */
  update(job: ScrapeJob, target: TargetSpec): void {
    if (job.identity !== this.#job.identity) this.#gatherer.forget();
    this.#job = job;
    this.#target = target;
  }

  start(): void {
    this.#stopped = false;
    clearTimeout(this.#timer);
    // A scrape that goes on since before its target was gone sets the time of the next itself.
    if (this.#busy === undefined) this.#schedule();
  }

  /** Ends at once, without marks: the server stops, and goes on after its start. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#busy;
  }

  /**
   * Ends since the target is gone. Its series are marked as ended after two intervals, at the time of the next scrape that
   * did not come: until then it may come back (`start`).
   */
  retire(onEnd: () => void): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    const { intervalMs } = this.#target;
    const nextMs = this.#nextSlotMs();
    const waitMs = nextMs - this.#deps.clock.nowMs() + intervalMs * 1.1;
    this.#timer = setTimeout(async () => {
      await this.#busy;
      if (this.#health.lastScrapeMs > 0) await this.#write(this.#endOf(nextMs));
      onEnd();
    }, waitMs);
    this.#timer.unref();
  }

  #schedule(): void {
    const slotMs = this.#nextSlotMs();
    this.#timer = setTimeout(() => {
      if (this.#stopped) return;
      const nowMs = this.#deps.clock.nowMs();
      const isEven = nowMs - slotMs <= Math.min(ALIGN_MS_MAX, this.#target.intervalMs / 100) && nowMs >= slotMs;
      this.#busy = this.#scrape(isEven ? slotMs : nowMs).finally(() => {
        this.#busy = undefined;
        if (!this.#stopped) this.#schedule();
      });
    }, slotMs - this.#deps.clock.nowMs());
    this.#timer.unref();
  }

  /** The next time at which a scrape is due: targets are spread over the interval by what they are. */
  #nextSlotMs(): number {
    const { intervalMs, identity } = this.#target;
    const offsetMs = hash(identity) % intervalMs;
    const nowMs = this.#deps.clock.nowMs();
    return Math.floor((nowMs - offsetMs) / intervalMs + 1) * intervalMs + offsetMs;
  }

  async #scrape(timeMs: number): Promise<void> {
    const { clock } = this.#deps;
    const startedMs = clock.monotonicMs();
    let outcome: GatherOutcome | undefined;
    let bodyBytes = 0;
    let error = this.#forcedError;
    if (error === "") {
      try {
        const answer = await this.#deps.fetch(this.#job, this.#target);
        bodyBytes = answer.body.length;
        try {
          const { labels, histograms } = this.#target;
          outcome = await this.#gatherer.gather(answer, this.#job, { labels, timeMs, histograms });
          if (outcome.kind === "failed") error = outcome.reason;
        } finally {
          answer.body.release();
        }
      } catch (cause) {
        error = cause instanceof Error ? cause.message : String(cause);
        if (cause instanceof BodyTooLarge) bodyBytes = -1;
      }
    }
    const heldBytes = outcome?.kind === "gathered" ? outcome.gathered.heldBytes : 0;
    try {
      await this.#tell(outcome, { error, bodyBytes, timeMs, startedMs });
    } finally {
      this.#deps.room.give(heldBytes);
    }
  }

  /** Writes what a scrape brought and what it was like. */
  async #tell(outcome: GatherOutcome | undefined, { error, bodyBytes, timeMs, startedMs }: Scraped): Promise<void> {
    const { clock } = this.#deps;
    // An end of the server is not one of the target's series.
    if (this.#stopped) return;
    const seconds = (clock.monotonicMs() - startedMs) / 1000;
    this.#deps.onScrape(error !== "");
    const failure = await this.#write(this.#writeOf(outcome, { timeMs, seconds, bodyBytes }));
    this.#health = {
      health: error === "" ? "up" : "down",
      lastError: error || failure,
      lastScrapeMs: timeMs,
      lastDurationSeconds: seconds,
    };
  }

  /** Why nothing was stored; empty where it was. */
  async #write(write: RemoteWrite): Promise<string> {
    try {
      await this.#deps.store(write);
      return "";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #writeOf(
    outcome: GatherOutcome | undefined,
    { timeMs, seconds, bodyBytes }: { readonly timeMs: number; readonly seconds: number; readonly bodyBytes: number },
  ): RemoteWrite {
    const gathered = outcome?.kind === "gathered" ? outcome.gathered : undefined;
    const counts = outcome?.kind === "failed" ? outcome : gathered;
    const tracked = gathered?.tracked ?? new Map<string, Labels>();
    const ended = [...this.#tracked].filter(([identity]) => !tracked.has(identity));
    this.#tracked = tracked;
    const reports: [string, number][] = [
      ["up", gathered === undefined ? 0 : 1],
      ["scrape_duration_seconds", seconds],
      ["scrape_samples_scraped", counts?.scraped ?? 0],
      ["scrape_samples_post_metric_relabeling", counts?.kept ?? 0],
      ["scrape_series_added", gathered?.added ?? 0],
    ];
    if (this.#job.extraMetrics) {
      reports.push(["scrape_timeout_seconds", this.#target.timeoutMs / 1000]);
      reports.push(["scrape_sample_limit", this.#job.limits.samples]);
      reports.push(["scrape_body_size_bytes", bodyBytes]);
    }
    const more = [
      ...ended.map(([, labels]) => staleMarker(labels, timeMs)),
      ...reports.map(([name, value]) => this.#report(name, value, timeMs)),
    ];
    return {
      version: 2,
      series: [...(gathered?.series ?? []), ...more],
      rows: undefined,
      metadata: gathered?.metadata ?? [],
      received: {
        samples: (gathered?.kept ?? 0) - (gathered?.histograms ?? 0) + more.length,
        histograms: gathered?.histograms ?? 0,
        exemplars: gathered?.exemplars ?? 0,
      },
      staleHistograms: 0,
      rejected:
        gathered === undefined || gathered.repeated === 0 ? new Map() : new Map([["duplicate", gathered.repeated]]),
      rejectedExemplars: new Map(),
      faults: [],
    };
  }

  /** The end of all series, those about the scrapes too. */
  #endOf(timeMs: number): RemoteWrite {
    const ended = [...this.#tracked.values(), ...this.#reports.values()];
    this.#tracked = new Map();
    const series = ended.map((labels) => staleMarker(labels, timeMs));
    return {
      version: 2,
      series,
      rows: undefined,
      metadata: [],
      received: { samples: series.length, histograms: 0, exemplars: 0 },
      staleHistograms: 0,
      rejected: new Map(),
      rejectedExemplars: new Map(),
      faults: [],
    };
  }

  #report(name: string, value: number, timeMs: number): SeriesToAppend {
    let labels = this.#reports.get(name);
    if (labels === undefined) {
      labels = reportLabels(name, this.#target.labels);
      this.#reports.set(name, labels);
    }
    return { labels, lasting: true, timestampsMs: Float64Array.of(timeMs), values: Float64Array.of(value) };
  }
}

/** FNV-1a over UTF-16 units, in 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value >>> 0;
}
