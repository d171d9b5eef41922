/**
 * Processes that do not let us see their descriptors, as owners of sockets of their user.
 *
 * What is readable of any process (its user, its command line, its network namespace) is enough where only one program
 * of a user can own a socket: `www-data` runs nothing but nginx workers. Where two could, none is named.
 */

import { readdirSync, readFileSync, statSync } from "node:fs";

/** Processes by user. */
export interface ClosedProcesses {
  /**
   * The process that owns a socket of `uid`, if all that could run the same program: the one with the lowest pid.
   *
   * @param among Processes it can be, such as the ones of the socket's cgroup; undefined for all.
   * @param isThere Whether the socket still is, for sockets whose owner may live for milliseconds only: such an owner is
   *   named where no process was born since they were read, or where the socket outlived the reading.
   */
  ownerOf(
    uid: number,
    among: readonly number[] | undefined,
    nowNs: number,
    isThere?: () => boolean,
  ): number | undefined;
}

interface ClosedProcess {
  readonly pid: number;
  readonly uid: number;
  readonly program: string;
}

const rereadNs = 2e9;
const rereadAfterBirthNs = 200e6;
const processesMax = 32_768;
const cmdlineCharsMax = 4096;

/** Nothing is read before the first question; then at most every two seconds, some 30 µs for each process. */
export function closedProcesses(): ClosedProcesses {
  let processes: ClosedProcess[] = [];
  let readNs = Number.NEGATIVE_INFINITY;
  let bornBefore = "";
  return {
    ownerOf(uid, among, nowNs, isThere) {
      const ageNs = nowNs - readNs;
      const isStale = isThere !== undefined && lastBorn() !== bornBefore;
      if (isStale && ageNs < rereadAfterBirthNs) return undefined;
      if (isStale || ageNs >= rereadNs) {
        readNs = nowNs;
        bornBefore = lastBorn();
        processes = readClosed();
        if (isThere?.() === false) return undefined;
      }
      const able = processes.filter((one) => one.uid === uid && (among === undefined || among.includes(one.pid)));
      const [first] = able;
      if (first === undefined || able.some((one) => one.program !== first.program)) return undefined;
      return first.pid;
    },
  };
}

/** Changes with each process and thread that is born: its number. */
function lastBorn(): string {
  return readFileSync("/proc/loadavg", "utf8").trimEnd().split(" ").pop() ?? "";
}

function readClosed(): ClosedProcess[] {
  const ownNetns = netnsMark("self");
  const found: ClosedProcess[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || found.length >= processesMax) continue;
    const uid = statSync(`/proc/${name}`, { throwIfNoEntry: false })?.uid;
    if (uid === undefined || netnsMark(name) !== ownNetns || areDescriptorsReadable(name)) continue;
    const program = programOf(name);
    if (program !== "") found.push({ pid: Number(name), uid, program });
  }
  return found.sort((a, b) => a.pid - b.pid);
}

/** Each network namespace has files of its own under `net`; their inode tells it where `ns/net` may not be read. */
function netnsMark(pid: string): number {
  try {
    return statSync(`/proc/${pid}/net/dev`).ino;
  } catch {
    return 0; // Gone, or a zombie: it has no sockets.
  }
}

function areDescriptorsReadable(pid: string): boolean {
  try {
    readdirSync(`/proc/${pid}/fd`);
    return true;
  } catch {
    return false; // That is what is asked.
  }
}

/**
 * What makes two processes the same program: the command line, or the first word of a title such as
 * `nginx: worker process`. Empty for threads of the kernel.
 */
function programOf(pid: string): string {
  try {
    const text = readFileSync(`/proc/${pid}/cmdline`, "utf8").slice(0, cmdlineCharsMax).replace(/\0+$/, "");
    return /^([\w./-]+): /.exec(text)?.[1] ?? text;
  } catch {
    return ""; // Gone.
  }
}
