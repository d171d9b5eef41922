/**
 * The thread in which large OTLP requests are decoded: bytes in, columns out, each as one buffer that changes hands.
 */

import { parentPort } from "node:worker_threads";
import { buffersOf, type DecodeOutcomes, decodeRequest, type OtlpEncoding, type OtlpSignal } from "./decode-request.ts";

/** A request's body. */
export interface DecodeRequest {
  readonly id: number;
  readonly signal: OtlpSignal;
  readonly bytes: Uint8Array;
  readonly encoding: OtlpEncoding;
}

/** What became of it. */
export interface DecodeReply {
  readonly id: number;
  readonly outcome: DecodeOutcomes[OtlpSignal];
}

parentPort?.on("message", ({ id, signal, bytes, encoding }: DecodeRequest) => {
  const outcome = decodeRequest(signal, bytes, encoding);
  const reply: DecodeReply = { id, outcome };
  // It came alone in its buffer and is copied; left to the collector, bodies would pile up.
  if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
  parentPort?.postMessage(reply, buffersOf(outcome));
});
