/**
 * The span columns that semantic-convention attributes fill: protocol, both addresses, ports and pid.
 *
 * Present and older attribute names are equal; where both stand in one span the present name wins.
 *
 * @see https://opentelemetry.io/docs/specs/semconv/
 */

import type { Attribute } from "../model/span-batch.ts";

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

/** Stands for a key that names no address. */
export const NO_ADDRESS = 0;

const SOURCE_LIST = [...SOURCES.values()];
const SOURCE_NUMBERS: ReadonlyMap<string, number> = new Map([...SOURCES.keys()].map((key, at) => [key, at + 1]));

/** Number that stands for what a key names, for `AddressFinder.see`; `NO_ADDRESS` for most keys. */
export function addressSourceOf(key: string): number {
  return SOURCE_NUMBERS.get(key) ?? NO_ADDRESS;
}

/** Texts of one request by index. */
interface Texts {
  read(index: number): string;
  /** The whole number that a text is; -1 for other texts. */
  wholeNumber(index: number): number;
  /** Index of a text that this program writes. */
  shared(text: string): number;
}

/** The columns that attributes fill; texts are indices, 0 where no attribute names one. */
interface AddressTexts {
  protocol: Uint32Array;
  clientAddr: Uint32Array;
  clientPort: Uint16Array;
  serverAddr: Uint32Array;
  serverPort: Uint16Array;
}

/**
 * Finds the columns of one span after the other: `begin`, `see` each attribute, `fill`.
 *
 * `protocol` is the RPC, database or messaging system where one is named, else `http1`, `http2`, `http3` or `http`.
 */
export class AddressFinder {
  readonly #texts: Texts;
  /** Text index and rank per column of the span at hand. */
  readonly #found = new Uint32Array(COLUMNS);
  readonly #rank = new Uint8Array(COLUMNS);
  #onServer = false;
  #any = false;

  constructor(texts: Texts) {
    this.#texts = texts;
  }

  /** Starts on a span; `onServer` for those that answer or consume. */
  begin(onServer: boolean): void {
    this.#onServer = onServer;
    if (!this.#any) return;
    this.#any = false;
    this.#found.fill(0);
  }

  /** Looks at an attribute whose key is `source`. */
  see(source: number, text: number): void {
    const known = SOURCE_LIST[source - 1];
    if (known === undefined || text === 0) return;
    const column = this.#onServer ? known.onServer : known.onClient;
    if (column === NO_COLUMN) return;
    if (!this.#any) {
      this.#any = true;
      this.#rank.fill(RANK_NONE);
    }
    if (known.rank >= at(this.#rank, column)) return;
    this.#rank[column] = known.rank;
    this.#found[column] = text;
  }

  /** Sets the columns of a row. */
  fill(columns: AddressTexts, row: number): void {
    const found = this.#found;
    columns.clientAddr[row] = at(found, CLIENT_ADDR);
    columns.clientPort[row] = this.#port(at(found, CLIENT_PORT));
    columns.serverAddr[row] = this.#server();
    columns.serverPort[row] = this.#port(at(found, SERVER_PORT));
    columns.protocol[row] =
      at(found, RPC) || at(found, DATABASE) || at(found, MESSAGING) || (at(found, HTTP) === 0 ? 0 : this.#http());
  }

  #server(): number {
    const text = at(this.#found, SERVER_ADDR);
    if (text === 0 || at(this.#rank, SERVER_ADDR) !== RANK_HTTP_HOST) return text;
    return this.#texts.shared(hostOf(this.#texts.read(text)));
  }

  #port(text: number): number {
    if (text === 0) return 0;
    const port = this.#texts.wholeNumber(text);
    return port > 0 && port <= 0xffff ? port : 0;
  }

  #http(): number {
    const version = at(this.#found, VERSION);
    return this.#texts.shared(httpProtocol(version === 0 ? "" : this.#texts.read(version)));
  }
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
