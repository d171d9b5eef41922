/**
 * Which sockets of AF_UNIX are older than the agent, and which are gone: the kernel has no hook for their end.
 *
 * `/proc/PID/net/unix` lists those of a network namespace by inode. Sockets in it are looked for every two seconds; one
 * that is missed twice is gone, and what it sent was read by then.
 */

import { readFileSync } from "node:fs";

const LOOK_MS = 2_000;
const SOCKETS_MAX = 65_536;

/** A socket that is watched. */
interface Watched {
  readonly inode: number;
  readonly netns: number;
  /** One of the processes of its namespace, whose list is read. */
  readonly pid: number;
}

/** The sockets of AF_UNIX that the rung told of. */
export class UnixSockets {
  /** Inodes of this namespace when the agent started. */
  readonly #older = inodesOf("self") ?? new Set<number>();
  readonly #watched = new Map<number, Watched>();
  #missed = new Set<number>();
  #nextLookMs = 0;

  isOlder(inode: number): boolean {
    return this.#older.has(inode);
  }

  /** Watches a socket; beyond the maximum it is not missed when it goes. */
  opened(cookie: number, socket: Watched): void {
    if (this.#watched.size < SOCKETS_MAX) this.#watched.set(cookie, socket);
  }

  closed(cookie: number): void {
    this.#watched.delete(cookie);
  }

  /** Cookies of sockets that are gone, found every two seconds. @param nowMs Of any steady clock. */
  gone(nowMs: number): number[] {
    if (nowMs < this.#nextLookMs || this.#watched.size === 0) return [];
    this.#nextLookMs = nowMs + LOOK_MS;
    const lists = new Map<number, ReadonlySet<number> | undefined>();
    const gone: number[] = [];
    const missed = new Set<number>();
    for (const [cookie, { inode, netns, pid }] of this.#watched) {
      let list = lists.get(netns);
      if (!lists.has(netns)) {
        list = inodesOf(String(pid));
        lists.set(netns, list);
      }
      // Without a list its process is gone.
      if (list?.has(inode) === true) continue;
      if (this.#missed.has(cookie)) gone.push(cookie);
      else missed.add(cookie);
    }
    this.#missed = missed;
    return gone;
  }
}

/** Inodes of a process's namespace; undefined where the process is gone. */
function inodesOf(pid: string): Set<number> | undefined {
  try {
    const lines = readFileSync(`/proc/${pid}/net/unix`, "latin1").split("\n").slice(1);
    return new Set(lines.map((line) => Number(line.trim().split(/\s+/)[6])));
  } catch {
    return undefined;
  }
}
