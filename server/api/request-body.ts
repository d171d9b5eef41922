/**
 * Reads a request's body into memory, decompressed, within limits that also stop decompression bombs.
 *
 * Invariant: bytes taken from the budget are given back when the body is refused, or by `release`.
 */

import type { IncomingMessage } from "node:http";
import { BodyCollector, type CollectFault } from "./body-collector.ts";
import { BodyRoom, type ByteBudget } from "./byte-budget.ts";
import { type Compression, decompress } from "./decompress.ts";
import { freeNow, passOver, passOverUnparsed } from "./pass-over.ts";

/** Largest body, before and after decompression. */
export const BODY_BYTES_MAX = 64 * 2 ** 20;
/** Bytes of all bodies that are being read or answered at a time. */
export const BODIES_BYTES_MAX = 192 * 2 ** 20;

const COMPRESSIONS: ReadonlyMap<string, Compression> = new Map([
  ["gzip", "gzip"],
  ["x-gzip", "gzip"],
  ["deflate", "deflate"],
  ["zlib", "deflate"],
  ["zstd", "zstd"],
  ["snappy", "snappy"],
  ["x-snappy-framed", "snappy"],
]);

/** Why a body, or a message of gRPC, is not taken. */
export type BodyRefusal = CollectFault | "broken" | "cut_short" | "encoding";

/** The largest single body, and what all of them may take together. */
export interface BodyLimits {
  readonly bytesMax: number;
  readonly budget: ByteBudget;
  /** Told of every body that is not taken. */
  readonly onRefused?: (reason: BodyRefusal) => void;
}

/** A body in memory, or why there is none with the HTTP status that says so. */
export type BodyOutcome =
  | { readonly kind: "body"; readonly bytes: Buffer; release(): void }
  | { readonly kind: "refused"; readonly status: 400 | 413 | 503; readonly reason: string };

/** Whether a body with these headers can be decompressed, or needs not be. */
export function isEncodingKnown(headers: IncomingMessage["headers"]): boolean {
  const encoding = contentEncodingOf(headers);
  return encoding === "" || COMPRESSIONS.has(encoding);
}

/** The name of a compression; empty where there is none. */
function contentEncodingOf(headers: IncomingMessage["headers"]): string {
  const encoding = (headers["content-encoding"] ?? "").trim().toLowerCase();
  return encoding === "identity" ? "" : encoding;
}

/** Told each chunk in turn; true once the rest of a body makes no difference. */
export type IsEnough = (chunk: Buffer) => boolean;

/**
 * Reads and decompresses. Call `release` once the bytes are no longer needed.
 *
 * @param isEnough Asked of a body that is not compressed: what came until then is the body, and the rest is passed over.
 */
export async function readBody(
  request: IncomingMessage,
  limits: BodyLimits,
  isEnough?: IsEnough,
): Promise<BodyOutcome> {
  const encoding = contentEncodingOf(request.headers);
  const compression = COMPRESSIONS.get(encoding);
  if (encoding === "") return collect(request, limits, new BodyRoom(limits.budget), isEnough);
  if (compression === undefined) {
    passOver(request);
    return refused(
      limits,
      "encoding",
      `Content-Encoding is not one of ${[...COMPRESSIONS.keys()].join(", ")}, identity`,
    );
  }
  const room = new BodyRoom(limits.budget);
  const raw = await collect(request, limits, room);
  if (raw.kind === "refused") return raw;
  const outcome = await decompress(raw.bytes, compression, limits.bytesMax, room);
  room.dropRaw();
  if (outcome.kind === "bytes") return { kind: "body", bytes: outcome.bytes, release: () => room.release() };
  room.release();
  if (outcome.fault === "broken") return refused(limits, "broken", `the body is not valid ${encoding}`);
  return refused(limits, outcome.fault, bodyFault(outcome.fault, outcome.bytesMax, limits.budget));
}

/** Reads a body as it came, whatever its encoding. Call `release` once the bytes are no longer needed. */
export function readRawBody(request: IncomingMessage, limits: BodyLimits): Promise<BodyOutcome> {
  return collect(request, limits, new BodyRoom(limits.budget));
}

/** Why there is no body, for people. */
export function bodyFault(fault: CollectFault, bytesMax: number, budget: ByteBudget): string {
  if (fault === "crumbs") return "the body comes in chunks of a few bytes; send larger ones";
  if (fault === "too_slow") return "the body came so slowly that its room was given to others; try again";
  return fault === "too_large"
    ? `the body has more than ${bytesMax} bytes, the most that is taken before and after decompression`
    : `bodies of other requests fill the ${budget.bytesMax} bytes kept for them; try again`;
}

function collect(
  request: IncomingMessage,
  limits: BodyLimits,
  room: BodyRoom,
  isEnough?: IsEnough,
): Promise<BodyOutcome> {
  const { bytesMax, budget } = limits;
  const collector = new BodyCollector(bytesMax, room);
  return new Promise((resolve) => {
    let isOpen = true;
    const refuse = (fault: CollectFault | "cut_short") => {
      if (!isOpen) return;
      isOpen = false;
      request.off("data", onData);
      room.release();
      collector.drop();
      resolve(
        refused(limits, fault, fault === "cut_short" ? "the body was cut short" : bodyFault(fault, bytesMax, budget)),
      );
    };
    const hasAll = () => {
      if (!isOpen) return;
      isOpen = false;
      request.off("data", onData);
      resolve({ kind: "body", bytes: collector.take(), release: () => room.release() });
    };
    const onData = (chunk: Buffer) => {
      const fault = collector.add(chunk);
      const isLast = fault === undefined && isEnough?.(chunk) === true;
      if (!collector.keeps(chunk)) freeNow(chunk);
      if (isLast) {
        hasAll();
        passOver(request);
      }
      if (fault === undefined) return;
      refuse(fault);
      if (fault === "crumbs") passOverUnparsed(request);
      else passOver(request);
    };
    room.begin(() => {
      refuse("too_slow");
      passOver(request);
    });
    const announced = request.headers["content-length"];
    const fault = announced === undefined ? undefined : collector.announce(Number(announced));
    if (fault !== undefined) {
      refuse(fault);
      passOver(request);
      return;
    }
    request.on("data", onData);
    request.once("end", hasAll);
    request.once("close", () => refuse("cut_short"));
    request.once("error", () => refuse("cut_short"));
  });
}

const STATUSES = {
  too_large: 413,
  no_room: 503,
  too_slow: 503,
  crumbs: 400,
  broken: 400,
  cut_short: 400,
  encoding: 400,
} as const;

function refused(limits: BodyLimits, fault: BodyRefusal, reason: string): BodyOutcome {
  limits.onRefused?.(fault);
  return { kind: "refused", status: STATUSES[fault], reason };
}
