/**
 * The span columns that semantic-convention attributes fill: protocol, both addresses, ports and pid.
 *
 * Present and older attribute names are equal; where both stand in one span the present name wins.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/
 */

import type { Attribute } from "../model/span-batch.ts";
import { KIND_CONSUMER, KIND_SERVER } from "../model/span-batch.ts";

/** What `fillColumns` sets; a part of `SpanToAppend`. */
export interface AddressColumns {
  kind: number;
  protocol: string;
  clientAddr: string;
  clientPort: number;
  serverAddr: string;
  serverPort: number;
}

type Column =
  | "clientAddr"
  | "clientPort"
  | "serverAddr"
  | "serverPort"
  | "rpc"
  | "database"
  | "messaging"
  | "http"
  | "version";

/** A name's column as seen by the client and by the server side, and its rank: lower wins. */
interface Source {
  readonly onClient: Column | undefined;
  readonly onServer: Column | undefined;
  readonly rank: number;
}

const RANK_NONE = 9;
const SOURCES: ReadonlyMap<string, Source> = new Map([
  ["server.address", both("serverAddr", 0)],
  ["server.port", both("serverPort", 0)],
  ["client.address", both("clientAddr", 0)],
  ["client.port", both("clientPort", 0)],
  ["http.client_ip", both("clientAddr", 1)],
  ["net.peer.name", sides("serverAddr", "clientAddr", 1)],
  ["net.peer.port", sides("serverPort", "clientPort", 1)],
  ["net.host.name", sides("clientAddr", "serverAddr", 1)],
  ["net.host.port", sides("clientPort", "serverPort", 1)],
  ["network.peer.address", sides("serverAddr", "clientAddr", 2)],
  ["network.peer.port", sides("serverPort", "clientPort", 2)],
  ["network.local.address", sides("clientAddr", "serverAddr", 2)],
  ["network.local.port", sides("clientPort", "serverPort", 2)],
  ["net.sock.peer.addr", sides("serverAddr", "clientAddr", 3)],
  ["net.sock.peer.port", sides("serverPort", "clientPort", 3)],
  ["net.sock.host.addr", sides("clientAddr", "serverAddr", 3)],
  ["net.sock.host.port", sides("clientPort", "serverPort", 3)],
  ["net.peer.ip", sides("serverAddr", "clientAddr", 4)],
  ["http.server_name", sides(undefined, "serverAddr", 5)],
  ["http.host", sides(undefined, "serverAddr", 6)],
  ["rpc.system.name", both("rpc", 0)],
  ["rpc.system", both("rpc", 1)],
  ["db.system.name", both("database", 0)],
  ["db.system", both("database", 1)],
  ["messaging.system", both("messaging", 0)],
  ["http.request.method", both("http", 0)],
  ["http.method", both("http", 1)],
  ["network.protocol.version", both("version", 0)],
  ["net.protocol.version", both("version", 1)],
  ["http.flavor", both("version", 2)],
]);

const found: Record<Column, string> = emptyColumns();
const rankOf: Record<Column, number> = noRanks();

/**
 * Sets the columns of `span` from its attributes; what no attribute names becomes empty or 0.
 *
 * `protocol` is the RPC, database or messaging system where one is named, else `http1`, `http2`, `http3` or `http`.
 */
export function fillColumns(span: AddressColumns, attributes: readonly Attribute[]): void {
  const onServer = span.kind === KIND_SERVER || span.kind === KIND_CONSUMER;
  let any = false;
  for (const attribute of attributes) {
    const source = SOURCES.get(attribute.key);
    if (source === undefined) continue;
    const column = onServer ? source.onServer : source.onClient;
    if (column === undefined || attribute.value === "") continue;
    if (!any) clear();
    any = true;
    if (source.rank >= rankOf[column]) continue;
    rankOf[column] = source.rank;
    found[column] = attribute.value;
  }
  if (!any) clear();
  span.clientAddr = found.clientAddr;
  span.clientPort = portOf(found.clientPort);
  span.serverAddr = rankOf.serverAddr === 6 ? hostOf(found.serverAddr) : found.serverAddr;
  span.serverPort = portOf(found.serverPort);
  span.protocol =
    found.rpc || found.database || found.messaging || (found.http === "" ? "" : httpProtocol(found.version));
}

/** Pid that a resource names in `process.pid`; 0 where it names none. */
export function pidOf(resource: readonly Attribute[]): number {
  for (const attribute of resource) {
    if (attribute.key !== "process.pid") continue;
    const pid = Number(attribute.value);
    return Number.isInteger(pid) && pid > 0 && pid <= 0xffff_ffff ? pid : 0;
  }
  return 0;
}

function both(column: Column, rank: number): Source {
  return { onClient: column, onServer: column, rank };
}

function sides(onClient: Column | undefined, onServer: Column | undefined, rank: number): Source {
  return { onClient, onServer, rank };
}

function emptyColumns(): Record<Column, string> {
  return {
    clientAddr: "",
    clientPort: "",
    serverAddr: "",
    serverPort: "",
    rpc: "",
    database: "",
    messaging: "",
    http: "",
    version: "",
  };
}

function noRanks(): Record<Column, number> {
  return {
    clientAddr: RANK_NONE,
    clientPort: RANK_NONE,
    serverAddr: RANK_NONE,
    serverPort: RANK_NONE,
    rpc: RANK_NONE,
    database: RANK_NONE,
    messaging: RANK_NONE,
    http: RANK_NONE,
    version: RANK_NONE,
  };
}

function clear(): void {
  Object.assign(found, EMPTY);
  Object.assign(rankOf, NO_RANKS);
}

const EMPTY: Readonly<Record<Column, string>> = emptyColumns();
const NO_RANKS: Readonly<Record<Column, number>> = noRanks();

function portOf(text: string): number {
  const port = Number(text);
  return Number.isInteger(port) && port > 0 && port <= 0xffff ? port : 0;
}

/** Host of `host:port`, without brackets. */
function hostOf(text: string): string {
  const match = /^\[([^\]]*)\]|^([^:]*)(?::\d*)?$/.exec(text);
  return match?.[1] ?? match?.[2] ?? text;
}

function httpProtocol(version: string): string {
  if (version.startsWith("1")) return "http1";
  if (version.startsWith("2") || version === "SPDY") return "http2";
  return version.startsWith("3") || version === "QUIC" ? "http3" : "http";
}
