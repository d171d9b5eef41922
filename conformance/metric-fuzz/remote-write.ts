/** Damaged remote writes of both versions, read by our decoders and by a library. */

import { isUtf8 } from "node:buffer";
import protobuf from "protobufjs";
import type { NativeHistogram } from "../../server/model/histogram.ts";
import type { SeriesToAppend } from "../../server/model/series.ts";
import { anyDouble, bitText, random as pickerOf } from "../../server/store/metric-fixture.ts";
import { histogramMessage, randomHistogram, rawRemoteType } from "../../server/wire/remote-oracle.ts";
import { type RemoteWrite, seriesOfWrite } from "../../server/wire/remote-write.ts";
import { RemoteWriteDecoder1 } from "../../server/wire/remote-write-1.ts";
import { RemoteWriteDecoder2 } from "../../server/wire/remote-write-2.ts";
import type { FuzzSubject } from "../fuzz-run.ts";
import { damaged } from "../otlp-fuzz/bodies.ts";

type Random = () => number;

const NAMES = ["__name__", "job", "instance", "le", "", "é", "x".repeat(40)];
const VALUES = ["up", "a", "", "host:9100", "0.5", "日本"];
const TIMES = ["0", "1", "-1", "1700000000000", "253402300800000", "9223372036854775807", "-9223372036854775808"];
const HINTS = ["unknown", "reset", "not_reset", "gauge"] as const;
/** Members of messages that hold a double; `value` is one only where it is a number. */
const DOUBLES =
  /^(value|count_float|sum|zero_threshold|zero_count_float|negative_counts|positive_counts|custom_values)$/;
const TEXTS = /^(name|value|metric_family_name|help|unit|symbols)$/;
/** Decoders remember series; they are made anew after so many bodies. */
const REMEMBERED_BODIES = 500;
const VARINT_BYTES_MAX = 10;
const WIRE_BYTES = 2;
/** Of the scalar types of the messages; those of all others have a length. */
const WIRE_TYPES: Readonly<Record<string, number>> = {
  ...{ int32: 0, int64: 0, uint32: 0, uint64: 0, sint32: 0, sint64: 0, bool: 0 },
  fixed64: 1,
};
const bits = new DataView(new ArrayBuffer(8));

/** A message of the library, by the names of its members. */
interface Message {
  readonly [name: string]: unknown;
}

/** One version's decoder, with its memory of the bodies before. */
type Decoder = RemoteWriteDecoder1 | RemoteWriteDecoder2;

/** The subject of a version. */
export function remoteWriteSubject(version: 1 | 2): FuzzSubject {
  const make = (): Decoder => (version === 1 ? new RemoteWriteDecoder1() : new RemoteWriteDecoder2());
  const type = version === 1 ? rawRemoteType("one", "WriteRequest") : rawRemoteType("two", "Request");
  let ours = make();
  let canonical = make();
  let bodies = 0;
  const read = (decoder: Decoder, body: Uint8Array) => {
    const outcome = decoder.decode(body);
    return outcome.kind === "malformed" ? undefined : readingOf(outcome.write);
  };
  return {
    name: `remote write ${version}.0`,
    fresh: (random) => encoded(type, version === 1 ? requestOf1(random) : requestOf2(random)),
    damaged: (random, body, other) => damaged(random, body, other, false),
    read: (body) => {
      if (++bodies % REMEMBERED_BODIES === 0) [ours, canonical] = [make(), make()];
      return read(ours, body);
    },
    fault: (body, reading) => {
      const library = libraryReading(type, body);
      if (library !== undefined && hasWrongWireType(type, body)) {
        return reading === undefined ? "" : "a field of the wrong wire type is passed over";
      }
      if (reading === undefined) return library === undefined || hasLongVarint(body) ? "" : "the library takes it";
      if (library === undefined) return "the library refuses it";
      if (hasBothCounts(library)) return "";
      const again = read(canonical, type.encode(type.fromObject(library)).finish());
      if (JSON.stringify(reading) !== JSON.stringify(again)) return "of the library's bytes something else is read";
      return samplesFault(reading as Reading, library, version); // `read` answers no other
    },
    shown: (body) => Buffer.from(body).toString("hex"),
  };
}

/** What a body came to, but for metadata, of which only what is news is told. */
interface Reading {
  /** Labels, then one line a sample. Neighbours of one series are one, as they are where it is known by its bytes. */
  readonly lines: readonly string[];
  readonly exemplars: readonly string[];
  readonly rejected: number;
  readonly rest: unknown;
}

function readingOf(write: RemoteWrite): Reading {
  const series = seriesOfWrite(write);
  let rejected = 0;
  for (const count of write.rejected.values()) rejected += count;
  return {
    lines: series.flatMap(linesOfSeries),
    exemplars: series.flatMap(({ labels, exemplars = [] }) =>
      exemplars.map((each) => JSON.stringify([labels, each.labels, bitText(each.value), each.timestampMs])),
    ),
    rejected,
    rest: [write.received, write.staleHistograms, [...write.rejected], [...write.rejectedExemplars], write.faults],
  };
}

function linesOfSeries({ labels, timestampsMs, values, histograms, startsMs }: SeriesToAppend): string[] {
  const label = JSON.stringify(labels);
  return Array.from(values, (value, at) => {
    const histogram = histograms?.[at];
    const said = histogram === undefined ? bitText(value) : histogramText(histogram);
    return `${label} ${timeText(timestampsMs[at])} ${timeText(startsMs?.[at])} ${said}`;
  });
}

/** Times further off than a double is exact are near enough. */
function timeText(ms: unknown): string {
  const time = Number(ms ?? 0);
  return Number.isSafeInteger(time) ? String(time) : `${Math.sign(time)} far off`;
}

function histogramText(histogram: NativeHistogram): string {
  return JSON.stringify([
    histogram.schema,
    histogram.integer,
    histogram.resetHint,
    ...[histogram.zeroThreshold, histogram.zeroCount, histogram.count, histogram.sum].map(bitText),
    histogram.positiveSpans,
    Array.from(histogram.positiveCounts, bitText),
    histogram.negativeSpans,
    Array.from(histogram.negativeCounts, bitText),
    Array.from(histogram.customValues, bitText),
  ]);
}

/** The library's reading; undefined where it refuses. Metadata that came in pieces is put together, as protobuf asks. */
function libraryReading(type: ReturnType<typeof rawRemoteType>, body: Uint8Array): Message | undefined {
  try {
    const message = type.toObject(type.decode(body), { longs: String, bytes: Buffer }) as Message; // of the schema
    for (const series of listOf(message, "timeseries")) {
      const metadata = listOf(series, "metadata");
      if (metadata.length > 1) Object.assign(series, { metadata: [Object.assign({}, ...metadata)] });
    }
    return message;
  } catch {
    return undefined;
  }
}

function listOf(message: Message, name: string): readonly Message[] {
  return (message[name] ?? []) as readonly Message[]; // the schema says that it is one
}

/** Whether a known field stands there in a form that its type has not: Prometheus refuses that, the library passes it over. */
function hasWrongWireType(type: protobuf.Type, body: Uint8Array): boolean {
  const reader = protobuf.Reader.create(body);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const wire = tag & 7;
    const field = type.fieldsById[tag >>> 3]?.resolve();
    if (field === undefined) {
      reader.skipType(wire, 0, tag >>> 3);
      continue;
    }
    const own = WIRE_TYPES[field.type] ?? WIRE_BYTES;
    if (wire !== own && !(field.repeated && wire === WIRE_BYTES)) return true;
    const held = field.resolvedType;
    if (held instanceof protobuf.Type) {
      if (hasWrongWireType(held, reader.bytes())) return true;
    } else reader.skipType(wire, 0, tag >>> 3);
  }
  return false;
}

/** Of two forms of a count the last one holds; the library does not tell which that is. */
function hasBothCounts(message: Message): boolean {
  return listOf(message, "timeseries").some((series) =>
    listOf(series, "histograms").some(
      (each) =>
        (each["count_int"] !== undefined && each["count_float"] !== undefined) ||
        (each["zero_count_int"] !== undefined && each["zero_count_float"] !== undefined),
    ),
  );
}

/** The library skips varints of any length; those of more than ten bytes are none. */
function hasLongVarint(body: Uint8Array): boolean {
  let run = 0;
  for (const byte of body) {
    run = byte < 0x80 ? 0 : run + 1;
    if (run >= VARINT_BYTES_MAX) return true;
  }
  return false;
}

/** Holds labels, times and values to what the library read, sample by sample: what is not there must be rejected. */
function samplesFault({ lines, rejected }: Reading, library: Message, version: 1 | 2): string {
  let next = 0;
  let missing = 0;
  for (const series of listOf(library, "timeseries")) {
    const wanted = wantedLines(series, version === 1 ? labelsOf1(series) : labelsOf2(series, library));
    const isThere = wanted.length > 0 && wanted.every((line, at) => lines[next + at]?.startsWith(line) === true);
    if (isThere) next += wanted.length;
    else missing += listOf(series, "samples").length + listOf(series, "histograms").length;
  }
  if (next !== lines.length) return `the library has no such sample: ${lines[next]}`;
  return missing === rejected ? "" : `${missing} samples are missing, ${rejected} are rejected`;
}

/** Undefined where a text is no text, or a reference leads nowhere. */
type Pairs = [name: string, value: string][] | undefined;

function labelsOf1(series: Message): Pairs {
  const texts = listOf(series, "labels").map(({ name, value }) => [textOf(name), textOf(value)]);
  return pairsOf(texts.flat());
}

function labelsOf2(series: Message, library: Message): Pairs {
  const symbols = library["symbols"] as readonly unknown[] | undefined; // of the schema, here and below
  const refs = (series["labels_refs"] ?? []) as readonly number[];
  return pairsOf(refs.map((ref) => textOf(symbols?.[ref] ?? Buffer.of(0xff))));
}

function textOf(bytes: unknown): string | undefined {
  // Left out where it is empty.
  if (bytes === undefined) return "";
  return bytes instanceof Uint8Array && isUtf8(bytes) ? Buffer.from(bytes).toString() : undefined;
}

function pairsOf(texts: readonly (string | undefined)[]): Pairs {
  const pairs: [string, string][] = [];
  for (let at = 0; at < texts.length; at += 2) {
    const [name, value] = [texts[at], texts[at + 1]];
    if (name === undefined || value === undefined) return undefined;
    pairs.push([name, value]);
  }
  return pairs.filter(([, value]) => value !== "").sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** Lines of samples, then the starts of those of histograms. */
function wantedLines(series: Message, pairs: Pairs): string[] {
  if (pairs === undefined) return [];
  const label = JSON.stringify(pairs);
  const whenOf = ({ timestamp, start_timestamp }: Message) => `${timeText(timestamp)} ${timeText(start_timestamp)}`;
  return [
    ...listOf(series, "samples").map((each) => `${label} ${whenOf(each)} ${bitsOfLong(each["value"])}`),
    ...listOf(series, "histograms").map((each) => `${label} ${whenOf(each)} `),
  ];
}

function bitsOfLong(long: unknown): string {
  bits.setBigUint64(0, BigInt(String(long ?? 0)));
  return `${bits.getUint32(0).toString(16)}:${bits.getUint32(4).toString(16)}`;
}

/** A plain request as the raw messages have it: texts as bytes, doubles as their bits. */
function encoded(type: ReturnType<typeof rawRemoteType>, request: Message): Uint8Array {
  return type.encode(type.fromObject(rawOf("", request) as Message)).finish(); // an object stays one
}

function rawOf(name: string, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((each) => rawOf(name, each));
  if (typeof value === "string" && TEXTS.test(name)) return Buffer.from(value);
  if (typeof value === "number" && DOUBLES.test(name)) {
    bits.setFloat64(0, value);
    return bits.getBigUint64(0).toString();
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([member, child]) => [member, rawOf(member, child)]));
}

function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random() * list.length)] as T; // in range: `random` is below 1, no list is empty
}

function many<T>(random: Random, max: number, make: () => T): T[] {
  return Array.from({ length: Math.floor(random() * (max + 1)) }, make);
}

/** Names and values one after the other; most are those of a good series. */
function labelTexts(random: Random): string[] {
  if (random() < 0.8) return ["__name__", pick(random, ["up", "down"]), "job", pick(random, VALUES)];
  return many(random, 4, () => [pick(random, NAMES), pick(random, VALUES)]).flat();
}

function samples(random: Random): object[] {
  const value = pickerOf(Math.floor(random() * 2 ** 31));
  return many(random, 3, () => ({
    value: anyDouble(value),
    timestamp: pick(random, TIMES),
    ...(random() < 0.2 ? { start_timestamp: pick(random, TIMES) } : {}),
  }));
}

function histograms(random: Random): object[] {
  if (random() < 0.7) return [];
  return many(random, 2, () =>
    histogramMessage(randomHistogram(random, random() < 0.5, pick(random, HINTS)), 5, Math.floor(random() * 2)),
  );
}

function requestOf1(random: Random): Message {
  const labelsOf = (texts: readonly string[]) =>
    texts.flatMap((name, at) => (at % 2 === 0 ? [{ name, value: texts[at + 1] ?? "" }] : []));
  return {
    timeseries: many(random, 4, () => ({
      labels: labelsOf(labelTexts(random)),
      samples: samples(random),
      exemplars: many(random, 1, () => ({ labels: labelsOf(labelTexts(random)), value: 1.5, timestamp: "7" })),
      histograms: histograms(random),
    })),
    metadata: many(random, 1, () => ({ type: 2, metric_family_name: "up", help: "a", unit: "b" })),
  };
}

function requestOf2(random: Random): Message {
  const symbols = [""];
  const refOf = (text: string) => {
    const known = symbols.indexOf(text);
    return known >= 0 ? known : symbols.push(text) - 1;
  };
  const timeseries = many(random, 4, () => ({
    labels_refs: labelTexts(random).map(refOf),
    samples: samples(random),
    histograms: histograms(random),
    exemplars: many(random, 1, () => ({ labels_refs: labelTexts(random).map(refOf), value: 1.5, timestamp: "7" })),
    metadata: many(random, 1, () => ({ type: 1, help_ref: refOf("a"), unit_ref: refOf("b") })),
  }));
  return { symbols, timeseries };
}
