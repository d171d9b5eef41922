/**
 * Reads the records that the addon's packet socket writes, and hands each packet on decoded.
 */

import { PACKET_RECORD } from "../../bpf/native.ts";
import { decodeIpPacket, makeTcpPacket, type PacketVerdict, type TcpPacket } from "./packet-decode.ts";

/** Gets each TCP packet; `packet` and `bytes` are valid during the call. */
export type PacketReceiver = (packet: TcpPacket, bytes: Uint8Array, timeNs: number, sight: number) => void;

/** A buffer to drain into, and the views to read it. */
export interface PacketBuffer {
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly packet: TcpPacket;
}

/** A buffer for `packetDrain`; at least twice the largest record. */
export function makePacketBuffer(bufferBytes: number): PacketBuffer {
  const buffer = new ArrayBuffer(bufferBytes);
  return { buffer, bytes: new Uint8Array(buffer), words: new Uint32Array(buffer), packet: makeTcpPacket() };
}

/** Turns CLOCK_REALTIME of records into boot time without leaving the integers that a number holds. */
export interface RecordClock {
  /** Whole second that times are told from. */
  readonly baseSeconds: number;
  /** Boot time of that second, in nanoseconds. */
  readonly baseBootNs: number;
}

/** @param bootToUnixNano As in `ClockOffset`. */
export function recordClock(bootToUnixNano: bigint, nowBootNs: number): RecordClock {
  const baseSeconds = Number((BigInt(Math.round(nowBootNs)) + bootToUnixNano) / 1_000_000_000n);
  return { baseSeconds, baseBootNs: Number(BigInt(baseSeconds) * 1_000_000_000n - bootToUnixNano) };
}

/**
 * Reads the first `length` bytes of the buffer.
 *
 * @param lose Called with the reason for each record that is no TCP packet.
 * @returns records read, those that were lost included.
 */
export function readPacketRecords(
  buffer: PacketBuffer,
  length: number,
  clock: RecordClock,
  receive: PacketReceiver,
  lose: (reason: Exclude<PacketVerdict, "tcp">) => void,
): number {
  const { bytes, words, packet } = buffer;
  let records = 0;
  for (let at = 0; at + PACKET_RECORD.bytes <= length; ) {
    const word = at >> 2;
    const recordBytes = words[word] ?? 0;
    if (recordBytes < PACKET_RECORD.bytes) break;
    records++;
    const captured = words[word + (PACKET_RECORD.capturedBytes >> 2)] ?? 0;
    const original = words[word + (PACKET_RECORD.originalBytes >> 2)] ?? 0;
    const ifindex = words[word + (PACKET_RECORD.ifindex >> 2)] ?? 0;
    const packetType = bytes[at + PACKET_RECORD.packetType] ?? 0;
    const seconds = words[word + (PACKET_RECORD.seconds >> 2)] ?? 0;
    const nanoseconds = words[word + (PACKET_RECORD.nanoseconds >> 2)] ?? 0;
    const timeNs = (seconds - clock.baseSeconds) * 1e9 + nanoseconds + clock.baseBootNs;
    const start = at + PACKET_RECORD.bytes;
    const verdict = decodeIpPacket(bytes, start, start + captured, original, packet);
    if (verdict === "tcp") receive(packet, bytes, timeNs, ifindex * 8 + packetType);
    else lose(verdict);
    at += recordBytes;
  }
  return records;
}
