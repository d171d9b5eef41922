/**
 * Decodes OTLP requests: small ones at once, large ones in a thread of their own, so that no body holds the loop.
 */

import { Worker } from "node:worker_threads";
import { leaseBatch } from "../model/batch-lease.ts";
import { buffersOf, type DecodeOutcomes, decodeRequest, type OtlpEncoding, type OtlpSignal } from "./decode-request.ts";
import type { DecodeReply, DecodeRequest } from "./decode-worker.ts";

/** Decoding so many bytes takes a tenth of a millisecond, which is what handing them over costs. */
const AT_ONCE_BYTES_MAX = 16 * 1024;
/** Rows of batches that are handed on in one turn of the loop: checking and staging so many takes some milliseconds. */
const ROWS_A_TURN = 2_048;

/** Decodes a request's body, which must not be used afterwards. Rejects where the decoder itself failed. */
export interface OtlpDecoder {
  decode<S extends OtlpSignal>(signal: S, bytes: Uint8Array, encoding: OtlpEncoding): Promise<DecodeOutcomes[S]>;
  close(): Promise<void>;
}

interface Waiting {
  readonly resolve: (outcome: DecodeOutcomes[OtlpSignal]) => void;
  readonly reject: (error: Error) => void;
}

/** Where the worker's code is in a clone; bundles say where theirs is. */
function workerOfClone(): URL {
  return new URL("./decode-worker.ts", import.meta.url);
}

/** Opens a decoder; its thread starts with the first large request and again after it failed. */
export function openOtlpDecoder(workerUrl: URL = workerOfClone()): OtlpDecoder {
  return new ThreadDecoder(workerUrl);
}

/** How many bodies wait is bounded by whoever holds them: the budget of all bodies. */
class ThreadDecoder implements OtlpDecoder {
  readonly #workerUrl: URL;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #nextId = 1;
  /** Replies that are not handed on yet. The port gives all it has in one turn, which may be dozens. */
  #replies: DecodeReply[] = [];

  constructor(workerUrl: URL) {
    this.#workerUrl = workerUrl;
  }

  async decode<S extends OtlpSignal>(signal: S, bytes: Uint8Array, encoding: OtlpEncoding): Promise<DecodeOutcomes[S]> {
    if (bytes.length <= AT_ONCE_BYTES_MAX) return decodeRequest(signal, bytes, encoding);
    const worker = this.#worker ?? this.#start();
    const own = ownBytes(bytes);
    const request: DecodeRequest = { id: this.#nextId++, signal, bytes: own, encoding };
    return new Promise((resolve, reject) => {
      // The reply to a request is of the request's signal.
      this.#waiting.set(request.id, { resolve: (outcome) => resolve(outcome as DecodeOutcomes[S]), reject });
      worker.postMessage(request, [own.buffer]);
    });
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#failAll(new Error("the decoder is stopping"));
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(this.#workerUrl, { name: "otlp" });
    this.#worker = worker;
    worker.on("message", (reply: DecodeReply) => {
      if (this.#replies.push(reply) === 1) setImmediate(() => this.#handOn());
    });
    worker.on("error", (cause) => this.#lose(worker, cause instanceof Error ? cause : new Error(String(cause))));
    worker.on("exit", () => this.#lose(worker, new Error("the decoder's thread ended")));
    worker.unref();
    return worker;
  }

  /** Hands on some replies in order, and the others in later turns. */
  #handOn(): void {
    let taken = 0;
    for (let rows = 0; taken < this.#replies.length && rows < ROWS_A_TURN; taken++) {
      const reply = this.#replies[taken];
      if (reply === undefined) break;
      const { id, outcome } = reply;
      rows += rowsOf(outcome);
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      lease(outcome);
      waiting?.resolve(outcome);
    }
    this.#replies.splice(0, taken);
    if (this.#replies.length > 0) setImmediate(() => this.#handOn());
  }

  #lose(worker: Worker, cause: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#failAll(cause);
  }

  #failAll(cause: Error): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(cause);
  }
}

/** Rows that whoever waits has to work on; metrics have none, and as much work. */
function rowsOf(outcome: DecodeOutcomes[OtlpSignal]): number {
  return outcome.kind === "decoded" && "batch" in outcome ? outcome.batch.rows : ROWS_A_TURN;
}

/** Spans come with a buffer of their own, which is freed once they are stored. */
function lease(outcome: DecodeOutcomes[OtlpSignal]): void {
  if (outcome.kind !== "decoded" || !("batch" in outcome) || !("traceState" in outcome.batch)) return;
  const [buffer] = buffersOf(outcome);
  if (buffer !== undefined) leaseBatch(outcome.batch, buffer);
}

/** Bytes whose buffer holds nothing else; a copy where they share one. */
function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  const alone = buffer instanceof ArrayBuffer && buffer.byteLength === bytes.byteLength;
  return alone ? new Uint8Array(buffer) : new Uint8Array(bytes);
}
