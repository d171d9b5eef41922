/**
 * The span room's way out.
 */

import type { Resource } from "../../server/model/span-batch.ts";
import type { SpanToAppend } from "../../server/model/span-batch-builder.ts";

/** Receives finished spans one by one, in the order in which they are settled. Calls are synchronous. */
export interface FinishedSpanSink {
  /**
   * @param resource Process the span belongs to; one object per process, told apart by identity.
   * @param span Valid during the call only; `resource` and `scope` are for the receiver to set.
   */
  finished(resource: Resource, span: SpanToAppend): void;
}
