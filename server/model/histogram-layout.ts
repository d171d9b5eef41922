/** What neighbouring histograms mostly have in common, and its bytes. */

import { type ByteReader, BytesEndError } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { sameBits } from "./double-codec.ts";
import type { BucketSpan, NativeHistogram } from "./histogram.ts";

const NO_DOUBLES = new Float64Array(0);

/** Which buckets there are. */
export type HistogramLayout = Pick<
  NativeHistogram,
  "schema" | "zeroThreshold" | "positiveSpans" | "negativeSpans" | "customValues"
>;

/** Writes a layout. */
export function writeLayout(out: ByteWriter, layout: HistogramLayout): void {
  out.signed(layout.schema);
  out.float64(layout.zeroThreshold);
  for (const spans of [layout.positiveSpans, layout.negativeSpans]) {
    out.varint(spans.length);
    for (const { offset, length } of spans) {
      out.signed(offset);
      out.varint(length);
    }
  }
  out.varint(layout.customValues.length);
  for (const bound of layout.customValues) out.float64(bound);
}

/** Reads what `writeLayout` wrote. Throws `BytesEndError` where it cannot have written that. */
export function readLayout(reader: ByteReader): HistogramLayout {
  const schema = reader.signed();
  const zeroThreshold = reader.float64();
  const positiveSpans = readSpans(reader);
  const negativeSpans = readSpans(reader);
  const length = reader.varint();
  if (8 * length > reader.left) throw new BytesEndError(reader.at);
  const customValues = length === 0 ? NO_DOUBLES : new Float64Array(length);
  for (let i = 0; i < length; i++) customValues[i] = reader.float64();
  return { schema, zeroThreshold, positiveSpans, negativeSpans, customValues };
}

function readSpans(reader: ByteReader): readonly BucketSpan[] {
  const count = reader.varint();
  if (2 * count > reader.left) throw new BytesEndError(reader.at);
  const spans: BucketSpan[] = [];
  while (spans.length < count) spans.push({ offset: reader.signed(), length: reader.varint() });
  return spans;
}

/** Number of buckets that spans name. */
export function bucketsOf(spans: readonly BucketSpan[]): number {
  let count = 0;
  for (const { length } of spans) count += length;
  return count;
}

/** Whether two histograms have the same buckets, so that counts at the same place can be compared. */
export function haveOneLayout(a: HistogramLayout, b: HistogramLayout): boolean {
  return (
    a.schema === b.schema &&
    sameBits(a.zeroThreshold, b.zeroThreshold) &&
    sameSpans(a.positiveSpans, b.positiveSpans) &&
    sameSpans(a.negativeSpans, b.negativeSpans) &&
    sameDoubles(a.customValues, b.customValues)
  );
}

/** Whether two lists of spans are the same, span by span. */
export function sameSpans(a: readonly BucketSpan[], b: readonly BucketSpan[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i]?.offset !== b[i]?.offset || a[i]?.length !== b[i]?.length) return false;
  return true;
}

function sameDoubles(a: Float64Array, b: Float64Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!sameBits(a[i] ?? 0, b[i] ?? 0)) return false;
  return true;
}
