/**
 * Reads pcap and pcapng files: frames with their time, length and link type.
 *
 * Damaged tails end the file; they are counted, not thrown.
 */

/** One frame. `bytes` points into the file's own buffer. */
interface CapturedFrame {
  /** Nanoseconds since 1970; 0 where the file has no time. */
  timeUnixNano: bigint;
  /** LINKTYPE_ number. */
  linkType: number;
  bytes: Uint8Array;
  /** Length on the wire; `bytes` may be shorter. */
  wireBytes: number;
  /** Interface number within the file. */
  interfaceId: number;
}

/** How a file ended: with its last record, or in the middle of one. */
export interface FileEnd {
  readonly truncated: boolean;
}

/** Takes frames in file order; the object is filled anew for each frame. */
export type FrameReceiver = (frame: CapturedFrame) => void;

const PCAPNG_SECTION = 0x0a0d0d0a;
const PCAP_MICROSECONDS = 0xa1b2c3d4;
const PCAP_NANOSECONDS = 0xa1b23c4d;
/** Alexey Kuznetsov's format: 8 more bytes in each record header. */
const PCAP_MODIFIED = 0xa1b2cd34;
/** Larger records are taken for damage. */
const frameBytesMax = 64 << 20;

/** Is this the beginning of a pcap or pcapng file? */
export function isPcap(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && (isPcapng(bytes) || pcapOrder(bytes) !== undefined);
}

/**
 * Reads all frames of a file.
 *
 * @param bytes The whole file, not compressed.
 * @throws Error where the file is neither pcap nor pcapng.
 */
export function readPcap(bytes: Uint8Array, receive: FrameReceiver): FileEnd {
  if (bytes.length >= 4 && isPcapng(bytes)) return readPcapng(bytes, receive);
  const order = pcapOrder(bytes);
  if (order === undefined) throw new Error("not a pcap or pcapng file: its first four bytes are none of their marks");
  return readClassic(bytes, order, receive);
}

interface PcapOrder {
  readonly littleEndian: boolean;
  readonly magic: number;
}

function isPcapng(bytes: Uint8Array): boolean {
  return viewOf(bytes).getUint32(0) === PCAPNG_SECTION;
}

function pcapOrder(bytes: Uint8Array): PcapOrder | undefined {
  if (bytes.length < 24) return undefined;
  for (const littleEndian of [true, false]) {
    const magic = viewOf(bytes).getUint32(0, littleEndian);
    if (magic === PCAP_MICROSECONDS || magic === PCAP_NANOSECONDS || magic === PCAP_MODIFIED)
      return { littleEndian, magic };
  }
  return undefined;
}

function readClassic(bytes: Uint8Array, { littleEndian, magic }: PcapOrder, receive: FrameReceiver): FileEnd {
  const view = viewOf(bytes);
  const headerBytes = magic === PCAP_MODIFIED ? 24 : 16;
  const nanosPerFraction = magic === PCAP_NANOSECONDS ? 1n : 1000n;
  const frame = makeFrame();
  frame.linkType = view.getUint32(20, littleEndian) & 0xffff;
  let at = 24;
  while (at + headerBytes <= bytes.length) {
    const captured = view.getUint32(at + 8, littleEndian);
    const end = at + headerBytes + captured;
    if (captured > frameBytesMax) return { truncated: true };
    const seconds = BigInt(view.getUint32(at, littleEndian));
    frame.timeUnixNano = seconds * 1_000_000_000n + BigInt(view.getUint32(at + 4, littleEndian)) * nanosPerFraction;
    frame.wireBytes = view.getUint32(at + 12, littleEndian);
    frame.bytes = bytes.subarray(at + headerBytes, end);
    receive(frame);
    at = end;
  }
  return { truncated: at !== bytes.length };
}

interface PcapngInterface {
  readonly linkType: number;
  readonly snapBytes: number;
  readonly ticksPerSecond: bigint;
  readonly offsetSeconds: bigint;
}

function readPcapng(bytes: Uint8Array, receive: FrameReceiver): FileEnd {
  const view = viewOf(bytes);
  const frame = makeFrame();
  let littleEndian = true;
  let interfaces: PcapngInterface[] = [];
  let at = 0;
  while (at + 12 <= bytes.length) {
    if (view.getUint32(at) === PCAPNG_SECTION) {
      littleEndian = view.getUint32(at + 8) === 0x4d3c2b1a;
      interfaces = [];
    }
    const kind = view.getUint32(at, littleEndian);
    const blockBytes = view.getUint32(at + 4, littleEndian);
    if (blockBytes < 12 || at + blockBytes > bytes.length) return { truncated: true };
    const body = bytes.subarray(at + 8, at + blockBytes - 4);
    if (kind === 1) interfaces.push(decodeInterface(body, littleEndian));
    else if (decodePacketBlock(kind, body, littleEndian, interfaces, frame)) receive(frame);
    at += blockBytes + (-blockBytes & 3);
  }
  return { truncated: at < bytes.length };
}

/** Enhanced (6), obsolete (2) and simple (3) packet blocks. @returns false for every other block. */
function decodePacketBlock(
  kind: number,
  body: Uint8Array,
  littleEndian: boolean,
  interfaces: readonly PcapngInterface[],
  frame: CapturedFrame,
): boolean {
  const view = viewOf(body);
  if (kind === 3 && body.length >= 4) {
    const [source] = interfaces;
    if (source === undefined) return false;
    const wireBytes = view.getUint32(0, littleEndian);
    const captured = source.snapBytes === 0 ? wireBytes : Math.min(wireBytes, source.snapBytes);
    fillFrame(frame, source, 0, 0n, body.subarray(4, 4 + captured), wireBytes);
    return true;
  }
  if ((kind !== 6 && kind !== 2) || body.length < 20) return false;
  const interfaceId = kind === 6 ? view.getUint32(0, littleEndian) : view.getUint16(0, littleEndian);
  const source = interfaces[interfaceId];
  if (source === undefined) return false;
  const ticks = (BigInt(view.getUint32(4, littleEndian)) << 32n) | BigInt(view.getUint32(8, littleEndian));
  const timeUnixNano = (ticks * 1_000_000_000n) / source.ticksPerSecond + source.offsetSeconds * 1_000_000_000n;
  const captured = view.getUint32(12, littleEndian);
  const wireBytes = view.getUint32(16, littleEndian);
  fillFrame(frame, source, interfaceId, timeUnixNano, body.subarray(20, 20 + captured), wireBytes);
  return true;
}

function fillFrame(
  frame: CapturedFrame,
  source: PcapngInterface,
  interfaceId: number,
  timeUnixNano: bigint,
  bytes: Uint8Array,
  wireBytes: number,
): void {
  frame.timeUnixNano = timeUnixNano;
  frame.linkType = source.linkType;
  frame.bytes = bytes;
  frame.wireBytes = wireBytes;
  frame.interfaceId = interfaceId;
}

function decodeInterface(body: Uint8Array, littleEndian: boolean): PcapngInterface {
  const view = viewOf(body);
  let ticksPerSecond = 1_000_000n;
  let offsetSeconds = 0n;
  for (let at = 8; at + 4 <= body.length; ) {
    const code = view.getUint16(at, littleEndian);
    const length = view.getUint16(at + 2, littleEndian);
    if (code === 0 || at + 4 + length > body.length) break;
    if (code === 9 && length >= 1) {
      const resolution = view.getUint8(at + 4);
      ticksPerSecond = (resolution & 0x80) !== 0 ? 1n << BigInt(resolution & 0x7f) : 10n ** BigInt(resolution);
    } else if (code === 14 && length >= 8) offsetSeconds = view.getBigInt64(at + 4, littleEndian);
    at += 4 + length + (-length & 3);
  }
  const linkType = body.length >= 2 ? view.getUint16(0, littleEndian) : -1;
  const snapBytes = body.length >= 8 ? view.getUint32(4, littleEndian) : 0;
  return { linkType, snapBytes, ticksPerSecond, offsetSeconds };
}

function makeFrame(): CapturedFrame {
  return { timeUnixNano: 0n, linkType: 0, bytes: new Uint8Array(0), wireBytes: 0, interfaceId: 0 };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
