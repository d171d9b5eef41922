/**
 * From one side of a finished hop to the columns of its span.
 */

import { hashId, ID_CLIENT_SPAN, ID_SERVER_SPAN, type Lanes, SEQUENCES_KEY } from "../../server/model/message-ids.ts";
import type { Attribute } from "../../server/model/span-batch.ts";
import { KIND_CLIENT, KIND_SERVER, SPAN_SOURCES, STATUS_ERROR, STATUS_UNSET } from "../../server/model/span-batch.ts";
import type { SpanToAppend } from "../../server/model/span-batch-builder.ts";
import type { CarriedContext, Exchange } from "../protocol/exchange.ts";
import { contextBelow, finalTrace, type Hop, type HopSide } from "./hop.ts";
import { isUnixPath, plainAddress } from "./message-identity.ts";

const SOURCE_EBPF = SPAN_SOURCES.indexOf("ebpf");
const SOURCE_PACKET = SPAN_SOURCES.indexOf("packet");
const SOURCE_REPLAY = SPAN_SOURCES.indexOf("replay");
/** W3C trace flag "sampled". */
const FLAG_SAMPLED = 1;
const NO_LINKS = new Uint8Array(0);
/** Tags and lengths of OTLP's Span.links, Link.trace_id and Link.span_id. */
const LINK_HEAD = [0x6a, 28, 0x0a, 16];
const LINK_SPAN_HEAD = [0x12, 8];

const lanes: Lanes = { high: 0, low: 0 };
const words = new Uint32Array(2);
const word64 = new BigUint64Array(words.buffer);

/** What a row needs beside the side itself. */
export interface RowSetting {
  /** Boot time to Unix time, nanoseconds. */
  readonly bootToUnixNano: bigint;
  /** The traffic is a recording. */
  readonly replay: boolean;
  /** Agents on other hosts may see the other ends of messages. */
  readonly peers: boolean;
}

/** Writes a finished side to `row`, all fields but `resource` and `scope`. Makes the hop's trace final. */
export function writeSpanRow(side: HopSide, setting: RowSetting, row: SpanToAppend): void {
  const { hop, exchange, connection } = side;
  const trace = finalTrace(hop);
  row.traceIdHigh = bigint64(trace[0] as number, trace[1] as number);
  row.traceIdLow = bigint64(trace[2] as number, trace[3] as number);
  row.spanId = spanId(hop, side.kind === "client" ? ID_CLIENT_SPAN : ID_SERVER_SPAN);
  writeParent(side, row);
  row.startNs = BigInt(Math.round(side.request.startNs)) + setting.bootToUnixNano;
  row.endNs = BigInt(Math.round(Math.max(side.endNs, side.request.startNs))) + setting.bootToUnixNano;
  row.name = exchange.endpoint;
  row.kind = side.kind === "client" ? KIND_CLIENT : KIND_SERVER;
  const error = errorType(side.kind, exchange);
  row.status = error === "" ? STATUS_UNSET : STATUS_ERROR;
  row.statusMessage = error === exchange.cutShort ? error : "";
  row.source = setting.replay ? SOURCE_REPLAY : connection.sight === "end" ? SOURCE_EBPF : SOURCE_PACKET;
  row.protocol = protocolName(exchange.protocol);
  row.clientAddr = plainAddress(connection.client.addr);
  row.clientPort = connection.client.port;
  row.serverAddr = plainAddress(connection.server.addr);
  row.serverPort = connection.server.port;
  row.pid = side.pid;
  row.flags = hop.context === undefined ? FLAG_SAMPLED : hop.context.flags;
  row.traceState = hop.context === undefined ? "" : hop.context.traceState;
  const attributes = attributesOf(side, error);
  const sequences = setting.peers ? sequencesOf(side) : "";
  if (sequences !== "") attributes.push({ key: SEQUENCES_KEY, kind: "s", value: sequences });
  row.attributes = attributes;
  const below = side.kind === "server" ? contextBelow(hop) : undefined;
  row.links = below === undefined ? NO_LINKS : linkTo(below);
}

/**
 * `error.type` of a span, empty where it is none. A client is failed by 4xx too, a server only by its own faults.
 *
 * @see OpenTelemetry semantic conventions for HTTP spans, "Status".
 */
function errorType(kind: "client" | "server", exchange: Exchange): string {
  if (exchange.status === "server_error" || (exchange.status === "client_error" && kind === "client")) {
    return exchange.code === "" ? exchange.status : exchange.code;
  }
  if (exchange.status === "timeout") return "timeout";
  // Bytes the agent did not see are its own gap, not a fault of the traffic.
  return exchange.cutShort === "gap" ? "" : exchange.cutShort;
}

function writeParent(side: HopSide, row: SpanToAppend): void {
  const hop = side.hop;
  if (hop.context !== undefined) {
    row.parentSpanId = BigInt(`0x${hop.context.spanId}`);
    row.linkReason = hop.context.kind;
  } else if (side.kind === "server" && hop.client !== undefined) {
    row.parentSpanId = spanId(hop, ID_CLIENT_SPAN);
    row.linkReason = hop.joinedBy;
  } else if (side.kind === "client" && hop.parent !== undefined) {
    row.parentSpanId = spanId(hop.parent.hop, ID_SERVER_SPAN);
    row.linkReason = side.link;
  } else {
    row.parentSpanId = 0n;
    row.linkReason = "";
  }
}

/** The context's trace and span as OTLP protobuf of one link. */
function linkTo({ traceId, spanId: id }: CarriedContext): Uint8Array {
  const trace = Buffer.from(traceId, "hex");
  return Uint8Array.from([...LINK_HEAD, ...trace, ...LINK_SPAN_HEAD, ...Buffer.from(id, "hex")]);
}

function spanId(hop: Hop, purpose: number): bigint {
  hashId(hop.high, hop.low, purpose, lanes);
  return bigint64(lanes.high, lanes.low);
}

/** One BigInt made without BigInt arithmetic. The platforms Thalweg runs on are little-endian. */
function bigint64(high: number, low: number): bigint {
  words[0] = low;
  words[1] = high;
  return word64[0] as bigint;
}

function protocolName(protocol: string): string {
  return protocol === "http1" ? "http" : protocol;
}

function attributesOf(side: HopSide, error: string): Attribute[] {
  const { exchange, connection, kind } = side;
  const attributes: Attribute[] = [];
  for (const key in exchange.attributes) {
    const value = exchange.attributes[key];
    if (value === undefined || key === "error.type") continue;
    attributes.push(attributeOf(key, value));
  }
  if (error !== "") attributes.push({ key: "error.type", kind: "s", value: error });
  const isUnix = isUnixPath(connection.server.addr);
  if (isUnix) attributes.push({ key: "network.transport", kind: "s", value: "unix" });
  if (kind === "client" && exchange.attributes["server.address"] === undefined) {
    attributes.push({ key: "server.address", kind: "s", value: plainAddress(connection.server.addr) });
    if (!isUnix) attributes.push({ key: "server.port", kind: "i", value: String(connection.server.port) });
  }
  const owner = kind === "client" ? connection.clientOwner : connection.serverOwner;
  // A looked-up owner is weaker evidence than the running task: say how it was found.
  if (connection.sight !== "end" && owner !== undefined) {
    attributes.push({ key: "thalweg.owner_by", kind: "s", value: owner.ownerBy });
  }
  if (side.hop.context === undefined && kind === "client" && side.hop.parent === undefined && side.link !== "") {
    attributes.push({ key: "thalweg.unlinked", kind: "s", value: side.link });
  }
  if (side.incomplete.length > 0) {
    attributes.push({ key: "thalweg.incomplete", kind: "s", value: side.incomplete.join(",") });
  }
  if (connection.isTls) {
    attributes.push({ key: "tls.protocol.name", kind: "s", value: connection.tlsVersion === "3" ? "ssl" : "tls" });
    if (connection.tlsVersion !== "") {
      attributes.push({ key: "tls.protocol.version", kind: "s", value: connection.tlsVersion });
    }
  }
  if (connection.joinedLate) attributes.push({ key: "thalweg.joined_late", kind: "b", value: "true" });
  return attributes;
}

/** What is left of a message's identity behind translated addresses, where only this end of it was seen; else empty. */
function sequencesOf({ hop, kind, exchange, request, connection }: HopSide): string {
  const other = kind === "client" ? hop.server : hop.client;
  const isOnHost = isLoopback(connection.client.addr) || isLoopback(connection.server.addr);
  if (other !== undefined || hop.context !== undefined || exchange.response === undefined || isOnHost) return "";
  return `${request.seq}:${exchange.response.seq}`;
}

function isLoopback(addr: string): boolean {
  const plain = plainAddress(addr);
  return plain.startsWith("127.") || plain === "::1";
}

function attributeOf(key: string, value: string | number | boolean): Attribute {
  if (typeof value === "string") return { key, kind: "s", value };
  if (typeof value === "boolean") return { key, kind: "b", value: String(value) };
  return { key, kind: Number.isSafeInteger(value) ? "i" : "d", value: String(value) };
}
