/**
 * Decodes OTLP requests: small ones at once, large ones in a thread of their own, so that no body holds the loop.
 */

import { Worker } from "node:worker_threads";
import { leaseBatch } from "../model/batch-lease.ts";
import { ThalwegError } from "../model/errors.ts";
import { DEFAULT_TRANSLATION, type OtlpTranslation } from "../wire/otlp-translation.ts";
import { buffersOf, type DecodeOutcomes, decodeRequest, type OtlpEncoding, type OtlpSignal } from "./decode-request.ts";
import type { DecodeReply, DecodeRequest, TranslationChange } from "./decode-worker.ts";

/** Decoding so many bytes takes a tenth of a millisecond, which is what handing them over costs. */
const AT_ONCE_BYTES_MAX = 16 * 1024;
/** Rows of batches that are handed on in one turn of the loop: checking and staging so many takes a millisecond. */
const ROWS_A_TURN = 512;

/**
 * A log record of two bytes becomes a row of 74. So of bodies with log records only so many bytes are decoded ahead of what
 * is handed on, or one body.
 */
const LOGS_AHEAD_BYTES = 2 ** 20;
/** Columns of log records that may be held when a body beyond `LOGS_AHEAD_BYTES` is to be decoded. */
const LOGS_HELD_BYTES = 16 * 2 ** 20;

/**
 * Decodes a request's body, which must not be used afterwards. Rejects where the decoder itself failed, and with
 * `store_unavailable` a large body with log records while too many of others wait to be stored.
 */
export interface OtlpDecoder {
  decode<S extends OtlpSignal>(signal: S, bytes: Uint8Array, encoding: OtlpEncoding): Promise<DecodeOutcomes[S]>;
  /** Sets how metrics of bodies that are given from here on become series; at first by Prometheus' defaults. */
  translate(translation: OtlpTranslation): void;
  close(): Promise<void>;
}

interface Waiting {
  /** Bytes of a body with log records; 0 for other signals. */
  readonly logBytes: number;
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
  #translation = DEFAULT_TRANSLATION;
  #nextId = 1;
  /** Replies that are not handed on yet. The port gives all it has in one turn, which may be dozens. */
  #replies: DecodeReply[] = [];
  /** Bodies with log records that the thread does not have yet. */
  readonly #logs: DecodeRequest[] = [];
  /** Bytes of those that it has, or whose reply is not handed on. */
  #logBytes = 0;
  /** Columns of log records that somebody holds. */
  #logsHeld = 0;

  constructor(workerUrl: URL) {
    this.#workerUrl = workerUrl;
  }

  async decode<S extends OtlpSignal>(signal: S, bytes: Uint8Array, encoding: OtlpEncoding): Promise<DecodeOutcomes[S]> {
    if (bytes.length <= AT_ONCE_BYTES_MAX) return decodeRequest(signal, bytes, encoding, this.#translation);
    const own = ownBytes(bytes);
    const logBytes = signal === "logs" ? own.length : 0;
    const request: DecodeRequest = { id: this.#nextId++, signal, bytes: own, encoding };
    return new Promise((resolve, reject) => {
      // The reply to a request is of the request's signal.
      this.#waiting.set(request.id, { logBytes, resolve: (outcome) => resolve(outcome as DecodeOutcomes[S]), reject });
      if (signal !== "logs") return this.#post(request);
      this.#logs.push(request);
      this.#postLogs();
    });
  }

  translate(translation: OtlpTranslation): void {
    this.#translation = translation;
    if (this.#worker !== undefined) this.#tell(this.#worker);
  }

  /** The thread reads in order: bodies that were posted before are decoded as they would have been. */
  #tell(worker: Worker): void {
    const change: TranslationChange = { translation: this.#translation };
    worker.postMessage(change);
  }

  #post(request: DecodeRequest): void {
    const worker = this.#worker ?? this.#start();
    // `ownBytes` made it: a buffer that is not shared.
    worker.postMessage(request, [request.bytes.buffer as ArrayBuffer]);
  }

  /** Gives the thread what it may decode ahead, and refuses what would become too much. */
  #postLogs(): void {
    for (let next = this.#logs[0]; next !== undefined; next = this.#logs[0]) {
      const { length } = next.bytes;
      if (this.#logBytes > 0 && this.#logBytes + length > LOGS_AHEAD_BYTES) return;
      this.#logs.shift();
      if (length > LOGS_AHEAD_BYTES && this.#logsHeld > LOGS_HELD_BYTES) {
        const why = `${this.#logsHeld} bytes of log records wait to be stored, a large request finds room below ${LOGS_HELD_BYTES}`;
        this.#waiting.get(next.id)?.reject(new ThalwegError("store_unavailable", { why }));
        this.#waiting.delete(next.id);
        continue;
      }
      this.#logBytes += length;
      this.#post(next);
    }
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
    this.#tell(worker);
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
      this.#lease(outcome);
      this.#logBytes -= waiting?.logBytes ?? 0;
      waiting?.resolve(outcome);
    }
    this.#replies.splice(0, taken);
    if (this.#replies.length > 0) setImmediate(() => this.#handOn());
    // What is refused of those is free by then.
    if (this.#logs.length > 0) setImmediate(() => this.#postLogs());
  }

  /** Spans and log records come with a buffer of their own, which is freed once they are stored or refused. */
  #lease(outcome: DecodeOutcomes[OtlpSignal]): void {
    if (outcome.kind !== "decoded" || !("batch" in outcome)) return;
    const [buffer] = buffersOf(outcome);
    if (buffer === undefined) return;
    const held = "traceState" in outcome.batch ? 0 : buffer.byteLength;
    this.#logsHeld += held;
    leaseBatch(outcome.batch, buffer, () => {
      this.#logsHeld -= held;
    });
  }

  #lose(worker: Worker, cause: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#failAll(cause);
  }

  #failAll(cause: Error): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#logs.length = 0;
    this.#logBytes = 0;
    for (const { reject } of waiting) reject(cause);
  }
}

/** Rows that whoever waits has to work on; metrics have none, and as much work. */
function rowsOf(outcome: DecodeOutcomes[OtlpSignal]): number {
  return outcome.kind === "decoded" && "batch" in outcome ? outcome.batch.rows : ROWS_A_TURN;
}

/** Bytes whose buffer holds nothing else; a copy where they share one. */
function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  const alone = buffer instanceof ArrayBuffer && buffer.byteLength === bytes.byteLength;
  return alone ? new Uint8Array(buffer) : new Uint8Array(bytes);
}
