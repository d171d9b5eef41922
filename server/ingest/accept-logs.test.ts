import assert from "node:assert/strict";
import { test } from "node:test";
import { Telemetry } from "../telemetry/telemetry.ts";
import { decodeLogsJson } from "../wire/otlp-logs-json.ts";
import { acceptLogs } from "./accept-logs.ts";

test("acceptLogs: texts that are cut are counted and told", async () => {
  const telemetry = new Telemetry();
  const writer = { commitLogs: async ({ rows }: { rows: number }) => ({ records: rows, sequence: 1 }) };
  const accept = (text: string) => {
    const logRecords = [{ body: { stringValue: text } }];
    const decoded = decodeLogsJson(Buffer.from(JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] })));
    assert.ok(decoded.kind === "decoded");
    const { batch, rejected } = decoded;
    return acceptLogs({ writer, telemetry }, { batch, rejected, mended: new Map(), transport: "http" });
  };
  assert.deepEqual(await accept("short"), { kind: "stored", mended: new Map() });
  assert.deepEqual(await accept("x".repeat(300_000)), { kind: "stored", mended: new Map([["text_length", 1]]) });
  assert.equal(telemetry.value("thalweg_ingest_mended_total", { signal: "logs", what: "text_length" }), 1);
});
