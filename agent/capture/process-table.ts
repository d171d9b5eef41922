/**
 * The processes that were told to the sink, read from `/proc`.
 *
 * Invariants: a process is named by pid and start time; the sink hears of it before anything that needs it; reading
 * never throws, since processes vanish at any moment; of an environment only two variables are ever kept.
 */

import { closeSync, openSync, readlinkSync, readSync, statSync } from "node:fs";
import type { CaptureSink, ProcessSeen } from "../../server/model/capture-event.ts";
import { environValue, isGoExecutable, languageOfMaps, languageOfName, parseCgroup } from "./process-names.ts";

/** Settings of the table. */
export interface ProcessTableOptions {
  /** Processes kept; past it the longest unasked one is forgotten, to be read again if it comes back. */
  readonly processesMax: number;
}

interface KnownProcess {
  seen: ProcessSeen;
  checkedNs: number;
}

/** What `/proc/PID/stat` says. */
interface ProcessStat {
  readonly comm: string;
  readonly startNs: number;
  readonly state: string;
}

const PROCESSES_MAX = 4096;
/** USER_HZ, which is 100 on every Linux that Node runs on. */
const nsPerTick = 10_000_000;
/** A known process is looked at again after this, for reuse of its pid and for exec. */
const checkedKeptNs = 2e9;
const statBytesMax = 1024;
const cmdlineBytesMax = 4096;
const cmdlineWordsMax = 64;
const environBytesMax = 256 * 1024;
const cgroupBytesMax = 16 * 1024;
const mapsBytesMax = 512 * 1024;
const goExecutablesMax = 1024;

/** Processes by pid. */
export class ProcessTable {
  readonly #sink: CaptureSink;
  readonly #processesMax: number;
  /** In order of the last question. */
  readonly #known = new Map<number, KnownProcess>();
  /** Whether an executable is Go's, by device and inode. */
  readonly #goExecutables = new Map<string, boolean>();

  constructor(sink: CaptureSink, options: ProcessTableOptions = { processesMax: PROCESSES_MAX }) {
    this.#sink = sink;
    this.#processesMax = options.processesMax;
  }

  /** Processes known now. */
  get size(): number {
    return this.#known.size;
  }

  /**
   * The process of a pid; tells the sink of it if it is new or has become another.
   *
   * @param nowNs Boot time.
   * @returns undefined where there is no such process any more and it was not known before.
   */
  processOf(pid: number, nowNs: number): ProcessSeen | undefined {
    const known = this.#known.get(pid);
    if (known !== undefined && nowNs - known.checkedNs < checkedKeptNs) return known.seen;
    const stat = readStat(pid);
    if (stat === undefined) return known?.seen;
    const isSame = known !== undefined && known.seen.startNs === stat.startNs && known.seen.comm === stat.comm;
    if (isSame) {
      known.checkedNs = nowNs;
      this.#known.delete(pid);
      this.#known.set(pid, known);
      return known.seen;
    }
    return this.#read(pid, stat, nowNs);
  }

  /** Takes over what another thread has read of a process, while it lived. */
  adopt(seen: ProcessSeen, nowNs: number): void {
    const known = this.#known.get(seen.pid);
    if (known !== undefined && known.seen.startNs === seen.startNs && known.seen.comm === seen.comm) return;
    if (known !== undefined && known.seen.startNs !== seen.startNs) this.exited(seen.pid, nowNs);
    this.#keep(seen, nowNs);
  }

  /** The process has replaced its program: reads it again. Its pid and start time stay. */
  execed(pid: number, nowNs: number): void {
    const stat = readStat(pid);
    if (stat !== undefined) this.#read(pid, stat, nowNs);
  }

  /** The process is gone. The sink hears of it if it ever heard of the process. */
  exited(pid: number, timeNs: number): void {
    if (this.#known.delete(pid)) this.#sink.processExited(pid, timeNs);
  }

  /** Finds known processes that are gone; for rungs that get no exit events. About 15 µs for each known process. */
  sweep(nowNs: number): void {
    for (const [pid, known] of this.#known) {
      const stat = readStat(pid);
      const isGone = stat === undefined || stat.startNs !== known.seen.startNs || stat.state === "Z";
      if (isGone) this.exited(pid, nowNs);
    }
  }

  #read(pid: number, stat: ProcessStat, nowNs: number): ProcessSeen {
    const before = this.#known.get(pid);
    if (before !== undefined && before.seen.startNs !== stat.startNs) this.exited(pid, nowNs);
    const seen = this.#describe(pid, stat);
    this.#keep(seen, nowNs);
    return seen;
  }

  #keep(seen: ProcessSeen, nowNs: number): void {
    this.#known.delete(seen.pid);
    this.#known.set(seen.pid, { seen, checkedNs: nowNs });
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= this.#processesMax) break;
      this.#known.delete(oldest);
    }
    this.#sink.process(seen);
  }

  #describe(pid: number, stat: ProcessStat): ProcessSeen {
    const exe = readLink(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, "");
    const environ = readBounded(`/proc/${pid}/environ`, environBytesMax);
    const cgroup = parseCgroup(readBounded(`/proc/${pid}/cgroup`, cgroupBytesMax).toString("utf8"));
    return {
      pid,
      startNs: stat.startNs,
      comm: stat.comm,
      exe,
      cmdline: readCmdline(pid),
      cwd: readLink(`/proc/${pid}/cwd`),
      otelServiceName: environValue(environ, "OTEL_SERVICE_NAME"),
      otelResourceAttributes: environValue(environ, "OTEL_RESOURCE_ATTRIBUTES"),
      unit: cgroup.unit,
      containerId: cgroup.containerId,
      language: this.#languageOf(pid, exe, stat.comm),
    };
  }

  #languageOf(pid: number, exe: string, comm: string): ProcessSeen["language"] {
    if (exe === "") return languageOfName(comm);
    const byName = languageOfName(exe.slice(exe.lastIndexOf("/") + 1));
    if (byName !== "") return byName;
    if (this.#isGo(pid)) return "go";
    const byMaps = languageOfMaps(readBounded(`/proc/${pid}/maps`, mapsBytesMax).toString("latin1"));
    return byMaps === "" ? "native" : byMaps;
  }

  #isGo(pid: number): boolean {
    const path = `/proc/${pid}/exe`;
    let key: string;
    try {
      const { dev, ino, mtimeMs } = statSync(path);
      key = `${dev}:${ino}:${mtimeMs}`;
    } catch {
      return false; // Gone, or not ours to look at.
    }
    const known = this.#goExecutables.get(key);
    if (known !== undefined) return known;
    if (this.#goExecutables.size >= goExecutablesMax) this.#goExecutables.clear();
    const isGo = isGoExecutable(path);
    this.#goExecutables.set(key, isGo);
    return isGo;
  }
}

/** @returns undefined where there is no such process. */
function readStat(pid: number): ProcessStat | undefined {
  const text = readBounded(`/proc/${pid}/stat`, statBytesMax).toString("utf8");
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  if (open < 0 || close < open) return undefined;
  // The fields after the name, from field 3 (state) on; field 22 is the start in ticks since boot.
  const fields = text.slice(close + 2).split(" ");
  const startTicks = Number(fields[22 - 3]);
  if (!Number.isFinite(startTicks)) return undefined;
  return { comm: text.slice(open + 1, close), startNs: startTicks * nsPerTick, state: fields[0] ?? "" };
}

function readCmdline(pid: number): string[] {
  const words = readBounded(`/proc/${pid}/cmdline`, cmdlineBytesMax).toString("utf8").split("\0");
  if (words.at(-1) === "") words.pop();
  return words.slice(0, cmdlineWordsMax);
}

/** @returns the beginning of a file; empty where it cannot be read. */
function readBounded(path: string, bytesMax: number): Buffer {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return EMPTY; // The process is gone, or its file is not ours to read: empty is what the fields say then.
  }
  try {
    // /proc gives a page or so at a time.
    let buffer = Buffer.allocUnsafe(Math.min(bytesMax, 8192));
    let length = 0;
    for (;;) {
      const got = readSync(fd, buffer, length, buffer.length - length, null);
      length += got;
      if (got === 0 || length >= bytesMax) return buffer.subarray(0, length);
      if (length === buffer.length) {
        const grown = Buffer.allocUnsafe(Math.min(bytesMax, buffer.length * 4));
        buffer.copy(grown);
        buffer = grown;
      }
    }
  } catch {
    return EMPTY; // Gone between open and read.
  } finally {
    closeSync(fd);
  }
}

const EMPTY = Buffer.alloc(0);

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // Gone, or not ours to look at.
  }
}
