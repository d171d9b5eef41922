/**
 * From one side of a finished hop to the columns of its span.
 */

import { hashId, ID_CLIENT_SPAN, ID_SERVER_SPAN, type Lanes, SEQUENCES_KEY } from "../../server/model/message-ids.ts";
import type { AttributeKind } from "../../server/model/span-batch.ts";
import { KIND_CLIENT, KIND_SERVER, SPAN_SOURCES, STATUS_ERROR, STATUS_UNSET } from "../../server/model/span-batch.ts";
import {
  type AttributeColumns,
  EMPTY_SPAN,
  SPAN_WORDS,
  type SpanToAppend,
} from "../../server/model/span-batch-builder.ts";
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

const WORD = 0x1_0000_0000;

const lanes: Lanes = { high: 0, low: 0 };

/** A row without BigInts and without an object for each attribute: they would be a large part of what a span costs. */
export interface SpanRow extends SpanToAppend {
  readonly words: Uint32Array;
  readonly columns: AttributeColumns;
}

/** A row to write spans to, one after the other. */
export function emptyRow(): SpanRow {
  const columns: AttributeColumns = { keys: [], kinds: [], values: [], count: 0 };
  return { ...EMPTY_SPAN, words: new Uint32Array(SPAN_WORDS.size), columns };
}

/** What a row needs beside the side itself. */
export interface RowSetting {
  /** Boot time to Unix time, nanoseconds, in two halves of 32 bits without a sign. */
  offsetHigh: number;
  offsetLow: number;
  /** The traffic is a recording. */
  replay: boolean;
  /** Agents on other hosts may see the other ends of messages. */
  peers: boolean;
}

/** Writes a finished side to `row`, all fields but `resource` and `scope`. Makes the hop's trace final. */
export function writeSpanRow(side: HopSide, setting: RowSetting, row: SpanRow): void {
  const { hop, exchange, connection } = side;
  const { words } = row;
  const trace = finalTrace(hop);
  writeWord(words, SPAN_WORDS.traceIdHigh, trace.a, trace.b);
  writeWord(words, SPAN_WORDS.traceIdLow, trace.c, trace.d);
  writeSpanId(words, SPAN_WORDS.spanId, hop, side.kind === "client" ? ID_CLIENT_SPAN : ID_SERVER_SPAN);
  writeParent(side, row);
  writeTime(words, SPAN_WORDS.startNs, side.request.startNs, setting);
  writeTime(words, SPAN_WORDS.endNs, Math.max(side.endNs, side.request.startNs), setting);
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
  writeAttributes(side, error, row.columns);
  const sequences = setting.peers ? sequencesOf(side) : "";
  if (sequences !== "") add(row.columns, SEQUENCES_KEY, "s", sequences);
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

function writeParent(side: HopSide, row: SpanRow): void {
  const hop = side.hop;
  const { words } = row;
  const at = SPAN_WORDS.parentSpanId;
  if (hop.context !== undefined) {
    const { spanId } = hop.context;
    writeWord(words, at, Number.parseInt(spanId.slice(0, 8), 16), Number.parseInt(spanId.slice(8), 16));
    row.linkReason = hop.context.kind;
  } else if (side.kind === "server" && hop.client !== undefined) {
    writeSpanId(words, at, hop, ID_CLIENT_SPAN);
    row.linkReason = hop.joinedBy;
  } else if (side.kind === "client" && hop.parent !== undefined) {
    writeSpanId(words, at, hop.parent.hop, ID_SERVER_SPAN);
    row.linkReason = side.link;
  } else {
    writeWord(words, at, 0, 0);
    row.linkReason = "";
  }
}

/** The context's trace and span as OTLP protobuf of one link. */
function linkTo({ traceId, spanId: id }: CarriedContext): Uint8Array {
  const trace = Buffer.from(traceId, "hex");
  return Uint8Array.from([...LINK_HEAD, ...trace, ...LINK_SPAN_HEAD, ...Buffer.from(id, "hex")]);
}

function writeSpanId(words: Uint32Array, at: number, hop: Hop, purpose: number): void {
  hashId(hop.high, hop.low, purpose, lanes);
  writeWord(words, at, lanes.high, lanes.low);
}

/** @param boot Boot time in nanoseconds. */
function writeTime(words: Uint32Array, at: number, boot: number, { offsetHigh, offsetLow }: RowSetting): void {
  const whole = Math.round(boot);
  const high = Math.floor(whole / WORD);
  const low = whole - high * WORD + offsetLow;
  const carry = low >= WORD ? 1 : 0;
  writeWord(words, at, high + offsetHigh + carry, low);
}

/** Both halves are taken modulo 2^32. */
function writeWord(words: Uint32Array, at: number, high: number, low: number): void {
  words[at] = low;
  words[at + 1] = high;
}

function protocolName(protocol: string): string {
  return protocol === "http1" ? "http" : protocol;
}

function writeAttributes(side: HopSide, error: string, to: AttributeColumns): void {
  const { exchange, connection, kind } = side;
  to.count = 0;
  for (const key in exchange.attributes) {
    const value = exchange.attributes[key];
    if (value === undefined || key === "error.type") continue;
    if (typeof value === "string") add(to, key, "s", value);
    else if (typeof value === "boolean") add(to, key, "b", String(value));
    else add(to, key, Number.isSafeInteger(value) ? "i" : "d", String(value));
  }
  if (error !== "") add(to, "error.type", "s", error);
  const isUnix = isUnixPath(connection.server.addr);
  if (isUnix) add(to, "network.transport", "s", "unix");
  if (kind === "client" && exchange.attributes["server.address"] === undefined) {
    add(to, "server.address", "s", plainAddress(connection.server.addr));
    if (!isUnix) add(to, "server.port", "i", String(connection.server.port));
  }
  const owner = kind === "client" ? connection.clientOwner : connection.serverOwner;
  // A looked-up owner is weaker evidence than the running task: say how it was found.
  if (connection.sight !== "end" && owner !== undefined) {
    add(to, "thalweg.owner_by", "s", owner.ownerBy);
  }
  if (side.hop.context === undefined && kind === "client" && side.hop.parent === undefined && side.link !== "") {
    add(to, "thalweg.unlinked", "s", side.link);
  }
  if (side.incomplete.length > 0) {
    add(to, "thalweg.incomplete", "s", side.incomplete.join(","));
  }
  if (connection.isTls) {
    add(to, "tls.protocol.name", "s", connection.tlsVersion === "3" ? "ssl" : "tls");
    if (connection.tlsVersion !== "") {
      add(to, "tls.protocol.version", "s", connection.tlsVersion);
    }
  }
  if (connection.joinedLate) add(to, "thalweg.joined_late", "b", "true");
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

function add(to: AttributeColumns, key: string, kind: AttributeKind, value: string): void {
  const at = to.count++;
  to.keys[at] = key;
  to.kinds[at] = kind;
  to.values[at] = value;
}
