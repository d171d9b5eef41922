/**
 * Reads a request's body into memory, decompressed, within limits that also stop decompression bombs.
 *
 * Invariant: bytes taken from the budget are given back when the body is refused, or by `release`.
 */

import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import type { ByteBudget } from "./byte-budget.ts";

/** Largest body, before and after decompression. */
export const BODY_BYTES_MAX = 64 * 2 ** 20;
/** Bytes of all bodies that are being read or answered at a time. */
export const BODIES_BYTES_MAX = 256 * 2 ** 20;
/** How long the rest of a refused body is read, so that its sender gets to read the answer. */
const PASS_OVER_MS = 1_000;
/** Output of the decompressor per step. */
const CHUNK_BYTES = 64 * 1024;

/** The largest single body, and what all of them may take together. */
export interface BodyLimits {
  readonly bytesMax: number;
  readonly budget: ByteBudget;
}

/** A body in memory, or why there is none with the HTTP status that says so. */
export type BodyOutcome =
  | { readonly kind: "body"; readonly bytes: Buffer; release(): void }
  | { readonly kind: "refused"; readonly status: 400 | 413 | 503; readonly reason: string };

/** Reads and decompresses (`gzip`, `zstd`, `deflate`). Call `release` once the bytes are no longer needed. */
export async function readBody(request: IncomingMessage, limits: BodyLimits): Promise<BodyOutcome> {
  const encoding = (request.headers["content-encoding"] ?? "").trim().toLowerCase();
  const plain = encoding === "" || encoding === "identity";
  if (!plain && !DECOMPRESSORS.has(encoding)) {
    return refused(400, "Content-Encoding is not one of gzip, zstd, deflate, identity");
  }
  const raw = await collect(request, limits);
  if (raw.kind === "refused" || plain) return raw;
  const decompressed = await decompress(raw.bytes, encoding, limits);
  raw.release();
  return decompressed;
}

const DECOMPRESSORS: ReadonlyMap<string, () => ReturnType<typeof createGunzip>> = new Map([
  ["gzip", () => createGunzip({ chunkSize: CHUNK_BYTES })],
  ["x-gzip", () => createGunzip({ chunkSize: CHUNK_BYTES })],
  ["deflate", () => createInflate({ chunkSize: CHUNK_BYTES })],
  ["zstd", () => createZstdDecompress({ chunkSize: CHUNK_BYTES })],
]);

/** Reads a body as it came, whatever its encoding. Call `release` once the bytes are no longer needed. */
export function readRawBody(request: IncomingMessage, limits: BodyLimits): Promise<BodyOutcome> {
  return collect(request, limits);
}

async function collect(request: IncomingMessage, limits: BodyLimits): Promise<BodyOutcome> {
  const announced = Number(request.headers["content-length"] ?? "0");
  const outcome =
    announced > limits.bytesMax ? tooLarge(limits.bytesMax) : await gather(request, limits, "the body was cut short");
  if (outcome.kind === "refused") await passOver(request);
  return outcome;
}

/** Reads on for a moment without keeping anything: an answer that overtakes the body is lost when the socket closes. */
function passOver(request: IncomingMessage): Promise<void> {
  if (request.complete || request.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const impatient = setTimeout(resolve, PASS_OVER_MS);
    const done = () => {
      clearTimeout(impatient);
      resolve();
    };
    request.once("end", done).once("close", done).resume();
  });
}

async function decompress(raw: Buffer, encoding: string, limits: BodyLimits): Promise<BodyOutcome> {
  const make = DECOMPRESSORS.get(encoding);
  if (make === undefined) throw new Error(`no decompressor for ${encoding}`);
  const stream = make();
  stream.end(raw);
  const outcome = await gather(stream, limits, `the body is not valid ${encoding}`);
  stream.destroy();
  return outcome;
}

/** Collects a stream; `broken` says what an error of the stream means. */
async function gather(stream: Readable, { bytesMax, budget }: BodyLimits, broken: string): Promise<BodyOutcome> {
  const chunks: Buffer[] = [];
  let held = 0;
  const giveUp = (outcome: BodyOutcome): BodyOutcome => {
    budget.give(held);
    return outcome;
  };
  try {
    // The stream stays whole when the loop ends early: destroying a request would cut off its answer.
    for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      if (held + chunk.length > bytesMax) return giveUp(tooLarge(bytesMax));
      if (!budget.take(chunk.length)) {
        return giveUp(
          refused(503, `bodies of other requests fill the ${budget.bytesMax} bytes kept for them; try again`),
        );
      }
      held += chunk.length;
      chunks.push(chunk);
    }
  } catch {
    // The stream's own error may quote the content; `broken` says the same without it.
    return giveUp(refused(400, broken));
  }
  return { kind: "body", bytes: Buffer.concat(chunks, held), release: onceOnly(() => budget.give(held)) };
}

function onceOnly(action: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    action();
  };
}

function tooLarge(bytesMax: number): BodyOutcome {
  return refused(
    413,
    `the body has more than ${bytesMax} bytes, the most that is taken before and after decompression`,
  );
}

function refused(status: 400 | 413 | 503, reason: string): BodyOutcome {
  return { kind: "refused", status, reason };
}
