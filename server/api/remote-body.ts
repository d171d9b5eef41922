/**
 * Bodies of remote write and remote read: snappy blocks, in memory within limits.
 *
 * Invariant: a decoded body is used in the turn it is decoded in, so all of them share one room.
 */

import type { FastifyReply, FastifyRequest } from "fastify";
import { decodeSnappy, snappyDecodedBytes } from "../wire/snappy.ts";
import { freeNow } from "./pass-over.ts";
import { type BodyLimits, type BodyRefusal, bodyFault, readRawBody } from "./request-body.ts";

/** Largest block and largest decoded body; Prometheus' own limit. */
const BYTES_MAX = 32 * 2 ** 20;
/** Bodies up to this size are decoded into a room that is kept. */
const ROOM_BYTES_MAX = 4 * 2 ** 20;
const ROOM_BYTES_AT_FIRST = 256 * 1024;
/** Larger ones into one that is given back so long after the last of them: making it costs more than decoding into it. */
const LARGE_ROOM_MS = 500;
const RETRY_AFTER_SECONDS = 5;
const PLAIN = "text/plain; charset=utf-8";

let room = new Uint8Array(0);
let largeRoom: { readonly bytes: Uint8Array; readonly timer: NodeJS.Timeout } | undefined;

/** A body in its encoded form, or why there is none. */
export type RemoteBody =
  | {
      readonly kind: "body";
      /**
       * Decodes the block and hands its bytes to `consume`, which must not keep them; to be called once.
       *
       * @returns What `consume` answers, or undefined where the block is corrupt.
       */
      use<T>(consume: (bytes: Uint8Array) => T): T | undefined;
      /** Gives back what is taken from the budget: call it when nothing of the request is in memory any more. */
      release(): void;
    }
  | { readonly kind: "refused"; readonly status: 400 | 413 | 503; readonly reason: string };

/** How the two routes word faults of a body: their libraries in Prometheus are not the same. */
export interface BodyWords {
  readonly corrupt: string;
  tooLarge(decodedBytes: number, bytesMax: number): string;
}

/**
 * Reads a body and checks its size and what it claims to decode to, in the order in which Prometheus checks.
 *
 * Content-Encoding is not looked at.
 */
export async function readSnappyBody(
  request: FastifyRequest,
  limits: BodyLimits,
  words: BodyWords,
): Promise<RemoteBody> {
  const raw = await readRawBody(request.raw, { ...limits, bytesMax: BYTES_MAX });
  if (raw.kind === "refused") {
    const reason = raw.status === 413 ? `request body exceeds the ${BYTES_MAX} bytes limit` : raw.reason;
    return { kind: "refused", status: raw.status, reason };
  }
  const refused = (fault: BodyRefusal, reason: string): RemoteBody => {
    raw.release();
    limits.onRefused?.(fault);
    return { kind: "refused", status: fault === "no_room" ? 503 : 400, reason };
  };
  const length = snappyDecodedBytes(raw.bytes);
  if (length === undefined) return refused("broken", words.corrupt);
  if (length > BYTES_MAX) return refused("too_large", words.tooLarge(length, BYTES_MAX));
  if (!limits.budget.take(length)) {
    return refused("no_room", bodyFault("no_room", BYTES_MAX, limits.budget));
  }
  let isReleased = false;
  return {
    kind: "body",
    use: (consume) => {
      const decoded = decodeSnappy(raw.bytes, roomFor(length));
      freeNow(raw.bytes);
      raw.release();
      return decoded === undefined ? undefined : consume(decoded);
    },
    release: () => {
      raw.release();
      if (!isReleased) limits.budget.give(length);
      isReleased = true;
    },
  };
}

function roomFor(bytes: number): Uint8Array {
  if (bytes > ROOM_BYTES_MAX) return largeRoomFor(bytes);
  if (bytes > room.length) room = new Uint8Array(Math.max(ROOM_BYTES_AT_FIRST, 2 ** Math.ceil(Math.log2(bytes))));
  return room;
}

/** Left to the collector, those of many large bodies would pile up, so there is one at a time. */
function largeRoomFor(bytes: number): Uint8Array {
  if (largeRoom !== undefined && largeRoom.bytes.length >= bytes) {
    largeRoom.timer.refresh();
    return largeRoom.bytes;
  }
  leaveLargeRoom();
  const made = Buffer.allocUnsafeSlow(bytes);
  largeRoom = { bytes: made, timer: setTimeout(leaveLargeRoom, LARGE_ROOM_MS).unref() };
  return made;
}

function leaveLargeRoom(): void {
  if (largeRoom === undefined) return;
  clearTimeout(largeRoom.timer);
  const { buffer } = largeRoom.bytes;
  largeRoom = undefined;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** Answers what `readSnappyBody` refused. */
export function sendRefusedBody(
  reply: FastifyReply,
  { status, reason }: Extract<RemoteBody, { kind: "refused" }>,
): FastifyReply {
  return status === 503 ? sendRetry(reply, reason, RETRY_AFTER_SECONDS) : sendPlain(reply, status, reason);
}

/** Answers as Go's `http.Error` does. */
export function sendPlain(reply: FastifyReply, status: number, text: string): FastifyReply {
  return reply.code(status).type(PLAIN).send(`${text}\n`);
}

/** Answers that the same can be sent again later. */
export function sendRetry(reply: FastifyReply, text: string, seconds: number): FastifyReply {
  return sendPlain(reply.header("retry-after", String(seconds)), 503, text);
}
