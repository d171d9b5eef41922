import assert from "node:assert/strict";
import test from "node:test";
import {
  encodeExportTraceResponse,
  encodeExportTraceResponseJson,
  encodeRpcStatus,
  encodeRpcStatusJson,
} from "./otlp-responses.ts";
import { oracleDecode } from "./trace-oracle.ts";

test("partial success: absent on full success, count and message otherwise", () => {
  const full = { rejectedSpans: 0, message: "" };
  assert.equal(encodeExportTraceResponse(full).length, 0);
  assert.equal(encodeExportTraceResponseJson(full), "{}");
  const partial = { rejectedSpans: 3, message: "span_id_zero: 3" };
  assert.deepEqual(oracleDecode("ExportTraceServiceResponse", encodeExportTraceResponse(partial)), {
    partialSuccess: { rejectedSpans: "3", errorMessage: "span_id_zero: 3" },
  });
  assert.deepEqual(JSON.parse(encodeExportTraceResponseJson(partial)), {
    partialSuccess: { rejectedSpans: "3", errorMessage: "span_id_zero: 3" },
  });
  assert.deepEqual(JSON.parse(encodeExportTraceResponseJson({ rejectedSpans: 0, message: "mended" })), {
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
