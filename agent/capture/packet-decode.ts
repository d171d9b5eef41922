/**
 * Reads IPv4 and IPv6 packets down to the TCP payload. Pure; used by live capture and by capture files.
 *
 * Checksums are never verified: offloading leaves them unfinished on loopback and virtual links.
 */

/** TCP flag bits. */
export const TCP_FIN = 1;
export const TCP_SYN = 2;
export const TCP_RST = 4;
export const TCP_ACK = 16;

/** What a packet turned out to be; every verdict but `tcp` is a reason under which it is counted as lost. */
export type PacketVerdict = "tcp" | "udp" | "not_tcp" | "not_ip" | "fragment" | "malformed" | "header_cut";

/**
 * One TCP packet. The object is filled anew for each packet and never kept.
 *
 * Addresses are four signed 32-bit words in network order; an IPv4 address is written as IPv4-mapped
 * (`0, 0, 0xffff, address`), so that both spellings of one address are equal.
 */
export interface TcpPacket {
  source0: number;
  source1: number;
  source2: number;
  source3: number;
  target0: number;
  target1: number;
  target2: number;
  target3: number;
  sourcePort: number;
  targetPort: number;
  /** Sequence number of the first payload byte; for a SYN with payload one more than the header says. */
  seq: number;
  ack: number;
  flags: number;
  /** Payload bytes on the wire. */
  payloadTotal: number;
  /** Captured payload: `bytes.subarray(payloadStart, payloadEnd)`. */
  payloadStart: number;
  payloadEnd: number;
}

/** An empty packet to fill. */
export function makeTcpPacket(): TcpPacket {
  return {
    source0: 0,
    source1: 0,
    source2: 0,
    source3: 0,
    target0: 0,
    target1: 0,
    target2: 0,
    target3: 0,
    sourcePort: 0,
    targetPort: 0,
    seq: 0,
    ack: 0,
    flags: 0,
    payloadTotal: 0,
    payloadStart: 0,
    payloadEnd: 0,
  };
}

/** Third word of an IPv4-mapped address. */
export const MAPPED_WORD = 0xffff;

const IP_PROTOCOL_TCP = 6;
const IP_PROTOCOL_UDP = 17;
/** Extension headers that are skipped; more than this in one packet is malformed. */
const extensionHeadersMax = 16;

/**
 * Decodes one IP packet.
 *
 * @param bytes Holds the packet at `[start, end)`, captured bytes only.
 * @param wireBytes Length of the packet on the wire, used where the header says 0 (segmentation offload, jumbograms).
 * @param packet Filled only when the verdict is `tcp`.
 */
export function decodeIpPacket(
  bytes: Uint8Array,
  start: number,
  end: number,
  wireBytes: number,
  packet: TcpPacket,
): PacketVerdict {
  if (end - start < 1) return "malformed";
  const version = byteAt(bytes, start) >> 4;
  if (version === 4) return decodeIpv4(bytes, start, end, wireBytes, packet);
  if (version === 6) return decodeIpv6(bytes, start, end, wireBytes, packet);
  return "not_ip";
}

function decodeIpv4(bytes: Uint8Array, start: number, end: number, wireBytes: number, packet: TcpPacket) {
  if (end - start < 20) return "header_cut";
  const headerBytes = (byteAt(bytes, start) & 15) * 4;
  if (headerBytes < 20) return "malformed";
  const saidBytes = word16(bytes, start + 2);
  const total = saidBytes === 0 ? wireBytes : saidBytes;
  if (total < headerBytes) return "malformed";
  if ((word16(bytes, start + 6) & 0x3fff) !== 0) return "fragment";
  const protocol = byteAt(bytes, start + 9);
  if (protocol !== IP_PROTOCOL_TCP) return protocol === IP_PROTOCOL_UDP ? "udp" : "not_tcp";
  packet.source0 = 0;
  packet.source1 = 0;
  packet.source2 = MAPPED_WORD;
  packet.source3 = word32(bytes, start + 12);
  packet.target0 = 0;
  packet.target1 = 0;
  packet.target2 = MAPPED_WORD;
  packet.target3 = word32(bytes, start + 16);
  return decodeTcp(bytes, start + headerBytes, Math.min(end, start + total), total - headerBytes, packet);
}

function decodeIpv6(bytes: Uint8Array, start: number, end: number, wireBytes: number, packet: TcpPacket) {
  if (end - start < 40) return "header_cut";
  const saidBytes = word16(bytes, start + 4);
  const total = saidBytes === 0 ? wireBytes : saidBytes + 40;
  if (total < 40) return "malformed";
  packet.source0 = word32(bytes, start + 8);
  packet.source1 = word32(bytes, start + 12);
  packet.source2 = word32(bytes, start + 16);
  packet.source3 = word32(bytes, start + 20);
  packet.target0 = word32(bytes, start + 24);
  packet.target1 = word32(bytes, start + 28);
  packet.target2 = word32(bytes, start + 32);
  packet.target3 = word32(bytes, start + 36);
  let following = byteAt(bytes, start + 6);
  let at = start + 40;
  for (let skipped = 0; following !== IP_PROTOCOL_TCP; skipped++) {
    if (following === IP_PROTOCOL_UDP) return "udp";
    const isExtension = following === 0 || following === 43 || following === 60 || following === 135;
    if (!isExtension && following !== 44 && following !== 51) return "not_tcp";
    if (skipped >= extensionHeadersMax) return "malformed";
    if (at + 8 > end) return "header_cut";
    if (following === 44 && (word16(bytes, at + 2) & 0xfff9) !== 0) return "fragment";
    const lengthByte = byteAt(bytes, at + 1);
    const headerBytes = following === 44 ? 8 : following === 51 ? (lengthByte + 2) * 4 : (lengthByte + 1) * 8;
    following = byteAt(bytes, at);
    at += headerBytes;
    if (at > start + total) return "malformed";
  }
  return decodeTcp(bytes, at, Math.min(end, start + total), start + total - at, packet);
}

/** `total` counts header and payload on the wire from `at`; `end` closes what was captured of them. */
function decodeTcp(bytes: Uint8Array, at: number, end: number, total: number, packet: TcpPacket): PacketVerdict {
  if (end - at < 20) return total < 20 ? "malformed" : "header_cut";
  const headerBytes = (byteAt(bytes, at + 12) >> 4) * 4;
  if (headerBytes < 20 || headerBytes > total) return "malformed";
  packet.sourcePort = word16(bytes, at);
  packet.targetPort = word16(bytes, at + 2);
  packet.flags = byteAt(bytes, at + 13);
  const seq = word32(bytes, at + 4) >>> 0;
  // A SYN takes one number itself, so payload that comes with it (TCP Fast Open) starts one further.
  packet.seq = (packet.flags & TCP_SYN) !== 0 ? (seq + 1) >>> 0 : seq;
  packet.ack = word32(bytes, at + 8) >>> 0;
  packet.payloadTotal = total - headerBytes;
  packet.payloadStart = Math.min(at + headerBytes, end);
  packet.payloadEnd = end;
  return "tcp";
}

/** The address of four words as text: dotted for IPv4 and IPv4-mapped, else RFC 5952. */
export function addressText(word0: number, word1: number, word2: number, word3: number): string {
  if (word0 === 0 && word1 === 0 && word2 === MAPPED_WORD) {
    return `${word3 >>> 24}.${(word3 >>> 16) & 255}.${(word3 >>> 8) & 255}.${word3 & 255}`;
  }
  const groups: number[] = [];
  for (const word of [word0, word1, word2, word3]) groups.push(word >>> 16, word & 0xffff);
  return groupsText(groups);
}

/** RFC 5952: the first longest run of at least two zero groups becomes `::`. */
function groupsText(groups: readonly number[]): string {
  let bestAt = -1;
  let bestLength = 1;
  for (let at = 0; at < groups.length; at++) {
    let length = 0;
    while (groups[at + length] === 0) length++;
    if (length > bestLength) {
      bestAt = at;
      bestLength = length;
    }
  }
  const text = (part: readonly number[]) => part.map((group) => group.toString(16)).join(":");
  if (bestAt < 0) return text(groups);
  return `${text(groups.slice(0, bestAt))}::${text(groups.slice(bestAt + bestLength))}`;
}

/**
 * The four words of an address text (dotted IPv4, IPv6 with or without `::` and a dotted tail).
 *
 * @returns undefined where the text is no address. A zone (`%eth0`) is ignored.
 */
export function addressWords(text: string): [number, number, number, number] | undefined {
  const plain = text.split("%", 1)[0] ?? text;
  const dotted = /^(.*?)(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(plain);
  let groupText = plain;
  if (dotted !== null) {
    const octets = dotted.slice(2).map(Number);
    if (octets.some((octet) => octet > 255)) return undefined;
    const [first = 0, second = 0, third = 0, fourth = 0] = octets;
    const low = (first << 24) | (second << 16) | (third << 8) | fourth;
    if (dotted[1] === "") return [0, 0, MAPPED_WORD, low];
    groupText = `${dotted[1]}${((first << 8) | second).toString(16)}:${((third << 8) | fourth).toString(16)}`;
  }
  const halves = groupText.split("::");
  if (halves.length > 2) return undefined;
  const [left, right] = halves.map((half) => (half === "" ? [] : half.split(":")));
  if (left === undefined) return undefined;
  const missing = 8 - left.length - (right?.length ?? 0);
  if (right === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...left, ...Array<string>(missing).fill("0"), ...(right ?? [])];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  const word = (at: number) =>
    (Number.parseInt(groups[at] ?? "", 16) << 16) | Number.parseInt(groups[at + 1] ?? "", 16);
  return [word(0), word(2), word(4), word(6)];
}

// The callers check the bounds of whole headers; `?? 0` only satisfies the type checker.
function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}

function word16(bytes: Uint8Array, at: number): number {
  return (byteAt(bytes, at) << 8) | byteAt(bytes, at + 1);
}

function word32(bytes: Uint8Array, at: number): number {
  return (
    (byteAt(bytes, at) << 24) | (byteAt(bytes, at + 1) << 16) | (byteAt(bytes, at + 2) << 8) | byteAt(bytes, at + 3)
  );
}
