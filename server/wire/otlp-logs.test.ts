import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogBatch } from "../model/log-batch.ts";
import { textReader } from "../model/text-table.ts";
import type { LogDecodeOutcome } from "./log-columns.ts";
import { decodeLogsJson } from "./otlp-logs-json.ts";
import { decodeLogs } from "./otlp-logs-protobuf.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";

const TRACE_ID = "5b8efff798038103d269b633813fc60c";

function batchOf(outcome: LogDecodeOutcome): LogBatch {
  if (outcome.kind === "malformed") assert.fail(outcome.reason);
  assert.equal(outcome.received, 2);
  return outcome.batch;
}

function writeText(writer: ProtobufWriter, field: number, text: string): void {
  const value = writer.openMessage(field);
  writer.writeText(1, text);
  writer.closeMessage(value);
}

/** Two records of one service. */
function protobuf(): Uint8Array {
  const writer = new ProtobufWriter();
  const resourceLogs = writer.openMessage(1);
  const resource = writer.openMessage(1);
  const pair = writer.openMessage(1);
  writer.writeText(1, "service.name");
  writeText(writer, 2, "shop");
  writer.closeMessage(pair);
  writer.closeMessage(resource);
  const scopeLogs = writer.openMessage(2);
  for (const text of ["paid", "shipped"]) {
    const record = writer.openMessage(2);
    writer.writeFixed64(1, 1_700_000_000_000_000_001n);
    writer.writeUint32(2, 9);
    writer.writeText(3, "INFO");
    writeText(writer, 5, text);
    writer.writeBytes(9, Buffer.from(TRACE_ID, "hex"));
    writer.closeMessage(record);
  }
  writer.closeMessage(scopeLogs);
  writer.closeMessage(resourceLogs);
  return writer.take();
}

test("log records in protobuf and in JSON give the same columns", () => {
  const json = {
    resourceLogs: [
      {
        resource: { attributes: [{ key: "service.name", value: { stringValue: "shop" } }] },
        scopeLogs: [
          {
            logRecords: ["paid", "shipped"].map((text) => ({
              timeUnixNano: "1700000000000000001",
              severityNumber: 9,
              severityText: "INFO",
              body: { stringValue: text },
              traceId: TRACE_ID,
            })),
          },
        ],
      },
    ],
  };
  const left = batchOf(decodeLogs(protobuf()));
  const right = batchOf(decodeLogsJson(Buffer.from(JSON.stringify(json))));
  for (const batch of [left, right]) {
    const text = textReader(batch.text);
    assert.deepEqual([...batch.body].map(text), ["paid", "shipped"]);
    assert.deepEqual([...batch.severityText].map(text), ["INFO", "INFO"]);
    assert.equal(batch.resources[0]?.service, "shop");
  }
  assert.deepEqual(left.traceId, right.traceId);
  assert.deepEqual(left.timeNs, right.timeNs);
  assert.deepEqual(left.severityNumber, right.severityNumber);
});

test("log records cut at any byte never throw", () => {
  const bytes = protobuf();
  for (let length = 0; length < bytes.length; length++) {
    const outcome = decodeLogs(bytes.subarray(0, length));
    assert.ok(outcome.kind === "malformed" || outcome.received < 2);
  }
});
