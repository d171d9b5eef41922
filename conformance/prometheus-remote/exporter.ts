/**
 * A program to scrape: every kind of metric that Prometheus knows, in its protobuf form, a step further with each scrape.
 *
 * @see https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto
 */

import { createServer, type Server } from "node:http";
import protobuf from "protobufjs";

const SCHEMA = `
syntax = "proto3";
message Timestamp { int64 seconds = 1; int32 nanos = 2; }
message LabelPair { string name = 1; string value = 2; }
message Exemplar { repeated LabelPair label = 1; double value = 2; Timestamp timestamp = 3; }
message Gauge { double value = 1; }
message Counter { double value = 1; Exemplar exemplar = 2; Timestamp start_timestamp = 3; }
message Quantile { double quantile = 1; double value = 2; }
message Summary { uint64 sample_count = 1; double sample_sum = 2; repeated Quantile quantile = 3; }
message Bucket { uint64 cumulative_count = 1; double upper_bound = 2; Exemplar exemplar = 3; }
message BucketSpan { sint32 offset = 1; uint32 length = 2; }
message Histogram {
  uint64 sample_count = 1; double sample_sum = 2; repeated Bucket bucket = 3; double sample_count_float = 4;
  sint32 schema = 5; double zero_threshold = 6; uint64 zero_count = 7; double zero_count_float = 8;
  repeated BucketSpan negative_span = 9; repeated sint64 negative_delta = 10; repeated double negative_count = 11;
  repeated BucketSpan positive_span = 12; repeated sint64 positive_delta = 13; repeated double positive_count = 14;
}
message Metric {
  repeated LabelPair label = 1; Gauge gauge = 2; Counter counter = 3; Summary summary = 4; Histogram histogram = 7;
}
message MetricFamily { string name = 1; string help = 2; int32 type = 3; repeated Metric metric = 4; }
`;
const COUNTER = 0;
const GAUGE = 1;
const SUMMARY = 2;
const HISTOGRAM = 4;
const GAUGE_HISTOGRAM = 5;
/** Scrapes after which counters start over, as those of a program that was started again. */
const RESET_AT = 18;
/** Scrapes after which one series is there no more. */
const GONE_AT = 15;

const family = protobuf.parse(SCHEMA, { keepCase: true }).root.lookupType("MetricFamily");

/** A running exporter. */
export class Exporter {
  readonly #server: Server;
  readonly #startedMs = Date.now();
  /** `HOST:PORT`. */
  readonly address: string;
  /** Scrapes answered. */
  scrapes = 0;

  readonly #isUtf8: boolean;

  private constructor(server: Server, address: string, isUtf8: boolean) {
    this.#server = server;
    this.address = address;
    this.#isUtf8 = isUtf8;
  }

  /** @param options.isUtf8 Names of labels may have characters that Prometheus 2 does not know. */
  static async start(options: { readonly isUtf8: boolean }): Promise<Exporter> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the exporter has no port");
    const exporter = new Exporter(server, `127.0.0.1:${address.port}`, options.isUtf8);
    server.on("request", (request, response) => {
      if (!(request.headers.accept ?? "").includes("application/vnd.google.protobuf")) {
        response.writeHead(406).end();
        return;
      }
      exporter.scrapes++;
      const type = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
      response.writeHead(200, { "content-type": type }).end(exporter.#body());
    });
    return exporter;
  }

  /** Answers no more. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #body(): Buffer {
    return Buffer.concat(
      this.#families().map((each) => Buffer.from(family.encodeDelimited(family.fromObject(each)).finish())),
    );
  }

  #families(): object[] {
    const step = this.scrapes;
    const counted = step < RESET_AT ? step : step - RESET_AT;
    const startMs = step < RESET_AT ? this.#startedMs : this.#startedMs + 4_000;
    return [
      {
        name: "client_requests_total",
        help: "Requests.",
        type: COUNTER,
        metric: ["200", "500"].map((code, at) => ({
          label: pairs({ code }),
          counter: { value: counted * (7 - 3 * at), exemplar: exemplar(step), start_timestamp: timestamp(startMs) },
        })),
      },
      gauge("client_temperature", [[{}, ((step * 37) % 101) / 8 - 5]]),
      gauge("client_odd", [
        [{ kind: "nan" }, Number.NaN],
        [{ kind: "plus" }, Number.POSITIVE_INFINITY],
        [{ kind: "minus" }, step % 2 === 0 ? Number.NEGATIVE_INFINITY : -5e-324],
        [{ kind: "text", [this.#isUtf8 ? "quoted.name" : "name"]: 'a "b"\n\\ ü😀' }, 1e-300 * step],
      ]),
      gauge("client_gone", step < GONE_AT || step % 7 === 0 ? [[{}, step]] : []),
      {
        name: "client_wait_seconds",
        help: "Waits.",
        type: SUMMARY,
        metric: [
          {
            summary: {
              sample_count: counted * 3,
              sample_sum: counted * 0.7,
              quantile: [0.5, 0.99].map((quantile) => ({ quantile, value: quantile * step })),
            },
          },
        ],
      },
      {
        name: "client_latency_seconds",
        help: "Latency.",
        type: HISTOGRAM,
        metric: [
          {
            histogram: { sample_count: counted * 6, sample_sum: counted * 1.1, bucket: classicBuckets(counted, step) },
          },
        ],
      },
      { name: "client_native_seconds", help: "Latency.", type: HISTOGRAM, metric: [{ histogram: native(counted) }] },
      { name: "client_level", help: "Levels.", type: GAUGE_HISTOGRAM, metric: [{ histogram: nativeGauge(step) }] },
    ];
  }
}

function pairs(labels: Readonly<Record<string, string>>): object[] {
  return Object.entries(labels).map(([name, value]) => ({ name, value }));
}

function timestamp(ms: number): object {
  return { seconds: Math.floor(ms / 1_000), nanos: (ms % 1_000) * 1_000_000 };
}

function exemplar(step: number): object {
  return { label: pairs({ trace_id: `trace${step}` }), value: step / 4, timestamp: timestamp(Date.now()) };
}

function gauge(name: string, values: readonly (readonly [Readonly<Record<string, string>>, number])[]): object {
  const metric = values.map(([labels, value]) => ({ label: pairs(labels), gauge: { value } }));
  return { name, help: "A gauge.", type: GAUGE, metric };
}

function classicBuckets(counted: number, step: number): object[] {
  return [0.1, 0.5, 1].map((bound, at) => ({
    cumulative_count: counted * (at + 2),
    upper_bound: bound,
    ...(at === 1 ? { exemplar: exemplar(step) } : {}),
  }));
}

/** Buckets on both sides; with the steps there are more of them. */
function native(counted: number): object {
  const width = 2 + Math.min(6, Math.floor(counted / 3));
  const counts = Array.from({ length: width }, (_, at) => counted * (at + 1));
  const positives = counts.reduce((sum, count) => sum + count, 0);
  return {
    sample_count: positives + counted + counted * 2,
    sample_sum: counted * 12.5,
    schema: 3,
    zero_threshold: 2 ** -128,
    zero_count: counted,
    positive_span: [
      { offset: -2, length: 2 },
      { offset: 3, length: width - 2 },
    ].filter(({ length }) => length > 0),
    positive_delta: counts.map((count, at) => count - (counts[at - 1] ?? 0)),
    negative_span: [{ offset: 1, length: 1 }],
    negative_delta: [counted * 2],
  };
}

/** Counts that rise and fall, and are not whole. */
function nativeGauge(step: number): object {
  const counts = [1.5 * (step % 4), 2.25, step % 3];
  return {
    sample_count_float: counts.reduce((sum, count) => sum + count, 0.5),
    sample_sum: step / 8,
    schema: 0,
    zero_threshold: 0.001,
    zero_count_float: 0.5,
    positive_span: [{ offset: 0, length: 3 }],
    positive_count: counts,
  };
}
