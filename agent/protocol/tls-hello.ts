/**
 * The two messages of TLS that are sent in the clear and say what the connection is for: ClientHello and ServerHello.
 *
 * @see RFC 8446 section 4.1, RFC 6066 section 3 (names), RFC 7301 (protocols)
 */

/** What a ClientHello says. Texts are empty where it does not. */
export interface ClientHello {
  /** Server name; the outer one where the inner is encrypted. */
  readonly serverName: string;
  /** Protocols the client would speak inside, in its order. */
  readonly protocols: readonly string[];
}

/** What a ServerHello says. */
export interface ServerHello {
  /** As on the wire, such as 0x0304. */
  readonly version: number;
  readonly cipher: number;
  /** Protocol chosen; TLS 1.3 tells it in secret. */
  readonly protocol: string;
}

const EXTENSION_NAME = 0;
const EXTENSION_PROTOCOLS = 16;
const EXTENSION_VERSIONS = 43;
const RANDOM_BYTES = 32;
const PROTOCOLS_MAX = 16;
const NAME_BYTES_MAX = 255;

/** Reads big-endian numbers and never past the end: what is cut reads as 0. */
class Cursor {
  readonly #bytes: Uint8Array;
  #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get isOver(): boolean {
    return this.#at >= this.#bytes.length;
  }

  number(width: number): number {
    let value = 0;
    for (let index = 0; index < width; index++) value = value * 256 + (this.#bytes[this.#at++] ?? 0);
    return value;
  }

  skip(count: number): void {
    this.#at += count;
  }

  /** The next bytes, fewer where they were cut. */
  take(count: number): Uint8Array {
    const taken = this.#bytes.subarray(this.#at, this.#at + count);
    this.#at += count;
    return taken;
  }
}

/** @param bytes The message behind its type and length, as far as it was seen. */
export function readClientHello(bytes: Uint8Array): ClientHello {
  const cursor = new Cursor(bytes, 2 + RANDOM_BYTES);
  cursor.skip(cursor.number(1));
  cursor.skip(cursor.number(2));
  cursor.skip(cursor.number(1));
  let serverName = "";
  let protocols: readonly string[] = [];
  eachExtension(cursor, (type, content) => {
    if (type === EXTENSION_NAME) serverName = readName(content);
    else if (type === EXTENSION_PROTOCOLS) protocols = readProtocols(content);
  });
  return { serverName, protocols };
}

/** @param bytes As for `readClientHello`. */
export function readServerHello(bytes: Uint8Array): ServerHello {
  const cursor = new Cursor(bytes, 0);
  let version = cursor.number(2);
  cursor.skip(RANDOM_BYTES);
  // Drafts of 1.3 had no session here; none of the versions in use is written like theirs.
  const isDraft = version >> 8 === 0x7f;
  if (!isDraft) cursor.skip(cursor.number(1));
  const cipher = cursor.number(2);
  if (!isDraft) cursor.skip(1);
  let protocol = "";
  eachExtension(cursor, (type, content) => {
    if (type === EXTENSION_VERSIONS && content.length >= 2) version = new Cursor(content, 0).number(2);
    else if (type === EXTENSION_PROTOCOLS) protocol = readProtocols(content)[0] ?? "";
  });
  return { version, cipher, protocol };
}

function eachExtension(cursor: Cursor, visit: (type: number, content: Uint8Array) => void): void {
  cursor.skip(2);
  while (!cursor.isOver) {
    const type = cursor.number(2);
    const length = cursor.number(2);
    const content = cursor.take(length);
    if (content.length < length) return;
    visit(type, content);
  }
}

function readName(content: Uint8Array): string {
  const cursor = new Cursor(content, 2);
  if (cursor.number(1) !== 0) return "";
  return plainText(cursor.take(Math.min(cursor.number(2), NAME_BYTES_MAX)));
}

function readProtocols(content: Uint8Array): string[] {
  const cursor = new Cursor(content, 2);
  const protocols: string[] = [];
  while (!cursor.isOver && protocols.length < PROTOCOLS_MAX) protocols.push(plainText(cursor.take(cursor.number(1))));
  return protocols;
}

/** Printable ASCII, or nothing. */
function plainText(bytes: Uint8Array): string {
  return bytes.every((byte) => byte > 0x20 && byte < 0x7f) ? Buffer.from(bytes).toString("latin1") : "";
}
