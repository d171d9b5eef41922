/**
 * Makes packets and capture files for tests, and collects what comes of them.
 */

import type { CaptureSink, Owner, ProcessSeen, SocketOpened } from "../../server/model/capture-event.ts";

/** One TCP packet of `10.0.0.1:40000` (client) and `10.0.0.2:7777` (server) unless told otherwise. */
export interface PacketSpec {
  readonly fromClient?: boolean;
  readonly seq: number;
  readonly ack?: number;
  readonly flags?: number;
  readonly payload?: Uint8Array | string;
  readonly clientPort?: number;
  readonly ipv6?: boolean;
}

const CLIENT = Uint8Array.of(10, 0, 0, 1);
const SERVER = Uint8Array.of(10, 0, 0, 2);
const ACK = 16;

/** An IP packet, checksums left zero. */
export function ipPacket(spec: PacketSpec): Buffer {
  const { fromClient = true, seq, ack = 0, flags = ACK, payload = "", clientPort = 40_000, ipv6 = false } = spec;
  const body = Buffer.from(payload as string);
  const tcp = Buffer.alloc(20 + body.length);
  tcp.writeUInt16BE(fromClient ? clientPort : 7777, 0);
  tcp.writeUInt16BE(fromClient ? 7777 : clientPort, 2);
  tcp.writeUInt32BE(seq >>> 0, 4);
  tcp.writeUInt32BE(ack >>> 0, 8);
  tcp[12] = 5 << 4;
  tcp[13] = flags;
  body.copy(tcp, 20);
  const [source, target] = fromClient ? [CLIENT, SERVER] : [SERVER, CLIENT];
  if (ipv6) {
    const head = Buffer.alloc(40);
    head[0] = 0x60;
    head.writeUInt16BE(tcp.length, 4);
    head[6] = 6;
    head.writeUInt32BE(0x20010db8, 8);
    head.set(source, 20);
    head.writeUInt32BE(0x20010db8, 24);
    head.set(target, 36);
    return Buffer.concat([head, tcp]);
  }
  const head = Buffer.alloc(20);
  head[0] = 0x45;
  head.writeUInt16BE(20 + tcp.length, 2);
  head[9] = 6;
  head.set(source, 12);
  head.set(target, 16);
  return Buffer.concat([head, tcp]);
}

/** Settings of a made pcap file. */
export interface PcapSpec {
  readonly littleEndian?: boolean;
  readonly nanoseconds?: boolean;
  readonly linkType?: number;
  /** Bytes kept of each frame. */
  readonly snapBytes?: number;
}

/** A pcap file of frames with their Unix nanoseconds. */
export function pcapFile(frames: readonly { timeUnixNano: bigint; bytes: Buffer }[], spec: PcapSpec = {}): Buffer {
  const { littleEndian = true, nanoseconds = false, linkType = 101, snapBytes = 65_535 } = spec;
  const put = (buffer: Buffer, value: number, at: number) =>
    littleEndian ? buffer.writeUInt32LE(value, at) : buffer.writeUInt32BE(value, at);
  const head = Buffer.alloc(24);
  put(head, nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4, 0);
  put(head, snapBytes, 16);
  put(head, linkType, 20);
  const parts: Buffer[] = [head];
  for (const { timeUnixNano, bytes } of frames) {
    const record = Buffer.alloc(16);
    put(record, Number(timeUnixNano / 1_000_000_000n), 0);
    put(record, Number((timeUnixNano % 1_000_000_000n) / (nanoseconds ? 1n : 1000n)), 4);
    put(record, Math.min(bytes.length, snapBytes), 8);
    put(record, bytes.length, 12);
    parts.push(record, bytes.subarray(0, snapBytes));
  }
  return Buffer.concat(parts);
}

/** A connection as a sink saw it. */
export interface CollectedSocket {
  readonly opened: SocketOpened;
  /** Payload by direction: sent by `local`, received by it. Gaps and cuts stand as `<gap N>` and `<cut N>`. */
  readonly text: [string, string];
  readonly timesNs: number[];
  closed: "" | "closed" | "reset";
  localOwner: Owner | undefined;
}

/** A sink that keeps everything. Throws where slices overlap or come outside of their socket's life. */
export class Collector implements CaptureSink {
  readonly sockets = new Map<number, CollectedSocket>();
  readonly processes: ProcessSeen[] = [];
  readonly exits: number[] = [];
  readonly #next = new Map<string, number>();

  opened(event: SocketOpened): void {
    if (this.sockets.has(event.socket)) throw new Error(`socket ${event.socket} opened twice`);
    const { localOwner } = event;
    this.sockets.set(event.socket, { opened: event, text: ["", ""], timesNs: [], closed: "", localOwner });
  }

  slice(event: Parameters<CaptureSink["slice"]>[0]): void {
    const socket = this.#living(event.socket);
    const key = `${event.socket} ${event.direction}`;
    const next = this.#next.get(key) ?? event.seq;
    const ahead = (event.seq - next) | 0;
    if (ahead < 0) throw new Error(`slice of socket ${event.socket} overlaps the one before by ${-ahead}`);
    if (ahead > 0) socket.text[event.direction] += `<gap ${ahead}>`;
    socket.text[event.direction] += Buffer.from(event.bytes).toString("latin1");
    const cut = event.total - event.bytes.length;
    if (cut > 0) socket.text[event.direction] += `<cut ${cut}>`;
    socket.timesNs.push(event.timeNs);
    this.#next.set(key, (event.seq + event.total) >>> 0);
  }

  owner(socket: number, end: "local" | "remote", owner: Owner): void {
    if (end === "local") this.#living(socket).localOwner = owner;
  }

  closed(socket: number, _timeNs: number, reset: boolean): void {
    this.#living(socket).closed = reset ? "reset" : "closed";
  }

  process(event: ProcessSeen): void {
    this.processes.push(event);
  }

  processExited(pid: number): void {
    this.exits.push(pid);
  }

  /** All sockets in order of opening. */
  list(): CollectedSocket[] {
    return [...this.sockets.values()];
  }

  #living(socket: number): CollectedSocket {
    const found = this.sockets.get(socket);
    if (found === undefined) throw new Error(`socket ${socket} was never opened`);
    if (found.closed !== "") throw new Error(`socket ${socket} is closed`);
    return found;
  }
}

/** Repeatable numbers in [0, 1), by mulberry32. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
