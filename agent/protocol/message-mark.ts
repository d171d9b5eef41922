/**
 * Where and when a message was seen, kept while its bytes come.
 */

import type { MessageMark, StreamSlice } from "./exchange.ts";

/** The mark of a message whose first byte is `slice.bytes[at]`; no byte is counted yet. */
export function markAt(slice: StreamSlice, at: number): MessageMark {
  return {
    startNs: slice.timeNs,
    endNs: slice.timeNs,
    seq: (slice.seq + at) >>> 0,
    bytes: 0,
    tid: slice.tid,
    pid: slice.pid,
    lastTid: slice.tid,
  };
}

/** `count` bytes of the slice belong to the message. */
export function extendMark(mark: MessageMark, slice: StreamSlice, count: number): void {
  mark.bytes += count;
  mark.endNs = slice.timeNs;
  mark.lastTid = slice.tid;
}
