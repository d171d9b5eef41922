/**
 * OTLP ExportLogsServiceRequest (equally LogsData) in protobuf → columns of log records.
 *
 * @see https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto
 */

import { readValueColumns, type ValueColumns } from "./any-value.ts";
import { LogColumns, type LogDecodeOutcome } from "./log-columns.ts";
import { readAttribute, readEnvelope, readTextIndex } from "./otlp-envelope.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import {
  enterMessage,
  leaveMessage,
  readFixed32,
  readLength,
  readTag,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";

/** One a thread: a request is decoded in one turn. */
const logs = new LogColumns();
const body: ValueColumns = { kind: 0, text: 0 };

/** Decodes a whole request. Never throws on input; bytes that are not protobuf give `malformed`. */
export function decodeLogs(bytes: Uint8Array): LogDecodeOutcome {
  logs.begin(bytes);
  const outcome = readEnvelope(bytes, logs, readRecord);
  return outcome.kind === "malformed" ? outcome : logs.seal(outcome);
}

function readRecord(cursor: ProtobufCursor): void {
  const outerEnd = enterMessage(cursor);
  logs.beginRecord();
  while (cursor.at < cursor.end) readRecordField(cursor);
  leaveMessage(cursor, outerEnd);
  logs.endRecord();
}

function readRecordField(cursor: ProtobufCursor): void {
  const tag = readTag(cursor);
  switch (tag) {
    case 9: {
      const low = readFixed32(cursor);
      logs.time(low, readFixed32(cursor));
      return;
    }
    case 16:
      logs.severityNumber(readVarint32(cursor));
      return;
    case 26:
      logs.severityText(readTextIndex(cursor, logs.texts));
      return;
    case 42:
      readValueColumns(cursor, logs.texts, body);
      logs.body(body.kind, body.text);
      return;
    case 50:
      readAttribute(cursor, logs);
      return;
    case 56:
      logs.droppedAttributes(readVarint32(cursor));
      return;
    case 69:
      logs.flags(readFixed32(cursor));
      return;
    case 74:
    case 82:
      readId(cursor, tag);
      return;
    case 89: {
      const low = readFixed32(cursor);
      logs.observed(low, readFixed32(cursor));
      return;
    }
    case 98:
      logs.eventName(readTextIndex(cursor, logs.texts));
      return;
    default:
      skipField(cursor, tag);
  }
}

function readId(cursor: ProtobufCursor, tag: number): void {
  const end = readLength(cursor);
  const length = end - cursor.at;
  if (tag === 74) logs.traceId(cursor.bytes, cursor.at, length);
  else logs.spanId(cursor.bytes, cursor.at, length);
  cursor.at = end;
}
