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

/** Judges the next slice of a connection whose protocol is not known. Holds and drops nothing itself. */
export function detect(socket: Socket, protocols: readonly Protocol[], direction: 0 | 1, bytes: Uint8Array): Detection {
  const isTurn = socket.lastDirection !== direction;
  if (isTurn) socket.runs++;
  socket.lastDirection = direction;
  if (socket.runs > RUNS_MAX) return "over";
  const held = heldOf(socket, direction);
  if (held.length > 0) {
    const whole = judge(socket, protocols, direction, joined(held, bytes));
    if (whole !== "no") return whole;
  } else if (!isTurn && !socket.isBroken) return "no";
  socket.slicesJudged++;
  if (socket.slicesJudged > SLICES_JUDGED_MAX) return "over";
  if (held.length > 0 && !socket.isBroken) return "no";
  return judge(socket, protocols, direction, bytes);
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
): Detected | "more" | "no" {
  const isSenderClient = socket.isLocalClient === (direction === 0);
  let wantsMore = false;
  for (const protocol of protocols) {
    for (const hypothesis of [isSenderClient, !isSenderClient]) {
      if (socket.isRoleKnown && hypothesis !== isSenderClient) continue;
      const verdict = protocol.detect(bytes, hypothesis ? 0 : 1);
      if (verdict === "yes") return { protocol, isSentByClient: hypothesis };
      if (verdict === "more") wantsMore = true;
    }
  }
  return wantsMore && bytes.length <= HELD_BYTES_MAX ? "more" : "no";
}
