/**
 * The thread in which large OTLP requests are decoded: bytes in, columns out, each as one buffer that changes hands.
 */

import { parentPort } from "node:worker_threads";
import { DEFAULT_TRANSLATION, type OtlpTranslation } from "../wire/otlp-translation.ts";
import { buffersOf, type DecodeOutcomes, decodeRequest, type OtlpEncoding, type OtlpSignal } from "./decode-request.ts";

/** How metrics of the bodies that follow become series; Prometheus' defaults before the first. */
export interface TranslationChange {
  readonly translation: OtlpTranslation;
}

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

let translation = DEFAULT_TRANSLATION;

parentPort?.on("message", (message: DecodeRequest | TranslationChange) => {
  if ("translation" in message) translation = message.translation;
  else decode(message);
});

function decode({ id, signal, bytes, encoding }: DecodeRequest): void {
  const outcome = decodeRequest(signal, bytes, encoding, translation);
  const reply: DecodeReply = { id, outcome };
  // It came alone in its buffer and is copied; left to the collector, bodies would pile up.
  if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
  parentPort?.postMessage(reply, buffersOf(outcome));
}
