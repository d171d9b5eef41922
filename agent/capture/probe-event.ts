/**
 * Reads what the socket programs write. Mirrors `bpf/include/event.h`; the test beside this file compares every number.
 *
 * All functions read little-endian at an offset and check nothing: the kernel side wrote the bytes.
 */

import type { WorkUnit } from "../../server/model/capture-event.ts";
import { addressText } from "./packet-decode.ts";

/** Kinds of records. `slice`, `connect` and `ended` come on the data ring, the others on the control ring. */
export const EVENT_KIND = { slice: 1, open: 2, close: 3, exec: 4, exit: 5, connect: 6, ended: 7 } as const;

/** Kinds of units of work, and of recipes for finding them. */
export const UNIT_KIND = { none: 0, loop: 1, goroutine: 2, task: 3 } as const;

/** Bits of `event_head.flags`. */
export const EVENT_FLAG = { received: 1, joinedLate: 2, reset: 4, unread: 8, resumed: 16, unix: 32 } as const;

/** What leaves the kernel of a process's traffic, in the words of `CaptureDepth`. */
export const CAPTURE_MODE = { full: 0, heads: 1, counted: 2, off: 3 } as const;

/** Offsets in bytes, as `struct.member`, and sizes, under the names of the C structs. */
export const EVENT_LAYOUT = {
  event_head: { size: 24, kind: 0, flags: 1, unit_kind: 2, pid: 4, time_ns: 8, cookie: 16 },
  slice_event: { size: 56, tid: 24, seq: 28, total: 32, copied: 36, unit: 40, origin: 48 },
  open_event: {
    size: 112,
    tid: 24,
    netns: 28,
    local_port: 32,
    remote_port: 34,
    role: 36,
    local: 40,
    remote: 56,
    process_start_ns: 72,
    program: 80,
  },
  unix_open_event: { size: 240, client: 112, inode: 120, path: 128 },
  unit_recipe: { size: 64, kind: 0, offsets: 4, addresses: 32 },
  process_mode: { size: 16, mode: 0, calls: 8 },
  counted_key: { size: 32, pid: 0, port: 4, status: 6, role: 8, method: 9, bucket: 10, server: 16 },
  counted_calls: { size: 16, calls: 0, sum_ns: 8 },
} as const;

/** A recipe as the programs read it: seven offsets of 32 bits, four addresses of 64. */
export const UNIT_RECIPE = EVENT_LAYOUT.unit_recipe;

/** Bytes that `ringDrain` puts before each record. */
export const RING_HEADER_BYTES = 8;

const HEAD = EVENT_LAYOUT.event_head;
const OPEN = EVENT_LAYOUT.open_event;
const UNIX_OPEN = EVENT_LAYOUT.unix_open_event;
const SLICE = EVENT_LAYOUT.slice_event;
const WORK_KINDS = ["", "loop", "goroutine", "task"] as const;
const PROGRAM_BYTES = 32;
const ROLES = ["unknown", "client", "server"] as const;
/** `enum counted_method`. */
const METHODS = ["", "GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"] as const;

/** The first call on a socket. */
export interface OpenEvent {
  /** Of an AF_UNIX socket, whose server has its path for an address and whose client `unix:COOKIE`; else 0. */
  readonly inode: number;
  readonly cookie: number;
  readonly timeNs: number;
  readonly pid: number;
  readonly tid: number;
  readonly netns: number;
  readonly role: "unknown" | "client" | "server";
  readonly joinedLate: boolean;
  readonly localAddr: string;
  readonly localPort: number;
  readonly remoteAddr: string;
  readonly remotePort: number;
  /** Boot-time nanoseconds of the process's start. */
  readonly processStartNs: number;
  /** File name of its executable, at most 31 bytes of it; empty for kernel threads. */
  readonly program: string;
}

/** Names of `struct probe_counters`, in its order; each is a u64. */
export const COUNTER_NAMES = [
  "calls_seen",
  "calls_submitted",
  "calls_lost_ring_full",
  "calls_lost_control_full",
  "calls_lost_no_memory",
  "calls_lost_nested",
  "control_seen",
  "control_submitted",
  "control_lost",
  "payload_faults",
  "payload_unreachable",
  "calls_excluded",
  "calls_counted",
  "calls_lost_budget",
  "exchanges_lost",
  "calls_timed",
  "timed_ns",
] as const;

/** Counters of all processors together. */
export type ProbeCounters = Readonly<Record<(typeof COUNTER_NAMES)[number], number>>;

/** Kind of the record at `at`; one of `EVENT_KIND`. */
export function readKind(view: DataView, at: number): number {
  return view.getUint8(at + HEAD.kind);
}

/** Bits of `EVENT_FLAG`. */
export function readFlags(view: DataView, at: number): number {
  return view.getUint8(at + HEAD.flags);
}

/** Process id in the head of a record. */
export function readPid(view: DataView, at: number): number {
  return view.getUint32(at + HEAD.pid, true);
}

/** Boot time in nanoseconds, exact for 104 days of uptime. */
export function readTimeNs(view: DataView, at: number): number {
  return readNumber64(view, at + HEAD.time_ns);
}

/** The socket's cookie: counted up by the kernel, so that a number holds it. */
export function readCookie(view: DataView, at: number): number {
  return readNumber64(view, at + HEAD.cookie);
}

/** Reads the unit of work of a slice or connect into `work`. */
export function readWork(view: DataView, at: number, work: WorkUnit): void {
  work.kind = WORK_KINDS[view.getUint8(at + HEAD.unit_kind)] ?? "";
  work.unit = readNumber64(view, at + SLICE.unit);
  work.origin = readNumber64(view, at + SLICE.origin);
}

/** A socket that was opened. Texts and addresses are copies. */
export function readOpen(view: DataView, at: number): OpenEvent {
  const isUnix = (readFlags(view, at) & EVENT_FLAG.unix) !== 0;
  const role = ROLES[view.getUint8(at + OPEN.role)] ?? "unknown";
  return {
    ...(isUnix ? unixEnds(view, at, role === "server") : internetEnds(view, at)),
    cookie: readCookie(view, at),
    timeNs: readTimeNs(view, at),
    pid: readPid(view, at),
    tid: view.getUint32(at + OPEN.tid, true),
    netns: view.getUint32(at + OPEN.netns, true),
    role,
    joinedLate: (readFlags(view, at) & EVENT_FLAG.joinedLate) !== 0,
    processStartNs: readNumber64(view, at + OPEN.process_start_ns),
    program: readProgram(view, at + OPEN.program),
  };
}

/** A cell of what was counted in the kernel, with its sums since the programs were loaded. */
export interface CountedCell {
  readonly pid: number;
  readonly role: "unknown" | "client" | "server";
  readonly method: string;
  /** 0 where the answer was not seen. */
  readonly status: number;
  readonly serverAddr: string;
  readonly serverPort: number;
  readonly calls: number;
  /** Of the times from request to the first byte of the answer. */
  readonly sumNs: number;
}

/** Bytes of one entry of the map `counted`: key and value. */
export const COUNTED_BYTES = EVENT_LAYOUT.counted_key.size + EVENT_LAYOUT.counted_calls.size;

/** An entry of the map `counted`, `COUNTED_BYTES` long. */
export function readCountedCell(view: DataView, at: number): CountedCell {
  const key = EVENT_LAYOUT.counted_key;
  const value = at + key.size;
  return {
    pid: view.getUint32(at + key.pid, true),
    role: ROLES[view.getUint8(at + key.role)] ?? "unknown",
    method: METHODS[view.getUint8(at + key.method)] ?? "",
    status: view.getUint16(at + key.status, true),
    serverAddr: readAddress(view, at + key.server),
    serverPort: view.getUint16(at + key.port, true),
    calls: readNumber64(view, value + EVENT_LAYOUT.counted_calls.calls),
    sumNs: readNumber64(view, value + EVENT_LAYOUT.counted_calls.sum_ns),
  };
}

/** Calls held back by a mode, of a value of the map `process_modes`. */
export function readHeldBack(value: Uint8Array): number {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return readNumber64(view, EVENT_LAYOUT.process_mode.calls);
}

type Ends = Pick<OpenEvent, "inode" | "localAddr" | "localPort" | "remoteAddr" | "remotePort">;

function internetEnds(view: DataView, at: number): Ends {
  return {
    inode: 0,
    localAddr: readAddress(view, at + OPEN.local),
    localPort: view.getUint16(at + OPEN.local_port, true),
    remoteAddr: readAddress(view, at + OPEN.remote),
    remotePort: view.getUint16(at + OPEN.remote_port, true),
  };
}

function unixEnds(view: DataView, at: number, isServer: boolean): Ends {
  const length = view.getUint16(at + OPEN.local_port, true);
  const path = Buffer.from(view.buffer, view.byteOffset + at + UNIX_OPEN.path, length).toString("utf8");
  // An abstract name begins with NUL, a path ends with it.
  const server = path.startsWith("\0") ? `@${path.slice(1)}` : (path.split("\0")[0] ?? "");
  const client = `unix:${readNumber64(view, at + UNIX_OPEN.client)}`;
  return {
    inode: readNumber64(view, at + UNIX_OPEN.inode),
    localAddr: isServer ? server : client,
    localPort: 0,
    remoteAddr: isServer ? client : server,
    remotePort: 0,
  };
}

/** The arguments in an exec record; the last may be cut. */
export function readArguments(view: DataView, at: number): string[] {
  const copied = view.getUint32(at + EVENT_LAYOUT.slice_event.copied, true);
  const start = view.byteOffset + at + EVENT_LAYOUT.slice_event.size;
  const words = Buffer.from(view.buffer, start, copied).toString("utf8").split("\0");
  if (words.at(-1) === "") words.pop();
  return words;
}

/**
 * Adds up the counters.
 *
 * @param bytes Value of the per-processor map, one `struct probe_counters` after the other.
 */
export function readCounters(bytes: Uint8Array): ProbeCounters {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sums = COUNTER_NAMES.map(() => 0);
  for (let at = 0; at + COUNTER_NAMES.length * 8 <= bytes.byteLength; at += COUNTER_NAMES.length * 8) {
    for (let index = 0; index < sums.length; index++) {
      sums[index] = (sums[index] ?? 0) + readNumber64(view, at + index * 8);
    }
  }
  // Every name has its sum, since both lists have one length.
  return Object.fromEntries(COUNTER_NAMES.map((name, index) => [name, sums[index]])) as ProbeCounters;
}

function readNumber64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000;
}

/** Sixteen bytes in network order. */
function readAddress(view: DataView, at: number): string {
  return addressText(view.getUint32(at), view.getUint32(at + 4), view.getUint32(at + 8), view.getUint32(at + 12));
}

function readProgram(view: DataView, at: number): string {
  const bytes = Buffer.from(view.buffer, view.byteOffset + at, PROGRAM_BYTES);
  const end = bytes.indexOf(0);
  return bytes.toString("utf8", 0, end < 0 ? PROGRAM_BYTES : end);
}
