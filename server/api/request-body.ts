/**
 * Reads a request's body into memory, decompressed, within limits that also stop decompression bombs.
 *
 * Invariant: bytes taken from the budget are given back when the body is refused, or by `release`.
 */

import type { IncomingMessage } from "node:http";
import { BodyCollector, type CollectFault } from "./body-collector.ts";
import { BodyRoom, type ByteBudget } from "./byte-budget.ts";
import { type Compression, decompress } from "./decompress.ts";

/** Largest body, before and after decompression. */
export const BODY_BYTES_MAX = 64 * 2 ** 20;
/** Bytes of all bodies that are being read or answered at a time. */
export const BODIES_BYTES_MAX = 192 * 2 ** 20;
/** How long the rest of a refused body is read after the answer: one that closes at once may be lost on its way. */
const PASS_OVER_MS = 5_000;
/** The rest of a body in crumbs is not read: that is what costs time. Its connection ends after the answer left. */
const CRUMBS_MS = 250;

const COMPRESSIONS: ReadonlyMap<string, Compression> = new Map([
  ["gzip", "gzip"],
  ["x-gzip", "gzip"],
  ["deflate", "deflate"],
  ["zlib", "deflate"],
  ["zstd", "zstd"],
  ["snappy", "snappy"],
  ["x-snappy-framed", "snappy"],
]);

/** The largest single body, and what all of them may take together. */
export interface BodyLimits {
  readonly bytesMax: number;
  readonly budget: ByteBudget;
}

/** A body in memory, or why there is none with the HTTP status that says so. */
export type BodyOutcome =
  | { readonly kind: "body"; readonly bytes: Buffer; release(): void }
  | { readonly kind: "refused"; readonly status: 400 | 413 | 503; readonly reason: string };

/** Reads and decompresses. Call `release` once the bytes are no longer needed. */
export async function readBody(request: IncomingMessage, limits: BodyLimits): Promise<BodyOutcome> {
  const encoding = (request.headers["content-encoding"] ?? "").trim().toLowerCase();
  const plain = encoding === "" || encoding === "identity";
  const compression = COMPRESSIONS.get(encoding);
  if (plain) return collect(request, limits, new BodyRoom(limits.budget));
  if (compression === undefined) {
    passOver(request);
    return refused(400, `Content-Encoding is not one of ${[...COMPRESSIONS.keys()].join(", ")}, identity`);
  }
  const room = new BodyRoom(limits.budget);
  const raw = await collect(request, limits, room);
  if (raw.kind === "refused") return raw;
  const outcome = await decompress(raw.bytes, compression, limits.bytesMax, room);
  room.dropRaw();
  if (outcome.kind === "bytes") return { kind: "body", bytes: outcome.bytes, release: () => room.release() };
  room.release();
  if (outcome.fault === "broken") return refused(400, `the body is not valid ${encoding}`);
  return refusedFor(outcome.fault, outcome.bytesMax, limits.budget);
}

/** Reads a body as it came, whatever its encoding. Call `release` once the bytes are no longer needed. */
export function readRawBody(request: IncomingMessage, limits: BodyLimits): Promise<BodyOutcome> {
  return collect(request, limits, new BodyRoom(limits.budget));
}

/** Why there is no body, for people. */
export function bodyFault(fault: CollectFault, bytesMax: number, budget: ByteBudget): string {
  if (fault === "crumbs") return "the body comes in chunks of a few bytes; send larger ones";
  return fault === "too_large"
    ? `the body has more than ${bytesMax} bytes, the most that is taken before and after decompression`
    : `bodies of other requests fill the ${budget.bytesMax} bytes kept for them; try again`;
}

function collect(request: IncomingMessage, limits: BodyLimits, room: BodyRoom): Promise<BodyOutcome> {
  const { bytesMax, budget } = limits;
  const collector = new BodyCollector(bytesMax, room);
  return new Promise((resolve) => {
    let isOpen = true;
    const refuse = (outcome: BodyOutcome) => {
      if (!isOpen) return;
      isOpen = false;
      request.off("data", onData);
      room.release();
      collector.take();
      resolve(outcome);
    };
    const onData = (chunk: Buffer) => {
      const fault = collector.add(chunk);
      if (fault === undefined) return;
      refuse(refusedFor(fault, bytesMax, budget));
      if (fault === "crumbs") leaveUnread(request);
      else passOver(request);
    };
    const announced = request.headers["content-length"];
    const fault = announced === undefined ? undefined : collector.announce(Number(announced));
    if (fault !== undefined) {
      refuse(refusedFor(fault, bytesMax, budget));
      passOver(request);
      return;
    }
    request.on("data", onData);
    request.once("end", () => {
      if (!isOpen) return;
      isOpen = false;
      resolve({ kind: "body", bytes: collector.take(), release: () => room.release() });
    });
    request.once("close", () => refuse(refused(400, "the body was cut short")));
    request.once("error", () => refuse(refused(400, "the body was cut short")));
  });
}

/** Lets the rest of a body run past, so that the connection can be used again; one that takes long is cut off. */
function passOver(request: IncomingMessage): void {
  request.resume();
  if (request.complete || request.destroyed) return;
  const impatient = setTimeout(() => request.destroy(), PASS_OVER_MS);
  request.once("end", () => clearTimeout(impatient)).once("close", () => clearTimeout(impatient));
}

function leaveUnread(request: IncomingMessage): void {
  request.pause();
  setTimeout(() => request.destroy(), CRUMBS_MS);
}

function refusedFor(fault: CollectFault, bytesMax: number, budget: ByteBudget): BodyOutcome {
  const status = { too_large: 413, no_room: 503, crumbs: 400 } as const;
  return refused(status[fault], bodyFault(fault, bytesMax, budget));
}

function refused(status: 400 | 413 | 503, reason: string): BodyOutcome {
  return { kind: "refused", status, reason };
}
