/**
 * Which process holds a socket, by the inode in its descriptors.
 *
 * `/proc/PID/fd` is readable for processes of the same user without more rights than ours; others are skipped and
 * counted. A search costs about 3 µs for each descriptor looked at, so it begins where the answer most likely is: the
 * processes that owned sockets lately, then the newest process, then all others from the newest on, within a time limit.
 */

import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";

/** Holders of sockets, by inode. */
export interface SocketInodes {
  /**
   * @param uid User of the socket: processes of others are not searched.
   * @param searchMs Time the search may take; 0 looks only into what is known.
   * @returns a process that holds the socket; undefined where none was found.
   */
  find(inode: number, uid: number, searchMs: number): number | undefined;
  /** Reads the descriptors of every process once: 5–10 ms for a hundred processes, 100 ms for 20,000 sockets. */
  readAll(): void;
  /** Forgets a process that is gone. */
  forget(pid: number): void;
  /** Processes whose descriptors were refused at the last full reading. */
  readonly refused: number;
}

const inodesMax = 65_536;
const hotPidsMax = 8;
/** So many pids below the newest are tried before the list of all is read; threads take pids too. */
const newestPidsTried = 24;

/** An empty table. */
export function socketInodes(): SocketInodes {
  const holders = new Map<number, number>();
  /** Pids that owned a socket asked for, the latest last. */
  const hot = new Set<number>();
  let refused = 0;

  /** @returns whether the process holds `wanted`. Every socket seen on the way is kept. */
  const readProcess = (pid: number, wanted: number): boolean => {
    const outcome = eachSocket(pid, (inode) => {
      keep(inode, pid);
      return inode === wanted;
    });
    if (outcome === "refused") refused++;
    return outcome === "stopped";
  };
  const keep = (inode: number, pid: number) => {
    const known = holders.get(inode);
    // Of several holders the lowest but the init process: a master rather than its workers, and no socket activator.
    if (known !== undefined && known !== 1 && known < pid && isAlive(known)) return;
    if (holders.size >= inodesMax) holders.clear();
    holders.set(inode, pid);
  };
  const noteHot = (pid: number) => {
    hot.delete(pid);
    hot.add(pid);
    for (const oldest of hot) {
      if (hot.size <= hotPidsMax) break;
      hot.delete(oldest);
    }
  };
  const search = (wanted: number, uid: number, searchMs: number): boolean => {
    const endMs = performance.now() + searchMs;
    const tried = new Set<number>();
    const tryPid = (pid: number): boolean => {
      if (tried.has(pid)) return false;
      tried.add(pid);
      return isOfUser(pid, uid) && readProcess(pid, wanted);
    };
    const newest = newestPid();
    for (let tid = newest; tid > 0 && tid > newest - newestPidsTried; tid--) {
      if (!existsSync(`/proc/${tid}`) || !isOfUser(tid, uid)) continue;
      if (eachSocket(tid, (inode) => inode === wanted) !== "stopped") continue;
      keep(wanted, leaderOf(tid));
      return true;
    }
    for (const pid of [...hot].reverse()) if (tryPid(pid)) return true;
    for (const pid of allPids().reverse()) {
      if (performance.now() > endMs) return false;
      if (tryPid(pid)) return true;
    }
    return false;
  };
  return {
    get refused() {
      return refused;
    },
    find(inode, uid, searchMs) {
      if (inode === 0) return undefined;
      let pid = holders.get(inode);
      if (pid !== undefined && !isAlive(pid)) {
        holders.delete(inode);
        pid = undefined;
      }
      if (pid === undefined && searchMs > 0 && search(inode, uid, searchMs)) pid = holders.get(inode);
      if (pid !== undefined) noteHot(pid);
      return pid;
    },
    readAll() {
      refused = 0;
      holders.clear();
      for (const pid of allPids()) readProcess(pid, 0);
    },
    forget(pid) {
      hot.delete(pid);
      for (const [inode, holder] of holders) if (holder === pid) holders.delete(inode);
    },
  };
}

function socketInode(path: string): number {
  try {
    const target = readlinkSync(path);
    return target.startsWith("socket:[") ? Number(target.slice(8, -1)) : 0;
  } catch {
    return 0; // Closed between listing and reading.
  }
}

/** Also for processes that do not let themselves be dumped, whose files belong to root. */
function isOfUser(pid: number, uid: number): boolean {
  const owner = statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid;
  return owner === uid || owner === 0;
}

/** The process of a thread; a thread's number gives a folder in `/proc` as well. */
function leaderOf(tid: number): number {
  try {
    return Number(/^Tgid:\s+(\d+)/m.exec(readFileSync(`/proc/${tid}/status`, "latin1"))?.[1] ?? tid);
  } catch {
    return tid; // Gone: whoever asks next finds that out.
  }
}

/** Calls `visit` with the inode of each socket of a process, the highest descriptor first, until it returns true. */
function eachSocket(pid: number, visit: (inode: number) => boolean): "stopped" | "ended" | "refused" {
  const path = `/proc/${pid}/fd`;
  let descriptors: string[];
  try {
    descriptors = readdirSync(path);
  } catch (error) {
    return isRefusal(error) ? "refused" : "ended";
  }
  for (let at = descriptors.length - 1; at >= 0; at--) {
    const inode = socketInode(`${path}/${descriptors[at]}`);
    if (inode !== 0 && visit(inode)) return "stopped";
  }
  return "ended";
}

function allPids(): number[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return []; // No /proc here: nobody can be found.
  }
}

/** The pid given last in our namespace; 0 where the kernel does not tell. */
function newestPid(): number {
  try {
    return Number(readFileSync("/proc/loadavg", "utf8").trimEnd().split(" ")[4] ?? 0);
  } catch {
    return 0; // Only a shortcut is lost.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isRefusal(error); // EPERM: alive, of another user.
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "EACCES" || error.code === "EPERM");
}
