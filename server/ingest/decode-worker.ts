/**
 * The thread in which large OTLP requests are decoded: bytes in, columns out, each as one buffer that changes hands.
 */

import { parentPort } from "node:worker_threads";
import { decodeTracesJson } from "../wire/otlp-traces-json.ts";
import { decodeTraces } from "../wire/otlp-traces-protobuf.ts";
import type { DecodeOutcome } from "../wire/span-columns.ts";

/** A request's body. */
export interface DecodeRequest {
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly encoding: "protobuf" | "json";
}

/** What became of it. */
export interface DecodeReply {
  readonly id: number;
  readonly outcome: DecodeOutcome;
}

parentPort?.on("message", ({ id, bytes, encoding }: DecodeRequest) => {
  const outcome = encoding === "json" ? decodeTracesJson(bytes) : decodeTraces(bytes);
  const reply: DecodeReply = { id, outcome };
  // Made by the decoder: all columns of a batch are views of one buffer of their own.
  const buffers = outcome.kind === "decoded" ? [outcome.batch.traceId.buffer as ArrayBuffer] : [];
  parentPort?.postMessage(reply, buffers);
});
