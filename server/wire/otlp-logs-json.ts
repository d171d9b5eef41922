/**
 * OTLP ExportLogsServiceRequest (equally LogsData) in JSON → columns of log records.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 */

import { readValueJson } from "./any-value-json.ts";
import type { JsonCursor } from "./json-reader.ts";
import { firstKey, nextKey, readString, readUint32Json, skipNull, skipValue } from "./json-reader.ts";
import { LogColumns, type LogDecodeOutcome } from "./log-columns.ts";
import { readAttributesJson, readEnvelopeJson } from "./otlp-envelope.ts";
import { readEnumNumber, readHalves, readHexBytes } from "./otlp-json-values.ts";

const NAMES = { resources: "resourceLogs", scopes: "scopeLogs", items: "logRecords" };
const SEVERITY_NAMES = [
  "SEVERITY_NUMBER_UNSPECIFIED",
  ...["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"].flatMap((word) =>
    ["", "2", "3", "4"].map((finer) => `SEVERITY_NUMBER_${word}${finer}`),
  ),
];

/** One a thread: a request is decoded in one turn. */
const logs = new LogColumns();
const NO_BYTES = new Uint8Array(0);
const takeTime = (low: number, high: number) => logs.time(low, high);
const takeObserved = (low: number, high: number) => logs.observed(low, high);

/** Decodes a whole request. Never throws on input; bytes that are not OTLP JSON give `malformed`. */
export function decodeLogsJson(bytes: Uint8Array): LogDecodeOutcome {
  logs.begin(NO_BYTES);
  const outcome = readEnvelopeJson(bytes, NAMES, logs, readRecord);
  return outcome.kind === "malformed" ? outcome : logs.seal(outcome);
}

/** `null` in a list is an empty message. */
function readRecord(cursor: JsonCursor): void {
  logs.beginRecord();
  if (!skipNull(cursor)) {
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (!skipNull(cursor)) readRecordMember(cursor, name);
    }
  }
  logs.endRecord();
}

function readRecordMember(cursor: JsonCursor, name: string): void {
  switch (name) {
    case "timeUnixNano":
      readHalves(cursor, takeTime);
      return;
    case "observedTimeUnixNano":
      readHalves(cursor, takeObserved);
      return;
    case "severityNumber":
      logs.severityNumber(readEnumNumber(cursor, SEVERITY_NAMES));
      return;
    case "severityText":
      logs.severityText(logs.texts.shared(readString(cursor)));
      return;
    case "eventName":
      logs.eventName(logs.texts.shared(readString(cursor)));
      return;
    case "body": {
      const { kind, value } = readValueJson(cursor);
      logs.body(kind.charCodeAt(0), logs.texts.shared(value));
      return;
    }
    case "attributes":
      readAttributesJson(cursor, logs);
      return;
    case "droppedAttributesCount":
      logs.droppedAttributes(readUint32Json(cursor));
      return;
    case "flags":
      logs.flags(readUint32Json(cursor));
      return;
    case "traceId": {
      const id = readHexBytes(cursor);
      logs.traceId(id, 0, id.length);
      return;
    }
    case "spanId": {
      const id = readHexBytes(cursor);
      logs.spanId(id, 0, id.length);
      return;
    }
    default:
      skipValue(cursor);
  }
}
