/**
 * What a capture rung tells the connection room: sockets, slices of their byte streams, processes.
 *
 * Times are `CLOCK_BOOTTIME` nanoseconds as a number (exact for 104 days of uptime, then to a few
 * nanoseconds); `ClockOffset` turns them into Unix time. Order within a direction of a socket is
 * stream order; between sockets nothing is promised.
 */

/** One end of a connection. IPv4-mapped addresses are written as IPv4. */
export interface Endpoint {
  readonly addr: string;
  readonly port: number;
}

/** How a process was found to own an end; `hook` is the running task itself, the rest are look-ups. */
type OwnerBy = "hook" | "fd" | "cgroup" | "uid" | "port";

/** The owner of one end of a connection. */
export interface Owner {
  /** Process id in the agent's pid namespace; 0 where only the cgroup, uid or port is known. */
  readonly pid: number;
  readonly ownerBy: OwnerBy;
  /** Name to use where `pid` is 0, such as a unit or container name or `unknown:8080`. */
  readonly fallbackName: string;
}

/**
 * A socket appears.
 *
 * `sight: "end"` is a hook inside the kernel at one end: `local` is the end of `owner`.
 * `sight: "both"` is one sight of packets between two ends on this host: `local` is the client.
 * `sight: "wire"` is a sight of packets whose `remote` end is on another host.
 */
export interface SocketOpened {
  /** Number of the sight, unique while the agent runs. Never reused. */
  readonly socket: number;
  readonly sight: "end" | "both" | "wire";
  /** Role of `local`. `unknown` where the agent joined late and cannot tell. */
  readonly role: "client" | "server" | "unknown";
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** Network namespace inode; 0 where unknown. Part of the key only for loopback addresses. */
  readonly netns: number;
  /** The connection existed before the agent saw it. */
  readonly joinedLate: boolean;
  readonly timeNs: number;
  readonly localOwner: Owner | undefined;
  readonly remoteOwner: Owner | undefined;
}

/**
 * What runs on a thread at the moment of a call, where the rung can see into the process.
 *
 * `loop`: `unit` is the number of the turn of libuv's loop; `origin` is twice the number of reads the thread has made of
 * anything, and one more while the loop hands out events of its descriptors (not timers, immediates, or what follows).
 * `goroutine`: its number, and that of the goroutine that started it; 0 where the one that waits for the call is not known.
 * `task`: a task of asyncio, and the outermost task that awaits it; both 0 outside of tasks.
 */
export interface WorkUnit {
  kind: "" | "loop" | "goroutine" | "task";
  unit: number;
  origin: number;
}

/**
 * A process begins to connect, or reads that its peer has ended the stream: what a thread is about begins or ends there.
 * The receiver must not keep the object.
 */
export interface SocketMoment {
  kind: "connecting" | "ended";
  socket: number;
  timeNs: number;
  tid: number;
  pid: number;
  work: WorkUnit;
}

/**
 * What a slice is to TLS. `clear`: bytes that records held, told by the library that sealed or opened them. `cipher`:
 * records whose clear bytes are told too; `opaque`: records whose clear bytes are not.
 */
export interface TlsLayer {
  readonly kind: "clear" | "cipher" | "opaque";
  /** Clear: the first byte's number for the identity of messages, by the record that carried it; equal at both ends. */
  readonly number: number;
  /** Clear: the stream was not seen from its first byte. */
  readonly isLate: boolean;
}

/**
 * Bytes that left (`out`) or reached (`in`) the local end. The receiver must not keep the object or `bytes`.
 *
 * A slice with a `total` of 0 says at which `seq` a direction goes on: sent before its first bytes, where the rung
 * knows it, it makes the loss of those bytes visible as a gap.
 */
export interface SocketSlice {
  socket: number;
  /** 0: sent by the local end. 1: received by the local end. */
  direction: 0 | 1;
  timeNs: number;
  /** TCP sequence number of the first byte, modulo 2^32. */
  seq: number;
  /** Bytes that passed; `bytes` holds the first of them. */
  total: number;
  bytes: Uint8Array;
  /** Thread that made the call; 0 on rungs that do not know it. */
  tid: number;
  /** Process that made the call; 0 on rungs that do not know it. */
  pid: number;
  /** Absent on rungs that cannot tell; valid during the call. */
  work?: WorkUnit;
  /** Whole messages passed before it in its direction that were counted elsewhere: they are no gap. */
  isResumed?: boolean;
  /** Present where the connection speaks TLS. `seq` of clear slices counts clear bytes alone. */
  tls?: TlsLayer | undefined;
}

/** What is known of a process. Only allow-listed variables of its environment are read. */
export interface ProcessSeen {
  readonly pid: number;
  /** Boot-time nanoseconds of its start: pid and start name a process for ever. */
  readonly startNs: number;
  /** Short name of the kernel, at most 15 bytes. */
  readonly comm: string;
  /** Absolute path of the executable; empty where it cannot be read. */
  readonly exe: string;
  readonly cmdline: readonly string[];
  readonly cwd: string;
  /** `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and no other variable. */
  readonly otelServiceName: string;
  readonly otelResourceAttributes: string;
  /** Systemd unit without its suffix; empty where none. */
  readonly unit: string;
  /** Container id of 64 hex digits; empty where none. */
  readonly containerId: string;
  readonly language: "node" | "python" | "go" | "java" | "native" | "";
}

/**
 * How much of a process's traffic is captured, from the dearest to the cheapest: all that a parser may need; of HTTP/1
 * only heads; of HTTP/1 only counts, made in the kernel; nothing.
 */
export const CAPTURE_DEPTHS = ["full", "heads", "counted", "off"] as const;
export type CaptureDepth = (typeof CAPTURE_DEPTHS)[number];

/** Exchanges of HTTP/1 that were counted in the kernel since the last look and are alike as far as it can tell. */
export interface CountedCalls {
  readonly pid: number;
  readonly role: "client" | "server";
  readonly method: string;
  /** 0 where the answer was not seen: the connection ended before it. */
  readonly status: number;
  readonly server: Endpoint;
  readonly calls: number;
  /** From request to the first byte of the answer, on average. */
  readonly meanNs: number;
}

/** Receives everything a rung captures. Calls are synchronous and must not throw. */
export interface CaptureSink {
  opened(event: SocketOpened): void;
  /**
   * Comes in order among the slices of its thread. `connecting` comes before the first slice of the socket, before `opened` or
   * after it, which never comes where the connection fails. Rungs that cannot tell leave it out.
   */
  moment?(event: SocketMoment): void;
  slice(event: SocketSlice): void;
  /** The owner of an end became known after `opened`. */
  owner(socket: number, end: "local" | "remote", owner: Owner): void;
  /** No more slices follow. `reset`: by RST. */
  closed(socket: number, timeNs: number, reset: boolean): void;
  /** A process was discovered, or replaced itself by exec. Comes before its first slice wherever possible. */
  process(event: ProcessSeen): void;
  processExited(pid: number, timeNs: number): void;
  /**
   * Events between two boot times were lost. Comes before those that follow them. Rungs that learn of a loss only later
   * leave it out: their counters tell.
   */
  lost?(fromNs: number, toNs: number): void;
}

/** `unixNano = bootNs + offset`; measured again every second, since the wall clock may step. */
export interface ClockOffset {
  readonly bootToUnixNano: bigint;
}

/** What a process says of one of its calls. Times are boot time, nanoseconds. */
export interface ToldCall {
  readonly pid: number;
  /** The request it was made for, by the other end and the port it came to; undefined where it was for none. */
  readonly request:
    | { readonly addr: string; readonly port: number; readonly ownPort: number; readonly atNs: number }
    | undefined;
  /** When its answer began. */
  readonly call: { readonly ownPort: number; readonly port: number; readonly atNs: number };
}
