/**
 * One target of remote write: reads what is stored, sends it, and notes how far it came.
 *
 * Invariants: the place in the log moves on only when all before it was taken, refused for good or dropped by a rule, so a
 * sample is sent at least once; samples of a series are sent in order, by one shard; what is in memory is bounded by the
 * shards and the size of a request.
 */

import { setImmediate as nextTurn, setTimeout as pause } from "node:timers/promises";
import type { MetricMetadata } from "../model/series.ts";
import type { LogPlace, SampleTail, TailRead } from "../store/reader.ts";
import { encodeRemoteMetadata, encodeRemoteWrite, encodeRemoteWrite1 } from "../wire/remote-write-encode.ts";
import { encodeSnappy } from "../wire/snappy.ts";
import { OutgoingLabels } from "./outgoing-series.ts";
import type { RemoteWriteTarget } from "./remote-write-config.ts";
import { type DropReason, requestsOf, type WriteRequest } from "./write-batch.ts";

/** How long to wait for more before the place is looked at again. */
const IDLE_MS = 1000;
/** A target may not ask for a longer pause. */
const RETRY_AFTER_MS_MAX = 3_600_000;

/** An answer of the target. */
export interface RemoteAnswer {
  readonly status: number;
  readonly retryAfter: string;
  /** Of a refusal, its start. */
  readonly text: string;
}

/** What happened to samples, for counters and the log. */
export interface RemoteEvents {
  sent(samples: number, exemplars: number, bytes: number, newestMs: number): void;
  /** Not again: the target refused them. */
  failed(samples: number, why: string): void;
  /** Will be tried again. */
  retried(samples: number, why: string): void;
  dropped(reason: DropReason): void;
  shards(count: number): void;
}

/** What a queue needs. */
export interface RemoteQueueDeps {
  readonly target: RemoteWriteTarget;
  readonly tail: SampleTail;
  readonly nowMs: () => number;
  /** @throws Error where no answer came. */
  readonly post: (
    body: Uint8Array,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ) => Promise<RemoteAnswer>;
  readonly metadata: () => readonly MetricMetadata[];
  readonly events: RemoteEvents;
}

/** Sends until it is stopped. */
export class RemoteQueue {
  readonly #deps: RemoteQueueDeps;
  readonly #outgoing: OutgoingLabels;
  readonly #stopping = new AbortController();
  #shards: number;
  #metadataDueMs = Number.NEGATIVE_INFINITY;
  #running: Promise<void> = Promise.resolve();
  #encoding: Promise<unknown> = Promise.resolve();

  constructor(deps: RemoteQueueDeps) {
    this.#deps = deps;
    this.#outgoing = new OutgoingLabels(deps.target);
    this.#shards = deps.target.queue.shardsMin;
  }

  /** @param onBug Told of what ended the queue and should not have. */
  start(onBug: (error: unknown) => void): void {
    this.#running = this.#run().catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) onBug(error);
    });
  }

  /** Ends it; what was not acknowledged is sent the next time. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { events } = this.#deps;
    while (!signal.aborted) {
      const gathered = await this.#gather();
      await this.#sendMetadata();
      if (gathered === undefined || signal.aborted) continue;
      events.shards(this.#shards);
      await this.#sendAll(gathered.reads);
      await this.#commit(gathered.place);
      this.#reshard();
    }
  }

  /** A place that cannot be noted, on a disk that is full, is noted with the next one. */
  async #commit(place: LogPlace): Promise<void> {
    try {
      await this.#deps.tail.commit(place);
    } catch (error) {
      this.#deps.events.retried(
        0,
        `the place cannot be noted: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  /** What fills all shards' requests, or came until the deadline; undefined where nothing came. */
  async #gather(): Promise<{ readonly reads: readonly TailRead[]; readonly place: LogPlace } | undefined> {
    const { target, tail, nowMs } = this.#deps;
    const { samplesPerSend, batchDeadlineMs } = target.queue;
    const { signal } = this.#stopping;
    const reads: TailRead[] = [];
    let wanted = this.#shards * samplesPerSend;
    let deadlineMs = Number.POSITIVE_INFINITY;
    while (wanted > 0 && !signal.aborted) {
      const read = await tail.read(wanted);
      const count = read.samples.length + read.exemplars.length;
      if (count > 0) {
        reads.push(read);
        wanted -= read.samples.length;
        deadlineMs = Math.min(deadlineMs, nowMs() + batchDeadlineMs);
      }
      const leftMs = Math.min(deadlineMs - nowMs(), IDLE_MS);
      if (wanted <= 0 || leftMs <= 0) break;
      await tail.waitForMore(leftMs, signal);
      if (reads.length === 0 && tail.stats().behindBytes === 0) return undefined;
    }
    const place = reads.at(-1)?.place;
    return place === undefined ? undefined : { reads, place };
  }

  async #sendAll(reads: readonly TailRead[]): Promise<void> {
    const { target, nowMs, metadata, events } = this.#deps;
    const byName = target.version === 2 ? new Map(metadata().map((each) => [each.name, each])) : undefined;
    const shards = await requestsOf(
      reads.flatMap(({ samples }) => samples),
      reads.flatMap(({ exemplars }) => exemplars),
      {
        target,
        outgoing: this.#outgoing,
        shards: this.#shards,
        nowMs: nowMs(),
        metadataOf: (metric) => byName?.get(metric) ?? byName?.get(metric.replace(/_(?:total|sum|count|bucket)$/, "")),
        onDrop: events.dropped,
      },
    );
    await Promise.all(
      shards.map(async (requests) => {
        for (const request of requests) await this.#sendUntilDone(request);
      }),
    );
  }

  async #sendUntilDone(request: WriteRequest): Promise<void> {
    const { target, nowMs, events } = this.#deps;
    const { sampleAgeMaxMs } = target.queue;
    const body = await this.#bodyOf(request);
    const isWanted = () => {
      if (sampleAgeMaxMs === 0 || request.newestMs >= nowMs() - sampleAgeMaxMs) return true;
      for (let left = request.samples; left > 0; left--) events.dropped("too_old");
      return false;
    };
    const outcome = await this.#retrying(body, request.samples, isWanted);
    if (outcome === "sent") events.sent(request.samples, request.exemplars, body.length, request.newestMs);
  }

  /** Shards start together: their bodies are made one after another, with a turn for others before each. */
  #bodyOf({ series }: WriteRequest): Promise<Uint8Array> {
    const encode = this.#deps.target.version === 2 ? encodeRemoteWrite : encodeRemoteWrite1;
    const body = this.#encoding.then(() => nextTurn()).then(() => encodeSnappy(encode(series)));
    this.#encoding = body.catch(() => undefined);
    return body;
  }

  /** Sends until the target takes it or refuses it for good. @throws Where the queue is stopped meanwhile. */
  async #retrying(body: Uint8Array, samples: number, isWanted: () => boolean): Promise<"sent" | "given_up"> {
    const { target, events, nowMs } = this.#deps;
    const { backoffMinMs, backoffMaxMs, retryOn429 } = target.queue;
    const { signal } = this.#stopping;
    let backoffMs = backoffMinMs;
    for (let attempt = 0; ; attempt++) {
      let why: string;
      let waitMs = backoffMs;
      try {
        const answer = await this.#post(body, attempt);
        if (answer.status >= 200 && answer.status < 300) return "sent";
        why = `server returned HTTP status ${answer.status}: ${answer.text}`.trimEnd();
        if (answer.status < 500 && !(answer.status === 429 && retryOn429)) {
          events.failed(samples, why);
          return "given_up";
        }
        waitMs = Math.max(waitMs, retryAfterMs(answer.retryAfter, nowMs()));
      } catch (error) {
        signal.throwIfAborted();
        why = error instanceof Error ? error.message : String(error);
      }
      events.retried(samples, why);
      await pause(waitMs, undefined, { signal });
      backoffMs = Math.min(2 * backoffMs, backoffMaxMs);
      if (!isWanted()) return "given_up";
    }
  }

  async #post(body: Uint8Array, attempt: number): Promise<RemoteAnswer> {
    const { target, post } = this.#deps;
    const headers = {
      "content-encoding": "snappy",
      "content-type":
        target.version === 1 ? "application/x-protobuf" : "application/x-protobuf;proto=io.prometheus.write.v2.Request",
      "x-prometheus-remote-write-version": target.version === 1 ? "0.1.0" : "2.0.0",
      ...(attempt === 0 ? {} : { "retry-attempt": String(attempt) }),
    };
    const timeout = AbortSignal.timeout(target.timeoutMs);
    try {
      return await post(body, headers, AbortSignal.any([timeout, this.#stopping.signal]));
    } catch (error) {
      if (timeout.aborted) throw new Error(`no answer within ${target.timeoutMs} ms`, { cause: error });
      throw error;
    }
  }

  /** Version 1 sends metadata by itself, now and then. It is not worth waiting for. */
  async #sendMetadata(): Promise<void> {
    const { target, metadata, nowMs } = this.#deps;
    const { metadataEveryMs, metadataPerSend } = target;
    if (target.version !== 1 || metadataEveryMs === undefined || nowMs() < this.#metadataDueMs) return;
    this.#metadataDueMs = nowMs() + metadataEveryMs;
    const all = metadata();
    for (let from = 0; from < all.length; from += metadataPerSend) {
      const body = encodeSnappy(encodeRemoteMetadata(all.slice(from, from + metadataPerSend)));
      try {
        await this.#post(body, 0);
      } catch {
        return; // it comes again with the next interval, and samples tell of a target that is away
      }
    }
  }

  /** Twice as many where more waits than they send at once, one less where nothing does. */
  #reshard(): void {
    const { target, tail } = this.#deps;
    const { shardsMin, shardsMax } = target.queue;
    const isBehind = tail.stats().behindBytes > 0;
    this.#shards = isBehind ? Math.min(shardsMax, 2 * this.#shards) : Math.max(shardsMin, this.#shards - 1);
  }
}

/** Seconds or a date, as the header has it. */
function retryAfterMs(text: string, nowMs: number): number {
  const ms = /^\d+$/.test(text) ? 1000 * Number(text) : Date.parse(text) - nowMs;
  return Number.isNaN(ms) ? 0 : Math.min(RETRY_AFTER_MS_MAX, Math.max(0, ms));
}
