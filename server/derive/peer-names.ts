/**
 * Who is at the other side of a span, read from its attributes.
 *
 * @see Tempo's metrics generator: peer attributes and database attributes of the service graph.
 */

import type { Resource, SpanBatch } from "../model/span-batch.ts";
import type { TextReader } from "../model/text-table.ts";

/** Attributes that are read, by the number that stands for each in the scratch array. */
const KEYS = [
  "peer.service",
  "db.name",
  "db.system",
  "db.system.name",
  "db.namespace",
  "server.address",
  "network.peer.address",
  "network.peer.port",
] as const;
const PEER_SERVICE = 0;
const DB_NAME = 1;
const DB_SYSTEM = 2;
const DB_SYSTEM_NAME = 3;
const DB_NAMESPACE = 4;
const SERVER_ADDRESS = 5;
const PEER_ADDRESS = 6;
const PEER_PORT = 7;
const KEY_NUMBERS = new Map<string, number>(KEYS.map((key, number) => [key, number]));
/** First present names the peer of a span whose other side is not seen. */
const PEER_KEYS = [PEER_SERVICE, DB_NAME, DB_SYSTEM, DB_SYSTEM_NAME] as const;
/** One present makes a client span a database request; the first names the database when no address does. */
const DATABASE_KEYS = [DB_NAMESPACE, DB_NAME, DB_SYSTEM, DB_SYSTEM_NAME] as const;

const NOT_CLASSIFIED = 0;
const NOT_READ = 255;

/** What the attributes of one row say. Empty: they do not say. */
export interface PeerNames {
  peer: string;
  /** Name of the database that a client span asks. */
  database: string;
}

/** Reads the rows of one batch. */
export class PeerNameReader {
  readonly #batch: SpanBatch;
  readonly #text: TextReader;
  /** By text index: number of the key plus one, `NOT_READ`, or `NOT_CLASSIFIED`. */
  readonly #classOf: Uint8Array;
  /** Text index of each key's value; 0 where the row has none. */
  readonly #found = new Uint32Array(KEYS.length);
  #any = false;
  readonly #ofResource: (readonly string[] | undefined)[] = [];
  readonly #names: PeerNames = { peer: "", database: "" };

  constructor(batch: SpanBatch, text: TextReader) {
    this.#batch = batch;
    this.#text = text;
    this.#classOf = new Uint8Array(batch.text.lengths.length);
  }

  /** Names for a row; the object is reused by the next call. */
  read(row: number): PeerNames {
    if (this.#any) this.#found.fill(0);
    this.#any = false;
    const { attributeEnd, attributeKey, attributeValue } = this.#batch;
    const end = attributeEnd[row] ?? 0;
    for (let at = row === 0 ? 0 : (attributeEnd[row - 1] ?? 0); at < end; at++) {
      const number = this.#numberOf(attributeKey[at] ?? 0);
      if (number >= KEYS.length || this.#found[number] !== 0) continue;
      this.#found[number] = attributeValue[at] ?? 0;
      this.#any = true;
    }
    this.#names.peer = this.#first(PEER_KEYS);
    this.#names.database = this.#database(row);
    return this.#names;
  }

  #database(row: number): string {
    const ofResource = this.#resourceValues(this.#batch.resource[row] ?? 0);
    const found = this.#first(DATABASE_KEYS) || firstOf(ofResource, DATABASE_KEYS);
    if (found === "") return "";
    const address = this.#value(PEER_ADDRESS);
    const port = this.#value(PEER_PORT);
    const peerAddress = address === "" || port === "" ? address : `${address}:${port}`;
    return this.#value(PEER_SERVICE) || this.#value(SERVER_ADDRESS) || peerAddress || found;
  }

  #value(key: number): string {
    return this.#text(this.#found[key]);
  }

  #first(keys: readonly number[]): string {
    for (const key of keys) if (this.#found[key] !== 0) return this.#value(key);
    return "";
  }

  #resourceValues(index: number): readonly string[] {
    let values = this.#ofResource[index];
    if (values === undefined) {
      values = valuesOf(this.#batch.resources[index]);
      this.#ofResource[index] = values;
    }
    return values;
  }

  #numberOf(textIndex: number): number {
    let found = this.#classOf[textIndex] ?? NOT_READ;
    if (found === NOT_CLASSIFIED) {
      const number = KEY_NUMBERS.get(this.#text(textIndex));
      found = number === undefined ? NOT_READ : number + 1;
      this.#classOf[textIndex] = found;
    }
    return found - 1;
  }
}

/** Whether a resource says which service it is; spans of others take no part in the graph's pairing. */
export function isNamed(resource: Resource): boolean {
  return resource.service !== "unknown_service" || resource.attributes.some(({ key }) => key === "service.name");
}

function valuesOf(resource: Resource | undefined): readonly string[] {
  const values = KEYS.map(() => "");
  for (const { key, value } of resource?.attributes ?? []) {
    const number = KEY_NUMBERS.get(key);
    if (number !== undefined) values[number] = value;
  }
  return values;
}

function firstOf(values: readonly string[], keys: readonly number[]): string {
  for (const key of keys) {
    const value = values[key];
    if (value !== undefined && value !== "") return value;
  }
  return "";
}
