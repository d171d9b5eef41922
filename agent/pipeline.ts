/**
 * The agent's rooms in a row: capture events in, batches of spans out.
 *
 * Invariants: one thread drives it; `tick` is called every few tens of milliseconds with boot time, and moves all of
 * the pipeline's clocks.
 */

import type {
  CaptureSink,
  ClockOffset,
  CountedCalls,
  ProcessSeen,
  SocketMoment,
  SocketOpened,
  SocketSlice,
  ToldCall,
} from "../server/model/capture-event.ts";
import { type ConnectionCounters, Connections } from "./connection/connections.ts";
import type { DepthChange } from "./cpu-budget.ts";
import { type ExportLedger, SpanCollector } from "./export/span-collector.ts";
import type { SpanSink } from "./export/span-sink.ts";
import type { ProcessSetting } from "./span/observed-processes.ts";
import { type SpanLedger, SpanRoom } from "./span/span-room.ts";
import { type TrafficExclusions, TrafficFilter } from "./traffic-filter.ts";

const sweepEveryNs = 1e9;

/** Settings of a pipeline. */
export interface PipelineOptions {
  readonly redaction: boolean;
  readonly exclusions: TrafficExclusions;
  readonly setting: ProcessSetting;
}

/** Counts of all rooms. */
interface PipelineCounters {
  readonly connections: ConnectionCounters;
  readonly spans: SpanLedger;
  readonly exported: ExportLedger;
  readonly socketsIgnored: number;
}

/** A running pipeline. */
export interface Pipeline {
  /**
   * What a rung writes to. A recording has ids of its own in each pass, and nothing of it is excluded: its processes
   * and ports are those of another machine.
   */
  sinkOf(traffic: "live" | "replay"): CaptureSink;
  /** Agents on other hosts may see the other ends of messages. */
  setPeers(): void;
  /** The receiver took one batch. */
  taken(): void;
  /** The rung lost events between two boot times. */
  eventsLost(fromNs: number, nowNs: number): void;
  /** A process is captured more or less deeply from `nowNs` on, boot time. */
  depthChanged(change: DepthChange, nowNs: number): void;
  /** What was counted in place of being captured. */
  counted(calls: readonly CountedCalls[], nowNs: number): void;
  /** Name of the service that a process is; empty where it is not known. */
  serviceOf(pid: number): string;
  /** Processes whose calls often have no sure parent. */
  unsure(): readonly number[];
  /** A process begins, or ends, to say itself whom its calls are made for. */
  telling(pid: number, isTelling: boolean): void;
  told(call: ToldCall): void;
  /** Connections on a port of this host are left out from now on, or no longer. */
  exclude(port: number, isExcluded: boolean): void;
  tick(nowNs: number, offset: ClockOffset): void;
  /** The rung stops: what it closes from now on is not seen to its end. */
  ending(): void;
  /** Capture has ended: finishes what is open and hands everything out. */
  finish(nowNs: number): void;
  counters(): PipelineCounters;
}

/** Builds a pipeline that hands its batches to `out`. */
export function createPipeline(out: SpanSink, options: PipelineOptions): Pipeline {
  const collector = new SpanCollector(out);
  const room = new SpanRoom(collector, options.setting);
  const connections = new Connections(room, { redaction: options.redaction });
  const rooms = new RoomsSink(connections, room);
  const filter = new TrafficFilter(rooms, options.exclusions);
  let sweptNs = 0;
  return {
    sinkOf(traffic) {
      rooms.setReplay(traffic === "replay");
      return traffic === "replay" ? rooms : filter;
    },
    setPeers: () => room.setPeers(),
    taken: () => collector.taken(),
    eventsLost: (fromNs, nowNs) => room.eventsLost(fromNs, nowNs),
    depthChanged({ pid, from, to }, nowNs) {
      room.depthChanged(pid, to);
      // What is under way in a process that goes off, or comes back, will have no end, or has no beginning.
      if (from === "off" || to === "off") room.eventsLost(nowNs, nowNs);
    },
    counted: (calls, nowNs) => room.counted(filter.countedHere(calls), nowNs, false),
    serviceOf: (pid) => room.serviceOf(pid),
    unsure: () => room.unsure(),
    telling: (pid, isTelling) => room.telling(pid, isTelling),
    told: (call) => room.told(call),
    exclude: (port, isExcluded) => filter.exclude(port, isExcluded),
    tick(nowNs, offset) {
      room.setClockOffset(offset);
      if (nowNs - sweptNs >= sweepEveryNs) {
        sweptNs = nowNs;
        connections.sweep(nowNs);
      }
      room.tick(nowNs);
      collector.tick(nowNs);
    },
    ending: () => rooms.setEnding(),
    finish(nowNs) {
      room.counted([], nowNs, true);
      connections.stop(nowNs);
      room.tick(nowNs);
      room.flush();
      collector.flush();
    },
    counters: () => ({
      connections: connections.counters(),
      spans: room.ledger(),
      exported: collector.ledger(),
      socketsIgnored: filter.socketsIgnored,
    }),
  };
}

/**
 * Hands connections to the connection room and processes to the span room.
 *
 * A recording has the same messages in each pass: between two passes no socket is open, and that is when the salt of
 * the ids changes. With none open no message has two sights still to come.
 */
class RoomsSink implements CaptureSink {
  readonly #connections: Connections;
  readonly #room: SpanRoom;
  readonly #open = new Set<number>();
  #replay = false;
  #ending = false;

  constructor(connections: Connections, room: SpanRoom) {
    this.#connections = connections;
    this.#room = room;
  }

  setReplay(on: boolean): void {
    this.#replay = on;
    this.#open.clear();
    this.#room.setReplay(on, 0);
  }

  setEnding(): void {
    this.#ending = true;
  }

  opened(event: SocketOpened): void {
    if (this.#replay) {
      // Whole milliseconds since boot, in 32 bits.
      if (this.#open.size === 0) this.#room.setReplay(true, Math.floor(event.timeNs / 1e6) | 1);
      this.#open.add(event.socket);
    }
    this.#connections.opened(event);
  }

  moment(event: SocketMoment): void {
    this.#room.moment(event);
  }

  slice(event: SocketSlice): void {
    // Records of TLS are nobody's messages: what their clear bytes are is told by slices of their own.
    if (event.tls !== undefined && event.tls.kind !== "clear") {
      this.#room.sealedSeen(event);
      this.#connections.slice(event);
      return;
    }
    // A goroutine moves between threads: what it does is known by its own number.
    if (event.work?.kind === "goroutine") event.tid = event.work.unit;
    this.#room.sliceSeen(event);
    this.#connections.slice(event);
    this.#room.sliceRead(event);
  }

  owner(...told: Parameters<CaptureSink["owner"]>): void {
    this.#connections.owner(...told);
  }

  closed(socket: number, timeNs: number, reset: boolean): void {
    this.#open.delete(socket);
    if (this.#ending) this.#connections.left(socket, timeNs);
    else this.#connections.closed(socket, timeNs, reset);
  }

  lost(fromNs: number, toNs: number): void {
    this.#room.eventsLost(fromNs, toNs);
  }

  process(event: ProcessSeen): void {
    this.#room.process(event);
  }

  processExited(pid: number, _timeNs: number): void {
    this.#room.processExited(pid);
  }
}
