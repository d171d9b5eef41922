/**
 * Log records in columns: what the decoders of OTLP produce and the store consumes.
 *
 * Invariants as of `SpanBatch`: every column has `rows` entries; text 0 is the empty one; attributes of row `r` are
 * entries `attributeEnd[r-1] ?? 0` to `attributeEnd[r]`. A sealed batch is immutable and may cross a worker boundary.
 */

import type { Resource, Scope } from "./span-batch.ts";
import type { TextTable } from "./text-table.ts";

/** Log records in columns. `Text` columns are indices into `text`. */
export interface LogBatch {
  readonly rows: number;
  readonly text: TextTable;
  readonly resources: readonly Resource[];
  readonly scopes: readonly Scope[];
  /** Index into `resources`. */
  readonly resource: Uint32Array;
  /** Index into `scopes`. */
  readonly scope: Uint32Array;
  /** Two entries a row: high 64 bits, low 64 bits; zeros where the record belongs to no trace. */
  readonly traceId: BigUint64Array;
  /** 0 where the record belongs to no span. */
  readonly spanId: BigUint64Array;
  /** Unix nanoseconds of the event; 0 where the sender did not know it. */
  readonly timeNs: BigInt64Array;
  /** Unix nanoseconds at which it was observed; 0 where the sender did not say. */
  readonly observedNs: BigInt64Array;
  /** 1 to 24 as OTLP has them, finest first; 0 unspecified. */
  readonly severityNumber: Uint8Array;
  readonly severityText: Uint32Array;
  readonly body: Uint32Array;
  /** Char code of the `AttributeKind` of the body. */
  readonly bodyKind: Uint8Array;
  readonly eventName: Uint32Array;
  readonly flags: Uint32Array;
  /** Attributes left out before the record was sent. */
  readonly droppedAttributes: Uint32Array;
  readonly attributeEnd: Uint32Array;
  readonly attributeKey: Uint32Array;
  /** Char code of an `AttributeKind`. */
  readonly attributeKind: Uint8Array;
  readonly attributeValue: Uint32Array;
}
