/**
 * Capture of clear text of TLS on one rung: its probes, its streams, and what is told of them.
 */

import type { Attached, Native } from "../../bpf/native.ts";
import type { CaptureSink } from "../../server/model/capture-event.ts";
import { readTlsObject } from "./tls-attach.ts";
import { emptyTlsCall, readTlsCall, type TlsProbeCounters } from "./tls-event.ts";
import { type TlsPolicy, type TlsProbeStatus, TlsProbes } from "./tls-probes.ts";
import { type TlsStreamCounters, TlsStreams } from "./tls-streams.ts";

/** What is never covered, for people. */
export const TLS_NOT_COVERED =
  "TLS of Go, Java, rustls, GnuTLS, and OpenSSL or BoringSSL without symbols in a program of its own";

const expireEveryMs = 250;

/** What it does now. */
export interface TlsStatus {
  /** Of what no clear text is to be had, whatever the policy. */
  readonly notCovered: string;
  /** Why no probes run; empty where they do. */
  readonly why: string;
  readonly probes: TlsProbeStatus | undefined;
  readonly streams: TlsStreamCounters;
  /** `seen = submitted + lostRingFull`, in calls of libraries. */
  readonly calls: TlsProbeCounters;
}

/** What it needs. */
export interface TlsCaptureOptions {
  readonly native: Native;
  readonly policy: TlsPolicy;
  readonly sink: CaptureSink;
  readonly maps: Attached["maps"];
  readonly pidNamespace: number;
  readonly excludePids: readonly number[];
  readonly directory: string | undefined;
}

const nothing = () => {};
const NOWHERE: CaptureSink = {
  opened: nothing,
  slice: nothing,
  owner: nothing,
  closed: nothing,
  process: nothing,
  processExited: nothing,
};
const NO_CALLS: TlsProbeCounters = { seen: 0, submitted: 0, lostRingFull: 0, payloadFaults: 0 };

/** The status where nothing can be read inside of TLS although it was asked for. */
export function noTls(why: string): TlsStatus {
  const streams = new TlsStreams({ sink: NOWHERE }).counters();
  return { notCovered: TLS_NOT_COVERED, why, probes: undefined, streams, calls: NO_CALLS };
}

/** The probes and streams of one rung. */
export class TlsCapture {
  /** Where the rung hands its events to. */
  readonly sink: TlsStreams;
  readonly #probes: TlsProbes | undefined;
  readonly #why: string;
  readonly #call = emptyTlsCall();
  #expiredMs = 0;
  #drained = 0;
  #final: TlsProbeCounters | undefined;

  /** A kernel that refuses is no error: the status says why. */
  constructor(options: TlsCaptureOptions) {
    const { native, policy, sink, maps, pidNamespace, excludePids, directory } = options;
    let probes: TlsProbes | undefined;
    this.sink = new TlsStreams({
      sink,
      all: policy.kind === "auto",
      handshake: (pid) => probes?.spoke(pid, performance.now()),
    });
    let why = "";
    try {
      const object = readTlsObject(directory);
      const lookInto = (pid: number, isLooked: boolean) => this.sink.lookInto(pid, isLooked);
      probes = new TlsProbes({ native, policy, object, maps, pidNamespace, excludePids, lookInto });
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error;
      why = error.message;
    }
    this.#probes = probes;
    this.#why = why;
    probes?.start(performance.now());
  }

  /** A record of the data ring. */
  take(view: DataView, at: number): void {
    this.#drained++;
    readTlsCall(view, at, this.#call);
    this.sink.call(this.#call);
  }

  /** A process opened a socket. */
  seen(pid: number): void {
    this.#probes?.seen(pid, performance.now());
  }

  execed(pid: number, words: readonly string[]): void {
    this.#probes?.execed(pid, words, performance.now());
  }

  /** Of a process that is not captured in full the socket calls are missing that sessions are known by. */
  depthChanged(pid: number, isFull: boolean): void {
    this.#probes?.depthChanged(pid, isFull);
  }

  exited(pid: number): void {
    this.#probes?.exited(pid, performance.now());
  }

  /** To be called after each drain. @param nowNs Boot time. */
  tick(nowNs: number): void {
    const nowMs = performance.now();
    this.#probes?.tick(nowMs);
    if (nowMs - this.#expiredMs < expireEveryMs) return;
    this.#expiredMs = nowMs;
    this.sink.expire(nowNs);
  }

  /** Records taken from the ring. */
  get drained(): number {
    return this.#drained;
  }

  calls(): TlsProbeCounters {
    return this.#final ?? this.#probes?.counters() ?? NO_CALLS;
  }

  status(): TlsStatus {
    const probes = this.#final === undefined ? this.#probes?.status() : undefined;
    return { notCovered: TLS_NOT_COVERED, why: this.#why, probes, streams: this.sink.counters(), calls: this.calls() };
  }

  /** Takes the probes off. */
  detach(): void {
    this.#probes?.detach();
  }

  /** After the last drain. */
  close(): void {
    this.#final = this.calls();
    this.#probes?.close();
  }
}
