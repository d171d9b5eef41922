/**
 * Reads a capture file of any kind into the same events that live capture gives.
 */

import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { CaptureSink, ClockOffset } from "../../server/model/capture-event.ts";
import { ipOffset } from "./link-layer.ts";
import { decodeIpPacket, makeTcpPacket } from "./packet-decode.ts";
import { type FlowHost, PacketFlows } from "./packet-flows.ts";
import { isPcap, readPcap } from "./pcap-file.ts";
import { firstSegmentMicros, type Perspective, readSegments } from "./segments-file.ts";
import { giveEvent, isTwcap, openTwcap } from "./twcap.ts";

/** How to read a file. */
export interface CaptureFileOptions {
  /** The end at which the segments of a file were seen, where the file does not say. Packets are always seen from both. */
  readonly perspective: Perspective;
  /** Called once before the first event: turns the events' times into Unix time. */
  readonly clock?: (offset: ClockOffset) => void;
}

/** What a file held. */
export interface CaptureFileRead {
  /** Packets, segments or recorded events in the file. */
  readonly packets: number;
  /** Those of them that could not be used, by reason. */
  readonly lost: Record<string, number>;
  /** Times of the events are relative to the file: this makes Unix time of them. */
  readonly bootToUnixNano: bigint;
}

/** Larger files are refused: they are read whole. */
const fileBytesMax = 1 << 30;
/** Event times start here, so that none is 0 or negative in an ordinary file. */
const firstEventNs = 1_000_000_000n;

const FILE_LIMITS = { heldPacketsMax: 4096, heldBytesMax: 4 << 20 };
const FILE_CONNECTIONS_MAX = 65_536;

/** Files carry no owners, and both ends are as near as the packets are. */
const FILE_HOST: FlowHost = {
  isLocal: () => true,
  isListening: () => false,
  ownersOf: () => ({ client: undefined, server: undefined }),
  netns: 0,
};

/**
 * Reads a `.pcap`, `.pcapng`, `.segments.jsonl` or `.twcap` file, gzipped or not, and gives its events to `sink`.
 *
 * The kind is told by the first bytes, not by the name. Connections still open at the end of the file are closed.
 *
 * @throws Error naming the file where it cannot be read or is none of these.
 */
export function readCaptureFile(path: string, sink: CaptureSink, options: CaptureFileOptions): CaptureFileRead {
  if (isTwcap(readBeginning(path))) return readRecording(path, sink, options);
  const bytes = readWhole(path);
  if (isPcap(bytes)) return readPackets(bytes, sink, options);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  if (/^\s*\{/.test(text)) return readSegmentText(text, sink, options);
  throw new Error(`${path} is no capture: it is neither pcap, pcapng, segments.jsonl nor twcap.`);
}

function readBeginning(path: string): Uint8Array {
  const beginning = new Uint8Array(16);
  const fd = openSync(path, "r");
  try {
    return beginning.subarray(0, readSync(fd, beginning));
  } finally {
    closeSync(fd);
  }
}

function readWhole(path: string): Uint8Array {
  const bytes = readFileSync(path);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  return gunzipSync(bytes, { maxOutputLength: fileBytesMax });
}

function readPackets(bytes: Uint8Array, sink: CaptureSink, options: CaptureFileOptions): CaptureFileRead {
  const flows = new PacketFlows(sink, FILE_HOST, {
    limits: FILE_LIMITS,
    connectionsMax: FILE_CONNECTIONS_MAX,
    oneSight: false,
  });
  const lost: Record<string, number> = {};
  const lose = (reason: string) => {
    lost[reason] = (lost[reason] ?? 0) + 1;
  };
  const packet = makeTcpPacket();
  let packets = 0;
  let bootToUnixNano = 0n;
  let timeNs = 0;
  const end = readPcap(bytes, (frame) => {
    if (packets === 0) {
      bootToUnixNano = frame.timeUnixNano - firstEventNs;
      options.clock?.({ bootToUnixNano });
    }
    packets++;
    timeNs = Number(frame.timeUnixNano - bootToUnixNano);
    const at = ipOffset(frame.linkType, frame.bytes);
    if (at < 0) return lose(at === -1 ? "not_ip" : "link_type_unknown");
    const verdict = decodeIpPacket(frame.bytes, at, frame.bytes.length, frame.wireBytes - at, packet);
    if (verdict !== "tcp") return lose(verdict);
    flows.accept(packet, frame.bytes, timeNs, 0);
  });
  flows.finish(timeNs);
  if (end.truncated) lose("file_cut");
  for (const [reason, count] of Object.entries(flows.counters.lost)) if (count > 0) lost[reason] = count;
  return { packets, lost, bootToUnixNano };
}

function readSegmentText(text: string, sink: CaptureSink, options: CaptureFileOptions): CaptureFileRead {
  const baseMicros = Math.floor(firstSegmentMicros(text)) - 1_000_000;
  const bootToUnixNano = BigInt(baseMicros) * 1000n;
  options.clock?.({ bootToUnixNano });
  const { segments, lost } = readSegments(text, sink, options.perspective, baseMicros);
  return { packets: segments, lost, bootToUnixNano };
}

function readRecording(path: string, sink: CaptureSink, options: CaptureFileOptions): CaptureFileRead {
  const reader = openTwcap(path);
  try {
    const bootToUnixNano = BigInt(reader.header.bootToUnixNano);
    options.clock?.({ bootToUnixNano });
    const open = new Set<number>();
    let packets = 0;
    let lastNs = 0;
    for (let block = reader.nextBlock(); block !== undefined; block = reader.nextBlock()) {
      for (const event of block) {
        packets++;
        if (event.kind === "opened") open.add(event.event.socket);
        else if (event.kind === "closed") open.delete(event.socket);
        else if (event.kind === "slice") lastNs = event.event.timeNs;
        giveEvent(sink, event);
      }
    }
    for (const socket of open) sink.closed(socket, lastNs, false);
    const lost = Object.fromEntries(Object.entries(reader.lost).filter(([, count]) => count > 0));
    return { packets, lost, bootToUnixNano };
  } finally {
    reader.close();
  }
}
