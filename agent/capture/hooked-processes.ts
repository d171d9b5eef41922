/**
 * Processes of a rung inside the kernel: each is told to the sink before its first socket, by `/proc` where it is still there,
 * else by what the kernel wrote down of it, and told again as gone once it has ended.
 */

import type { CaptureSink, ProcessSeen } from "../../server/model/capture-event.ts";
import type { OpenEvent } from "./probe-event.ts";
import { languageOfName } from "./process-names.ts";
import { ProcessTable } from "./process-table.ts";

const pidsMax = 1 << 16;
/** Processes whose arguments are kept until they open a socket; beyond, the oldest are forgotten. */
const startedMax = 4096;
/** Boot time is told by /proc in hundredths of a second. */
const tickNs = 10_000_000;
const commLengthMax = 15;

/** See the file's head. */
export class HookedProcesses {
  readonly #sink: CaptureSink;
  readonly #table: ProcessTable;
  /** Processes that opened a socket, and whether `/proc` still had them then. */
  readonly #told = new Map<number, "read" | "gone">();
  /** Arguments of programs started lately, for processes that end before `/proc` is read. */
  readonly #started = new Map<number, readonly string[]>();

  constructor(sink: CaptureSink) {
    this.#sink = sink;
    this.#table = new ProcessTable(sink);
  }

  /** A process opened a socket. @returns What `/proc` says of it; undefined where it is gone already. */
  opened(event: OpenEvent): ProcessSeen | undefined {
    const seen = this.#table.processOf(event.pid, event.timeNs);
    if (seen === undefined && !this.#told.has(event.pid))
      this.#sink.process(processGone(event, this.#started.get(event.pid) ?? []));
    if (this.#told.size < pidsMax) this.#told.set(event.pid, seen === undefined ? "gone" : "read");
    return seen;
  }

  /** A process runs another program, with these arguments. */
  execed(pid: number, words: readonly string[], timeNs: number): void {
    this.#started.delete(pid);
    this.#started.set(pid, words);
    if (this.#started.size > startedMax) {
      for (const oldest of this.#started.keys()) {
        this.#started.delete(oldest);
        break;
      }
    }
    if (this.#told.has(pid)) this.#table.execed(pid, timeNs);
  }

  exited(pid: number, timeNs: number): void {
    const told = this.#told.get(pid);
    this.#told.delete(pid);
    this.#started.delete(pid);
    if (told === "read") this.#table.exited(pid, timeNs);
    else if (told === "gone") this.#sink.processExited(pid, timeNs);
  }
}

/** What the kernel wrote down of a process that `/proc` has no more. */
function processGone(event: OpenEvent, cmdline: readonly string[]): ProcessSeen {
  return {
    pid: event.pid,
    startNs: Math.floor(event.processStartNs / tickNs) * tickNs,
    comm: event.program.slice(0, commLengthMax),
    exe: "",
    cmdline,
    cwd: "",
    otelServiceName: "",
    otelResourceAttributes: "",
    unit: "",
    containerId: "",
    language: languageOfName(event.program),
  };
}
