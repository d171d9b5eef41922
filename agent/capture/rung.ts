/**
 * What every rung of the capture ladder looks like once it runs.
 */

import type { CaptureDepth, CaptureSink, ClockOffset, CountedCalls } from "../../server/model/capture-event.ts";
import type { TlsStatus } from "./tls-capture.ts";

/** Rungs by name. */
export type RungName = "socket" | "fexit" | "syscall" | "packet" | "replay";

/** What passed so far. `seen = delivered + Σ lost` at any moment; the unit is the rung's own (calls, packets, records). */
export interface RungCounters {
  readonly seen: number;
  readonly delivered: number;
  /** By reason. Reasons of a rung are a fixed set. */
  readonly lost: Readonly<Record<string, number>>;
  /** Connections tracked now. */
  readonly connections: number;
}

/** Calls of one process between two looks. */
export interface ProcessCalls {
  /** Handed to the agent. */
  readonly captured: number;
  /** Counted in the kernel, or left out. */
  readonly heldBack: number;
}

/** The part of a rung that makes capture cheaper, process by process. */
export interface DepthControl {
  setDepth(pid: number, depth: CaptureDepth): void;
  /** Whether the process lives and is not captured in full. */
  holds(pid: number): boolean;
  /** Calls of each process since the last look. */
  takeCalls(): ReadonlyMap<number, ProcessCalls>;
  /** What the hooks have cost since they were attached, nanoseconds of CPU: a sample, scaled up. */
  hookNs(): number;
  takeCounted(): readonly CountedCalls[];
}

/** A rung that captures until it is stopped. */
export interface RunningRung {
  readonly name: RungName;
  counters(): RungCounters;
  /** Turns the events' times into Unix time; measured again at least every second. */
  clockOffset(): ClockOffset;
  /** Resolves once it finds the owners of new connections; absent where it knows them at once. Never rejects. */
  readonly ownersReady?: Promise<void>;
  /** Absent on rungs that cannot capture one process less deeply than another. */
  readonly depths?: DepthControl;
  /** What is read inside of TLS; undefined where that was not asked for. Absent on rungs that cannot. */
  tlsStatus?(): TlsStatus | undefined;
  /**
   * Calls back after each of the rung's turns, which come at most 20 ms after one another: what else is due then need not
   * wake the thread again. Absent where no turns come by a clock.
   */
  afterTurns?(call: () => void): void;
  /** Takes everything off the kernel, hands on what was captured until now, and returns. May be called again. */
  stop(): Promise<void>;
}

/**
 * Why a rung cannot start: a plain sentence naming what is missing, and the way out. Thrown by a rung's start;
 * anything else it throws is a bug.
 */
export class RungRefused extends Error {
  readonly rung: RungName;
  readonly why: string;
  readonly fix: string;

  constructor(rung: RungName, why: string, fix: string, cause?: unknown) {
    super(`${rung}: ${why}`, cause === undefined ? undefined : { cause });
    this.name = "RungRefused";
    this.rung = rung;
    this.why = why;
    this.fix = fix;
  }
}

/**
 * Starts a rung on a sink; hands nothing over before it has returned.
 *
 * Throws `RungRefused` where the machine does not allow it.
 */
export type RungStart = (sink: CaptureSink) => RunningRung;
