/**
 * Bodies that answer an OTLP export, in both encodings.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
 */

import {
  cursorOver,
  enterMessage,
  leaveMessage,
  type ProtobufCursor,
  readByteView,
  readTag,
  readText,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { WireError } from "./wire-error.ts";

/** Longest message of an answer; the rest is cut, since a client may limit what it reads. */
const MESSAGE_CHARACTERS_MAX = 2000;

/** gRPC status codes of refusals. */
export const GRPC_UNKNOWN = 2;
export const GRPC_INVALID_ARGUMENT = 3;
export const GRPC_PERMISSION_DENIED = 7;
export const GRPC_RESOURCE_EXHAUSTED = 8;
export const GRPC_UNIMPLEMENTED = 12;
export const GRPC_UNAVAILABLE = 14;

/** What an export left out. `message` is empty and `rejected` 0 where all was taken as sent. */
export interface PartialSuccess {
  /** Spans, log records or data points. */
  readonly rejected: number;
  readonly message: string;
}

/** The response of any export service in protobuf, whose fields have the same numbers; empty on full success. */
export function encodeExportResponse(partial: PartialSuccess): Uint8Array {
  const writer = new ProtobufWriter();
  if (isPartial(partial)) {
    const message = writer.openMessage(1);
    if (partial.rejected > 0) writer.writeInt64(1, BigInt(partial.rejected));
    if (partial.message !== "") writer.writeText(2, shortened(partial.message));
    writer.closeMessage(message);
  }
  return writer.take();
}

/** Name of the count in JSON by signal. */
const REJECTED_MEMBERS = {
  traces: "rejectedSpans",
  logs: "rejectedLogRecords",
  metrics: "rejectedDataPoints",
} as const;

/** The response of a signal's export service as JSON text; `{}` on full success. */
export function encodeExportResponseJson(signal: keyof typeof REJECTED_MEMBERS, partial: PartialSuccess): string {
  if (!isPartial(partial)) return "{}";
  const members: string[] = [];
  if (partial.rejected > 0) members.push(`"${REJECTED_MEMBERS[signal]}":"${partial.rejected}"`);
  if (partial.message !== "") members.push(`"errorMessage":${JSON.stringify(shortened(partial.message))}`);
  return `{"partialSuccess":{${members.join(",")}}}`;
}

/**
 * google.rpc.Status in protobuf.
 *
 * @param retryAfterSeconds Adds a google.rpc.RetryInfo detail where given.
 */
export function encodeRpcStatus(code: number, message: string, retryAfterSeconds?: number): Uint8Array {
  const writer = new ProtobufWriter();
  if (code !== 0) writer.writeUint32(1, code);
  if (message !== "") writer.writeText(2, shortened(message));
  if (retryAfterSeconds !== undefined) {
    const detail = writer.openMessage(3);
    writer.writeText(1, "type.googleapis.com/google.rpc.RetryInfo");
    const retryInfo = writer.openMessage(2);
    const delay = writer.openMessage(1);
    writer.writeInt64(1, BigInt(retryAfterSeconds));
    writer.closeMessage(delay);
    writer.closeMessage(retryInfo);
    writer.closeMessage(detail);
  }
  return writer.take();
}

/** google.rpc.Status as JSON text. */
export function encodeRpcStatusJson(code: number, message: string): string {
  return JSON.stringify({ code, message: shortened(message) });
}

function isPartial(partial: PartialSuccess): boolean {
  return partial.rejected > 0 || partial.message !== "";
}

function shortened(message: string): string {
  return message.length > MESSAGE_CHARACTERS_MAX ? `${message.slice(0, MESSAGE_CHARACTERS_MAX)}…` : message;
}

/**
 * Reads the response of an export service in protobuf. Bytes that are none say that nothing was left out: a receiver may
 * answer without a body.
 */
export function decodeExportResponse(bytes: Uint8Array): PartialSuccess {
  let rejected = 0;
  let message = "";
  const cursor = cursorOver(bytes);
  try {
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag !== 10) {
        skipField(cursor, tag);
        continue;
      }
      const outerEnd = enterMessage(cursor);
      while (cursor.at < cursor.end) {
        const field = readTag(cursor);
        if (field === 8) rejected = readVarint32(cursor);
        else if (field === 18) message = readText(cursor);
        else skipField(cursor, field);
      }
      leaveMessage(cursor, outerEnd);
    }
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return { rejected: 0, message: "" };
  }
  return { rejected, message };
}

/** Seconds of google.rpc.RetryInfo in a google.rpc.Status in protobuf; undefined where there is none. */
export function decodeRetryInfo(bytes: Uint8Array): number | undefined {
  const cursor = cursorOver(bytes);
  try {
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag !== 26) skipField(cursor, tag);
      else {
        const seconds = retrySeconds(cursor);
        if (seconds !== undefined) return seconds;
      }
    }
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
  }
  return undefined;
}

/** Reads a google.protobuf.Any. */
function retrySeconds(cursor: ProtobufCursor): number | undefined {
  const outerEnd = enterMessage(cursor);
  let type = "";
  let value: Uint8Array = new Uint8Array(0);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) type = readText(cursor);
    else if (tag === 18) value = readByteView(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  if (!type.endsWith("google.rpc.RetryInfo")) return undefined;
  const inner = cursorOver(value);
  let seconds = 0;
  while (inner.at < inner.end) {
    const tag = readTag(inner);
    if (tag !== 10) {
      skipField(inner, tag);
      continue;
    }
    const end = enterMessage(inner);
    while (inner.at < inner.end) {
      const field = readTag(inner);
      if (field === 8) seconds += readVarint32(inner);
      else if (field === 16) seconds += readVarint32(inner) / 1e9;
      else skipField(inner, field);
    }
    leaveMessage(inner, end);
  }
  return seconds;
}
