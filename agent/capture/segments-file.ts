/**
 * Reads `.segments.jsonl` files, payloads of reads and writes as JSON lines, into capture events.
 *
 * A gap record leaves a jump of `seq`, a cut segment a `total` above its bytes, as live capture does.
 */

import type { CaptureSink, Endpoint, SocketSlice } from "../../server/model/capture-event.ts";

/** What a file held and what of it could not be used. */
export interface SegmentsRead {
  readonly segments: number;
  readonly lost: Record<string, number>;
}

/** Which end a file's segments were seen at, where its lines do not say. */
export type Perspective = "client" | "server" | undefined;

interface SegmentLine {
  readonly timeMicros: number;
  readonly flowId: number;
  readonly proto: string;
  readonly client: Endpoint;
  readonly server: Endpoint;
  readonly fromClient: boolean;
  readonly op: "read" | "write" | "";
  readonly event: "open" | "close" | "reset" | "";
  readonly seq: number;
  readonly total: number;
  readonly bytes: Uint8Array;
}

interface SegmentFlow {
  readonly socket: number;
  readonly localIsClient: boolean;
  closedDirections: number;
  isClosed: boolean;
}

/**
 * @param text The whole file.
 * @param baseMicros Unix microseconds that become boot time 0.
 */
export function readSegments(
  text: string,
  sink: CaptureSink,
  perspective: Perspective,
  baseMicros: number,
): SegmentsRead {
  const lost: Record<string, number> = {};
  const flows = new Map<number, SegmentFlow>();
  const openedIds = new Set<number>();
  // Only a file that tells of openings can tell that one was missed.
  const tellsOpenings = /"ev": ?"open"/.test(text);
  const slice = makeSlice();
  let segments = 0;
  let lastNs = 0;
  for (const lineText of text.split("\n")) {
    if (lineText.trim() === "") continue;
    segments++;
    const line = parseLine(lineText);
    const reason = line === undefined ? "malformed" : line.proto === "tcp" ? "" : line.proto;
    if (line === undefined || reason !== "") {
      lost[reason] = (lost[reason] ?? 0) + 1;
      continue;
    }
    const timeNs = Math.round((line.timeMicros - baseMicros) * 1000);
    lastNs = Math.max(lastNs, timeNs);
    if (line.event === "open") openedIds.add(line.flowId);
    if (line.event === "open") continue;
    let flow = flows.get(line.flowId);
    if (line.event !== "") {
      if (flow !== undefined) noteClose(flow, line, timeNs, sink);
      continue;
    }
    if (flow === undefined) {
      const joinedLate = line.seq !== 0 || (tellsOpenings && !openedIds.has(line.flowId));
      flow = openFlow(flows.size + 1, line, perspective, joinedLate, timeNs, sink);
      flows.set(line.flowId, flow);
    }
    if (flow.isClosed) {
      lost["after_close"] = (lost["after_close"] ?? 0) + 1;
      continue;
    }
    slice.socket = flow.socket;
    slice.direction = line.fromClient === flow.localIsClient ? 0 : 1;
    slice.timeNs = timeNs;
    slice.seq = line.seq >>> 0;
    slice.total = line.total;
    slice.bytes = line.bytes;
    sink.slice(slice);
  }
  for (const flow of flows.values()) if (!flow.isClosed) sink.closed(flow.socket, lastNs, false);
  return { segments, lost };
}

/** Unix microseconds of the first line; 0 where there is none. */
export function firstSegmentMicros(text: string): number {
  const end = text.indexOf("\n");
  return parseLine(end < 0 ? text : text.slice(0, end))?.timeMicros ?? 0;
}

function openFlow(
  socket: number,
  line: SegmentLine,
  perspective: Perspective,
  joinedLate: boolean,
  timeNs: number,
  sink: CaptureSink,
): SegmentFlow {
  const seenAt = line.op === "" ? perspective : (line.op === "write") === line.fromClient ? "client" : "server";
  const localIsClient = seenAt !== "server";
  sink.opened({
    socket,
    sight: seenAt === undefined ? "both" : "end",
    role: localIsClient ? "client" : "server",
    local: localIsClient ? line.client : line.server,
    remote: localIsClient ? line.server : line.client,
    netns: 0,
    joinedLate,
    timeNs,
    localOwner: undefined,
    remoteOwner: undefined,
  });
  return { socket, localIsClient, closedDirections: 0, isClosed: false };
}

/** A reset ends both directions at once, a close its own. */
function noteClose(flow: SegmentFlow, line: SegmentLine, timeNs: number, sink: CaptureSink): void {
  if (flow.isClosed) return;
  flow.closedDirections |= line.fromClient ? 1 : 2;
  if (line.event !== "reset" && flow.closedDirections !== 3) return;
  flow.isClosed = true;
  sink.closed(flow.socket, timeNs, line.event === "reset");
}

function makeSlice(): SocketSlice {
  return { socket: 0, direction: 0, timeNs: 0, seq: 0, total: 0, bytes: new Uint8Array(0), tid: 0, pid: 0 };
}

/** @returns undefined where the line is not a segment. */
function parseLine(text: string): SegmentLine | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // Counted by the caller.
  }
  const line = fieldsOf(value);
  const flow = fieldsOf(line?.["flow"]);
  if (line === undefined || flow === undefined) return undefined;
  const { ts, dir, op, ev, seq, len, payload, gap } = line;
  const { id, proto, client, cport, server, sport } = flow;
  if (typeof ts !== "number" || (dir !== "c2s" && dir !== "s2c")) return undefined;
  if (typeof id !== "number" || typeof proto !== "string") return undefined;
  if (typeof client !== "string" || typeof cport !== "number") return undefined;
  if (typeof server !== "string" || typeof sport !== "number") return undefined;
  const event = ev === "open" || ev === "close" || ev === "reset" ? ev : "";
  if (event === "" && (typeof seq !== "number" || typeof payload !== "string")) return undefined;
  const bytes = typeof payload === "string" ? Buffer.from(payload, "base64") : new Uint8Array(0);
  return {
    timeMicros: ts,
    flowId: id,
    proto,
    client: { addr: client, port: cport },
    server: { addr: server, port: sport },
    fromClient: dir === "c2s",
    op: op === "read" || op === "write" ? op : "",
    event,
    seq: typeof seq === "number" ? seq : 0,
    // A gap record is a slice of which nothing was kept: it tells where the stream goes on.
    total: Math.max(bytes.length, typeof len === "number" ? len : 0, typeof gap === "number" ? gap : 0),
    bytes,
  };
}

function fieldsOf(value: unknown): Record<string, unknown> | undefined {
  // A decoded JSON boundary: an object's fields are of unknown types until each is looked at.
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}
