/**
 * Capture events as bytes: the records of a `.twcap` file. Pure.
 *
 * A record is a little-endian u32 of the bytes that follow, one byte of kind, and a body: slices are binary, the rare
 * events are JSON.
 */

import type { Owner, ProcessSeen, SocketOpened, SocketSlice } from "../../server/model/capture-event.ts";

/** One call of a `CaptureSink` as a value. */
export type CaptureEvent =
  | { readonly kind: "opened"; readonly event: SocketOpened }
  | { readonly kind: "slice"; readonly event: SocketSlice }
  | { readonly kind: "owner"; readonly socket: number; readonly end: "local" | "remote"; readonly owner: Owner }
  | { readonly kind: "closed"; readonly socket: number; readonly timeNs: number; readonly reset: boolean }
  | { readonly kind: "process"; readonly event: ProcessSeen }
  | { readonly kind: "processExited"; readonly pid: number; readonly timeNs: number };

const KINDS = ["opened", "slice", "owner", "closed", "process", "processExited"] as const;
const SLICE_KIND = 1;
const SLICE_HEAD_BYTES = 38;
/** Longer records are damage: a slice holds one read or write at most, and no rung copies that much. */
const recordBytesMax = 16 << 20;

/** A growing buffer of records. */
export interface RecordBuffer {
  bytes: Buffer;
  length: number;
}

/** Appends one event. */
export function encodeRecord(into: RecordBuffer, event: CaptureEvent): void {
  if (event.kind === "slice") {
    encodeSlice(into, event.event);
    return;
  }
  const { kind, ...body } = event;
  const text = Buffer.from(JSON.stringify(body));
  const at = reserve(into, 5 + text.length);
  into.bytes.writeUInt32LE(1 + text.length, at);
  into.bytes[at + 4] = KINDS.indexOf(kind);
  text.copy(into.bytes, at + 5);
}

function encodeSlice(into: RecordBuffer, slice: SocketSlice): void {
  const length = SLICE_HEAD_BYTES + slice.bytes.length;
  const at = reserve(into, 5 + length);
  const { bytes } = into;
  bytes.writeUInt32LE(1 + length, at);
  bytes[at + 4] = SLICE_KIND;
  bytes[at + 5] = slice.direction;
  bytes[at + 6] = 0;
  bytes.writeDoubleLE(slice.socket, at + 7);
  bytes.writeDoubleLE(slice.timeNs, at + 15);
  bytes.writeUInt32LE(slice.seq, at + 23);
  bytes.writeDoubleLE(slice.total, at + 27);
  bytes.writeUInt32LE(slice.tid, at + 35);
  bytes.writeUInt32LE(slice.pid, at + 39);
  bytes.set(slice.bytes, at + 5 + SLICE_HEAD_BYTES);
}

function reserve(into: RecordBuffer, length: number): number {
  const at = into.length;
  if (at + length > into.bytes.length) {
    const grown = Buffer.allocUnsafe(Math.max(into.bytes.length * 2, at + length));
    into.bytes.copy(grown, 0, 0, at);
    into.bytes = grown;
  }
  into.length += length;
  return at;
}

/** How a run of records ended: `cut` within a record, `malformed` with one that makes no sense. */
export type RecordsEnd = "whole" | "cut" | "malformed";

/**
 * Decodes records one after the other.
 *
 * @param receive Gets events whose `bytes` point into `bytes`; counts of bad records come back in `malformed`.
 */
export function decodeRecords(
  bytes: Buffer,
  receive: (event: CaptureEvent) => void,
): { readonly end: RecordsEnd; readonly malformed: number } {
  let malformed = 0;
  let at = 0;
  while (at < bytes.length) {
    if (at + 5 > bytes.length) return { end: "cut", malformed };
    const length = bytes.readUInt32LE(at);
    if (length < 1 || length > recordBytesMax) return { end: "malformed", malformed };
    if (at + 4 + length > bytes.length) return { end: "cut", malformed };
    const event = decodeRecord(bytes[at + 4] ?? KINDS.length, bytes.subarray(at + 5, at + 4 + length));
    if (event === undefined) malformed++;
    else receive(event);
    at += 4 + length;
  }
  return { end: "whole", malformed };
}

function decodeRecord(kindNumber: number, body: Buffer): CaptureEvent | undefined {
  if (kindNumber === SLICE_KIND) return decodeSlice(body);
  const kind = KINDS[kindNumber];
  if (kind === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(body.toString("utf8"));
  } catch {
    return undefined; // Counted by the caller as malformed.
  }
  if (typeof value !== "object" || value === null) return undefined;
  const event: Record<string, unknown> = { ...value, kind };
  return isCaptureEvent(event) ? event : undefined;
}

function decodeSlice(body: Buffer): CaptureEvent | undefined {
  if (body.length < SLICE_HEAD_BYTES) return undefined;
  const event: SocketSlice = {
    direction: body[0] === 0 ? 0 : 1,
    socket: body.readDoubleLE(2),
    timeNs: body.readDoubleLE(10),
    seq: body.readUInt32LE(18),
    total: body.readDoubleLE(22),
    tid: body.readUInt32LE(30),
    pid: body.readUInt32LE(34),
    bytes: body.subarray(SLICE_HEAD_BYTES),
  };
  return Number.isFinite(event.socket) && event.total >= event.bytes.length ? { kind: "slice", event } : undefined;
}

/** Looks at every field that the code downstream computes with; a file may come from anywhere. */
function isCaptureEvent(event: Record<string, unknown>): event is CaptureEvent & Record<string, unknown> {
  switch (event["kind"]) {
    case "opened":
      return isOpened(event["event"]);
    case "process":
      return isProcess(event["event"]);
    case "owner":
      return (
        isNumber(event["socket"]) && (event["end"] === "local" || event["end"] === "remote") && isOwner(event["owner"])
      );
    case "closed":
      return isNumber(event["socket"]) && isNumber(event["timeNs"]) && typeof event["reset"] === "boolean";
    case "processExited":
      return isNumber(event["pid"]) && isNumber(event["timeNs"]);
    default:
      return false;
  }
}

function isOpened(value: unknown): boolean {
  const event = fieldsOf(value);
  return (
    event !== undefined &&
    isNumber(event["socket"]) &&
    isNumber(event["timeNs"]) &&
    isNumber(event["netns"]) &&
    isOneOf(event["sight"], ["end", "both", "wire"]) &&
    isOneOf(event["role"], ["client", "server", "unknown"]) &&
    isEndpoint(event["local"]) &&
    isEndpoint(event["remote"]) &&
    typeof event["joinedLate"] === "boolean" &&
    (event["localOwner"] === undefined || isOwner(event["localOwner"])) &&
    (event["remoteOwner"] === undefined || isOwner(event["remoteOwner"]))
  );
}

function isProcess(value: unknown): boolean {
  const event = fieldsOf(value);
  if (event === undefined || !isNumber(event["pid"]) || !isNumber(event["startNs"])) return false;
  const texts = ["comm", "exe", "cwd", "otelServiceName", "otelResourceAttributes", "unit", "containerId", "language"];
  const { cmdline } = event;
  return (
    texts.every((name) => typeof event[name] === "string") &&
    Array.isArray(cmdline) &&
    cmdline.every((word) => typeof word === "string")
  );
}

function isOwner(value: unknown): boolean {
  const owner = fieldsOf(value);
  return (
    owner !== undefined &&
    isNumber(owner["pid"]) &&
    isOneOf(owner["ownerBy"], ["hook", "fd", "cgroup", "uid", "port"]) &&
    typeof owner["fallbackName"] === "string"
  );
}

function isEndpoint(value: unknown): boolean {
  const end = fieldsOf(value);
  return end !== undefined && typeof end["addr"] === "string" && isNumber(end["port"]);
}

function isNumber(value: unknown): boolean {
  return typeof value === "number" && Number.isFinite(value);
}

function isOneOf(value: unknown, allowed: readonly string[]): boolean {
  return typeof value === "string" && allowed.includes(value);
}

function fieldsOf(value: unknown): Record<string, unknown> | undefined {
  // A decoded JSON boundary: fields are of unknown types until each is looked at.
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}
