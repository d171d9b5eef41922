/**
 * The kernel's side of the capture budget: modes of processes, what they hold back, and what was counted in their place.
 *
 * Invariants: each exchange that the kernel counts is told once, by the first look after it. A process that is captured
 * wholly has the mode that processes without one have, so that only those held back take a look-up.
 */

import type { Native } from "../../bpf/native.ts";
import type { CaptureDepth, CountedCalls } from "../../server/model/capture-event.ts";
import {
  CAPTURE_MODE,
  COUNTED_BYTES,
  EVENT_LAYOUT,
  type ProbeCounters,
  readCountedCell,
  readHeldBack,
} from "./probe-event.ts";
import type { DepthControl, ProcessCalls } from "./rung.ts";

/** Descriptors of the maps, and the counters that the hooks are timed by. */
export interface DepthSources {
  readonly modes: number;
  readonly written: number;
  readonly counted: number;
  readonly counters: () => ProbeCounters;
  /** A process is captured in full, or no longer. */
  readonly changed?: (pid: number, isFull: boolean) => void;
}

interface HeldProcess {
  depth: CaptureDepth;
  /** Calls held back until the last look. */
  heldBack: number;
}

interface CellSums {
  calls: number;
  sumNs: number;
}

/** Processes whose calls are told apart between two looks; those of others are not counted. */
const pidsMax = 16_384;
/** Looks after its end at which a process's cells are taken out: its sockets are closed after it is told to have ended. */
const looksAfterExit = 3;

/** Depths of the processes of a rung inside the kernel. */
export class CaptureDepths implements DepthControl {
  readonly #native: Native;
  readonly #sources: DepthSources;
  readonly #held = new Map<number, HeldProcess>();
  readonly #calls = new Map<number, number>();
  readonly #cells = new Map<string, CellSums>();
  readonly #exited = new Map<number, number>();
  #written = 0;
  #mayHoldCells = false;
  #lastPid = 0;
  #lastCalls = 0;
  #timed = { calls: 0, timed: 0, ns: 0 };
  #hookNs = 0;
  /** What was counted until the end; undefined while the rung runs. */
  #final: readonly CountedCalls[] | undefined;

  constructor(native: Native, sources: DepthSources) {
    this.#native = native;
    this.#sources = sources;
  }

  /** A call of a process was handed on. */
  called(pid: number): void {
    if (pid === this.#lastPid) {
      this.#lastCalls += 1;
      return;
    }
    this.#noteLast();
    this.#lastPid = pid;
    this.#lastCalls = 1;
  }

  holds(pid: number): boolean {
    return this.#held.has(pid);
  }

  setDepth(pid: number, depth: CaptureDepth): void {
    if (this.#final !== undefined) return;
    const known = this.#held.get(pid);
    if ((known?.depth ?? "full") === depth) return;
    this.#sources.changed?.(pid, depth === "full");
    if (depth === "full") this.#held.delete(pid);
    else if (known === undefined) this.#held.set(pid, { depth, heldBack: 0 });
    else known.depth = depth;
    if (known !== undefined) known.heldBack = 0;
    if (depth === "counted") this.#mayHoldCells = true;
    const value = new Uint8Array(EVENT_LAYOUT.process_mode.size);
    value[EVENT_LAYOUT.process_mode.mode] = CAPTURE_MODE[depth];
    this.#native.mapUpdate(this.#sources.modes, pid, value);
    this.#written += 1;
    const written = new Uint8Array(4);
    new DataView(written.buffer).setUint32(0, this.#written, true);
    this.#native.mapUpdate(this.#sources.written, 0, written);
  }

  /** A process has ended: another may get its number. */
  exited(pid: number): void {
    this.setDepth(pid, "full");
    if (this.#mayHoldCells) this.#exited.set(pid, looksAfterExit);
  }

  takeCalls(): ReadonlyMap<number, ProcessCalls> {
    this.#noteLast();
    const taken = new Map<number, ProcessCalls>();
    for (const [pid, captured] of this.#calls) taken.set(pid, { captured, heldBack: 0 });
    this.#calls.clear();
    for (const [pid, process] of this.#final === undefined ? this.#held : []) {
      const heldBack = readHeldBack(this.#native.mapLookup(this.#sources.modes, pid));
      const captured = taken.get(pid)?.captured ?? 0;
      taken.set(pid, { captured, heldBack: Math.max(0, heldBack - process.heldBack) });
      process.heldBack = heldBack;
    }
    return taken;
  }

  hookNs(): number {
    const { calls_seen: calls, calls_timed: timed, timed_ns: ns } = this.#sources.counters();
    const last = this.#timed;
    // Few calls give no sample of their own: they wait for the next look.
    if (timed > last.timed) {
      this.#hookNs += ((ns - last.ns) / (timed - last.timed)) * (calls - last.calls);
      this.#timed = { calls, timed, ns };
    }
    return this.#hookNs;
  }

  /** The programs are off, and the maps will be closed. */
  close(): void {
    this.#final = this.#readCounted();
  }

  takeCounted(): readonly CountedCalls[] {
    const final = this.#final;
    if (final === undefined) return this.#readCounted();
    this.#final = [];
    return final;
  }

  #readCounted(): readonly CountedCalls[] {
    if (!this.#mayHoldCells) return [];
    const entries = this.#native.mapEntries(this.#sources.counted);
    const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
    const grown: CountedCalls[] = [];
    for (let at = 0; at + COUNTED_BYTES <= entries.byteLength; at += COUNTED_BYTES) {
      const cell = readCountedCell(view, at);
      const key = entries.subarray(at, at + EVENT_LAYOUT.counted_key.size);
      this.#takeCell(cell, Buffer.from(key).toString("latin1"), grown);
      if (this.#exited.get(cell.pid) === 0) this.#forgetCell(key);
    }
    for (const [pid, looks] of this.#exited) {
      if (looks === 0) this.#exited.delete(pid);
      else this.#exited.set(pid, looks - 1);
    }
    return grown;
  }

  #takeCell(cell: ReturnType<typeof readCountedCell>, key: string, grown: CountedCalls[]): void {
    const { pid, role, method, status } = cell;
    const known = this.#cells.get(key);
    const calls = cell.calls - (known?.calls ?? 0);
    // The kernel adds to its two sums one after the other: the second may miss the last of the calls, or run ahead.
    const meanNs = Math.max(0, cell.sumNs - (known?.sumNs ?? 0)) / Math.max(1, calls);
    if (calls <= 0 || role === "unknown") return;
    this.#cells.set(key, { calls: cell.calls, sumNs: cell.sumNs });
    const server = { addr: cell.serverAddr, port: cell.serverPort };
    grown.push({ pid, role, method, status, server, calls, meanNs });
  }

  #forgetCell(key: Uint8Array): void {
    this.#cells.delete(Buffer.from(key).toString("latin1"));
    this.#native.mapDelete(this.#sources.counted, key.slice());
  }

  #noteLast(): void {
    if (this.#lastCalls === 0) return;
    const known = this.#calls.get(this.#lastPid);
    if (known !== undefined || this.#calls.size < pidsMax)
      this.#calls.set(this.#lastPid, (known ?? 0) + this.#lastCalls);
    this.#lastCalls = 0;
  }
}
