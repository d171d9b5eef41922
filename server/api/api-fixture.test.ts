/**
 * For tests of this room: real faces on free ports over a store that is a list in memory.
 */

import assert from "node:assert/strict";
import http from "node:http";
import test from "node:test";
import type { ReceivedLogs } from "../ingest/accept-logs.ts";
import type { ReceivedMetrics } from "../ingest/accept-metrics.ts";
import type { SeriesOutcome } from "../ingest/accept-series.ts";
import { openOtlpDecoder } from "../ingest/otlp-decoder.ts";
import type { Labels, SeriesSamples } from "../model/series.ts";
import type { SpanBatch } from "../model/span-batch.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import type { InstantRequest, PromqlDoor, RangeRequest, SqlRequest } from "../query/doors.ts";
import { PROMQL_DEFAULTS } from "../query/promql/query.ts";
import { readSelectors, renderText } from "../query/promql-text-answers.ts";
import type { StoreReader } from "../store/reader.ts";
import type { RemoteWrite } from "../wire/remote-write.ts";
import { spansOf } from "../wire/trace-oracle.ts";
import type { Api } from "./api.ts";
import { startApi } from "./api.ts";
import type { ApiDeps, PrometheusDeps, ReceivedSpans, SpansOutcome } from "./api-deps.ts";

/** An answer as it came. */
export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
}

/** A request that may carry any header and method, which fetch does not allow. */
export function ask(url: string, options: http.RequestOptions = {}, body = ""): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(url, options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const bytes = Buffer.concat(chunks);
        const { statusCode: status = 0, headers } = response;
        resolve({ status, headers, bytes, text: bytes.toString() });
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Status and parsed body. */
export async function json(url: string, init?: RequestInit): Promise<{ status: number; body: unknown }> {
  const answer = await fetch(url, init);
  return { status: answer.status, body: await answer.json() };
}

/** What the faces were asked, and switches for what they are told. */
export interface Fixture {
  readonly api: Api;
  readonly url: string;
  readonly otlpUrl: string;
  readonly grpcTarget: string;
  readonly received: ReceivedSpans[];
  readonly receivedLogs: ReceivedLogs[];
  readonly receivedMetrics: ReceivedMetrics[];
  readonly answers: string[];
  readonly asked: (InstantRequest | RangeRequest | SqlRequest)[];
  readonly logged: unknown[];
  refuse: SpansOutcome | Error | undefined;
  ready: boolean;
}

const SERIES: readonly Labels[] = [
  [
    ["__name__", "up"],
    ["job", "a"],
  ],
  [
    ["__name__", "up"],
    ["job", "b"],
  ],
  [
    ["__name__", "down"],
    ["a.b", "1"],
  ],
];

const rendered = {
  status: 200,
  body: Buffer.from('{"status":"success","data":{"resultType":"vector","result":[]}}'),
};

/** A door without a worker: what is not given answers with an empty vector, or reads the text here. */
export function promqlDoor(given: Partial<PromqlDoor>): PromqlDoor {
  return {
    instant: async () => rendered,
    range: async () => rendered,
    evaluate: async () => ({ kind: "samples", samples: [], warnings: [] }),
    format: async (text) => renderText(text, "format", PROMQL_DEFAULTS),
    tree: async (text) => renderText(text, "tree", PROMQL_DEFAULTS),
    selectors: async (text) => readSelectors(renderText(text, "selectors", PROMQL_DEFAULTS)),
    close: async () => {},
    ...given,
  };
}

/** Starts faces on free ports and stops them when the test ends. */
export async function startFixture(
  context: test.TestContext,
  change: Partial<Omit<ApiDeps, "prometheus">> & { readonly prometheus?: Partial<PrometheusDeps> } = {},
): Promise<Fixture> {
  const state = {
    received: [] as ReceivedSpans[],
    receivedLogs: [] as ReceivedLogs[],
    receivedMetrics: [] as ReceivedMetrics[],
    answers: [] as string[],
    asked: [] as (InstantRequest | RangeRequest | SqlRequest)[],
    logged: [] as unknown[],
    refuse: undefined as SpansOutcome | Error | undefined,
    ready: true,
  };
  const log = (values: object) => {
    state.logged.push(values);
  };
  const loopback = { host: "127.0.0.1", port: 0 };
  const { prometheus, ...others } = change;
  const decoder = openOtlpDecoder();
  context.after(() => decoder.close());
  const deps: ApiDeps = {
    listen: { http: loopback, otlpHttp: loopback, otlpGrpc: loopback },
    allowedHosts: ["proxy.example"],
    decodeOtlp: (signal, bytes, encoding) => decoder.decode(signal, bytes, encoding),
    acceptLogs: async (received) => {
      if (state.refuse instanceof Error) throw state.refuse;
      if (state.refuse?.kind === "refused") return state.refuse;
      state.receivedLogs.push(received);
      return { kind: "stored", mended: new Map() };
    },
    acceptMetrics: async (received) => {
      if (state.refuse instanceof Error) throw state.refuse;
      if (state.refuse?.kind === "refused") return state.refuse;
      state.receivedMetrics.push(received);
      return { kind: "stored", refusedPoints: 0, refusedFor: [], faults: received.decoded.faults };
    },
    acceptSpans: async (received) => {
      // A moment passes, so that requests overlap.
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (state.refuse instanceof Error) throw state.refuse;
      if (state.refuse !== undefined) return state.refuse;
      state.received.push(received);
      return { kind: "stored", rejected: new Map(), mended: new Map() };
    },
    acceptSeries: async (write) => writtenWhole(write),
    seriesRefusal: () => undefined,
    remoteRead: { samplesMax: 1_000, externalLabels: [] },
    reader: listReader(() => state.received.map((received) => received.batch)),
    promql: promqlDoor({
      instant: async (request) => {
        state.asked.push(request);
        return rendered;
      },
      range: async (request) => {
        state.asked.push(request);
        return rendered;
      },
    }),
    prometheus: {
      queryTimeoutMs: 120_000,
      promql: PROMQL_DEFAULTS,
      corsOrigin: "https?://friend\\.example",
      flags: { "query-timeout": "2m" },
      searchApi: false,
      runtime: {
        startMs: 1_699_999_000_000,
        workingDirectory: "/work",
        hostname: "host",
        processors: 2,
        memoryBytes: 2 ** 30,
        retention: "15d",
      },
      configYaml: () => "global: {}\n",
      damageCount: () => 0,
      ruleGroups: () => [],
      alertmanagers: () => [],
      templateFunctions: ["humanize"],
      ...prometheus,
    },
    scrapes: { jobs: () => [], targets: () => [], dropped: () => new Map() },
    sql: {
      run: async (request) => {
        state.asked.push(request);
        if (request.query.startsWith("DROP")) {
          const place = { line: 1, column: 1, hint: "Only SELECT is run." };
          return {
            kind: "refused",
            refusal: { code: "not_allowed", message: "DROP is not allowed.", httpStatus: 403, ...place },
          };
        }
        const columns = [
          { name: "n", type: "BIGINT" },
          { name: "text", type: "VARCHAR" },
        ];
        const rows = [
          ["9007199254740993", 'say "hi", now'],
          ["2", null],
          ["3", ""],
        ];
        return { kind: "answer", answer: { columns, rows, rowsRead: 3, elapsedMs: 1.5, truncated: false } };
      },
    },
    graph: async (fromMs, toMs) => ({
      from: new Date(fromMs).toISOString(),
      to: new Date(toMs).toISOString(),
      nodes: [],
      edges: [],
    }),
    captureStatus: () => ({ tier: "off" }),
    metricsText: () => "thalweg_capture_seen_total 0\n",
    ready: () => ({ ready: state.ready, reasons: state.ready ? [] : ["replaying"] }),
    countRefused: () => undefined,
    countAnswer: (route, code) => {
      state.answers.push(`${route} ${code}`);
    },
    assets: new Map([
      ["/", { type: "text/html; charset=utf-8", body: Buffer.from(`<!doctype html>${"x".repeat(2000)}`) }],
      ["/assets/app.js", { type: "text/javascript; charset=utf-8", body: Buffer.from("1") }],
    ]),
    version: "1.2.3",
    clock: { nowMs: () => 1_700_000_000_000, nowUnixNano: () => 0n, monotonicMs: () => performance.now() },
    log: { warn: log, error: log },
    ...others,
  };
  const api = await startApi(deps);
  context.after(() => api.close());
  const { http, otlpHttp, otlpGrpc } = api.addresses;
  const addresses = {
    url: `http://127.0.0.1:${http.port}`,
    otlpUrl: `http://127.0.0.1:${otlpHttp.port}`,
    grpcTarget: `127.0.0.1:${otlpGrpc.port}`,
  };
  return Object.assign(state, { api, ...addresses });
}

/** Reads the batches that `acceptSpans` took. */
export function listReader(batches: () => SpanBatch[]): StoreReader {
  const select = (name: string | undefined) =>
    SERIES.filter(
      (labels) => name === undefined || labels.some((label) => label[0] === "__name__" && label[1] === name),
    );
  return {
    sql: async () => {
      throw new Error("the faces ask the SQL door");
    },
    trace: async (traceId, spansMax) =>
      batches()
        .flatMap((batch) => spansOf(batch).map((span): StoredSpan => ({ ...span, service: "", instance: "" })))
        .filter((span) => span.traceId === traceId)
        .slice(0, spansMax),
    select: async (): Promise<SeriesSamples[]> => [],
    selectNewest: async () => ({
      labels: [],
      timestampsMs: new Float64Array(0),
      values: new Float64Array(0),
      others: [],
    }),
    selectChunks: async (_, minMs, maxMs) => ({
      labels: [],
      rows: new Uint32Array(0),
      columns: {
        minMs,
        maxMs,
        layers: [],
        tails: new Uint32Array(0),
        times: new Uint32Array(0),
        sizes: new Uint32Array(0),
        pages: [],
      },
      samples: 0,
      others: [],
    }),
    selectNumbers: async () => ({ labels: [], values: new Float64Array(0), made: [], samples: 0, others: [] }),
    selectSeries: async (): Promise<SeriesSamples[]> => [],
    exemplars: async () => [],
    series: async (matchers) => select(matchers[0]?.value),
    labelNames: async ({ matchers }) => [
      ...new Set(
        select(matchers[0]?.value)
          .flat()
          .map(([name]) => name),
      ),
    ],
    labelValues: async (wanted, { matchers }) => [
      ...new Set(
        select(matchers[0]?.value)
          .flat()
          .flatMap(([name, value]) => (name === wanted ? [value] : [])),
      ),
    ],
    metricStatus: (limit) => ({
      series: 3,
      chunks: 4,
      minMs: 1,
      maxMs: undefined,
      labelPairs: 5,
      seriesByMetric: [{ name: "up", count: limit }],
      valuesByLabel: [{ name: "job", count: 6 }],
      bytesByLabel: [{ name: "job", count: 7 }],
      blocks: [{ number: 7, bytes: 900, minMs: 1, maxMs: 2, series: 3, samples: 6, joinedFrom: [4, 5] }],
      seriesByPair: [{ name: "job=a", count: 8 }],
    }),
    metadata: () => [{ name: "up", type: "gauge", help: "Is it up?", unit: "" }],
  };
}

test("the fixture starts and stops", async (context) => {
  const { url } = await startFixture(context);
  assert.equal((await fetch(`${url}/livez`)).status, 200);
});

/** The outcome of a write of which everything was stored. */
export function writtenWhole({ received, faults }: RemoteWrite): SeriesOutcome {
  const { samples, histograms, exemplars } = received;
  return {
    kind: "written",
    samples,
    histograms,
    exemplars,
    faults,
    refusedSeries: new Set(),
    refusedFor: new Set(),
  };
}
