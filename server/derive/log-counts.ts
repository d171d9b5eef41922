/** Counts by logarithmic latency bucket (`model/log-histogram.ts`), dense between the lowest and highest bucket seen. */

import type { ByteReader } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";

/** Bucket of the longest time a span can state, 2^64 ns. */
const LOG_BUCKET_MAX = 64 * 8;

/** `counts[i]` belongs to bucket `first + i`. */
export interface LogCounts {
  first: number;
  counts: Float64Array;
}

/** No counts yet. */
export function emptyLogCounts(): LogCounts {
  return { first: 0, counts: new Float64Array(0) };
}

/** Adds `weight` to a bucket. */
export function addLogCount(log: LogCounts, bucket: number, weight: number): void {
  const at = bucket - log.first;
  if (at < 0 || at >= log.counts.length) widen(log, bucket);
  const index = bucket - log.first;
  log.counts[index] = (log.counts[index] ?? 0) + weight;
}

/** Bucket index and count of buckets that are not empty, by index. */
export function sparseLogCounts(log: LogCounts): [index: number, count: number][] {
  const sparse: [number, number][] = [];
  for (const [at, count] of log.counts.entries()) if (count !== 0) sparse.push([log.first + at, count]);
  return sparse;
}

/** Writes the counts; `readLogCounts` reads them. */
export function writeLogCounts(out: ByteWriter, log: LogCounts): void {
  out.varint(log.first);
  out.varint(log.counts.length);
  for (const count of log.counts) out.varint(count);
}

/** Reads what `writeLogCounts` wrote. Throws BytesEndError where bytes are missing. */
export function readLogCounts(reader: ByteReader): LogCounts {
  const first = reader.varint();
  const length = reader.varint();
  if (first + length > LOG_BUCKET_MAX + 1) throw new RangeError(`log bucket ${first + length} cannot be`);
  const counts = new Float64Array(length);
  for (let at = 0; at < length; at++) counts[at] = reader.varint();
  return { first, counts };
}

function widen(log: LogCounts, bucket: number): void {
  const empty = log.counts.length === 0;
  const first = empty ? bucket : Math.min(log.first, bucket);
  const end = empty ? bucket + 1 : Math.max(log.first + log.counts.length, bucket + 1);
  const counts = new Float64Array(end - first);
  counts.set(log.counts, empty ? 0 : log.first - first);
  log.first = first;
  log.counts = counts;
}
