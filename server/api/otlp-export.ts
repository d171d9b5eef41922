/**
 * An OTLP export of traces, whatever transport it came by: decode, hand on, word the answer.
 */

import { UNIX_NANO_MAX } from "../wire/halves.ts";
import type { PartialSuccess } from "../wire/otlp-responses.ts";
import { GRPC_INVALID_ARGUMENT, GRPC_UNAVAILABLE } from "../wire/otlp-responses.ts";
import type { DecodeOutcome, TraceRepairs } from "../wire/span-columns.ts";
import type { ApiDeps, SpanTransport } from "./api-deps.ts";

/** Seconds after which a sender shall try again where the store gives no figure. */
export const RETRY_AFTER_SECONDS = 5;

/** Encodings of an export request. */
export type TraceEncoding = "protobuf" | "json";

/** What to answer. A failure with `retryAfterSeconds` may be tried again. */
export type ExportOutcome =
  | { readonly kind: "taken"; readonly partial: PartialSuccess }
  | {
      readonly kind: "failed";
      readonly grpcCode: number;
      readonly message: string;
      readonly retryAfterSeconds: number | undefined;
    };

/** Decodes `body` and stores its spans; resolves once they are durable or refused. Never rejects. */
export async function exportTraces(
  deps: ApiDeps,
  body: Uint8Array,
  encoding: TraceEncoding,
  transport: SpanTransport,
): Promise<ExportOutcome> {
  const decoded = await decode(deps, body, encoding);
  if (decoded === undefined)
    return unavailable("The request could not be decoded. Send it again.", RETRY_AFTER_SECONDS);
  if (decoded.kind === "malformed") {
    const message = `The body is not an ExportTraceServiceRequest in ${encoding}: ${decoded.reason} at ${decoded.offset}.`;
    return { kind: "failed", grpcCode: GRPC_INVALID_ARGUMENT, message, retryAfterSeconds: undefined };
  }
  if (decoded.received === 0) return { kind: "taken", partial: { rejectedSpans: 0, message: "" } };
  try {
    const { batch, rejected, repaired } = decoded;
    const outcome = await deps.acceptSpans({ batch, rejected, mended: mendedOf(repaired), transport });
    if (outcome.kind === "refused") return unavailable(outcome.reason, outcome.retryAfterSeconds);
    return { kind: "taken", partial: partialOf(rejected, outcome.rejected, repaired) };
  } catch (error) {
    deps.log.error({ err: error }, "spans could not be stored");
    return unavailable("The spans could not be stored. Send them again.", RETRY_AFTER_SECONDS);
  }
}

async function decode(deps: ApiDeps, body: Uint8Array, encoding: TraceEncoding): Promise<DecodeOutcome | undefined> {
  try {
    return await deps.decodeTraces(body, encoding);
  } catch (error) {
    deps.log.error({ err: error }, "the decoder failed");
    return undefined;
  }
}

function unavailable(message: string, retryAfterSeconds: number): ExportOutcome {
  return { kind: "failed", grpcCode: GRPC_UNAVAILABLE, message, retryAfterSeconds };
}

function mendedOf({ text, times, attributes, values }: Readonly<TraceRepairs>): Map<string, number> {
  const mended = new Map<string, number>();
  if (text > 0) mended.set("unicode", text);
  if (times > 0) mended.set("clock", times);
  if (attributes > 0) mended.set("attribute_count", attributes);
  if (values > 0) mended.set("nesting", values);
  return mended;
}

function partialOf(
  byDecoder: ReadonlyMap<string, number>,
  byIngest: ReadonlyMap<string, number>,
  repaired: Readonly<TraceRepairs>,
): PartialSuccess {
  let rejectedSpans = 0;
  const notes: string[] = [];
  for (const [reason, count] of [...byDecoder, ...byIngest]) {
    rejectedSpans += count;
    notes.push(`${count} spans rejected: ${reason}`);
  }
  if (repaired.text > 0) notes.push(`${repaired.text} strings were not valid Unicode and were repaired`);
  if (repaired.times > 0) notes.push(`${repaired.times} spans ended before they started or after ${UNIX_NANO_MAX} ns`);
  if (repaired.attributes > 0) notes.push(`${repaired.attributes} attributes left out: repeated key or too many`);
  if (repaired.values > 0) notes.push(`${repaired.values} attribute values were nested too deeply and were cut`);
  return { rejectedSpans, message: notes.join("; ") };
}
