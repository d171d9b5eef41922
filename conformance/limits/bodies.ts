/** OTLP bodies that are small and ask for much, or hold more than a request may; made by hand, field by field. */

const MIB = 2 ** 20;
/** Largest body before and after decompression. */
export const BODY_BYTES_MAX = 64 * MIB;
const MILLION = 1_000_000;

/** A body of a signal, in one of OTLP's encodings. */
export interface SignalBody {
  readonly name: string;
  readonly signal: "traces" | "logs" | "metrics";
  readonly encoding: "protobuf" | "json";
  readonly bytes: Buffer;
  /** Decoders refuse it, or leave something out and say so. */
  readonly wants: "malformed" | "partial" | "either";
}

/** A field of protobuf whose value has a length. */
export function field(number: number, ...content: readonly Uint8Array[]): Buffer {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([varint(number * 8 + 2), varint(length), ...content]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

function fixed64(number: number, value: bigint): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = number * 8 + 1;
  bytes.writeBigUInt64LE(value, 1);
  return bytes;
}

function many(count: number, bytes: Uint8Array): Buffer {
  return Buffer.alloc(count * bytes.length, bytes);
}

const text = (value: string) => Buffer.from(value);
const KEY_VALUE = Buffer.concat([field(1, text("key-12")), field(2, field(1, text("v")))]);
const NOW_NS = () => BigInt(Date.now()) * 1_000_000n;

/** `levels` lists, each the only value of the one around it, as an AnyValue. */
function nestedProtobuf(levels: number): Buffer {
  // From the inside out, in one piece of memory: each level puts its two heads before what it holds.
  const heads: Buffer[] = [];
  let length = 0;
  for (let level = 0; level < levels; level++) {
    const inner = Buffer.concat([Buffer.from([0x0a]), varint(length)]);
    length += inner.length;
    const outer = Buffer.concat([Buffer.from([0x2a]), varint(length)]);
    length += outer.length;
    heads.push(inner, outer);
  }
  return Buffer.concat(heads.reverse());
}

function span(...more: readonly Uint8Array[]): Buffer {
  const ids = [field(1, Buffer.alloc(16, 7)), field(2, Buffer.alloc(8, 9))];
  const start = NOW_NS();
  return Buffer.concat([...ids, field(5, text("bomb")), fixed64(7, start), fixed64(8, start + 1000n), ...more]);
}

const traces = (...spans: readonly Uint8Array[]) => field(1, field(2, ...spans));
const logs = (...records: readonly Uint8Array[]) => field(1, field(2, ...records));
/** One metric whose field `kind` holds `content`. */
const metric = (kind: number, ...content: readonly Uint8Array[]) =>
  field(1, field(2, field(2, field(1, text("bomb_metric")), field(kind, ...content))));
const point = (...content: readonly Uint8Array[]) => field(1, fixed64(3, NOW_NS()), ...content);

/** Made once: they take some seconds. */
let protobuf: readonly SignalBody[] | undefined;

/** Requests in protobuf of every kind of count, nesting and length. */
export function protobufBombs(): readonly SignalBody[] {
  protobuf ??= makeProtobuf();
  return protobuf;
}

function makeProtobuf(): SignalBody[] {
  const body = (signal: SignalBody["signal"], name: string, bytes: Buffer, wants: SignalBody["wants"]) => {
    return { name, signal, encoding: "protobuf" as const, bytes, wants };
  };
  const cumulative = Buffer.from([2 * 8, 2]);
  return [
    body("traces", "5,000,000 empty spans", traces(many(5 * MILLION, field(2))), "either"),
    body("traces", "5,000,000 empty resources", many(5 * MILLION, field(1)), "either"),
    body("traces", "5,000,000 empty scopes", field(1, many(5 * MILLION, field(2))), "either"),
    body(
      "traces",
      "a million attributes of a span",
      traces(field(2, span(many(MILLION, field(9, KEY_VALUE))))),
      "either",
    ),
    body("traces", "5,000,000 empty attributes", traces(field(2, span(many(5 * MILLION, field(9))))), "either"),
    body("traces", "a million events", traces(field(2, span(many(MILLION, field(11, field(2, text("e"))))))), "either"),
    body("traces", "5,000,000 empty links", traces(field(2, span(many(5 * MILLION, field(13))))), "either"),
    body(
      "traces",
      "a million attributes of a resource",
      field(1, field(1, many(MILLION, field(1, KEY_VALUE)))),
      "either",
    ),
    body(
      "traces",
      "lists in 20,000 lists",
      traces(field(2, span(field(9, field(1, text("k")), field(2, nestedProtobuf(20_000)))))),
      "malformed",
    ),
    body(
      "traces",
      "lists in a million lists",
      traces(field(2, span(field(9, field(1, text("k")), field(2, nestedProtobuf(MILLION)))))),
      "malformed",
    ),
    body(
      "traces",
      "a million unknown groups in each other",
      Buffer.concat([many(MILLION, Buffer.from([0x7b])), many(MILLION, Buffer.from([0x7c]))]),
      "malformed",
    ),
    body("traces", "a name of 32 MiB", traces(field(2, span(field(5, Buffer.alloc(32 * MIB, 97))))), "either"),
    body(
      "traces",
      "a value of 32 MiB that is no Unicode",
      traces(field(2, span(field(9, field(1, text("k")), field(2, field(1, Buffer.alloc(32 * MIB, 0xff))))))),
      "either",
    ),
    body("traces", "a length of 4 GiB", Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]), "malformed"),
    body(
      "traces",
      "a list of 5,000,000 empty values",
      traces(field(2, span(field(9, field(1, text("k")), field(2, field(5, many(5 * MILLION, field(1)))))))),
      "either",
    ),
    body("logs", "5,000,000 empty log records", logs(many(5 * MILLION, field(2))), "either"),
    body(
      "logs",
      "a million attributes of a log record",
      logs(field(2, fixed64(1, NOW_NS()), many(MILLION, field(6, KEY_VALUE)))),
      "either",
    ),
    body(
      "logs",
      "a log body in 20,000 lists",
      logs(field(2, fixed64(1, NOW_NS()), field(5, nestedProtobuf(20_000)))),
      "malformed",
    ),
    body(
      "logs",
      "a log body of 32 MiB",
      logs(field(2, fixed64(1, NOW_NS()), field(5, field(1, Buffer.alloc(32 * MIB, 97))))),
      "either",
    ),
    body("metrics", "5,000,000 empty metrics", field(1, field(2, many(5 * MILLION, field(2)))), "either"),
    body("metrics", "5,000,000 empty points", metric(5, many(5 * MILLION, field(1))), "either"),
    body("metrics", "a million labels of a point", metric(5, point(many(MILLION, field(7, KEY_VALUE)))), "either"),
    body(
      "metrics",
      "3,000,000 buckets",
      metric(9, cumulative, point(field(6, many(3 * MILLION, fixedZero())), field(7, many(3 * MILLION, fixedZero())))),
      "either",
    ),
    body(
      "metrics",
      "8,000,000 buckets of an exponential histogram",
      metric(10, cumulative, point(field(8, field(2, many(8 * MILLION, Buffer.from([1])))))),
      "either",
    ),
    body("metrics", "5,000,000 empty exemplars", metric(5, point(many(5 * MILLION, field(5)))), "either"),
    body("metrics", "5,000,000 quantiles of a summary", metric(11, point(many(5 * MILLION, field(6)))), "either"),
  ];
}

function fixedZero(): Buffer {
  return Buffer.alloc(8);
}

/** The same in JSON, and numbers and texts that only JSON has. */
export function jsonBombs(): SignalBody[] {
  const body = (signal: SignalBody["signal"], name: string, json: string | Buffer, wants: SignalBody["wants"]) => {
    return { name: `JSON: ${name}`, signal, encoding: "json" as const, bytes: Buffer.from(json), wants };
  };
  const ids = `"traceId":"${"07".repeat(16)}","spanId":"${"09".repeat(8)}"`;
  const start = String(NOW_NS());
  const oneSpan = (more: string) =>
    `{"resourceSpans":[{"scopeSpans":[{"spans":[{${ids},"name":"bomb","startTimeUnixNano":"${start}","endTimeUnixNano":"${start}"${more}}]}]}]}`;
  const list = (count: number, item: string) => `[${`${item},`.repeat(count - 1)}${item}]`;
  const digits = "9".repeat(8 * MIB);
  return [
    body("traces", "5,000,000 brackets", "[".repeat(5 * MILLION), "malformed"),
    body("traces", "5,000,000 brackets under an unknown name", `{"unknown":${"[".repeat(5 * MILLION)}`, "malformed"),
    body("traces", "objects in a million objects", `{"unknown":${'{"a":'.repeat(MILLION)}`, "malformed"),
    body(
      "traces",
      "lists in 20,000 lists",
      oneSpan(
        `,"attributes":[{"key":"k","value":${'{"arrayValue":{"values":['.repeat(20_000)}${"]}}".repeat(20_000)}}]`,
      ),
      "malformed",
    ),
    body(
      "traces",
      "5,000,000 empty spans",
      `{"resourceSpans":[{"scopeSpans":[{"spans":${list(5 * MILLION, "{}")}}]}]}`,
      "either",
    ),
    body(
      "traces",
      "a million attributes",
      oneSpan(`,"attributes":${list(MILLION, '{"key":"k","value":{"intValue":1}}')}`),
      "either",
    ),
    body("traces", "a number of 8 MiB", oneSpan(`,"kind":${digits}`), "either"),
    body("traces", "a time of 8 MiB", oneSpan(`,"startTimeUnixNano":"${digits}"`), "either"),
    body(
      "traces",
      "an exponent of 8 MiB",
      oneSpan(`,"attributes":[{"key":"k","value":{"doubleValue":1e${digits}}}]`),
      "either",
    ),
    body("traces", "a name of 16 MiB of escapes", oneSpan(`,"name":"${"\\u0061".repeat((16 * MIB) / 6)}"`), "either"),
    body("traces", "16 MiB of spaces", " ".repeat(16 * MIB), "malformed"),
    body(
      "logs",
      "5,000,000 empty log records",
      `{"resourceLogs":[{"scopeLogs":[{"logRecords":${list(5 * MILLION, "{}")}}]}]}`,
      "either",
    ),
    body(
      "metrics",
      "5,000,000 points",
      `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"bomb_metric","gauge":{"dataPoints":${list(5 * MILLION, "{}")}}}]}]}]}`,
      "either",
    ),
    body(
      "metrics",
      "5,000,000 buckets",
      `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"bomb_metric","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"${start}","bucketCounts":${list(5 * MILLION, "1")}}]}}]}]}]}`,
      "either",
    ),
  ];
}
