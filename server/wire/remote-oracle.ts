/**
 * For tests of remote write and read: protobufjs as second opinion, and random histograms.
 */

import protobuf from "protobufjs";
import type { BucketSpan, CounterResetHint, NativeHistogram } from "../model/histogram.ts";

const SHARED = `
message BucketSpan { sint32 offset = 1; uint32 length = 2; }
message Histogram {
  oneof count { uint64 count_int = 1; double count_float = 2; }
  double sum = 3;
  sint32 schema = 4;
  double zero_threshold = 5;
  oneof zero_count { uint64 zero_count_int = 6; double zero_count_float = 7; }
  repeated BucketSpan negative_spans = 8;
  repeated sint64 negative_deltas = 9;
  repeated double negative_counts = 10;
  repeated BucketSpan positive_spans = 11;
  repeated sint64 positive_deltas = 12;
  repeated double positive_counts = 13;
  int32 reset_hint = 14;
  int64 timestamp = 15;
  repeated double custom_values = 16;
  int64 start_timestamp = 17;
}
message Sample { double value = 1; int64 timestamp = 2; int64 start_timestamp = 3; }
`;

/** Written from the field tables of prompb. */
const SCHEMA_1 = `
syntax = "proto3";
package one;
${SHARED}
message Label { string name = 1; string value = 2; }
message Exemplar { repeated Label labels = 1; double value = 2; int64 timestamp = 3; }
message TimeSeries {
  repeated Label labels = 1;
  repeated Sample samples = 2;
  repeated Exemplar exemplars = 3;
  repeated Histogram histograms = 4;
}
message MetricMetadata { int32 type = 1; string metric_family_name = 2; string help = 4; string unit = 5; }
message WriteRequest { repeated TimeSeries timeseries = 1; repeated MetricMetadata metadata = 3; }
message LabelMatcher { int32 type = 1; string name = 2; string value = 3; }
message ReadHints {
  int64 step_ms = 1; string func = 2; int64 start_ms = 3; int64 end_ms = 4;
  repeated string grouping = 5; bool by = 6; int64 range_ms = 7;
}
message Query {
  int64 start_timestamp_ms = 1; int64 end_timestamp_ms = 2; repeated LabelMatcher matchers = 3; ReadHints hints = 4;
}
message ReadRequest { repeated Query queries = 1; repeated int32 accepted_response_types = 2; }
message QueryResult { repeated TimeSeries timeseries = 1; }
message ReadResponse { repeated QueryResult results = 1; }
message Chunk { int64 min_time_ms = 1; int64 max_time_ms = 2; int32 type = 3; bytes data = 4; }
message ChunkedSeries { repeated Label labels = 1; repeated Chunk chunks = 2; }
message ChunkedReadResponse { repeated ChunkedSeries chunked_series = 1; int64 query_index = 2; }
`;

const SCHEMA_2 = `
syntax = "proto3";
package two;
${SHARED}
message Exemplar { repeated uint32 labels_refs = 1; double value = 2; int64 timestamp = 3; }
message Metadata { int32 type = 1; uint32 help_ref = 3; uint32 unit_ref = 4; }
message TimeSeries {
  repeated uint32 labels_refs = 1;
  repeated Sample samples = 2;
  repeated Histogram histograms = 3;
  repeated Exemplar exemplars = 4;
  Metadata metadata = 5;
}
message Request { repeated string symbols = 4; repeated TimeSeries timeseries = 5; }
`;

const roots = {
  one: protobuf.parse(SCHEMA_1, { keepCase: true }).root,
  two: protobuf.parse(SCHEMA_2, { keepCase: true }).root,
};

/**
 * The same messages with texts as their bytes and doubles as their 64 bits, so that nothing of them is mended or lost, and
 * with all that came of what should come once.
 */
const asItIs = (schema: string) =>
  protobuf.parse(
    schema
      .replaceAll(/\bstring (?=\w+ = )/g, "bytes ")
      .replaceAll(/\bdouble (?=\w+ = )/g, "fixed64 ")
      .replace("Metadata metadata = 5", "repeated Metadata metadata = 5"),
    { keepCase: true },
  ).root;
const rawRoots = { one: asItIs(SCHEMA_1), two: asItIs(SCHEMA_2) };

/** `one` is prompb, `two` remote write 2.0. */
export type OraclePackage = keyof typeof roots;

/** Encodes a plain object as the named message. */
export function remoteEncode(of: OraclePackage, message: string, value: object): Uint8Array {
  const type = roots[of].lookupType(`${of}.${message}`);
  return type.encode(type.fromObject(value)).finish();
}

/** Decodes the named message to a plain object: 64-bit integers as strings, bytes as they are, defaults left out. */
// The caller names the shape that the schema gives.
export function remoteDecode<T>(message: string, bytes: Uint8Array, of: OraclePackage = "one"): T {
  const type = roots[of].lookupType(`${of}.${message}`);
  return type.toObject(type.decode(bytes), { longs: Number, bytes: Buffer, arrays: true }) as T;
}

/** A message in which texts are bytes and doubles their bits. @see asItIs */
export function rawRemoteType(of: OraclePackage, message: string): protobuf.Type {
  return rawRoots[of].lookupType(`${of}.${message}`);
}

/** A histogram as a message of either version. */
export function histogramMessage(histogram: NativeHistogram, timestampMs: number, startMs = 0): object {
  const { integer, positiveCounts, negativeCounts } = histogram;
  const side = (name: string, counts: Float64Array) =>
    integer ? { [`${name}_deltas`]: deltas(counts) } : { [`${name}_counts`]: [...counts] };
  return {
    ...(integer ? { count_int: histogram.count } : { count_float: histogram.count }),
    ...(integer ? { zero_count_int: histogram.zeroCount } : { zero_count_float: histogram.zeroCount }),
    sum: histogram.sum,
    schema: histogram.schema,
    zero_threshold: histogram.zeroThreshold,
    negative_spans: histogram.negativeSpans,
    positive_spans: histogram.positiveSpans,
    ...side("negative", negativeCounts),
    ...side("positive", positiveCounts),
    reset_hint: ["unknown", "reset", "not_reset", "gauge"].indexOf(histogram.resetHint),
    timestamp: timestampMs,
    custom_values: [...histogram.customValues],
    start_timestamp: startMs,
  };
}

function deltas(counts: Float64Array): number[] {
  return Array.from(counts, (count, at) => count - (at === 0 ? 0 : (counts[at - 1] ?? 0)));
}

/** A histogram that could have been observed. `grow` gives one that can follow it. */
export function randomHistogram(random: () => number, integer: boolean, hint: CounterResetHint): NativeHistogram {
  const isCustom = random() < 0.3;
  const spans = (): BucketSpan[] =>
    Array.from({ length: Math.floor(random() * 4) }, (_, at) => ({
      offset: Math.floor(random() * 6) + (at === 0 && !isCustom ? -3 : 0),
      length: Math.floor(random() * 4),
    }));
  const positiveSpans = spans();
  const negativeSpans = isCustom ? [] : spans();
  const bounds = Array.from({ length: 60 }, (_, at) => at + (random() < 0.5 ? 0.125 : 1 / 3));
  return grow(
    {
      schema: isCustom ? -53 : Math.floor(random() * 13) - 4,
      zeroThreshold: isCustom
        ? 0
        : ([0, 2 ** -128, 0.001, 2 ** 10, 2 ** -243, 2 ** -244, 3][Math.floor(random() * 7)] ?? 0),
      zeroCount: 0,
      count: 0,
      sum: random() * 100 - 50,
      positiveSpans,
      negativeSpans,
      positiveCounts: new Float64Array(positiveSpans.reduce((sum, { length }) => sum + length, 0)),
      negativeCounts: new Float64Array(negativeSpans.reduce((sum, { length }) => sum + length, 0)),
      customValues: Float64Array.from(isCustom ? bounds : []),
      resetHint: hint,
      integer,
    },
    random,
  );
}

/** The same buckets with more in them. */
export function grow(before: NativeHistogram, random: () => number): NativeHistogram {
  const more = () => {
    const scale = 10 ** Math.floor(random() * 9);
    return random() < 0.3 ? 0 : before.integer ? Math.floor(random() * scale) : random() * scale;
  };
  const positiveCounts = before.positiveCounts.map((count) => count + more());
  const negativeCounts = before.negativeCounts.map((count) => count + more());
  const zeroCount = before.zeroCount + (before.customValues.length > 0 ? 0 : more());
  const sum = (counts: Float64Array) => counts.reduce((total, count) => total + count, 0);
  return {
    ...before,
    zeroCount,
    count: zeroCount + sum(positiveCounts) + sum(negativeCounts),
    sum: random() < 0.1 ? Number.NaN : before.sum + more(),
    positiveCounts,
    negativeCounts,
  };
}
