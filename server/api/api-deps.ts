/**
 * What the faces need from the rest of the program: plain functions and doors, composed by the program's start.
 */

import type { LogsOutcome, ReceivedLogs } from "../ingest/accept-logs.ts";
import type { MetricsOutcome, ReceivedMetrics } from "../ingest/accept-metrics.ts";
import type { SeriesOutcome, SeriesTransport } from "../ingest/accept-series.ts";
import type { DecodeOutcomes, OtlpEncoding, OtlpSignal } from "../ingest/decode-request.ts";
import type { Clock } from "../model/clock.ts";
import type { Labels, Matcher } from "../model/series.ts";
import type { SpanBatch } from "../model/span-batch.ts";
import type { GraphAnswer, PromqlDoor, RuleGroupState, SqlDoor } from "../query/doors.ts";
import type { PromqlSettings } from "../query/promql/query.ts";
import type { ScrapeJob } from "../scrape/scrape-job.ts";
import type { ActiveTarget, DroppedTargets } from "../scrape/scraper.ts";
import type { StoreReader } from "../store/reader.ts";
import type { RemoteWrite } from "../wire/remote-write.ts";
import type { BodyRefusal } from "./request-body.ts";

/** Where a listener is bound; port 0 asks for any free one. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** How a request arrived; the `transport` label of the ingest counters. */
export type OtlpTransport = "grpc" | "http";

/** Spans that arrived in one request: those to store, and the count of those that the decoder left out, by reason. */
export interface ReceivedSpans {
  readonly batch: SpanBatch;
  readonly rejected: ReadonlyMap<string, number>;
  /** What the decoder mended in spans of the batch, by the words of `thalweg_ingest_mended_total`. */
  readonly mended: ReadonlyMap<string, number>;
  readonly transport: OtlpTransport;
}

/** What became of a request's spans. */
export type SpansOutcome =
  | {
      /** Durable. `rejected` are the spans of the batch that were left out, by reason; `mended` what was mended in others. */
      readonly kind: "stored";
      readonly rejected: ReadonlyMap<string, number>;
      readonly mended: ReadonlyMap<string, number>;
    }
  | {
      /** Nothing was kept; the sender shall try again after so long. */
      readonly kind: "refused";
      readonly reason: string;
      readonly retryAfterSeconds: number;
    };

/** Why nothing of a request is taken: its body; it is no request of its kind; it is not HTTP, or a flood of frames. */
type RequestRefusal = BodyRefusal | "malformed" | "http";

/** A file of the page. */
export interface Asset {
  readonly type: string;
  readonly body: Uint8Array;
}

/** What a `pino` logger offers, as far as the faces use it. */
interface ApiLog {
  warn(values: object, message: string): void;
  error(values: object, message: string): void;
}

/** What does not change while the server runs, told by `status/runtimeinfo`. */
interface RuntimeFacts {
  readonly startMs: number;
  readonly workingDirectory: string;
  readonly hostname: string;
  readonly processors: number;
  /** Memory that the server plans for. */
  readonly memoryBytes: number;
  /** Such as `15d`. */
  readonly retention: string;
}

/** What an operator may do to the metrics; each resolves when it is durable. */
export interface TsdbAdmin {
  /** Deletes samples in `[minMs, maxMs]` of series that satisfy all matchers. */
  deleteSeries(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<void>;
  /** Frees the disk of what is deleted. */
  cleanTombstones(): Promise<void>;
  /** Copies all samples, or those in blocks, to a directory of that name. */
  snapshot(name: string, withHead: boolean): Promise<void>;
}

/** What the routes of Prometheus' API say of the server and are bound by. */
export interface PrometheusDeps {
  /** Longest that a query may run; a request can only lower it. */
  readonly queryTimeoutMs: number;
  /** How PromQL is understood. */
  readonly promql: PromqlSettings;
  /** Anchored RE2 expression of origins whose pages may ask; empty where none may. */
  readonly corsOrigin: string;
  /** Settings by name, without the dashes in front. */
  readonly flags: Readonly<Record<string, string>>;
  /** Whether `/search/*` answers. */
  readonly searchApi: boolean;
  /** Undefined where the admin API is off. */
  readonly admin?: TsdbAdmin | undefined;
  readonly runtime: RuntimeFacts;
  /** The settings in the form of Prometheus' configuration file. */
  configYaml(): string;
  /** Damaged files that were found so far. */
  damageCount(): number;
  /** Rule groups in order of file and place. */
  ruleGroups(): readonly RuleGroupState[];
  /** Addresses that alerts are sent to. */
  alertmanagers(): readonly string[];
  /** Functions of alert templates beyond Go's own. */
  readonly templateFunctions: readonly string[];
  /** Loads rules and scrape jobs again and says what is wrong; undefined where nobody may ask for that over HTTP. */
  readonly reloadRules?: (() => Promise<string | undefined>) | undefined;
}

/** What is scraped; empty where nothing is. */
interface ScrapeDeps {
  jobs(): readonly ScrapeJob[];
  targets(): ActiveTarget[];
  dropped(): DroppedTargets;
}

/** Bounds and additions of remote read. */
interface RemoteReadLimits {
  /** Samples of one query in the form that is not streamed. */
  readonly samplesMax: number;
  /** Labels that every series gets which does not have them. */
  readonly externalLabels: Labels;
}

/** Everything the faces call; they keep nothing of it but references. */
export interface ApiDeps {
  readonly listen: { readonly http: ListenAddress; readonly otlpHttp: ListenAddress; readonly otlpGrpc: ListenAddress };
  /** Names beside loopback and the bound address that a `Host` header may carry, such as a reverse proxy's. */
  readonly allowedHosts: readonly string[];
  /** Bytes of all bodies that may lie in memory at a time; at least one of the largest must fit. */
  readonly bodiesBytesMax?: number;
  /** Decodes an OTLP export; the bytes must not be used afterwards. */
  decodeOtlp<S extends OtlpSignal>(signal: S, bytes: Uint8Array, encoding: OtlpEncoding): Promise<DecodeOutcomes[S]>;
  /** Counts, checks and stores; resolves once the spans are durable. May reject: then nothing was kept. */
  acceptSpans(received: ReceivedSpans): Promise<SpansOutcome>;
  /** As `acceptSpans`. */
  acceptLogs(received: ReceivedLogs): Promise<LogsOutcome>;
  /** As `acceptSpans`. */
  acceptMetrics(received: ReceivedMetrics): Promise<MetricsOutcome>;
  /** Counts, checks and stores what remote write brought; resolves once it is durable. May reject: then nothing was kept. */
  acceptSeries(write: RemoteWrite, transport?: SeriesTransport): Promise<SeriesOutcome>;
  /** Why a series with these labels is not stored; undefined where it is, or would be. */
  seriesRefusal(labels: Labels): string | undefined;
  readonly reader: StoreReader;
  /** What remote read may answer with. */
  readonly remoteRead: RemoteReadLimits;
  readonly promql: PromqlDoor;
  readonly prometheus: PrometheusDeps;
  readonly scrapes: ScrapeDeps;
  readonly sql: SqlDoor;
  graph(fromMs: number, toMs: number): Promise<GraphAnswer>;
  captureStatus(): object;
  /** Prometheus text exposition. */
  metricsText(): string;
  ready(): { readonly ready: boolean; readonly reasons: readonly string[] };
  /** Counts an answer for `thalweg_http_requests_total`; `route` is a pattern, never a path with ids. */
  countAnswer(route: string, code: number): void;
  /** Counts a request of which nothing was taken, by why. */
  countRefused(reason: RequestRefusal): void;
  /** Files of the page by path, `/` among them. */
  readonly assets: ReadonlyMap<string, Asset>;
  readonly version: string;
  readonly clock: Clock;
  readonly log: ApiLog;
}
