/**
 * Native histograms in the messages of remote write and remote read, which number their fields alike.
 */

import type { BucketSpan, CounterResetHint, NativeHistogram } from "../model/histogram.ts";
import {
  enterMessage,
  leaveMessage,
  type ProtobufCursor,
  readDouble,
  readInt64Number,
  readLength,
  readTag,
  readUint64Number,
  readVarint32,
  readZigzag32,
  readZigzagNumber,
  skipField,
} from "./protobuf-reader.ts";
import { EMPTY_SPAN_UNITS, SPAN_UNITS, takeBuckets, takeUnits, type WireBudget } from "./wire-budget.ts";
import { WireError } from "./wire-error.ts";

/** Tags: field number times 8 plus wire type. Repeated numbers come packed or one by one. */
const COUNT_INT = 8;
const COUNT_FLOAT = 17;
const SUM = 25;
const SCHEMA = 32;
const ZERO_THRESHOLD = 41;
const ZERO_COUNT_INT = 48;
const ZERO_COUNT_FLOAT = 57;
const NEGATIVE_SPAN = 66;
const NEGATIVE_DELTAS = 74;
const NEGATIVE_DELTA = 72;
const NEGATIVE_COUNTS = 82;
const NEGATIVE_COUNT = 81;
const POSITIVE_SPAN = 90;
const POSITIVE_DELTAS = 98;
const POSITIVE_DELTA = 96;
const POSITIVE_COUNTS = 106;
const POSITIVE_COUNT = 105;
const RESET_HINT = 112;
const TIMESTAMP = 120;
const CUSTOM_VALUES = 130;
const CUSTOM_VALUE = 129;
const START_TIMESTAMP = 136;
const LAST_FIELD = 17;
const SPAN_OFFSET = 8;
const SPAN_LENGTH = 16;
const SPAN_LAST_FIELD = 2;

/** By the numbers of `ResetHint`. */
export const RESET_HINTS: readonly CounterResetHint[] = ["unknown", "reset", "not_reset", "gauge"];
const DOUBLE_BYTES = 8;
const STALE_LOW = 2;
const STALE_HIGH = 0x7ff0_0000;

/** What a message of a histogram holds. */
export interface ReadHistogram {
  readonly timestampMs: number;
  /** 0 where unknown. */
  readonly startMs: number;
  /** Undefined where the sum is a stale marker: such a sample says no more than that. */
  readonly histogram: NativeHistogram | undefined;
  /** Where the eight bytes of the sum stand; -1 where there are none. */
  readonly sumAt: number;
}

interface Fields {
  timestampMs: number;
  startMs: number;
  sumAt: number;
  sum: number;
  schema: number;
  zeroThreshold: number;
  resetHint: CounterResetHint;
  /** Of the two forms of counts the one that came last holds. */
  isFloat: boolean;
  count: number;
  isZeroFloat: boolean;
  zeroCount: number;
  readonly positive: Side;
  readonly negative: Side;
  readonly customValues: number[];
}

interface Side {
  readonly spans: BucketSpan[];
  /** Differences of whole counts. */
  readonly deltas: number[];
  readonly counts: number[];
}

/** Reads a length-delimited histogram. @throws WireError */
export function readHistogram(cursor: ProtobufCursor, budget: WireBudget): ReadHistogram {
  const outer = enterMessage(cursor);
  const fields = emptyFields();
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (readScalar(cursor, tag, fields) || readBuckets(cursor, tag, { fields, budget })) continue;
    if (tag >>> 3 <= LAST_FIELD) throw new WireError(`wire type ${tag & 7} for field ${tag >>> 3}`, cursor.at);
    skipField(cursor, tag);
  }
  leaveMessage(cursor, outer);
  const { timestampMs, startMs, sumAt } = fields;
  const isStale = sumAt >= 0 && isStaleAt(cursor.view, sumAt);
  return { timestampMs, startMs, sumAt, histogram: isStale ? undefined : histogramOf(fields) };
}

/** Whether the eight bytes at `at` are those of a stale marker. */
function isStaleAt(view: DataView, at: number): boolean {
  return view.getUint32(at, true) === STALE_LOW && view.getUint32(at + 4, true) === STALE_HIGH;
}

function emptyFields(): Fields {
  const side = (): Side => ({ spans: [], deltas: [], counts: [] });
  return {
    timestampMs: 0,
    startMs: 0,
    sumAt: -1,
    sum: 0,
    schema: 0,
    zeroThreshold: 0,
    resetHint: "unknown",
    isFloat: false,
    count: 0,
    isZeroFloat: false,
    zeroCount: 0,
    positive: side(),
    negative: side(),
    customValues: [],
  };
}

function readScalar(cursor: ProtobufCursor, tag: number, fields: Fields): boolean {
  switch (tag) {
    case COUNT_INT:
      fields.isFloat = false;
      fields.count = readUint64Number(cursor);
      return true;
    case COUNT_FLOAT:
      fields.isFloat = true;
      fields.count = readDouble(cursor);
      return true;
    case SUM:
      fields.sumAt = cursor.at;
      fields.sum = readDouble(cursor);
      return true;
    case SCHEMA:
      fields.schema = readZigzag32(cursor);
      return true;
    case ZERO_THRESHOLD:
      fields.zeroThreshold = readDouble(cursor);
      return true;
    case ZERO_COUNT_INT:
      fields.isZeroFloat = false;
      fields.zeroCount = readUint64Number(cursor);
      return true;
    case ZERO_COUNT_FLOAT:
      fields.isZeroFloat = true;
      fields.zeroCount = readDouble(cursor);
      return true;
    case RESET_HINT:
      fields.resetHint = RESET_HINTS[readVarint32(cursor)] ?? "unknown";
      return true;
    case TIMESTAMP:
      fields.timestampMs = readInt64Number(cursor);
      return true;
    case START_TIMESTAMP:
      fields.startMs = readInt64Number(cursor);
      return true;
    default:
      return false;
  }
}

interface BucketSink {
  readonly fields: Fields;
  readonly budget: WireBudget;
}

function readBuckets(cursor: ProtobufCursor, tag: number, { fields, budget }: BucketSink): boolean {
  const { positive, negative, customValues } = fields;
  switch (tag) {
    case NEGATIVE_SPAN:
      return readSpan(cursor, negative.spans, budget);
    case POSITIVE_SPAN:
      return readSpan(cursor, positive.spans, budget);
    case NEGATIVE_DELTAS:
      return readPacked(cursor, readZigzagNumber, { into: negative.deltas, budget });
    case NEGATIVE_DELTA:
      return readOne(cursor, readZigzagNumber, { into: negative.deltas, budget });
    case NEGATIVE_COUNTS:
      return readPacked(cursor, readDouble, { into: negative.counts, budget });
    case NEGATIVE_COUNT:
      return readOne(cursor, readDouble, { into: negative.counts, budget });
    case POSITIVE_DELTAS:
      return readPacked(cursor, readZigzagNumber, { into: positive.deltas, budget });
    case POSITIVE_DELTA:
      return readOne(cursor, readZigzagNumber, { into: positive.deltas, budget });
    case POSITIVE_COUNTS:
      return readPacked(cursor, readDouble, { into: positive.counts, budget });
    case POSITIVE_COUNT:
      return readOne(cursor, readDouble, { into: positive.counts, budget });
    case CUSTOM_VALUES:
      return readPacked(cursor, readDouble, { into: customValues, budget });
    case CUSTOM_VALUE:
      return readOne(cursor, readDouble, { into: customValues, budget });
    default:
      return false;
  }
}

function readSpan(cursor: ProtobufCursor, into: BucketSpan[], budget: WireBudget): true {
  const outer = enterMessage(cursor);
  takeUnits(budget, cursor.at === cursor.end ? EMPTY_SPAN_UNITS : SPAN_UNITS, cursor.at);
  let offset = 0;
  let length = 0;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === SPAN_OFFSET) offset = readZigzag32(cursor);
    else if (tag === SPAN_LENGTH) length = readVarint32(cursor);
    else if (tag >>> 3 <= SPAN_LAST_FIELD) throw new WireError(`wire type ${tag & 7} in a span`, cursor.at);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outer);
  into.push({ offset, length });
  return true;
}

type ReadNumber = (cursor: ProtobufCursor) => number;

interface NumberSink {
  readonly into: number[];
  readonly budget: WireBudget;
}

function readPacked(cursor: ProtobufCursor, read: ReadNumber, { into, budget }: NumberSink): true {
  const end = readLength(cursor);
  const outer = cursor.end;
  cursor.end = end;
  // Counted first: arrays that grow to the most that is allowed are many times as large as what is refused.
  takeBuckets(budget, countNumbers(cursor, read, budget.buckets), cursor.at);
  while (cursor.at < end) into.push(read(cursor));
  cursor.end = outer;
  return true;
}

/** Numbers from the cursor to its end, at most one more than `max`; where these are cut short, at least one less than there are. */
function countNumbers({ bytes, at, end }: ProtobufCursor, read: ReadNumber, max: number): number {
  if (read === readDouble) return Math.ceil((end - at) / DOUBLE_BYTES);
  let count = 0;
  for (let place = at; place < end && count <= max; place++) {
    if ((bytes[place] as number) < 0x80) count++; // in range: the loop's bounds
  }
  return count;
}

function readOne(cursor: ProtobufCursor, read: ReadNumber, { into, budget }: NumberSink): true {
  takeBuckets(budget, 1, cursor.at);
  into.push(read(cursor));
  return true;
}

function histogramOf(fields: Fields): NativeHistogram {
  const { schema, zeroThreshold, sum, count, isFloat, resetHint, positive, negative } = fields;
  return {
    schema,
    zeroThreshold,
    zeroCount: isFloat === fields.isZeroFloat ? fields.zeroCount : 0,
    count,
    sum,
    positiveSpans: positive.spans,
    positiveCounts: countsOf(positive, isFloat),
    negativeSpans: negative.spans,
    negativeCounts: countsOf(negative, isFloat),
    customValues: Float64Array.from(fields.customValues),
    resetHint,
    integer: !isFloat,
  };
}

function countsOf({ deltas, counts }: Side, isFloat: boolean): Float64Array {
  if (isFloat) return Float64Array.from(counts);
  const absolute = new Float64Array(deltas.length);
  let count = 0;
  for (const [at, delta] of deltas.entries()) {
    count += delta;
    absolute[at] = count;
  }
  return absolute;
}
