/**
 * Sockets of a rung inside the kernel: each gets the number by which the sink knows it, with its first moment or its
 * opening, and keeps it until it is closed.
 *
 * Invariants: a socket is opened once and closed once. At most `connectionsMax` are open; beyond, the oldest is closed.
 */

import { statSync } from "node:fs";
import type { Native } from "../../bpf/native.ts";
import type { CaptureSink } from "../../server/model/capture-event.ts";
import type { OpenEvent } from "./probe-event.ts";
import type { UnixSockets } from "./unix-sockets.ts";

const connectionsMax = 1 << 18;
const connectingMax = 1 << 14;

/** See the file's head. Sockets are known by the kernel's cookies. */
export class HookedSockets {
  readonly #sink: CaptureSink;
  /** Numbers of sockets that connect and were not opened yet, by cookie. */
  readonly #connecting = new Map<number, number>();
  /** Number of the sight by cookie, in order of opening. */
  readonly #sockets = new Map<number, number>();
  readonly #listenerPorts = new Set<number>();
  readonly #netns = statSync("/proc/self/ns/net").ino;
  readonly #unixSockets: UnixSockets;
  #lastSocket = 0;

  /** @param unixSockets Made before the probes tell of any: what is there then is older. */
  constructor(sink: CaptureSink, unixSockets: UnixSockets) {
    this.#sink = sink;
    this.#unixSockets = unixSockets;
  }

  /**
   * Learns which ports are listened on.
   *
   * @param marksOlder The kernel gives each socket a cookie as it lists it: by that the syscall rung knows what is older
   *   than itself.
   */
  learnListeners(native: Native, marksOlder: boolean): void {
    for (const family of [4, 6] as const) {
      if (marksOlder) native.diagEstablished(family);
      for (const listener of native.diagListeners(family)) this.#listenerPorts.add(listener.localPort);
    }
  }

  /** Sockets open now. */
  get size(): number {
    return this.#sockets.size;
  }

  /** Number of an open socket; undefined where its opening was not seen. */
  get(cookie: number): number | undefined {
    return this.#sockets.get(cookie);
  }

  /** Number of a socket, which may have connected and not been opened yet. */
  numberOf(cookie: number): number {
    const known = this.#sockets.get(cookie) ?? this.#connecting.get(cookie);
    if (known !== undefined) return known;
    const socket = ++this.#lastSocket;
    if (this.#connecting.size >= connectingMax) this.#connecting.clear();
    this.#connecting.set(cookie, socket);
    return socket;
  }

  /** Makes room for a socket that opens, before its process is told of: what had its cookie before is over. */
  makeRoom({ cookie, timeNs }: OpenEvent): void {
    if (this.#sockets.has(cookie)) this.close(cookie, timeNs, false);
    else if (this.#sockets.size >= connectionsMax) this.#closeOldest(timeNs);
  }

  /** Tells the sink of a socket that `makeRoom` was called for. */
  open(event: OpenEvent): void {
    if (event.inode !== 0) this.#unixSockets.opened(event.cookie, event);
    const socket = this.#connecting.get(event.cookie) ?? ++this.#lastSocket;
    this.#connecting.delete(event.cookie);
    this.#sockets.set(event.cookie, socket);
    const fallbackName = event.program === "" ? `unknown:${event.localPort}` : event.program;
    this.#sink.opened({
      socket,
      sight: "end",
      role: event.role === "unknown" ? this.#lateRole(event) : event.role,
      local: { addr: event.localAddr, port: event.localPort },
      remote: { addr: event.remoteAddr, port: event.remotePort },
      netns: event.netns,
      joinedLate: event.joinedLate || (event.inode !== 0 && this.#unixSockets.isOlder(event.inode)),
      timeNs: event.timeNs,
      localOwner: { pid: event.pid, ownerBy: "hook", fallbackName },
      remoteOwner: undefined,
    });
  }

  /** Closes a socket, if it is open. */
  close(cookie: number, timeNs: number, reset: boolean): void {
    const socket = this.#sockets.get(cookie);
    if (socket === undefined) return;
    this.#sockets.delete(cookie);
    this.#unixSockets.closed(cookie);
    this.#sink.closed(socket, timeNs, reset);
  }

  /** Closes sockets of AF_UNIX that are gone: they have no hook at their end. */
  closeGone(nowNs: number): void {
    for (const cookie of this.#unixSockets.gone(nowNs / 1e6)) {
      if (this.#sockets.has(cookie)) this.close(cookie, nowNs, false);
      else this.#unixSockets.closed(cookie);
    }
  }

  closeAll(nowNs: number): void {
    for (const socket of this.#sockets.values()) this.#sink.closed(socket, nowNs, false);
    this.#sockets.clear();
  }

  /** Role in a connection that is older than the probes: the end whose port is listened on is the server. */
  #lateRole(event: OpenEvent): "client" | "server" | "unknown" {
    if (event.netns !== this.#netns) return "unknown";
    return this.#listenerPorts.has(event.localPort) ? "server" : "client";
  }

  #closeOldest(timeNs: number): void {
    for (const cookie of this.#sockets.keys()) {
      this.close(cookie, timeNs, false);
      return;
    }
  }
}
