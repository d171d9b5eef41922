/**
 * What the faces need from the rest of the program: plain functions and doors, composed by the program's start.
 */

import type { Clock } from "../model/clock.ts";
import type { SpanBatch } from "../model/span-batch.ts";
import type { GraphAnswer, PromqlDoor, SqlDoor } from "../query/doors.ts";
import type { StoreReader } from "../store/reader.ts";

/** Where a listener is bound; port 0 asks for any free one. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** How spans arrived; the `transport` label of the ingest counters. */
export type SpanTransport = "grpc" | "http";

/** Spans that arrived in one request: those to store, and the count of those that the decoder left out, by reason. */
export interface ReceivedSpans {
  readonly batch: SpanBatch;
  readonly rejected: ReadonlyMap<string, number>;
  /** What the decoder mended in spans of the batch, by the words of `thalweg_ingest_mended_total`. */
  readonly mended: ReadonlyMap<string, number>;
  readonly transport: SpanTransport;
}

/** What became of a request's spans. */
export type SpansOutcome =
  | {
      /** Durable. `rejected` are the spans of the batch that were left out, by reason. */
      readonly kind: "stored";
      readonly rejected: ReadonlyMap<string, number>;
    }
  | {
      /** Nothing was kept; the sender shall try again after so long. */
      readonly kind: "refused";
      readonly reason: string;
      readonly retryAfterSeconds: number;
    };

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

/** Everything the faces call; they keep nothing of it but references. */
export interface ApiDeps {
  readonly listen: { readonly http: ListenAddress; readonly otlpHttp: ListenAddress; readonly otlpGrpc: ListenAddress };
  /** Names beside loopback and the bound address that a `Host` header may carry, such as a reverse proxy's. */
  readonly allowedHosts: readonly string[];
  /** Bytes of all bodies that may lie in memory at a time; at least one of the largest must fit. */
  readonly bodiesBytesMax?: number;
  /** Counts, checks and stores; resolves once the spans are durable. May reject: then nothing was kept. */
  acceptSpans(received: ReceivedSpans): Promise<SpansOutcome>;
  readonly reader: StoreReader;
  readonly promql: PromqlDoor;
  readonly sql: SqlDoor;
  graph(fromMs: number, toMs: number): Promise<GraphAnswer>;
  captureStatus(): object;
  /** Prometheus text exposition. */
  metricsText(): string;
  ready(): { readonly ready: boolean; readonly reasons: readonly string[] };
  /** Counts an answer for `thalweg_http_requests_total`; `route` is a pattern, never a path with ids. */
  countAnswer(route: string, code: number): void;
  /** Files of the page by path, `/` among them. */
  readonly assets: ReadonlyMap<string, Asset>;
  readonly version: string;
  readonly clock: Clock;
  readonly log: ApiLog;
}
