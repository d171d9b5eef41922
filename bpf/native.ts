/**
 * The addon's functions as TypeScript sees them, and the way to load it.
 *
 * The addon is in two halves that share only file descriptors: `attach…` needs rights, `ringOpen` and the drains do not.
 * Every failed system call throws a `NativeError`. Handles belong to the thread that made them and are freed with it at
 * the latest.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** An errno failure of the addon; `code` is its name such as `EPERM`. */
export interface NativeError extends Error {
  readonly code: string;
  /** The call that failed, such as `bpf(BPF_PROG_LOAD) tcp_send` or `bind`. */
  readonly syscall: string;
  /** End of the verifier's or loader's own words, at most 4 KiB; empty where there are none. */
  readonly log: string;
}

/** Constants of a BPF object's `.rodata`, by variable name. Numbers are written at the variable's own width. */
type RodataValues = Readonly<Record<string, number | bigint>>;

/** What `attach` hands over: file descriptors only, to be opened here or in another process. */
export interface Attached {
  /** Links by program name. Closing one detaches its program. */
  readonly links: Readonly<Record<string, number>>;
  /** Programs by name, for their kernel statistics. */
  readonly programs: Readonly<Record<string, number>>;
  /** Maps by name. */
  readonly maps: Readonly<Record<string, number>>;
}

/** Statistics of one program as the kernel keeps them. Times stay 0 unless `kernel.bpf_stats_enabled` is 1. */
interface ProgramStats {
  readonly runs: bigint;
  readonly runNs: bigint;
  /** Calls skipped because the program was already running on the processor. */
  readonly recursionMisses: bigint;
}

/** An open ring buffer. Opaque. */
export interface RingHandle {
  readonly ring: never;
}

/** An open packet socket. Opaque. */
export interface PacketHandle {
  readonly packet: never;
}

/** Settings of a packet socket with a ring (TPACKET_V3). */
export interface PacketOptions {
  /** `data`: TCP segments with payload, SYN, FIN or RST. `syn`: the SYN of a client alone. */
  readonly filter: "data" | "syn";
  /** Bytes kept of each packet, from its IP header on; one that starts like an HTTP message keeps up to 16 KiB. */
  readonly snapBytes: number;
  /** Bytes of one block, a power of two and at least 4096. */
  readonly blockBytes: number;
  readonly blockCount: number;
  /** Milliseconds after which the kernel hands over a block that is not full. */
  readonly retireMs: number;
}

/** Totals since `packetOpen`. `seen` counts every packet the filter passed, so `seen = drained + dropped` once all is drained. */
export interface PacketStats {
  readonly seen: number;
  readonly dropped: number;
  /** Times the ring was full and the kernel waited for a block. */
  readonly frozen: number;
}

/**
 * Layout of the records that `packetDrain` writes, little-endian, each starting at a multiple of 8. Mirrors
 * `struct packet_record` in `bpf/addon/packet.h`.
 *
 * | offset | width | what |
 * |---|---|---|
 * | 0 | 4 | bytes of the record with its padding, a multiple of 8 |
 * | 4 | 4 | captured bytes |
 * | 8 | 4 | bytes the packet had, from its IP header on |
 * | 12 | 4 | interface index |
 * | 16 | 1 | packet type: 0 to us, 1 broadcast, 2 multicast, 3 other host, 4 outgoing |
 * | 18 | 2 | EtherType in host order: 0x0800 or 0x86dd |
 * | 20 | 4 | seconds, CLOCK_REALTIME |
 * | 24 | 4 | nanoseconds |
 * | 32 | captured | the packet, starting with its IP header |
 */
export const PACKET_RECORD = {
  recordBytes: 0,
  capturedBytes: 4,
  originalBytes: 8,
  ifindex: 12,
  packetType: 16,
  protocol: 18,
  seconds: 20,
  nanoseconds: 24,
  bytes: 32,
} as const;

/** A TCP socket as inet_diag describes it. No privilege is needed, and none gives more. */
export interface DiagSocket {
  readonly localAddr: string;
  readonly localPort: number;
  readonly remoteAddr: string;
  readonly remotePort: number;
  /** 0 for sockets without a file: in an accept queue, or in TIME_WAIT. */
  readonly inode: number;
  readonly uid: number;
  readonly cookie: bigint;
  /** Inode of the cgroup2 directory of the socket's creator; 0 where the kernel does not tell. */
  readonly cgroupId: bigint;
  /** TCP state, 1 ESTABLISHED … 10 LISTEN, 12 NEW_SYN_RECV. */
  readonly state: number;
}

/** The addon. Addresses are numeric text; IPv4-mapped ones may be given as IPv4. */
export interface Native {
  /**
   * Loads a BPF object and attaches every program of it.
   * @param object Bytes of a `.bpf.o`.
   * @param rodata Constants to set before loading.
   * @param mapEntries Sizes of maps to set before loading, by map name (a ring's is in bytes, a power of two).
   */
  attach(object: Uint8Array, rodata: RodataValues, mapEntries: Readonly<Record<string, number>>): Attached;
  /** Closes every descriptor of `attached`; what was attached is taken off. Rings stay mapped until `ringClose`. */
  detach(attached: Attached): void;
  programStats(programFd: number): ProgramStats;
  /** Sets a key of a map whose keys are u32. `value` has the map's value size. */
  mapUpdate(mapFd: number, key: number, value: Uint8Array): void;
  /** Value of a key, of every possible processor one after the other where the map is per processor. */
  mapLookup(mapFd: number, key: number): Uint8Array;
  /** Entries of a plain hash, each its key and then its value, without padding; at most 65536 of them. */
  mapEntries(mapFd: number): Uint8Array;
  /** Takes an entry out; nothing where there is none. `key` has the map's key size. */
  mapDelete(mapFd: number, key: Uint8Array): void;

  /**
   * Loads an object whose programs are for uprobes, and attaches nothing.
   * @param shared Maps of another object to use in place of its own, by name.
   * @param many 1: the programs are for `uprobeMulti`; 0: for the others.
   */
  uprobeLoad(object: Uint8Array, rodata: RodataValues, shared: Readonly<Record<string, number>>, many: 0 | 1): Attached;
  /**
   * Attaches a program to places of a file, in one process or (pid 0) in all. One link for all of them; kernel 6.6 or newer.
   * @param offsets In the file, at most 64. @param cookies What the program gets at each. @param returns 1: at returns.
   * @returns The link.
   */
  uprobeMulti(
    programFd: number,
    path: string,
    pid: number,
    offsets: readonly number[],
    cookies: readonly number[],
    returns: 0 | 1,
  ): number;
  /** The same by the uprobe PMU, for one place. */
  uprobePerf(
    programFd: number,
    path: string,
    pid: number,
    offsets: readonly [number],
    cookies: readonly [number],
    returns: 0 | 1,
  ): number;
  /** Attaches a program to an event of tracefs that exists, by the id that tracefs gave it. @returns The link. */
  uprobeTrace(programFd: number, eventId: number, pid: number, cookie: number): number;
  /** Whether the kernel still has an object of this number. Needs CAP_SYS_ADMIN. */
  bpfExists(kind: "program" | "link" | "map", id: number): boolean;

  /** Maps a ring buffer map. */
  ringOpen(mapFd: number): RingHandle;
  /** Position up to which programs have reserved, in bytes since the ring's birth. */
  ringProduced(ring: RingHandle): number;
  /** Position up to which records were drained. */
  ringConsumed(ring: RingHandle): number;
  /**
   * Copies whole finished records, each a u32 of its bytes, a u32 without meaning, the bytes and padding to 8, into `into` from
   * its start, and frees them in the ring. Stops at `until`, at an unfinished record, and where the next does not fit.
   * @returns Bytes written.
   */
  ringDrain(ring: RingHandle, into: ArrayBuffer, until: number): number;
  ringClose(ring: RingHandle): void;

  /** Opens a packet socket on every interface of the caller's network namespace. Needs CAP_NET_RAW. */
  packetOpen(options: PacketOptions): PacketHandle;
  /**
   * Copies records (see `PACKET_RECORD`) into `into` from its start; never blocks.
   * @returns Bytes written; call again at once where that is more than half of `into`.
   */
  packetDrain(packet: PacketHandle, into: ArrayBuffer): number;
  /** Waits until something can be drained. For threads of their own. @returns Whether there is something. */
  packetWait(packet: PacketHandle, timeoutMs: number): boolean;
  packetStats(packet: PacketHandle): PacketStats;
  packetClose(packet: PacketHandle): void;

  /**
   * Finds one TCP socket of this network namespace by its exact tuple, seen from `localAddr`.
   * An IPv4 tuple also finds sockets of IPv6 listeners.
   */
  diagLookup(
    family: 4 | 6,
    localAddr: string,
    localPort: number,
    remoteAddr: string,
    remotePort: number,
  ): DiagSocket | null;
  /** All listening TCP sockets of one family. Sockets of `::` that also take IPv4 are in family 6 only. */
  diagListeners(family: 4 | 6): DiagSocket[];
  /** All established TCP sockets of one family; at most 65536, the rest is left out. */
  diagEstablished(family: 4 | 6): DiagSocket[];

  /** CLOCK_BOOTTIME in nanoseconds. */
  clockBootNs(): bigint;
  /** CLOCK_REALTIME in nanoseconds since 1970. */
  clockRealtimeNs(): bigint;
}

/** The addon, or one line saying why it is not to be had. */
export type NativeOutcome =
  | { readonly ok: true; readonly native: Native }
  | { readonly ok: false; readonly why: string };

const ADDON_FILE = "thalweg.node";

/** Directory of the committed artefacts: `*.bpf.o` of this architecture and the addon. */
export function nativeDirectory(directoryOverride?: string): string {
  if (directoryOverride !== undefined) return directoryOverride;
  return join(import.meta.dirname, "prebuilt", `${process.platform}-${process.arch}`);
}

/**
 * Loads the addon. Never throws: a machine it was not built for gives a reason instead.
 *
 * @param directoryOverride Directory that holds `thalweg.node` where it does not lie beside this file.
 */
export function loadNative(directoryOverride?: string): NativeOutcome {
  if (process.platform !== "linux") {
    return { ok: false, why: `live capture needs Linux; this is ${process.platform}` };
  }
  const file = join(nativeDirectory(directoryOverride), ADDON_FILE);
  if (!existsSync(file)) {
    return { ok: false, why: `no capture addon for linux-${process.arch}: ${file} does not exist` };
  }
  // Only the loader fills `exports`, and the addon is built from this file's interface: a test calls every name.
  const target: { exports: unknown } = { exports: {} };
  try {
    process.dlopen(target, file);
  } catch (error) {
    if (!isGlibc()) {
      return { ok: false, why: "live capture needs glibc 2.28 or newer; this Node runs on another C library (musl)" };
    }
    const text = error instanceof Error ? error.message : String(error);
    return { ok: false, why: `the capture addon does not load: ${text.split("\n", 1)[0]}` };
  }
  return { ok: true, native: target.exports as Native };
}

/** Node's own report names the C library it runs on, and leaves the field out on musl. Slow: only for the error. */
function isGlibc(): boolean {
  const report = process.report.getReport();
  if (typeof report !== "object" || report === null || !("header" in report)) return true;
  const header: unknown = report.header;
  return typeof header === "object" && header !== null && "glibcVersionRuntime" in header;
}
