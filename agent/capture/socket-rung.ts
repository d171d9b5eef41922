/**
 * The rungs inside the kernel (socket, fexit, syscall): drains the rings of their programs into a `CaptureSink`.
 *
 * Invariants:
 * - A socket is opened before its first slice and closed after its last: the control ring is drained wholly up to a mark
 *   that is taken after the data ring's mark, and what closes waits until the data ring is read past it.
 * - `seen = delivered + lost`, where `seen` is counted in the kernel.
 * - One thread drains. Slices point into the drain buffer and are valid during the call alone.
 */

import { type Attached, loadNative, type Native, type NativeError, type RingHandle } from "../../bpf/native.ts";
import type {
  CaptureSink,
  ClockOffset,
  SocketMoment,
  SocketSlice,
  WorkUnit,
} from "../../server/model/capture-event.ts";
import { type BootClock, bootClock } from "./boot-clock.ts";
import { CaptureDepths } from "./capture-depths.ts";
import { DrainCadence } from "./drain-cadence.ts";
import { callsOf, type HookCounts, type HookStats, readHookCounts } from "./hook-counts.ts";
import { HookedProcesses } from "./hooked-processes.ts";
import { HookedSockets } from "./hooked-sockets.ts";
import {
  EVENT_FLAG,
  EVENT_KIND,
  EVENT_LAYOUT,
  type OpenEvent,
  type ProbeCounters,
  RING_HEADER_BYTES,
  readArguments,
  readCookie,
  readFlags,
  readKind,
  readOpen,
  readPid,
  readTimeNs,
  readWork,
} from "./probe-event.ts";
import { RungRefused, type RunningRung } from "./rung.ts";
import { attachProbes, fdOf, type KernelRung, ownPidNamespace, probesFile, RING_BYTES } from "./socket-probes.ts";
import { refusalAfter, refusalBefore, type SocketRefusal, socketRefusal } from "./socket-refusal.ts";
import { TlsCapture, type TlsStatus } from "./tls-capture.ts";
import { TLS_EVENT_KIND } from "./tls-event.ts";
import type { TlsPolicy } from "./tls-probes.ts";
import { UnixSockets } from "./unix-sockets.ts";
import { type WaitingEnd, WaitingEnds } from "./waiting-ends.ts";
import { WorkRecipes } from "./work-recipes.ts";

/** Settings of the rung. */
export interface SocketRungOptions {
  readonly sink: CaptureSink;
  readonly native: Native;
  /** Which programs; the socket rung's unless told otherwise. */
  readonly rung?: KernelRung;
  /** Directory of the `.bpf.o` where it is not the committed one. */
  readonly directory?: string;
  /** Processes whose sockets are left out, decided at a socket's first call. */
  readonly excludePids: readonly number[];
  /** Ports whose sockets are left out at either end. */
  readonly excludePorts: readonly number[];
  /** Bytes of the data ring, a power of two. */
  readonly ringBytes?: number | undefined;
  /** Bytes copied of a call that starts no message, at most 4096. */
  readonly copyBytes?: number;
  /** Processes whose TLS libraries are looked into; none unless told. */
  readonly tls?: TlsPolicy;
  /** Drains by a timer of its own. Otherwise the caller drains, after `nextDrainMs` milliseconds each time. */
  readonly ownTimer?: boolean;
}

/** The rung while it runs. */
export interface SocketRung extends RunningRung {
  /** Hands on what waits. @returns Records handled. */
  drain(): number;
  /** Milliseconds until the next drain should come, after what the last one found. */
  nextDrainMs(): number;
  /** As `RunningRung` has it; the rung's own timer makes the turns. */
  afterTurns(call: () => void): void;
  /** The kernel's own counters, for tests, benches and the status page. */
  probeCounters(): ProbeCounters;
  /** What is read inside of TLS; undefined where that was not asked for. */
  tlsStatus(): TlsStatus | undefined;
  /** Runs of each hook at calls and their time, which the kernel measures while `kernel.bpf_stats_enabled` is 1. */
  hookStats(): HookStats;
}

/** Whether the rung can run here, by trying it. */
export type SocketTry = { readonly ok: true } | SocketRefusal;

/** Room of the drain buffer: far above the longest record, and so small that what was copied lies in a cache as it is read. */
const drainBytes = 1 << 16;
/** So often the ring is read before other work of the thread gets its turn. */
const drainsPerTurnMax = 4;

const SLICE = EVENT_LAYOUT.slice_event;
const NO_BYTES = new Uint8Array(0);
const PRESENT = Uint8Array.of(1);

/** Attaches the programs of a rung and takes them off again. */
export function trySocketRung(directory?: string, rung: KernelRung = "socket"): SocketTry {
  const outcome = loadNative(directory);
  if (!outcome.ok) return socketRefusal(outcome.why, "see bpf/README.md for the machines it is built for");
  const refusal = refusalBefore(probesFile(rung, directory));
  if (refusal !== undefined) return refusal;
  try {
    outcome.native.detach(attachProbes(outcome.native, { rung, directory }));
    return { ok: true };
  } catch (error) {
    if (isNativeError(error)) return refusalAfter(error, rung);
    throw error;
  }
}

/**
 * Starts the rung.
 *
 * @throws RungRefused where the machine does not allow it.
 */
export function startSocketRung(options: SocketRungOptions): SocketRung {
  const { native, rung = "socket", directory, ringBytes = RING_BYTES, copyBytes } = options;
  const refusal = refusalBefore(probesFile(rung, directory));
  if (refusal !== undefined) throw new RungRefused(rung, refusal.why, refusal.fix);
  try {
    const attached = attachProbes(native, { rung, directory, ringBytes, copyBytes });
    return new RunningSocketRung(options, attached, ringBytes);
  } catch (error) {
    if (!isNativeError(error)) throw error;
    const { why, fix } = refusalAfter(error, rung);
    throw new RungRefused(rung, why, fix, error);
  }
}

function isNativeError(error: unknown): error is NativeError {
  return error instanceof Error && "syscall" in error && "log" in error;
}

class RunningSocketRung implements SocketRung {
  readonly name: KernelRung;
  readonly #native: Native;
  readonly #sink: CaptureSink;
  readonly #attached: Attached;
  readonly #slices: RingHandle;
  readonly #controls: RingHandle;
  readonly #clock: BootClock;
  readonly #processes: HookedProcesses;
  readonly #tls: TlsCapture | undefined;
  readonly #buffer = new ArrayBuffer(drainBytes);
  readonly #view = new DataView(this.#buffer);
  readonly #work: WorkUnit = { kind: "", unit: 0, origin: 0 };
  readonly #slice: SocketSlice = {
    socket: 0,
    direction: 0,
    timeNs: 0,
    seq: 0,
    total: 0,
    bytes: NO_BYTES,
    tid: 0,
    pid: 0,
    work: this.#work,
    isResumed: false,
  };
  readonly #moment: SocketMoment = { kind: "connecting", socket: 0, timeNs: 0, tid: 0, pid: 0, work: this.#work };
  readonly #recipes: WorkRecipes;
  readonly depths: CaptureDepths;
  readonly #sockets: HookedSockets;
  readonly #ends = new WaitingEnds((end) => this.#finish(end));
  /** Data records taken from the ring. */
  #drained = 0;
  #lostUnknown = 0;
  /** Control records taken. */
  #controlsTaken = 0;
  /** Calls lost in the data ring that the sink was told of. */
  #lostTold = 0;
  /** Boot time until which it is known whether something was lost. */
  #wholeUntilNs = 0;
  readonly #cadence: DrainCadence;
  #timer: NodeJS.Timeout | undefined;
  #timerMs = 0;
  #afterTurn: (() => void) | undefined;
  /** What the kernel said last, once its programs are gone. */
  #final: HookCounts | undefined;

  constructor(options: SocketRungOptions, attached: Attached, ringBytes: number) {
    const { native } = options;
    const unixSockets = new UnixSockets();
    this.name = options.rung ?? "socket";
    this.#native = native;
    const { excludePids, tls = { kind: "off" } } = options;
    if (tls.kind !== "off") {
      this.#tls = new TlsCapture({
        native,
        policy: tls,
        sink: options.sink,
        maps: attached.maps,
        pidNamespace: ownPidNamespace(),
        excludePids,
        directory: options.directory,
      });
    }
    this.#sink = this.#tls?.sink ?? options.sink;
    this.#attached = attached;
    this.#cadence = new DrainCadence(ringBytes, () => performance.now());
    this.#slices = native.ringOpen(fdOf(attached.maps, "slices"));
    this.#controls = native.ringOpen(fdOf(attached.maps, "controls"));
    this.#clock = bootClock(native);
    this.#recipes = new WorkRecipes(native, {
      processes: fdOf(attached.maps, "process_recipes"),
      threads: fdOf(attached.maps, "thread_recipes"),
      written: fdOf(attached.maps, "recipes_written"),
    });
    this.depths = new CaptureDepths(native, {
      modes: fdOf(attached.maps, "process_modes"),
      written: fdOf(attached.maps, "modes_written"),
      counted: fdOf(attached.maps, "counted"),
      counters: () => this.probeCounters(),
      changed: (pid, isFull) => this.#tls?.depthChanged(pid, isFull),
    });
    this.#processes = new HookedProcesses(this.#sink);
    this.#sockets = new HookedSockets(this.#sink, unixSockets);
    const pids = fdOf(attached.maps, "excluded_pids");
    for (const pid of excludePids) native.mapUpdate(pids, pid, PRESENT);
    const ports = fdOf(attached.maps, "excluded_ports");
    for (const port of options.excludePorts) native.mapUpdate(ports, port, PRESENT);
    this.#sockets.learnListeners(native, this.name === "syscall");
    if (options.ownTimer !== false) this.#schedule();
  }

  drain(): number {
    return this.#turn(false);
  }

  /** @param mayWait What is in the data ring may stay there a little longer. */
  #turn(mayWait: boolean): number {
    const controlsBefore = this.#controlsTaken;
    const handled = this.#drainBoth(mayWait);
    this.#recipes.retry();
    const nowNs = this.#clock.nowNs();
    this.#tls?.tick(nowNs);
    this.#sockets.closeGone(nowNs);
    this.#cadence.ended(this.#controlsTaken > controlsBefore || (this.#tls !== undefined && handled > 0));
    return handled;
  }

  afterTurns(call: () => void): void {
    this.#afterTurn = call;
  }

  nextDrainMs(): number {
    return this.#cadence.nextMs;
  }

  counters() {
    const tls = this.#tls;
    const taken = {
      drained: this.#drained,
      unknown: this.#lostUnknown,
      tls: tls === undefined ? undefined : { taken: tls.drained, lostRingFull: tls.calls().lostRingFull },
    };
    return { ...callsOf(this.#counts(), taken), connections: this.#sockets.size };
  }

  #counts(): HookCounts {
    return this.#final ?? readHookCounts(this.#native, this.#attached, this.name);
  }

  probeCounters(): ProbeCounters {
    return this.#counts().counters;
  }

  tlsStatus(): TlsStatus | undefined {
    return this.#tls?.status();
  }

  hookStats(): HookStats {
    return this.#counts().hooks;
  }

  clockOffset(): ClockOffset {
    return this.#clock.offset();
  }

  async stop(): Promise<void> {
    if (this.#final !== undefined) return;
    clearTimeout(this.#timer);
    this.#tls?.detach();
    this.#native.detach({ ...this.#attached, programs: {}, maps: {} });
    this.drain();
    this.drain();
    this.#final = this.#counts();
    this.depths.close();
    this.#tls?.close();
    const nowNs = this.#clock.nowNs();
    this.#sockets.closeAll(nowNs);
    this.#native.ringClose(this.#slices);
    this.#native.ringClose(this.#controls);
    this.#native.detach({ ...this.#attached, links: {} });
  }

  #drainBoth(mayWait: boolean): number {
    const native = this.#native;
    const dataMark = native.ringProduced(this.#slices);
    const controlMark = native.ringProduced(this.#controls);
    let handled = 0;
    if (native.ringConsumed(this.#controls) < controlMark) {
      handled = this.#drainRing(this.#controls, controlMark);
      this.#controlsTaken += handled;
      // A socket's opening may lie behind a record that is still being written: its slices wait.
      if (native.ringConsumed(this.#controls) < controlMark) return handled;
    }
    const before = native.ringConsumed(this.#slices);
    this.#cadence.found(dataMark - before);
    if (this.#cadence.isBusy) this.#tellLoss();
    else this.#wholeUntilNs = this.#clock.nowNs();
    if (before < dataMark && !(mayWait && this.#isYoung(dataMark - before))) {
      this.#cadence.read();
      handled += this.#drainRing(this.#slices, dataMark);
    }
    this.#ends.readTo(native.ringConsumed(this.#slices), () => this.#clock.nowNs());
    return handled;
  }

  /** Whether calls of so many bytes may wait. Handshakes of TLS may not: what follows them is to be looked into. */
  #isYoung(bytes: number): boolean {
    return this.#tls === undefined && this.#cadence.mayWait(bytes);
  }

  /** What the ring had no room for is told before what comes after it. */
  #tellLoss(): void {
    const nowNs = this.#clock.nowNs();
    const lost = this.#counts().counters.calls_lost_ring_full;
    if (lost > this.#lostTold) this.#sink.lost?.(this.#wholeUntilNs, nowNs);
    this.#lostTold = lost;
    this.#wholeUntilNs = nowNs;
  }

  #schedule(): void {
    const ms = this.nextDrainMs();
    if (this.#timer !== undefined && this.#timerMs === ms) {
      this.#timer.refresh();
      return;
    }
    this.#timerMs = ms;
    this.#timer = setTimeout(() => this.#timed(), ms);
  }

  #timed(): void {
    // Who sleeps with much in the ring waits behind those who fill it.
    for (let turn = 0; turn < drainsPerTurnMax; turn++) {
      this.#turn(true);
      if (!this.#cadence.isBusy) break;
    }
    this.#afterTurn?.();
    if (this.#final === undefined) this.#schedule();
  }

  /** Reads a ring up to `until`, or to a record that is still being written. */
  #drainRing(ring: RingHandle, until: number): number {
    let records = 0;
    for (;;) {
      const length = this.#native.ringDrain(ring, this.#buffer, until);
      if (length === 0) return records;
      for (let at = 0; at < length; records++) {
        const bytes = this.#view.getUint32(at, true);
        this.#take(at + RING_HEADER_BYTES);
        at += (RING_HEADER_BYTES + bytes + 7) & ~7;
      }
    }
  }

  #take(at: number): void {
    const view = this.#view;
    switch (readKind(view, at)) {
      case EVENT_KIND.slice:
        this.#takeSlice(at);
        break;
      case TLS_EVENT_KIND:
        this.#tls?.take(view, at);
        break;
      case EVENT_KIND.connect:
        this.#takeMoment(at, "connecting");
        break;
      case EVENT_KIND.ended:
        this.#takeMoment(at, "ended");
        break;
      case EVENT_KIND.open:
        this.#takeOpen(readOpen(view, at));
        break;
      case EVENT_KIND.close:
        this.#wait("socket", readCookie(view, at), at);
        break;
      case EVENT_KIND.exec:
        this.#takeExec(readPid(view, at), readArguments(view, at), readTimeNs(view, at));
        break;
      case EVENT_KIND.exit:
        this.#wait("process", readPid(view, at), at);
        break;
      default:
        throw new Error(`The probes wrote a record of kind ${readKind(view, at)}, which this agent does not know.`);
    }
  }

  #takeSlice(at: number): void {
    const view = this.#view;
    this.#drained++;
    const socket = this.#sockets.get(readCookie(view, at));
    if (socket === undefined) {
      this.#lostUnknown++;
      return;
    }
    const slice = this.#slice;
    const copied = view.getUint32(at + SLICE.copied, true);
    slice.socket = socket;
    slice.direction = (readFlags(view, at) & EVENT_FLAG.received) === 0 ? 0 : 1;
    slice.timeNs = readTimeNs(view, at);
    slice.seq = view.getUint32(at + SLICE.seq, true);
    slice.total = view.getUint32(at + SLICE.total, true);
    slice.tid = view.getUint32(at + SLICE.tid, true);
    slice.pid = readPid(view, at);
    slice.isResumed = (readFlags(view, at) & EVENT_FLAG.resumed) !== 0;
    readWork(view, at, this.#work);
    this.depths.called(slice.pid);
    slice.bytes = copied === 0 ? NO_BYTES : new Uint8Array(this.#buffer, at + SLICE.size, copied);
    this.#sink.slice(slice);
  }

  #takeMoment(at: number, kind: SocketMoment["kind"]): void {
    const view = this.#view;
    const moment = this.#moment;
    moment.kind = kind;
    moment.socket = this.#sockets.numberOf(readCookie(view, at));
    moment.timeNs = readTimeNs(view, at);
    moment.tid = view.getUint32(at + SLICE.tid, true);
    moment.pid = readPid(view, at);
    readWork(view, at, this.#work);
    this.#sink.moment?.(moment);
  }

  #takeOpen(event: OpenEvent): void {
    this.#sockets.makeRoom(event);
    this.#nameProcess(event);
    this.#sockets.open(event);
  }

  /** Tells the sink of the process; where it is gone already, by what the kernel wrote down of it. */
  #nameProcess(event: OpenEvent): void {
    if (event.pid === 0) return;
    const seen = this.#processes.opened(event);
    this.#tls?.seen(event.pid);
    if (seen !== undefined) this.#recipes.opened(seen, event.tid);
  }

  #takeExec(pid: number, words: readonly string[], timeNs: number): void {
    this.#recipes.forget(pid);
    this.#tls?.execed(pid, words);
    this.#processes.execed(pid, words, timeNs);
  }

  /** Keeps an end until what came before it in the data ring is read. */
  #wait(kind: WaitingEnd["kind"], key: number, at: number): void {
    const flags = readFlags(this.#view, at);
    this.#ends.add({
      kind,
      key,
      timeNs: readTimeNs(this.#view, at),
      reset: (flags & EVENT_FLAG.reset) !== 0,
      unread: (flags & EVENT_FLAG.unread) !== 0,
      after: this.#native.ringProduced(this.#slices),
    });
  }

  #finish(end: WaitingEnd): void {
    if (end.kind === "process") {
      this.depths.exited(end.key);
      this.#recipes.forget(end.key);
      this.#tls?.exited(end.key);
      this.#processes.exited(end.key, end.timeNs);
      return;
    }
    this.#sockets.close(end.key, end.timeNs, end.reset);
  }
}
