/**
 * An OTLP export of any signal, whatever transport it came by: decode, hand on, word the answer.
 */

import type { OtlpEncoding, OtlpSignal } from "../ingest/decode-request.ts";
import { ThalwegError } from "../model/errors.ts";
import { UNIX_NANO_MAX } from "../wire/halves.ts";
import type { LogRepairs } from "../wire/log-columns.ts";
import type { PartialSuccess } from "../wire/otlp-responses.ts";
import { GRPC_INVALID_ARGUMENT, GRPC_UNAVAILABLE } from "../wire/otlp-responses.ts";
import type { TraceRepairs } from "../wire/span-columns.ts";
import type { ApiDeps, OtlpTransport } from "./api-deps.ts";

/** Seconds after which a sender shall try again where the store gives no figure. */
export const RETRY_AFTER_SECONDS = 5;

const MESSAGES: Readonly<Record<OtlpSignal, string>> = {
  traces: "ExportTraceServiceRequest",
  logs: "ExportLogsServiceRequest",
  metrics: "ExportMetricsServiceRequest",
};
const ITEMS: Readonly<Record<OtlpSignal, string>> = { traces: "spans", logs: "log records", metrics: "data points" };
const NOTHING_REJECTED: PartialSuccess = { rejected: 0, message: "" };

/** What to answer. A failure with `retryAfterSeconds` may be tried again. */
export type ExportOutcome =
  | { readonly kind: "taken"; readonly partial: PartialSuccess }
  | {
      readonly kind: "failed";
      readonly grpcCode: number;
      readonly message: string;
      readonly retryAfterSeconds: number | undefined;
    };

/** A request as it came. */
export interface ExportRequest {
  readonly signal: OtlpSignal;
  readonly body: Uint8Array;
  readonly encoding: OtlpEncoding;
  readonly transport: OtlpTransport;
}

/** Decodes a body and stores what it holds; resolves once that is durable or refused. Never rejects. */
export async function exportRequest(deps: ApiDeps, request: ExportRequest): Promise<ExportOutcome> {
  try {
    switch (request.signal) {
      case "traces":
        return await exportTraces(deps, request);
      case "logs":
        return await exportLogs(deps, request);
      case "metrics":
        return await exportMetrics(deps, request);
    }
  } catch (error) {
    if (error instanceof ThalwegError && error.code === "store_unavailable") {
      deps.countRefused("no_room");
      return unavailable(error.message, RETRY_AFTER_SECONDS);
    }
    deps.log.error({ err: error, signal: request.signal }, "an OTLP request could not be stored");
    return unavailable(`The ${ITEMS[request.signal]} could not be stored. Send them again.`, RETRY_AFTER_SECONDS);
  }
}

async function exportTraces(deps: ApiDeps, { body, encoding, transport }: ExportRequest): Promise<ExportOutcome> {
  const decoded = await deps.decodeOtlp("traces", body, encoding);
  if (decoded.kind === "malformed") return malformed(deps, "traces", encoding, decoded);
  if (decoded.received === 0) return { kind: "taken", partial: NOTHING_REJECTED };
  const { batch, rejected, repaired } = decoded;
  const mended = mendedOf(repaired);
  const outcome = await deps.acceptSpans({ batch, rejected, mended, transport });
  if (outcome.kind === "refused") return unavailable(outcome.reason, outcome.retryAfterSeconds);
  return partialOf(
    "traces",
    [...rejected, ...outcome.rejected],
    [...notesOf("spans", repaired), ...mendedNotes("spans", outcome.mended)],
  );
}

async function exportLogs(deps: ApiDeps, { body, encoding, transport }: ExportRequest): Promise<ExportOutcome> {
  const decoded = await deps.decodeOtlp("logs", body, encoding);
  if (decoded.kind === "malformed") return malformed(deps, "logs", encoding, decoded);
  if (decoded.received === 0) return { kind: "taken", partial: NOTHING_REJECTED };
  const { batch, rejected, repaired } = decoded;
  const mended = mendedOf(repaired);
  const outcome = await deps.acceptLogs({ batch, rejected, mended, transport });
  if (outcome.kind === "refused") return unavailable(outcome.reason, outcome.retryAfterSeconds);
  return partialOf("logs", [...rejected], [...notesOf("records", repaired), ...mendedNotes("records", outcome.mended)]);
}

async function exportMetrics(deps: ApiDeps, { body, encoding, transport }: ExportRequest): Promise<ExportOutcome> {
  const decoded = await deps.decodeOtlp("metrics", body, encoding);
  if (decoded.kind === "malformed") return malformed(deps, "metrics", encoding, decoded);
  if (decoded.received === 0) return { kind: "taken", partial: NOTHING_REJECTED };
  const { rejected, repaired } = decoded;
  const outcome = await deps.acceptMetrics({ decoded, transport });
  if (outcome.kind === "refused") return unavailable(outcome.reason, outcome.retryAfterSeconds);
  const notes = [...outcome.faults, ...notesOf("points", { ...repaired, times: 0, attributes: 0 })];
  const { refusedPoints, refusedFor } = outcome;
  const byStore: [string, number][] = refusedPoints > 0 ? [[refusedFor.join(", "), refusedPoints]] : [];
  return partialOf("metrics", [...rejected, ...byStore], notes);
}

function malformed(
  deps: ApiDeps,
  signal: OtlpSignal,
  encoding: OtlpEncoding,
  { reason, offset }: { readonly reason: string; readonly offset: number },
): ExportOutcome {
  deps.countRefused("malformed");
  const message = `The body is not an ${MESSAGES[signal]} in ${encoding}: ${reason} at ${offset}.`;
  return { kind: "failed", grpcCode: GRPC_INVALID_ARGUMENT, message, retryAfterSeconds: undefined };
}

function unavailable(message: string, retryAfterSeconds: number): ExportOutcome {
  return { kind: "failed", grpcCode: GRPC_UNAVAILABLE, message, retryAfterSeconds };
}

/** Log records have no ends, spans no ids that are left out. */
type Repairs = Readonly<Omit<TraceRepairs, "order">> & Partial<Pick<LogRepairs, "ids"> & Pick<TraceRepairs, "order">>;

/** In the words of `thalweg_ingest_mended_total`. */
function mendedOf({ text, times, order = 0, attributes, values, ids = 0 }: Repairs): Map<string, number> {
  const counts: [string, number][] = [
    ["unicode", text],
    ["clock", times],
    ["end_before_start", order],
    ["attribute_count", attributes],
    ["nesting", values],
    ["trace_context", ids],
  ];
  return new Map(counts.filter(([, count]) => count > 0));
}

function notesOf(rows: string, { text, times, order = 0, attributes, values, ids = 0 }: Repairs): string[] {
  const notes: string[] = [];
  if (text > 0) notes.push(`${text} strings were not valid Unicode and were repaired`);
  if (order > 0) notes.push(`${order} ${rows} ended before they started`);
  if (times > 0) notes.push(`${times} ${rows} named a time after ${UNIX_NANO_MAX} ns`);
  if (attributes > 0) notes.push(`${attributes} attributes left out: repeated key or too many`);
  if (values > 0) notes.push(`${values} attribute values were nested too deeply and were cut`);
  if (ids > 0) notes.push(`${ids} ${rows} had a trace or span id of a wrong length and were kept without it`);
  return notes;
}

/** What ingest mends. */
function mendedNotes(rows: string, mended: ReadonlyMap<string, number>): string[] {
  const notes: string[] = [];
  const texts = mended.get("text_length") ?? 0;
  const parents = mended.get("self_parent") ?? 0;
  if (texts > 0) notes.push(`${texts} texts were longer than is kept and were cut`);
  if (parents > 0) notes.push(`${parents} ${rows} named themselves as their parent and were kept without one`);
  return notes;
}

function partialOf(
  signal: OtlpSignal,
  rejected: readonly (readonly [reason: string, count: number])[],
  notes: readonly string[],
): ExportOutcome {
  let sum = 0;
  const reasons: string[] = [];
  for (const [reason, count] of rejected) {
    sum += count;
    reasons.push(`${count} ${ITEMS[signal]} rejected: ${reason}`);
  }
  return { kind: "taken", partial: { rejected: sum, message: [...reasons, ...notes].join("; ") } };
}
