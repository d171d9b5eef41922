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

const CLIENT_ADDR = 0;
const CLIENT_PORT = 1;
const SERVER_ADDR = 2;
const SERVER_PORT = 3;
const RPC = 4;
const DATABASE = 5;
const MESSAGING = 6;
const HTTP = 7;
const VERSION = 8;
const COLUMNS = 9;
const NO_COLUMN = -1;

/** A name's column as seen by the client and by the server side, and its rank: lower wins. */
interface Source {
  readonly onClient: number;
  readonly onServer: number;
  readonly rank: number;
}

const RANK_HTTP_HOST = 6;
const RANK_NONE = 9;
const SOURCES: ReadonlyMap<string, Source> = new Map([
  ["server.address", both(SERVER_ADDR, 0)],
  ["server.port", both(SERVER_PORT, 0)],
  ["client.address", both(CLIENT_ADDR, 0)],
  ["client.port", both(CLIENT_PORT, 0)],
  ["http.client_ip", both(CLIENT_ADDR, 1)],
  ["net.peer.name", sides(SERVER_ADDR, CLIENT_ADDR, 1)],
  ["net.peer.port", sides(SERVER_PORT, CLIENT_PORT, 1)],
  ["net.host.name", sides(CLIENT_ADDR, SERVER_ADDR, 1)],
  ["net.host.port", sides(CLIENT_PORT, SERVER_PORT, 1)],
  ["network.peer.address", sides(SERVER_ADDR, CLIENT_ADDR, 2)],
  ["network.peer.port", sides(SERVER_PORT, CLIENT_PORT, 2)],
  ["network.local.address", sides(CLIENT_ADDR, SERVER_ADDR, 2)],
  ["network.local.port", sides(CLIENT_PORT, SERVER_PORT, 2)],
  ["net.sock.peer.addr", sides(SERVER_ADDR, CLIENT_ADDR, 3)],
  ["net.sock.peer.port", sides(SERVER_PORT, CLIENT_PORT, 3)],
  ["net.sock.host.addr", sides(CLIENT_ADDR, SERVER_ADDR, 3)],
  ["net.sock.host.port", sides(CLIENT_PORT, SERVER_PORT, 3)],
  ["net.peer.ip", sides(SERVER_ADDR, CLIENT_ADDR, 4)],
  ["http.server_name", sides(NO_COLUMN, SERVER_ADDR, 5)],
  ["http.host", sides(NO_COLUMN, SERVER_ADDR, RANK_HTTP_HOST)],
  ["rpc.system.name", both(RPC, 0)],
  ["rpc.system", both(RPC, 1)],
  ["db.system.name", both(DATABASE, 0)],
  ["db.system", both(DATABASE, 1)],
  ["messaging.system", both(MESSAGING, 0)],
  ["http.request.method", both(HTTP, 0)],
  ["http.method", both(HTTP, 1)],
  ["network.protocol.version", both(VERSION, 0)],
  ["net.protocol.version", both(VERSION, 1)],
  ["http.flavor", both(VERSION, 2)],
]);

/** Value and rank per column of the span at hand; only used within one call of `fillColumns`. */
const found: string[] = new Array(COLUMNS).fill("");
const rankOf = new Uint8Array(COLUMNS);

/**
 * Sets the columns of `span` from its attributes; what no attribute names becomes empty or 0.
 *
 * `protocol` is the RPC, database or messaging system where one is named, else `http1`, `http2`, `http3` or `http`.
 */
export function fillColumns(span: AddressColumns, attributes: readonly Attribute[]): void {
  const onServer = span.kind === KIND_SERVER || span.kind === KIND_CONSUMER;
  found.fill("");
  rankOf.fill(RANK_NONE);
  for (const attribute of attributes) {
    const source = SOURCES.get(attribute.key);
    if (source === undefined) continue;
    const column = onServer ? source.onServer : source.onClient;
    if (column === NO_COLUMN || attribute.value === "" || source.rank >= at(rankOf, column)) continue;
    rankOf[column] = source.rank;
    found[column] = attribute.value;
  }
  span.clientAddr = at(found, CLIENT_ADDR);
  span.clientPort = portOf(at(found, CLIENT_PORT));
  const server = at(found, SERVER_ADDR);
  span.serverAddr = at(rankOf, SERVER_ADDR) === RANK_HTTP_HOST ? hostOf(server) : server;
  span.serverPort = portOf(at(found, SERVER_PORT));
  const http = at(found, HTTP) === "" ? "" : httpProtocol(at(found, VERSION));
  span.protocol = at(found, RPC) || at(found, DATABASE) || at(found, MESSAGING) || http;
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

function both(column: number, rank: number): Source {
  return { onClient: column, onServer: column, rank };
}

function sides(onClient: number, onServer: number, rank: number): Source {
  return { onClient, onServer, rank };
}

function at<T>(column: ArrayLike<T>, index: number): T {
  return column[index] as T; // in range: the index is one of the constants above
}

function portOf(text: string): number {
  if (text === "") return 0;
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
