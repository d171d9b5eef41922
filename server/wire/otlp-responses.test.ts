import assert from "node:assert/strict";
import test from "node:test";
import {
  encodeExportResponse,
  encodeExportResponseJson,
  encodeRpcStatus,
  encodeRpcStatusJson,
} from "./otlp-responses.ts";
import { oracleDecode } from "./trace-oracle.ts";

test("partial success: absent on full success, count and message otherwise", () => {
  const full = { rejected: 0, message: "" };
  assert.equal(encodeExportResponse(full).length, 0);
  assert.equal(encodeExportResponseJson("traces", full), "{}");
  const partial = { rejected: 3, message: "span_id_zero: 3" };
  assert.deepEqual(oracleDecode("ExportTraceServiceResponse", encodeExportResponse(partial)), {
    partialSuccess: { rejectedSpans: "3", errorMessage: "span_id_zero: 3" },
  });
  for (const [signal, member] of [
    ["traces", "rejectedSpans"],
    ["logs", "rejectedLogRecords"],
    ["metrics", "rejectedDataPoints"],
  ] as const) {
    assert.deepEqual(JSON.parse(encodeExportResponseJson(signal, partial)), {
      partialSuccess: { [member]: "3", errorMessage: "span_id_zero: 3" },
    });
  }
  assert.deepEqual(JSON.parse(encodeExportResponseJson("traces", { rejected: 0, message: "mended" })), {
    partialSuccess: { errorMessage: "mended" },
  });
});

test("google.rpc.Status with retry delay, and a long message cut", () => {
  assert.deepEqual(oracleDecode("RpcStatus", encodeRpcStatus(14, "later", 7)), {
    code: 14,
    message: "later",
    details: [
      {
        typeUrl: "type.googleapis.com/google.rpc.RetryInfo",
        value: Buffer.from([0x0a, 0x02, 0x08, 0x07]).toString("base64"),
      },
    ],
  });
  assert.deepEqual(JSON.parse(encodeRpcStatusJson(3, "bad")), { code: 3, message: "bad" });
  assert.ok(encodeRpcStatusJson(3, "x".repeat(100_000)).length < 2100);
});
