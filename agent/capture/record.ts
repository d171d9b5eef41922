/**
 * Recording of live capture into a `.twcap` file, for the verb `record`.
 */

import type { CaptureSink, ProcessSeen, SocketOpened } from "../../server/model/capture-event.ts";
import type { RungStart, RunningRung } from "./rung.ts";
import { createTwcap, recordingSink, type TwcapWriter, type TwcapWritten } from "./twcap.ts";

/** How to record. */
export interface RecordOptions {
  /** Record connections of these processes only; empty records all. */
  readonly pids: readonly number[];
  /** Stop growing at this size. */
  readonly fileBytesMax: number;
}

/** A recording under way. */
export interface Recording {
  readonly rung: RunningRung;
  readonly written: TwcapWritten;
  /** Stops the rung, closes the file. May be called again. */
  stop(): Promise<void>;
}

const flushMs = 1000;
/** Processes remembered until one of their connections is recorded; beyond, the one told longest ago is forgotten. */
const processesMax = 8192;

/**
 * Starts a rung whose events go into a file, mode 0600, and nowhere else.
 *
 * @param start As given by `socketRung`, `packetRung` or a wrapper of the ladder.
 * @throws RungRefused where the rung cannot start; the system's error where the file cannot be made.
 */
export async function recordTo(path: string, start: RungStart, options: RecordOptions): Promise<Recording> {
  let writer: TwcapWriter | undefined;
  const recorder = recordingSink(NOWHERE, { write: (event) => writer?.write(event) });
  // The header needs the rung's clock; a rung hands over nothing before its start has returned.
  const rung = start(options.pids.length === 0 ? recorder : onlyProcesses(recorder, options.pids));
  try {
    writer = createTwcap(path, {
      rung: rung.name,
      bootToUnixNano: rung.clockOffset().bootToUnixNano,
      compression: "deflate",
      fileBytesMax: options.fileBytesMax,
    });
  } catch (error) {
    await rung.stop();
    throw error;
  }
  const file = writer;
  const timer = setInterval(() => file.flush(), flushMs);
  return {
    rung,
    written: file.state,
    async stop() {
      clearInterval(timer);
      await rung.stop();
      file.close();
    },
  };
}

const NOWHERE: CaptureSink = {
  opened() {},
  slice() {},
  owner() {},
  closed() {},
  process() {},
  processExited() {},
};

/**
 * Passes connections of which one end belongs to a wanted process, and processes that own an end of them.
 * A connection whose owner becomes known later is passed from then on.
 */
function onlyProcesses(inner: CaptureSink, pids: readonly number[]): CaptureSink {
  const wanted = new Set(pids);
  const passed = new Set<number>();
  const waiting = new Map<number, SocketOpened>();
  const processes = new Map<number, ProcessSeen>();
  const told = new Set<number>();

  const isWanted = (pid: number | undefined) => pid !== undefined && wanted.has(pid);
  const tell = (pid: number | undefined) => {
    const seen = pid === undefined ? undefined : processes.get(pid);
    if (seen === undefined || told.has(seen.pid)) return;
    told.add(seen.pid);
    inner.process(seen);
  };
  const pass = (event: SocketOpened) => {
    passed.add(event.socket);
    tell(event.localOwner?.pid);
    tell(event.remoteOwner?.pid);
    inner.opened(event);
  };
  return {
    opened(event) {
      if (isWanted(event.localOwner?.pid) || isWanted(event.remoteOwner?.pid)) pass(event);
      else waiting.set(event.socket, event);
    },
    slice(event) {
      if (passed.has(event.socket)) inner.slice(event);
    },
    owner(socket, end, owner) {
      const event = waiting.get(socket);
      if (event !== undefined && isWanted(owner.pid)) {
        waiting.delete(socket);
        pass(event);
      }
      if (!passed.has(socket)) return;
      tell(owner.pid);
      inner.owner(socket, end, owner);
    },
    closed(socket, timeNs, reset) {
      waiting.delete(socket);
      if (passed.delete(socket)) inner.closed(socket, timeNs, reset);
    },
    process(event) {
      processes.delete(event.pid);
      processes.set(event.pid, event);
      if (processes.size > processesMax) processes.delete(processes.keys().next().value ?? 0);
      // A program that replaced itself is told again to whoever heard of it.
      if (told.has(event.pid)) inner.process(event);
    },
    processExited(pid, timeNs) {
      processes.delete(pid);
      if (told.delete(pid)) inner.processExited(pid, timeNs);
    },
  };
}
