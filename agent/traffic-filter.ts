/**
 * Leaves out traffic that must not be looked at: the server's own, and what was excluded by process or port.
 *
 * Invariants: a socket that is left out is left out from its opening on, or from the moment its owner became known;
 * processes pass always, since a process may own sockets that are wanted.
 */

import type {
  CaptureSink,
  CountedCalls,
  Owner,
  ProcessSeen,
  SocketMoment,
  SocketOpened,
  SocketSlice,
} from "../server/model/capture-event.ts";

/** Sockets remembered as left out; beyond, the one remembered longest is looked at again. */
const ignoredMax = 65_536;

/** What to leave out. */
export interface TrafficExclusions {
  readonly pids: readonly number[];
  /** On either end of a connection. */
  readonly ports: readonly number[];
  /** Inode of the one network namespace whose sockets are wanted; absent where all are. */
  readonly onlyNetns?: number | undefined;
}

/** A sink in front of another one. */
export class TrafficFilter implements CaptureSink {
  readonly #sink: CaptureSink;
  readonly #pids: ReadonlySet<number>;
  readonly #ports: ReadonlySet<number>;
  /** Ports of this moment, beside those that were asked for. */
  readonly #ownPorts = new Set<number>();
  readonly #onlyNetns: number | undefined;
  readonly #ignored = new Set<number>();
  /** Processes with sockets in other network namespaces than the one that is wanted. */
  readonly #elsewhere = new Set<number>();
  #socketsIgnored = 0;

  constructor(sink: CaptureSink, exclusions: TrafficExclusions) {
    this.#sink = sink;
    this.#pids = new Set(exclusions.pids);
    this.#ports = new Set(exclusions.ports);
    this.#onlyNetns = exclusions.onlyNetns;
  }

  /** Sockets left out so far. */
  get socketsIgnored(): number {
    return this.#socketsIgnored;
  }

  /** Leaves out connections of a port, or looks at those that are opened from now on. */
  exclude(port: number, isExcluded: boolean): void {
    if (isExcluded) this.#ownPorts.add(port);
    else this.#ownPorts.delete(port);
  }

  /** Of calls counted without a look at their sockets, those of processes that are wanted. */
  countedHere(calls: readonly CountedCalls[]): readonly CountedCalls[] {
    if (this.#elsewhere.size === 0) return calls;
    return calls.filter(({ pid }) => !this.#elsewhere.has(pid));
  }

  opened(event: SocketOpened): void {
    const isElsewhere = this.#onlyNetns !== undefined && event.netns !== this.#onlyNetns;
    if (isElsewhere && event.localOwner !== undefined) this.#elsewhere.add(event.localOwner.pid);
    const isExcluded =
      isElsewhere ||
      this.#isExcludedPort(event.local.port) ||
      this.#isExcludedPort(event.remote.port) ||
      this.#isExcludedOwner(event.localOwner) ||
      this.#isExcludedOwner(event.remoteOwner);
    if (isExcluded) this.#ignore(event.socket);
    else this.#sink.opened(event);
  }

  moment(event: SocketMoment): void {
    if (!this.#pids.has(event.pid) && !this.#ignored.has(event.socket)) this.#sink.moment?.(event);
  }

  slice(event: SocketSlice): void {
    if (this.#ignored.has(event.socket)) return;
    if (event.pid !== 0 && this.#pids.has(event.pid)) this.#ignore(event.socket);
    else this.#sink.slice(event);
  }

  owner(socket: number, end: "local" | "remote", owner: Owner): void {
    if (this.#ignored.has(socket)) return;
    if (this.#isExcludedOwner(owner)) this.#ignore(socket);
    else this.#sink.owner(socket, end, owner);
  }

  closed(socket: number, timeNs: number, reset: boolean): void {
    this.#ignored.delete(socket);
    this.#sink.closed(socket, timeNs, reset);
  }

  process(event: ProcessSeen): void {
    this.#sink.process(event);
  }

  processExited(pid: number, timeNs: number): void {
    this.#elsewhere.delete(pid);
    this.#sink.processExited(pid, timeNs);
  }

  lost(fromNs: number, toNs: number): void {
    this.#sink.lost?.(fromNs, toNs);
  }

  #isExcludedPort(port: number): boolean {
    return this.#ports.has(port) || this.#ownPorts.has(port);
  }

  #isExcludedOwner(owner: Owner | undefined): boolean {
    return owner !== undefined && owner.pid !== 0 && this.#pids.has(owner.pid);
  }

  #ignore(socket: number): void {
    this.#socketsIgnored += 1;
    this.#ignored.add(socket);
    if (this.#ignored.size <= ignoredMax) return;
    for (const oldest of this.#ignored) {
      this.#ignored.delete(oldest);
      break;
    }
  }
}
