/**
 * Finds out which protocol a connection speaks, and who is the client, from what its ends send.
 *
 * Where the stream is whole, only the first bytes after each turn of direction are judged: what follows them in the
 * same run belongs to the same message. Where bytes are missing, each slice is.
 */

import type { Protocol } from "../protocol/protocol.ts";
import type { HeldSlice, Socket } from "./connection-table.ts";

/** Runs of bytes in one direction that are judged in vain before the connection is let go. */
export const RUNS_MAX = 5;
/** Bytes of one direction that are held while a protocol wants to see more. */
export const HELD_BYTES_MAX = 4096;
/** Slices judged in vain, on connections with missing bytes. */
const SLICES_JUDGED_MAX = 1024;

/** What came of judging a slice. */
export interface Detected {
  readonly protocol: Protocol;
  /** The sender of the slice is the client. */
  readonly isSentByClient: boolean;
}

/** `more`: hold the slice. `no`: drop what was held of its direction and the slice. `over`: let the connection go. */
export type Detection = Detected | "more" | "no" | "over";

/**
 * Judges the next slice of a connection whose protocol is not known. Holds and drops nothing itself.
 *
 * @param isCut Bytes behind the slice are missing.
 */
export function detect(
  socket: Socket,
  protocols: readonly Protocol[],
  direction: 0 | 1,
  bytes: Uint8Array,
  isCut: boolean,
): Detection {
  const isTurn = socket.lastDirection !== direction;
  if (isTurn) socket.runs++;
  socket.lastDirection = direction;
  if (socket.runs > RUNS_MAX) return "over";
  const held = heldOf(socket, direction);
  if (held.length > 0) {
    const whole = judge(socket, protocols, direction, joined(held, bytes), isCut);
    if (whole !== "no") return whole;
  } else if (!isTurn && !socket.isBroken) return "no";
  socket.slicesJudged++;
  if (socket.slicesJudged > SLICES_JUDGED_MAX) return "over";
  if (held.length > 0 && !socket.isBroken) return "no";
  return judge(socket, protocols, direction, bytes, isCut);
}

/** What is held of one direction. */
function heldOf(socket: Socket, direction: 0 | 1): HeldSlice[] {
  return socket.held.filter((slice) => slice.direction === direction);
}

function joined(held: readonly HeldSlice[], bytes: Uint8Array): Uint8Array {
  let length = bytes.length;
  for (const slice of held) length += slice.bytes.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const slice of held) {
    whole.set(slice.bytes, at);
    at += slice.bytes.length;
  }
  whole.set(bytes, at);
  return whole;
}

function judge(
  socket: Socket,
  protocols: readonly Protocol[],
  direction: 0 | 1,
  bytes: Uint8Array,
  isCut: boolean,
): Detected | "more" | "no" {
  const isSenderClient = socket.isLocalClient === (direction === 0);
  let wantsMore = false;
  for (const protocol of protocols) {
    for (const hypothesis of [isSenderClient, !isSenderClient]) {
      if (socket.isRoleKnown && hypothesis !== isSenderClient) continue;
      const verdict = protocol.detect(bytes, hypothesis ? 0 : 1, isCut);
      if (verdict === "yes") return { protocol, isSentByClient: hypothesis };
      if (verdict === "more") wantsMore = true;
    }
  }
  return wantsMore && !isCut && bytes.length <= HELD_BYTES_MAX ? "more" : "no";
}

const PROXY_LINE = "PROXY ";
/** Longest line of version 1, its end included. */
const PROXY_LINE_BYTES_MAX = 107;
const PROXY_SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const PROXY_HEADER_BYTES = 16;

/**
 * How many bytes at the beginning of a connection are a header of the PROXY protocol, in which a proxy says whom it
 * speaks for. 0 where there is none, or not all of it in this slice.
 *
 * @see https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
 */
export function proxyHeaderBytes(bytes: Uint8Array): number {
  if (PROXY_SIGNATURE.every((byte, at) => bytes[at] === byte)) {
    if (bytes.length < PROXY_HEADER_BYTES) return 0;
    const length = PROXY_HEADER_BYTES + ((bytes[14] as number) << 8) + (bytes[15] as number);
    return length <= bytes.length ? length : 0;
  }
  for (let at = 0; at < PROXY_LINE.length; at++) if (bytes[at] !== PROXY_LINE.charCodeAt(at)) return 0;
  const end = bytes.subarray(0, PROXY_LINE_BYTES_MAX).indexOf(0x0a);
  return end + 1;
}
