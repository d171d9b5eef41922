/**
 * Who owns the ends of TCP connections: by descriptor where `/proc` lets us look, else by cgroup, user or port.
 *
 * How an owner was found is always told. Nothing is guessed: an end of which nothing is known is `unknown`.
 */

import type { DiagSocket, Native } from "../../bpf/native.ts";
import type { Endpoint, Owner } from "../../server/model/capture-event.ts";
import { type CgroupTree, cgroupTree } from "./cgroup-tree.ts";
import { type ClosedProcesses, closedProcesses } from "./closed-processes.ts";
import { readUserNames } from "./local-addresses.ts";
import { type SocketInodes, socketInodes } from "./socket-inodes.ts";

/** The part of the addon that is asked about sockets. */
export type DiagNative = Pick<Native, "diagLookup" | "diagListeners">;

/** Counts of the look-ups. */
export interface OwnerCounters {
  /** Ends by the way their owner was found. */
  readonly found: Record<Owner["ownerBy"], number>;
  /** Look-ups not made because `lookupsPerSecondMax` was reached. */
  overBudget: number;
}

/** Settings. */
export interface OwnerLookupOptions {
  readonly lookupsPerSecondMax: number;
}

const LOOKUPS_PER_SECOND_MAX = 2000;
const SEARCH_MS_MAX = 10;
/** Of each second so much may go into searching `/proc`. */
const searchMsPerSecondMax = 200;
const listenersKeptNs = 5e9;
/** Reading all listeners takes some 30 µs: for a port without one, at most so often. */
const unknownListenerNs = 2e6;
const TCP_STATE_TIME_WAIT = 6;

/** Owners of local ends. Belongs to one thread, as the addon's handles do. */
export class OwnerLookup {
  readonly counters: OwnerCounters = { found: { hook: 0, fd: 0, cgroup: 0, uid: 0, port: 0 }, overBudget: 0 };
  readonly #native: DiagNative;
  readonly #options: OwnerLookupOptions;
  readonly #inodes: SocketInodes = socketInodes();
  readonly #cgroups: CgroupTree = cgroupTree();
  readonly #closed: ClosedProcesses = closedProcesses();
  readonly #users = readUserNames();
  /** Listeners by `addr port`, and by ` port` for the ones of any address. */
  #listeners = new Map<string, DiagSocket>();
  #listenersReadNs = Number.NEGATIVE_INFINITY;
  #secondStartNs = Number.NEGATIVE_INFINITY;
  #lookupsThisSecond = 0;
  #searchMsThisSecond = 0;

  constructor(native: DiagNative, options: OwnerLookupOptions = { lookupsPerSecondMax: LOOKUPS_PER_SECOND_MAX }) {
    this.#native = native;
    this.#options = options;
  }

  /** Reads all descriptors and listeners once, for connections older than the agent. */
  prepare(nowNs: number): void {
    this.#inodes.readAll();
    this.#readListeners(nowNs);
  }

  /** Processes whose descriptors may not be read. */
  get refusedProcesses(): number {
    return this.#inodes.refused;
  }

  /** The owner of a connected local end, asked with the end's own view of the tuple. */
  ofClient(local: Endpoint, remote: Endpoint, nowNs: number): Owner {
    if (!this.#takeLookup(nowNs)) return this.#note({ pid: 0, ownerBy: "port", fallbackName: "unknown" });
    const family = local.addr.includes(":") ? 6 : 4;
    const find = () => this.#native.diagLookup(family, local.addr, local.port, remote.addr, remote.port);
    const found = find();
    const isThere = () => found !== null && find()?.inode === found.inode;
    return this.#note(this.#ownerOf(found, "unknown", nowNs, isThere));
  }

  /** The owner of a local end by what listens on it; for accepted connections this is the listener's process. */
  ofServer(local: Endpoint, nowNs: number): Owner {
    const fallbackName = `unknown:${local.port}`;
    const listener = this.listenerOf(local, nowNs);
    if (listener === undefined) return this.#note({ pid: 0, ownerBy: "port", fallbackName });
    const owner = this.#ownerOf(listener, fallbackName, nowNs);
    if (owner.ownerBy === "fd" || nowNs - this.#listenersReadNs < unknownListenerNs) return this.#note(owner);
    // The port may have gone to another process since.
    this.#readListeners(nowNs);
    return this.#note(this.#ownerOf(this.listenerOf(local, nowNs) ?? null, fallbackName, nowNs));
  }

  /** What listens on an end, exactly or on any address. Listeners are read again where none is known, or after 5 s. */
  listenerOf(local: Endpoint, nowNs: number): DiagSocket | undefined {
    const find = () => this.#listeners.get(`${local.addr} ${local.port}`) ?? this.#listeners.get(` ${local.port}`);
    const known = find();
    if (nowNs - this.#listenersReadNs < (known === undefined ? unknownListenerNs : listenersKeptNs)) return known;
    this.#readListeners(nowNs);
    return find();
  }

  #readListeners(nowNs: number): void {
    this.#listenersReadNs = nowNs;
    const listeners = new Map<string, DiagSocket>();
    // Both families: a listener of `::` that also takes IPv4 is in the second only.
    for (const family of [4, 6] as const) {
      for (const socket of this.#native.diagListeners(family)) {
        const isAny = socket.localAddr === "0.0.0.0" || socket.localAddr === "::";
        const key = `${isAny ? "" : socket.localAddr} ${socket.localPort}`;
        if (!listeners.has(key)) listeners.set(key, socket);
      }
    }
    this.#listeners = listeners;
  }

  #ownerOf(socket: DiagSocket | null, unknownName: string, nowNs: number, isThere?: () => boolean): Owner {
    const unknown: Owner = { pid: 0, ownerBy: "port", fallbackName: unknownName };
    if (socket === null) return unknown;
    const pid = this.#pidOf(socket);
    if (pid !== undefined) return { pid, ownerBy: "fd", fallbackName: "" };
    const cgroup = this.#cgroups.find(socket.cgroupId, nowNs);
    // A socket without a file (accept queue, TIME_WAIT) shows uid 0, which says nothing.
    const hasUser = socket.inode !== 0 && socket.state !== TCP_STATE_TIME_WAIT;
    if (cgroup !== undefined && cgroup.name !== "") {
      const [onlyPid] = cgroup.pids.length === 1 ? cgroup.pids : [];
      const owner = onlyPid ?? (hasUser ? this.#closed.ownerOf(socket.uid, cgroup.pids, nowNs, isThere) : undefined);
      return { pid: owner ?? 0, ownerBy: "cgroup", fallbackName: cgroup.name };
    }
    if (!hasUser) return unknown;
    const owner = this.#closed.ownerOf(socket.uid, undefined, nowNs, isThere) ?? 0;
    return { pid: owner, ownerBy: "uid", fallbackName: `user:${this.#users.get(socket.uid) ?? socket.uid}` };
  }

  #pidOf({ inode, uid }: DiagSocket): number | undefined {
    const known = this.#inodes.find(inode, uid, 0);
    const leftMs = Math.min(SEARCH_MS_MAX, searchMsPerSecondMax - this.#searchMsThisSecond);
    if (known !== undefined || inode === 0 || leftMs <= 0) return known;
    const startMs = performance.now();
    const found = this.#inodes.find(inode, uid, leftMs);
    this.#searchMsThisSecond += performance.now() - startMs;
    return found;
  }

  #takeLookup(nowNs: number): boolean {
    if (nowNs - this.#secondStartNs >= 1e9) {
      this.#secondStartNs = nowNs;
      this.#lookupsThisSecond = 0;
      this.#searchMsThisSecond = 0;
    }
    if (this.#lookupsThisSecond >= this.#options.lookupsPerSecondMax) {
      this.counters.overBudget++;
      return false;
    }
    this.#lookupsThisSecond++;
    return true;
  }

  #note(owner: Owner): Owner {
    this.counters.found[owner.ownerBy]++;
    return owner;
  }
}
