/**
 * The identity of a message, from which its ids are computed (`server/model/message-ids.ts`).
 *
 * A message is named by the normalised tuple of its connection and the TCP sequence number of its first byte, which
 * both ends see alike. Its hash gives span ids and, for a message without a parent, the trace id: two observers of
 * one message agree without talking. Hashes are two 32-bit lanes, since BigInt arithmetic would dominate this path.
 */

import type { Endpoint } from "../../server/model/capture-event.ts";
import { absorb, finish, type Lanes, scramble } from "../../server/model/message-ids.ts";

const SEED_HIGH = 0x5bd1e995 | 0;
const SEED_LOW = 0x27d4eb2f | 0;
const V4_MAPPED = 0x0000ffff;

/**
 * Hash of a connection's tuple, the start of the hash of each message on it.
 *
 * @param netns Inode of the network namespace. Counts only between loopback addresses, which every namespace has of
 *   its own; elsewhere the two ends of one message lie in two namespaces.
 * @param salt Tells repetitions of one recording apart; 0 for live traffic, where other hosts must agree.
 */
export function hashTuple(client: Endpoint, server: Endpoint, netns: number, salt: number): Lanes {
  const lanes: Lanes = { high: SEED_HIGH, low: SEED_LOW };
  const clientWords = addressWords(client.addr);
  const serverWords = addressWords(server.addr);
  for (const word of clientWords) absorb(lanes, word);
  for (const word of serverWords) absorb(lanes, word);
  absorb(lanes, ((client.port & 0xffff) << 16) | (server.port & 0xffff));
  const inKey = isLoopback(clientWords) || isLoopback(serverWords);
  absorb(lanes, inKey ? netns | 0 : 0);
  absorb(lanes, salt | 0);
  return lanes;
}

/** Writes to `out` the hash of the message that begins at `seq` on the connection hashed as `tuple`. */
export function hashMessage(tuple: Readonly<Lanes>, seq: number, out: Lanes): void {
  out.high = tuple.high;
  out.low = tuple.low;
  absorb(out, seq | 0);
  finish(out);
}

/** A map key of 53 bits. Collisions are possible: compare the lanes of what the map holds. */
export function lanesKey(high: number, low: number): number {
  return (high >>> 0) * 0x200000 + (low >>> 11);
}

/** Hash of text for keys inside the agent; 32 bits. */
export function hashText(text: string, seed: number): number {
  let hash = seed | 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return scramble(hash);
}

/** Is it the name of a socket of AF_UNIX, which has a path, or an abstract name behind `@`? */
export function isUnixPath(addr: string): boolean {
  return addr.startsWith("/") || addr.startsWith("@");
}

/** IPv4-mapped IPv6 addresses as IPv4; others unchanged. */
export function plainAddress(addr: string): string {
  return addr.startsWith("::ffff:") && addr.includes(".") ? addr.slice(7) : addr;
}

type Words = readonly [number, number, number, number];

/** An address as four 32-bit words, IPv4 in its mapped form; text that is no address is hashed. */
function addressWords(addr: string): Words {
  const plain = plainAddress(addr);
  const v4 = v4Word(plain);
  if (v4 !== undefined) return [0, 0, V4_MAPPED, v4];
  return v6Words(plain) ?? [hashText(plain, 1), hashText(plain, 2), hashText(plain, 3), hashText(plain, 4)];
}

function v4Word(addr: string): number | undefined {
  const parts = addr.split(".");
  if (parts.length !== 4) return undefined;
  let word = 0;
  for (const part of parts) {
    const byte = Number(part);
    if (part === "" || !Number.isInteger(byte) || byte < 0 || byte > 255) return undefined;
    word = (word << 8) | byte;
  }
  return word;
}

function v6Words(addr: string): Words | undefined {
  const zone = addr.indexOf("%");
  const [before, after, more] = (zone < 0 ? addr : addr.slice(0, zone)).split("::");
  if (before === undefined || more !== undefined) return undefined;
  const head = v6Groups(before);
  const tail = after === undefined ? [] : v6Groups(after);
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (after === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const word = (at: number) => ((groups[at] as number) << 16) | (groups[at + 1] as number);
  return [word(0), word(2), word(4), word(6)];
}

function v6Groups(text: string): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  for (const part of text.split(":")) {
    const v4 = part.includes(".") ? v4Word(part) : undefined;
    if (v4 !== undefined) groups.push(v4 >>> 16, v4 & 0xffff);
    else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
}

function isLoopback(words: Words): boolean {
  const [a, b, c, d] = words;
  if (a !== 0 || b !== 0) return false;
  return (c === V4_MAPPED && d >>> 24 === 127) || (c === 0 && d === 1);
}
