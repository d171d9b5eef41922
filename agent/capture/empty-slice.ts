/** The slice that a rung fills anew for each one it hands on. */

import type { SocketSlice } from "../../server/model/capture-event.ts";

const NO_BYTES = new Uint8Array(0);

/** A slice of one shape for all, with nothing in it yet. */
export function emptySlice(): SocketSlice {
  return { socket: 0, direction: 0, timeNs: 0, seq: 0, total: 0, bytes: NO_BYTES, tid: 0, pid: 0 };
}
