/** Remote write out as the server runs it: the configuration file, connections, log, counters. */

import { createHash } from "node:crypto";
import type { Settings } from "../config/settings.ts";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { Labels } from "../model/series.ts";
import { HttpSender } from "../platform/http-send.ts";
import { readPatternFiles } from "../platform/pattern-files.ts";
import { type RemoteAnswer, type RemoteEvents, RemoteQueue } from "../remote-write/remote-queue.ts";
import { plainTarget, type RemoteWriteTarget, readRemoteWriteConfig } from "../remote-write/remote-write-config.ts";
import { httpTls, requestHeaders } from "../scrape/http-client.ts";
import { SCRAPE_CONFIG_BYTES_MAX } from "../scrape/scrape-config.ts";
import type { SampleTail } from "../store/reader.ts";
import type { Store } from "../store/store.ts";
import type { Log } from "../telemetry/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";

/** Targets at most: each reads the log by itself. */
const TARGETS_MAX = 16;
/** The log tells of a target's trouble so often. */
const TOLD_EVERY_MS = 60_000;

/** What remote write is made from. */
export interface RemoteWriteParts {
  readonly settings: Settings;
  readonly external: { readonly labels: Labels };
  readonly store: Store;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly log: Log;
}

/** Remote write that runs, or that nobody asked for. */
export interface RunningRemoteWrite {
  /** Loads the configuration and starts. @throws ThalwegError `remote_write_invalid` */
  start(): Promise<void>;
  /** Loads the configuration again; what is wrong is returned, and nothing has changed then. */
  reload(): Promise<string | undefined>;
  stop(): Promise<void>;
}

interface Running {
  readonly target: RemoteWriteTarget;
  readonly tail: SampleTail;
  readonly queue: RemoteQueue;
  readonly sender: HttpSender;
}

/** Prepares remote write; nothing is read before `start`. */
export function prepareRemoteWrite(parts: RemoteWriteParts): RunningRemoteWrite {
  const { telemetry, log } = parts;
  const running = new Map<string, Running>();
  const end = async ({ target, tail, queue, sender }: Running) => {
    await queue.stop();
    // What was read and not acknowledged is read again by who comes next.
    tail.close();
    sender.close();
    running.delete(target.name);
  };
  const load = async (): Promise<readonly string[]> => {
    const outcome = await targetsOf(parts.settings, parts.external.labels);
    if (outcome.kind === "refused") return outcome.reasons;
    const { targets } = outcome;
    for (const each of [...running.values()]) {
      if (!targets.some(({ identity }) => identity === each.target.identity)) await end(each);
    }
    const tails = await parts.store.openTails(targets.map(({ name }) => placeName(name)));
    for (const [at, target] of targets.entries()) {
      const tail = tails[at];
      if (tail !== undefined && !running.has(target.name)) running.set(target.name, await begin(parts, target, tail));
    }
    return [];
  };
  return {
    start: async () => {
      const reasons = await load();
      if (reasons.length > 0) throw new ThalwegError("remote_write_invalid", { reason: reasons.join("; ") });
      telemetry.onRender(() => {
        for (const { target, tail } of running.values()) renderTail(telemetry, target.name, tail);
      });
    },
    reload: async () => {
      const reasons = await load();
      for (const reason of reasons) log.error({ reason }, "the remote write configuration could not be loaded");
      if (reasons.length === 0) return undefined;
      return `error loading the remote write configuration, the one before goes on: ${reasons.join("; ")}`;
    },
    stop: async () => {
      for (const each of [...running.values()]) await end(each);
    },
  };
}

async function targetsOf(
  settings: Settings,
  externalLabels: Labels,
): Promise<ReturnType<typeof readRemoteWriteConfig>> {
  const { remoteWriteUrls, remoteWriteVersion, scrapeConfig } = settings;
  const targets = remoteWriteUrls.map((url) => plainTarget(url, remoteWriteVersion, externalLabels));
  if (scrapeConfig !== "") {
    try {
      const [file] = await readPatternFiles([scrapeConfig], SCRAPE_CONFIG_BYTES_MAX);
      if (file === undefined) throw new Error(`${scrapeConfig}: no such file`);
      const outcome = readRemoteWriteConfig(file.name, file.text, externalLabels);
      if (outcome.kind === "refused") return outcome;
      targets.push(...outcome.targets);
    } catch (error) {
      return { kind: "refused", reasons: [error instanceof Error ? error.message : String(error)] };
    }
  }
  const names = targets.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) < at);
  if (twice !== undefined) return { kind: "refused", reasons: [`two targets of remote write have the name ${twice}`] };
  if (targets.length > TARGETS_MAX) {
    return {
      kind: "refused",
      reasons: [`there are ${targets.length} targets of remote write; the limit is ${TARGETS_MAX}`],
    };
  }
  return { kind: "targets", targets };
}

/** Names of files are made of few characters. */
function placeName(name: string): string {
  return createHash("sha256").update(name).digest("hex").slice(0, 16);
}

async function begin(parts: RemoteWriteParts, target: RemoteWriteTarget, tail: SampleTail): Promise<Running> {
  const { store, clock, log } = parts;
  const sender = new HttpSender(await httpTls(target.http.tls), target.queue.shardsMax);
  const post = async (
    body: Uint8Array,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<RemoteAnswer> => {
    const all = { ...Object.fromEntries(target.headers), ...(await requestHeaders(target.http)), ...headers };
    const { status, headers: answered, text } = await sender.post({ url: target.url, headers: all, body, signal });
    return { status, retryAfter: answered["retry-after"] ?? "", text };
  };
  const queue = new RemoteQueue({
    target,
    tail,
    nowMs: () => clock.nowMs(),
    post,
    metadata: () => store.reader.metadata(),
    events: eventsOf(parts, target.name),
  });
  queue.start((error) => log.error({ error, remote: target.name }, "remote write ended"));
  return { target, tail, queue, sender };
}

function eventsOf({ telemetry, clock, log }: RemoteWriteParts, remote: string): RemoteEvents {
  let toldMs = Number.NEGATIVE_INFINITY;
  const tell = (why: string, message: string) => {
    if (clock.monotonicMs() - toldMs < TOLD_EVERY_MS) return;
    toldMs = clock.monotonicMs();
    log.warn({ remote, why }, message);
  };
  const labels = { remote };
  return {
    sent: (samples, exemplars, bytes, newestMs) => {
      telemetry.count("thalweg_remote_write_samples_total", labels, samples);
      telemetry.count("thalweg_remote_write_exemplars_total", labels, exemplars);
      telemetry.count("thalweg_remote_write_bytes_total", labels, bytes);
      telemetry.set("thalweg_remote_write_newest_sent_seconds", labels, newestMs / 1000);
    },
    failed: (samples, why) => {
      telemetry.count("thalweg_remote_write_samples_failed_total", labels, samples);
      tell(why, "samples were refused by a target of remote write and are not sent again");
    },
    retried: (samples, why) => {
      telemetry.count("thalweg_remote_write_samples_retried_total", labels, samples);
      tell(why, "a target of remote write does not take samples; they wait");
    },
    dropped: (reason) => telemetry.count("thalweg_remote_write_samples_dropped_total", { ...labels, reason }),
    shards: (count) => telemetry.set("thalweg_remote_write_shards", labels, count),
  };
}

function renderTail(telemetry: Telemetry, remote: string, tail: SampleTail): void {
  const { behindBytes, lostSamples, spoolBytes } = tail.stats();
  telemetry.set("thalweg_remote_write_pending_bytes", { remote }, behindBytes);
  telemetry.set("thalweg_remote_write_samples_dropped_total", { remote, reason: "queue_full" }, lostSamples);
  telemetry.set("thalweg_remote_write_spool_bytes", {}, spoolBytes);
}
