/** A span read back from the store. */

import type { Attribute } from "./span-batch.ts";

/** One stored span, whole. Ids are lower-case hex; `parentSpanId` is empty for a root. */
export interface StoredSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly service: string;
  readonly instance: string;
  readonly name: string;
  readonly kind: number;
  readonly status: number;
  readonly statusMessage: string;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly source: string;
  readonly linkReason: string;
  readonly traceState: string;
  readonly flags: number;
  readonly scopeName: string;
  readonly scopeVersion: string;
  /** `Scope.rest`, `Resource.rest`. */
  readonly scopeRest: string;
  readonly resourceRest: string;
  readonly resource: readonly Attribute[];
  readonly attributes: readonly Attribute[];
  /** OTLP protobuf, tags included, as in `SpanBatch`. */
  readonly events: Uint8Array;
  readonly links: Uint8Array;
}
