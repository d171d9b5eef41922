/**
 * Reads what the uprobes on TLS libraries write. Mirrors `struct tls_event` of `bpf/include/event.h`; the test beside
 * `probe-event.ts` compares every number.
 */

import type { WorkUnit } from "../../server/model/capture-event.ts";
import { EVENT_LAYOUT, readCookie, readPid, readTimeNs, readWork } from "./probe-event.ts";

/** Kind of the record on the data ring. */
export const TLS_EVENT_KIND = 64;

/** Offsets in bytes and sizes, under the names of the C structs. */
export const TLS_LAYOUT = {
  tls_event: { size: 72, entry_ns: 56, call: 64, room: 68 },
  tls_counters: { size: 32 },
} as const;

/** What the library was asked for, by number. */
const CALLS = ["", "read", "write", "handshake", "free"] as const;

/** One call of a TLS library that has returned. The receiver must not keep the object, its `work` or `bytes`. */
export interface TlsCall {
  kind: (typeof CALLS)[number];
  /** Address of the session (`SSL *`) in its process. */
  session: number;
  pid: number;
  tid: number;
  entryNs: number;
  timeNs: number;
  /** Clear bytes that the session had moved before in this direction, modulo 2^32. */
  seq: number;
  /** Clear bytes moved by this call; `bytes` holds the first of them. */
  total: number;
  bytes: Uint8Array;
  /** Bytes a read had room for. */
  room: number;
  work: WorkUnit;
}

const SLICE = EVENT_LAYOUT.slice_event;
const TLS = TLS_LAYOUT.tls_event;
const NO_BYTES = new Uint8Array(0);

/** A call to be filled by `readTlsCall`. */
export function emptyTlsCall(): TlsCall {
  return {
    kind: "",
    session: 0,
    pid: 0,
    tid: 0,
    entryNs: 0,
    timeNs: 0,
    seq: 0,
    total: 0,
    bytes: NO_BYTES,
    room: 0,
    work: { kind: "", unit: 0, origin: 0 },
  };
}

/** Reads the record at `at` into `call`; its bytes stay those of the view. */
export function readTlsCall(view: DataView, at: number, call: TlsCall): void {
  const copied = view.getUint32(at + SLICE.copied, true);
  call.kind = CALLS[view.getUint32(at + TLS.call, true)] ?? "";
  call.session = readCookie(view, at);
  call.pid = readPid(view, at);
  call.tid = view.getUint32(at + SLICE.tid, true);
  call.entryNs = view.getUint32(at + TLS.entry_ns, true) + view.getUint32(at + TLS.entry_ns + 4, true) * 0x1_0000_0000;
  call.timeNs = readTimeNs(view, at);
  call.seq = view.getUint32(at + SLICE.seq, true);
  call.total = view.getUint32(at + SLICE.total, true);
  call.room = view.getUint32(at + TLS.room, true);
  call.bytes = copied === 0 ? NO_BYTES : new Uint8Array(view.buffer, view.byteOffset + at + TLS.size, copied);
  readWork(view, at, call.work);
}

/** Totals of `struct tls_counters` over all processors. `seen = submitted + lostRingFull`. */
export interface TlsProbeCounters {
  readonly seen: number;
  readonly submitted: number;
  readonly lostRingFull: number;
  readonly payloadFaults: number;
}

/** Adds up the counters. @param bytes Value of the per-processor map. */
export function readTlsCounters(bytes: Uint8Array): TlsProbeCounters {
  const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
  const sums = [0, 0, 0, 0];
  for (let at = 0; at < words.length; at++) sums[at % 4] = (sums[at % 4] ?? 0) + Number(words[at]);
  const [seen = 0, submitted = 0, lostRingFull = 0, payloadFaults = 0] = sums;
  return { seen, submitted, lostRingFull, payloadFaults };
}
