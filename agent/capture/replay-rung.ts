/**
 * Plays a recording in its own time, with the times moved to now, into the same code as live capture.
 *
 * Invariants: socket numbers are never reused, also over loops; a process keeps its start time over loops, so it stays
 * the same process; every socket opened in a pass is closed by its end.
 */

import type { CaptureSink } from "../../server/model/capture-event.ts";
import { type BootClock, bootClock } from "./boot-clock.ts";
import type { CaptureEvent } from "./capture-record.ts";
import { RungRefused, type RungStart, type RunningRung } from "./rung.ts";
import { giveEvent, openTwcap, type TwcapHeader, type TwcapReader } from "./twcap.ts";

/** How to play. */
export interface ReplayOptions {
  /** 1: as it was recorded; 2: twice as fast, with durations halved. */
  readonly speed: number;
  /** Begin again at the end. */
  readonly loop: boolean;
  /** Called once when a recording that does not loop has ended. */
  readonly ended?: () => void;
  /** The clock that times are moved to; undefined for one that needs no addon. */
  readonly clock?: BootClock;
}

/** Timers longer than this would notice a stop or a stepped clock late. */
const sleepMsMax = 500;
const pauseBetweenPassesNs = 1e9;
/** After so many events others get a turn of the loop. */
const eventsPerTurnMax = 5000;

/**
 * Makes the start of a replay.
 *
 * @param path A `.twcap` file; it is opened at start and at every pass.
 */
export function replayRung(path: string, options: ReplayOptions): RungStart {
  return (sink) => {
    if (!(options.speed > 0)) throw new RangeError(`Replay speed is ${options.speed}; it must be above 0.`);
    const player = new ReplayPlayer(path, sink, options, options.clock ?? bootClock(undefined));
    player.begin();
    return player;
  };
}

/** What a recording says of itself. @throws RungRefused where it cannot be read. */
export function replayHeader(path: string): TwcapHeader {
  const reader = openRecording(path);
  reader.close();
  return reader.header;
}

function openRecording(path: string): TwcapReader {
  try {
    return openTwcap(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new RungRefused("replay", why, "give a file made by 'thalweg record --out FILE'", error);
  }
}

class ReplayPlayer implements RunningRung {
  readonly name = "replay";
  readonly #path: string;
  readonly #sink: CaptureSink;
  readonly #options: ReplayOptions;
  readonly #clock: BootClock;
  readonly #lost: Record<string, number> = { block_cut: 0, block_damaged: 0, record_malformed: 0 };
  readonly #open = new Set<number>();
  #reader: TwcapReader | undefined;
  #block: readonly CaptureEvent[] = [];
  #at = 0;
  #delivered = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Recorded time that becomes `#baseNs`; undefined where no event so far has a time. */
  #originNs: number | undefined;
  #baseNs = 0;
  /** Like `#baseNs` of the first pass: start times of processes are moved by it for ever. */
  #firstBaseNs: number | undefined;
  #lastNs = 0;
  #socketOffset = 0;
  #socketMax = 0;

  constructor(path: string, sink: CaptureSink, options: ReplayOptions, clock: BootClock) {
    this.#path = path;
    this.#sink = sink;
    this.#options = options;
    this.#clock = clock;
  }

  begin(): void {
    this.#reader = openRecording(this.#path);
    this.#block = this.#reader.nextBlock() ?? [];
    this.#at = 0;
    // Processes come before the first event with a time, and are moved by the same shift.
    this.#originNs = this.#block.map(eventTimeNs).find((timeNs) => timeNs !== undefined);
    this.#baseNs = this.#clock.nowNs();
    this.#firstBaseNs ??= this.#baseNs;
    this.#lastNs = this.#baseNs;
    this.#timer = setTimeout(() => this.#play(), 0);
  }

  counters() {
    const lost = { ...this.#lost };
    for (const [reason, count] of Object.entries(this.#reader?.lost ?? {})) lost[reason] = (lost[reason] ?? 0) + count;
    const lostCount = Object.values(lost).reduce((sum, count) => sum + count, 0);
    return { seen: this.#delivered + lostCount, delivered: this.#delivered, lost, connections: this.#open.size };
  }

  clockOffset() {
    return this.#clock.offset();
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#endPass(this.#clock.nowNs());
  }

  #play(): void {
    for (let given = 0; given < eventsPerTurnMax; given++) {
      const event = this.#next();
      if (event === undefined) {
        this.#passOver();
        return;
      }
      const waitNs = this.#dueNs(event) - this.#clock.nowNs();
      if (waitNs > 0) {
        this.#timer = setTimeout(() => this.#play(), Math.min(Math.ceil(waitNs / 1e6), sleepMsMax));
        return;
      }
      this.#at++;
      this.#give(event);
    }
    this.#timer = setTimeout(() => this.#play(), 0);
  }

  /** The event to come, without taking it. */
  #next(): CaptureEvent | undefined {
    while (this.#at >= this.#block.length) {
      const block = this.#reader?.nextBlock();
      if (block === undefined) return undefined;
      this.#block = block;
      this.#at = 0;
    }
    return this.#block[this.#at];
  }

  /** When the event is due on this machine's boot clock; events without a time follow the one before them. */
  #dueNs(event: CaptureEvent): number {
    const recordedNs = eventTimeNs(event);
    if (recordedNs === undefined) return this.#lastNs;
    this.#originNs ??= recordedNs;
    return this.#moved(recordedNs);
  }

  #moved(recordedNs: number): number {
    return this.#baseNs + (recordedNs - (this.#originNs ?? recordedNs)) / this.#options.speed;
  }

  #give(event: CaptureEvent): void {
    const moved = this.#move(event);
    this.#delivered++;
    this.#lastNs = eventTimeNs(moved) ?? this.#lastNs;
    if (moved.kind === "opened") this.#open.add(moved.event.socket);
    else if (moved.kind === "closed") this.#open.delete(moved.socket);
    giveEvent(this.#sink, moved);
  }

  #move(event: CaptureEvent): CaptureEvent {
    switch (event.kind) {
      case "opened": {
        const socket = this.#renumbered(event.event.socket);
        return { kind: "opened", event: { ...event.event, socket, timeNs: this.#moved(event.event.timeNs) } };
      }
      case "slice":
        // The reader made the object for us alone.
        event.event.socket = this.#renumbered(event.event.socket);
        event.event.timeNs = this.#moved(event.event.timeNs);
        return event;
      case "owner":
        return { ...event, socket: this.#renumbered(event.socket) };
      case "closed":
        return { ...event, socket: this.#renumbered(event.socket), timeNs: this.#moved(event.timeNs) };
      case "process": {
        const shiftNs = (this.#firstBaseNs ?? this.#clock.nowNs()) - (this.#originNs ?? event.event.startNs);
        // A process may be older than this machine's boot; its start is never 0 or below.
        return { kind: "process", event: { ...event.event, startNs: Math.max(1, event.event.startNs + shiftNs) } };
      }
      case "processExited":
        return { ...event, timeNs: this.#moved(event.timeNs) };
    }
  }

  #renumbered(socket: number): number {
    this.#socketMax = Math.max(this.#socketMax, socket);
    return this.#socketOffset + socket;
  }

  #passOver(): void {
    const hadTimes = this.#originNs !== undefined;
    this.#endPass(this.#lastNs);
    if (!this.#options.loop || !hadTimes) {
      this.#options.ended?.();
      return;
    }
    this.#socketOffset += this.#socketMax;
    this.#timer = setTimeout(() => {
      try {
        this.begin();
      } catch {
        // The file is gone or was replaced while it played: that is the end of the recording.
        this.#options.ended?.();
      }
    }, pauseBetweenPassesNs / 1e6);
  }

  #endPass(timeNs: number): void {
    for (const socket of this.#open) this.#sink.closed(socket, timeNs, false);
    this.#open.clear();
    const reader = this.#reader;
    if (reader === undefined) return;
    for (const [reason, count] of Object.entries(reader.lost)) this.#lost[reason] = (this.#lost[reason] ?? 0) + count;
    reader.close();
    this.#reader = undefined;
  }
}

function eventTimeNs(event: CaptureEvent): number | undefined {
  switch (event.kind) {
    case "opened":
    case "slice":
      return event.event.timeNs;
    case "closed":
    case "processExited":
      return event.timeNs;
    case "owner":
    case "process":
      return undefined;
  }
}
