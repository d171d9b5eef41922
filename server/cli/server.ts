/**
 * The running server: everything started in order, stopped in reverse.
 *
 * Order: data directory and lock, store, what is derived (crashed commits are derived again), queries, faces, capture.
 * Faces come before capture, so that a request is never captured into a server that cannot be asked.
 */

import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Agent, type AgentOptions, startAgent } from "../../agent/agent.ts";
import type { AgentStatus } from "../../agent/agent-message.ts";
import { type Api, startApi } from "../api/api.ts";
import type { ApiDeps, PrometheusDeps } from "../api/api-deps.ts";
import type { Settings } from "../config/settings.ts";
import type { Address } from "../config/values.ts";
import { acceptLogs } from "../ingest/accept-logs.ts";
import { acceptMetrics } from "../ingest/accept-metrics.ts";
import { acceptSeries } from "../ingest/accept-series.ts";
import { type Ingest, openIngest } from "../ingest/ingest.ts";
import { LogCommits } from "../ingest/logs-in-doubt.ts";
import { type OtlpDecoder, openOtlpDecoder } from "../ingest/otlp-decoder.ts";
import { releaseBatch } from "../model/batch-lease.ts";
import type { Clock } from "../model/clock.ts";
import type { Labels } from "../model/series.ts";
import { SPAN_SOURCES, type SpanBatch } from "../model/span-batch.ts";
import { systemClock } from "../platform/system-clock.ts";
import type { PromqlDoor } from "../query/doors.ts";
import { readGraph } from "../query/graph.ts";
import { openSqlDoor } from "../query/sql/sql-door.ts";
import { mergeExternalLabels } from "../scrape/external-labels.ts";
import { openStore, type Store, type StoreOptions } from "../store/store.ts";
import { createLog, type Log } from "../telemetry/log.ts";
import { Telemetry } from "../telemetry/telemetry.ts";
import { pageAssets } from "../web/page-assets.ts";
import { DEFAULT_TRANSLATION, type OtlpTranslation } from "../wire/otlp-translation.ts";
import { agentMode, captureCores, onlyNetns, renderCapture, sayDepth, sayTls, sayTlsTrouble } from "./capture-facts.ts";
import { type MemoryShares, memoryShares } from "./memory-shares.ts";
import type { ProgramFiles } from "./program-files.ts";
import { prometheusDeps, promqlSettings } from "./prometheus-deps.ts";
import { startPromql } from "./start-promql.ts";
import { prepareRemoteWrite } from "./start-remote-write.ts";
import { prepareRules } from "./start-rules.ts";
import { prepareScrapes, type RunningScrapes } from "./start-scrape.ts";
import { startStatsd } from "./start-statsd.ts";
import { chooseDataDirectory, type FileOwner, giveTree } from "./surroundings.ts";
import { productVersion } from "./version.ts";

const OWNERSHIP_EVERY_MS = 30_000;
const REPLAY = SPAN_SOURCES.indexOf("replay");
const CAPTURE_NOT_STARTED = {
  tier: "off",
  why: "capture has not started",
  abilities: [],
  seen: 0,
  delivered: 0,
  lost: {},
};

/** A server that runs. */
export interface RunningServer {
  readonly settings: Settings;
  readonly dataDirectory: string;
  /** What a person should know of the choice of directory; empty where it is the expected one. */
  readonly dataNote: string;
  /** Where the faces really are: `HOST:PORT`. */
  readonly addresses: { readonly http: string; readonly otlpGrpc: string; readonly otlpHttp: string };
  readonly store: Store;
  capture(): AgentStatus;
  /** Loads rules and scrape jobs again; what is wrong with them is in the log. */
  reload(): Promise<unknown>;
  /** Stops capture, finishes requests, stores what waits, closes the files. */
  stop(): Promise<void>;
}

/** How to start. */
export interface ServerOptions {
  readonly settings: Settings;
  readonly files: ProgramFiles;
  /** Play the recorded shop where no live rung works. */
  readonly playFallback: boolean;
  readonly owner: FileOwner | undefined;
}

/** Starts everything, or stops again what was started and throws. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { settings, files } = options;
  const undo: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  try {
    const clock = systemClock();
    const telemetry = new Telemetry();
    const log = makeLog(settings, telemetry, clock.monotonicMs);
    const data = chooseDataDirectory(settings.dataDirectory, settings.dataDirectoryGiven, options.owner);
    keepOwned(data.directory, options.owner, undo);
    const shares = memoryShares(settings.memoryBytesMax);
    const store = await openStore(storeOptions(settings, { directory: data.directory, shares, clock, telemetry, log }));
    undo.push(() => store.close());
    // The lock is held: addresses of a run that was killed are nobody's.
    rmSync(join(data.directory, "addresses.json"), { recursive: true, force: true });
    const external = { labels: settings.externalLabels };
    const core = { settings, external, store, clock, telemetry, log };
    const { pendingBytes } = shares;
    const ingest = await openIngest({ writer: store.writer, clock, telemetry, log, pendingBytesMax: pendingBytes });
    undo.push(() => ingest.close());
    const decoder = openOtlpDecoder(files.decodeWorkerUrl);
    undo.push(() => decoder.close());
    const understood = promqlSettings(settings, shares.querySamples);
    const { typeAndUnitLabels } = understood;
    const translate = (translation: OtlpTranslation) => decoder.translate({ ...translation, typeAndUnitLabels });
    translate(DEFAULT_TRANSLATION);
    const promql = startPromql({
      ...core,
      promqlSettings: understood,
      shares,
      workerUrl: files.promqlWorkerUrl,
      dataDirectory: data.directory,
    });
    undo.push(() => promql.close());
    const rules = prepareRules({ ...core, promqlSettings: understood, promql: promql.door });
    undo.push(() => rules.stop());
    const scrapes = prepareScrapes({
      ...core,
      answerBytesMax: shares.scrapeBytes,
      translate,
      label: (fromFile) => {
        const { labels, missing } = mergeExternalLabels(fromFile, settings.externalLabels, (name) => process.env[name]);
        external.labels = labels;
        for (const variable of missing) log.warn({ variable }, "a variable in external_labels has no value");
      },
    });
    undo.push(() => scrapes.stop());
    // Before anybody can send: metrics that come over OTLP must not become other series than those that come later.
    await scrapes.open();
    const remoteWrite = prepareRemoteWrite(core);
    undo.push(() => remoteWrite.stop());
    const reload = () => reloadAll([scrapes, rules, remoteWrite]);
    const facts = { settings, external, promqlSettings: understood, store, clock, rules, jobs: scrapes.jobs, reload };
    const prometheus = prometheusDeps(facts);
    const link: Link = { agent: undefined, api: undefined };
    const parts: Parts = { ...core, files, ingest, decoder, promql: promql.door, prometheus, scrapes, link };
    const api = await startApi(apiDeps(parts, shares.bodiesBytes));
    link.api = api;
    undo.push(() => api.close());
    const agent = await startAgent(agentOptions(parts, api, options.playFallback));
    link.agent = agent;
    undo.push(() => agent.stop());
    introduce(parts, api, agent);
    const addresses = {
      http: textOf(api.addresses.http),
      otlpGrpc: textOf(api.addresses.otlpGrpc),
      otlpHttp: textOf(api.addresses.otlpHttp),
    };
    await remoteWrite.start();
    await rules.start(`http://${addresses.http}`);
    scrapes.start();
    const statsd = await startStatsd(core);
    undo.push(() => statsd.stop());
    writeAddresses(data.directory, { ...addresses, statsd: statsd.address }, undo);
    if (options.owner !== undefined) giveTree(data.directory, options.owner);
    return {
      settings,
      dataDirectory: data.directory,
      dataNote: data.note,
      addresses,
      store,
      capture: () => agent.status(),
      reload,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface StoreParts {
  readonly directory: string;
  readonly shares: MemoryShares;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly log: Log;
}

function storeOptions(settings: Settings, { directory, shares, clock, telemetry, log }: StoreParts): StoreOptions {
  return {
    directory,
    clock,
    retentionMs: settings.retentionMs,
    blockBytesMax: settings.retentionBytesMax,
    memoryLimitBytes: shares.duckdbBytes,
    answerBytesMax: shares.answerBytes,
    waitingBytesMax: shares.pendingBytes,
    headBytesMax: shares.headBytes,
    spoolBytesMax: settings.remoteWriteSpoolBytesMax,
    downsampling: { minuteRetentionMs: settings.minuteRetentionMs, hourRetentionMs: settings.hourRetentionMs },
    durability: settings.durability,
    outOfOrderWindowMs: settings.outOfOrderWindowMs,
    onDamage: (damage) => {
      telemetry.countDamage(String(damage.values["file"]));
      log.error({ code: damage.code, ...damage.values }, "data_damaged");
    },
  };
}

/** Loads all that can be loaded again. @returns What is wrong with it, undefined where nothing is. */
async function reloadAll(parts: readonly { reload(): Promise<string | undefined> }[]): Promise<string | undefined> {
  const reasons: string[] = [];
  for (const part of parts) {
    const reason = await part.reload();
    if (reason !== undefined) reasons.push(reason);
  }
  return reasons.length === 0 ? undefined : reasons.join("; ");
}

/** Tells capture, faces and telemetry of each other. */
function introduce({ telemetry, store, ingest, log }: Parts, api: Api, agent: Agent): void {
  sayTlsTrouble(log, agent.status());
  telemetry.onRender(() => renderCapture(telemetry, agent.status()));
  telemetry.onRender(() => renderStore(telemetry, store));
  telemetry.onRender(() => telemetry.set("thalweg_live_rows_dropped_total", {}, api.liveRowsDropped()));
  ingest.onHeldStored((batch) => api.publishLive(batch));
  ingest.onceAgents(() => agent.tellPeers());
  ingest.onceLive(() =>
    agent.stopReplay("the recording stopped because a span arrived over OTLP, and nothing live can be captured here"),
  );
}

/** What the faces and the agent are made from. */
interface Parts {
  readonly settings: Settings;
  readonly external: { readonly labels: Labels };
  readonly files: ProgramFiles;
  readonly telemetry: Telemetry;
  readonly log: Log;
  readonly clock: Clock;
  readonly store: Store;
  readonly ingest: Ingest;
  readonly decoder: OtlpDecoder;
  readonly promql: PromqlDoor;
  readonly prometheus: PrometheusDeps;
  readonly scrapes: RunningScrapes;
  readonly link: Link;
}

/** Parts that are started after those that call them. */
interface Link {
  agent: Agent | undefined;
  api: Api | undefined;
}

function apiDeps(parts: Parts, bodiesBytesMax: number): ApiDeps {
  const {
    settings,
    external,
    files,
    telemetry,
    log,
    clock,
    store,
    ingest,
    decoder,
    promql,
    prometheus,
    scrapes,
    link,
  } = parts;
  const logs = new LogCommits(store.writer);
  return {
    listen: { http: settings.listen, otlpHttp: settings.otlpHttp, otlpGrpc: settings.otlpGrpc },
    allowedHosts: settings.allowHosts,
    bodiesBytesMax,
    decodeOtlp: (signal, bytes, encoding) => decoder.decode(signal, bytes, encoding),
    acceptSpans: async (received) => {
      const outcome = await ingest.receive(received);
      if (outcome.kind === "stored") {
        link.api?.publishLive(outcome.batch);
        if (outcome.batch === received.batch) releaseBatch(received.batch);
      }
      return outcome;
    },
    acceptLogs: (received) => acceptLogs({ writer: logs, telemetry }, received),
    acceptMetrics: (received) => acceptMetrics({ writer: store.writer, telemetry, clock }, received),
    acceptSeries: (write, transport) => acceptSeries({ writer: store.writer, telemetry, clock }, write, transport),
    seriesRefusal: (labels) => store.writer.seriesRefusal(labels),
    reader: store.reader,
    remoteRead: {
      samplesMax: prometheus.promql.samplesMax,
      get externalLabels() {
        return external.labels;
      },
    },
    promql,
    prometheus,
    scrapes,
    sql: openSqlDoor({ reader: store.reader }),
    graph: (fromMs, toMs) => readGraph(store.reader, fromMs, toMs),
    captureStatus: () => link.agent?.status() ?? CAPTURE_NOT_STARTED,
    metricsText: () => telemetry.render(),
    ready: () => {
      const reasons = ingest.troubles();
      return { ready: reasons.length === 0, reasons };
    },
    countRefused: (reason) => telemetry.count("thalweg_requests_refused_total", { reason }),
    countAnswer: (route, code) => telemetry.count("thalweg_http_requests_total", { route, code: String(code) }),
    assets: pageAssets(files.pageAsset),
    version: productVersion(),
    clock,
    log,
  };
}

function agentOptions(parts: Parts, api: Api, playFallback: boolean): AgentOptions {
  const { settings, files, ingest, log } = parts;
  return {
    mode: agentMode(settings.capture),
    excludePids: [process.pid],
    excludePorts: Object.values(api.addresses).map(({ port }) => port),
    tls: settings.tls,
    injectNode: settings.injectNode,
    onlyNetns: onlyNetns(settings.networkNamespace),
    redaction: settings.redaction === "on",
    fallbackReplay: playFallback ? files.replayFile : undefined,
    nativeDirectory: files.nativeDirectory,
    version: productVersion(),
    worker: files.agentWorker,
    synThread: files.synThread,
    onSpans: (batch) => takeCaptured(batch, ingest, api, log),
    cpuCoresMax: captureCores(settings.captureCpu),
    ringBytes: settings.captureRingBytes,
    onDepth: (change) => sayDepth(log, change),
    onTls: (change) => sayTls(log, change),
    onFailure: (error) => log.error({ error }, "the capture thread failed; capture is off"),
  };
}

function takeCaptured(batch: SpanBatch, ingest: Ingest, api: Api, log: Log): void {
  const transport = batch.source[0] === REPLAY ? "replay" : "capture";
  ingest.acceptSpans(batch, { signal: "traces", transport }).then(
    (accepted) => api.publishLive(accepted.batch),
    (error: unknown) => log.error({ error }, "captured spans could not be stored"),
  );
}

function renderStore(telemetry: Telemetry, store: Store): void {
  const { spans, metrics, reopens, indexFailures, compactions, compactionFailures } = store.stats();
  telemetry.set("thalweg_store_resources_dropped_total", {}, spans.resourcesDropped);
  telemetry.set("thalweg_store_reopens_total", {}, reopens);
  telemetry.set("thalweg_store_index_failures_total", {}, indexFailures);
  telemetry.set("thalweg_store_compactions_total", { outcome: "compacted" }, compactions);
  telemetry.set("thalweg_store_compactions_total", { outcome: "failed" }, compactionFailures);
  telemetry.set("thalweg_metric_block_joins_total", { outcome: "joined" }, metrics.joins);
  telemetry.set("thalweg_metric_block_joins_total", { outcome: "failed" }, metrics.joinFailures);
  telemetry.set("thalweg_head_series", {}, metrics.series);
  telemetry.set("thalweg_head_memory_bytes", {}, metrics.memoryBytes);
  telemetry.set("thalweg_head_samples_total", {}, metrics.samplesAppended);
  telemetry.set("thalweg_head_seals_total", {}, metrics.seals);
  telemetry.set("thalweg_head_seal_failures_total", {}, metrics.failures);
  telemetry.set("thalweg_metric_blocks", {}, metrics.blocks);
  telemetry.set("thalweg_metric_block_bytes", {}, metrics.blockBytes);
  telemetry.set("thalweg_metric_window_blocks", {}, metrics.windowBlocks);
  telemetry.set("thalweg_metric_window_block_bytes", {}, metrics.windowBlockBytes);
  for (const [reason, count] of metrics.leftOut) telemetry.set("thalweg_head_left_out_total", { reason }, count);
}

function makeLog(settings: Settings, telemetry: Telemetry, monotonicMs: () => number): Log {
  return createLog({
    level: settings.logLevel,
    terminal: process.stderr.isTTY === true,
    write: (line) => process.stderr.write(line),
    monotonicMs,
    onSuppressed: () => telemetry.count("thalweg_log_suppressed_total", {}),
  });
}

/** Started by sudo, whatever is written belongs to who called it. */
function keepOwned(directory: string, owner: FileOwner | undefined, undo: (() => void)[]): void {
  if (owner === undefined) return;
  const give = () => giveTree(directory, owner);
  const timer = setInterval(give, OWNERSHIP_EVERY_MS);
  // Files that were made while the program stopped, or was made to stop, too.
  process.on("exit", give);
  undo.push(() => {
    clearInterval(timer);
    give();
  });
}

/** Tells other commands of this clone where the server is, while it runs. */
function writeAddresses(
  directory: string,
  { http, otlpGrpc, otlpHttp, statsd }: RunningServer["addresses"] & { readonly statsd: string | undefined },
  undo: (() => void)[],
): void {
  const file = join(directory, "addresses.json");
  const text = JSON.stringify({ http, otlp_grpc: otlpGrpc, otlp_http: otlpHttp, statsd });
  // Whoever waits for the file must not find half of it.
  const fresh = `${file}.new`;
  rmSync(fresh, { recursive: true, force: true });
  writeFileSync(fresh, `${text}\n`, { mode: 0o600 });
  renameSync(fresh, file);
  undo.push(() => rmSync(file, { force: true }));
}

function textOf({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
