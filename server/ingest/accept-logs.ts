/**
 * The way in for log records: cut what is too long, store, count, and say what became of them.
 *
 * Invariant: `received = stored + rejected` holds in the counters of the signal `logs` whenever no request is under way.
 */

import { releaseBatch, shareLease } from "../model/batch-lease.ts";
import { ThalwegError } from "../model/errors.ts";
import type { LogBatch } from "../model/log-batch.ts";
import type { StoreWriter } from "../store/writer.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";
import { NAME_UNITS_MAX, ShortTexts, shortResources, VALUE_UNITS_MAX } from "./short-texts.ts";

/** UTF-16 units of a record's body. */
const BODY_UNITS_MAX = 262_144;
const RETRY_AFTER_SECONDS = 2;

/** Records that arrived in one request, and what the decoder left out or mended of them, by reason. */
export interface ReceivedLogs {
  readonly batch: LogBatch;
  readonly rejected: ReadonlyMap<string, number>;
  readonly mended: ReadonlyMap<string, number>;
  readonly transport: "grpc" | "http";
}

/** What became of them. */
export type LogsOutcome =
  | {
      readonly kind: "stored";
      /** What was mended here, in the words of `thalweg_ingest_mended_total`. */
      readonly mended: ReadonlyMap<string, number>;
    }
  | { readonly kind: "refused"; readonly reason: string; readonly retryAfterSeconds: number };

/** Stores the records of a request; resolves once they are durable, and lets go of the batch. */
export async function acceptLogs(
  deps: { readonly writer: Pick<StoreWriter, "commitLogs">; readonly telemetry: Telemetry },
  received: ReceivedLogs,
): Promise<LogsOutcome> {
  try {
    return await storeLogs(deps, received);
  } finally {
    releaseBatch(received.batch);
  }
}

async function storeLogs(
  deps: { readonly writer: Pick<StoreWriter, "commitLogs">; readonly telemetry: Telemetry },
  { batch, rejected, mended, transport }: ReceivedLogs,
): Promise<LogsOutcome> {
  const { writer, telemetry } = deps;
  const reject = (reason: string, count: number) =>
    telemetry.count("thalweg_ingest_rejected_total", { signal: "logs", reason }, count);
  let received = batch.rows;
  for (const [reason, count] of rejected) {
    received += count;
    reject(reason, count);
  }
  telemetry.count("thalweg_ingest_received_total", { signal: "logs", transport }, received);
  if (batch.rows === 0) return { kind: "stored", mended: new Map() };
  const short = shortLogs(batch);
  shareLease(batch, short.batch);
  try {
    const receipt = await writer.commitLogs(short.batch);
    telemetry.count("thalweg_ingest_stored_total", { signal: "logs" }, receipt.records);
  } catch (error) {
    reject("store_unavailable", batch.rows);
    if (!(error instanceof ThalwegError) || error.code !== "store_unavailable") throw error;
    return { kind: "refused", reason: error.message, retryAfterSeconds: RETRY_AFTER_SECONDS };
  }
  const cut = new Map(short.count > 0 ? [["text_length", short.count]] : []);
  for (const [what, count] of [...mended, ...cut]) {
    telemetry.count("thalweg_ingest_mended_total", { signal: "logs", what }, count);
  }
  return { kind: "stored", mended: cut };
}

/** The batch with texts cut to their limits, and how many were. */
function shortLogs(batch: LogBatch): { readonly batch: LogBatch; readonly count: number } {
  const texts = new ShortTexts(batch.text);
  const short = shortResources(batch.resources);
  const resources = short?.resources ?? batch.resources;
  if (!texts.hasLong) return { batch: short === undefined ? batch : { ...batch, resources }, count: short?.count ?? 0 };
  const columns = {
    severityText: batch.severityText.map((index) => texts.short(index, NAME_UNITS_MAX)),
    eventName: batch.eventName.map((index) => texts.short(index, NAME_UNITS_MAX)),
    bodyKind: batch.bodyKind.map((kind, row) => texts.shortKind(kind, batch.body[row] ?? 0, BODY_UNITS_MAX)),
    body: batch.body.map((index) => texts.short(index, BODY_UNITS_MAX)),
    attributeKey: batch.attributeKey.map((index) => texts.short(index, NAME_UNITS_MAX)),
    attributeKind: batch.attributeKind.map((kind, at) =>
      texts.shortKind(kind, batch.attributeValue[at] ?? 0, VALUE_UNITS_MAX),
    ),
    attributeValue: batch.attributeValue.map((index) => texts.short(index, VALUE_UNITS_MAX)),
  };
  const count = texts.count + (short?.count ?? 0);
  return { batch: { ...batch, ...columns, resources, text: texts.table }, count };
}
