/**
 * Handshakes of TLS and SSL 3, as far as they are in the clear: who is asked for, what is agreed, whether it fails.
 *
 * A handshake is one exchange, told when it is over and never as started: it is no request of the program's own. What comes
 * after it is counted by nobody; where the library tells of the clear bytes, they are a stream of their own.
 *
 * @see RFC 8446, RFC 5246
 */

import type { Exchange, ExchangeSink, MessageMark, ProtocolParser, StreamSlice } from "./exchange.ts";
import type { ParserContext, Protocol, Verdict } from "./protocol.ts";
import { readClientHello, readServerHello } from "./tls-hello.ts";

const CHANGE_CIPHER = 20;
const ALERT = 21;
const HANDSHAKE = 22;
const APPLICATION = 23;
const HEADER_BYTES = 5;
const RECORD_BYTES_MAX = 16_640 + 2048;
const CLIENT_HELLO = 1;
const SERVER_HELLO = 2;
const MESSAGE_HEADER_BYTES = 4;
/** Of the messages of a direction, until its hello is read. */
const HELLO_BYTES_MAX = 64 * 1024;
/** A handshake that takes longer than this has been given up. */
const HANDSHAKE_NS_MAX = 30e9;
const FATAL = 2;
const CLOSE_NOTIFY = 0;
/** Least content of a record that is sealed: a byte and a tag. */
const SEALED_BYTES_MIN = 17;
/** Messages that only a client sends, or only a server, in the clear. */
const FROM_CLIENT = new Set([1, 16]);
const FROM_SERVER = new Set([2, 4, 8, 12, 13, 14, 22]);
/** Certificates of either end. */
const FROM_BOTH = new Set([11]);

const ALERTS: Readonly<Record<number, string>> = {
  10: "unexpected_message",
  20: "bad_record_mac",
  22: "record_overflow",
  40: "handshake_failure",
  42: "bad_certificate",
  43: "unsupported_certificate",
  44: "certificate_revoked",
  45: "certificate_expired",
  46: "certificate_unknown",
  47: "illegal_parameter",
  48: "unknown_ca",
  49: "access_denied",
  50: "decode_error",
  51: "decrypt_error",
  70: "protocol_version",
  71: "insufficient_security",
  80: "internal_error",
  86: "inappropriate_fallback",
  90: "user_canceled",
  109: "missing_extension",
  110: "unsupported_extension",
  112: "unrecognized_name",
  113: "bad_certificate_status_response",
  115: "unknown_psk_identity",
  116: "certificate_required",
  120: "no_application_protocol",
};

/** TLS, to be known by its records. */
export const TLS: Protocol = {
  name: "tls",
  ports: [443],
  upgradeTokens: ["tls"],
  detect: judge,
  create: (sink, context) => new TlsParser(sink, context),
};

/** Does a client or server say hello here, in a record of its own? Any stream may turn to TLS so. */
export function isTlsHello(bytes: Uint8Array): boolean {
  const hello = bytes[HEADER_BYTES];
  return (
    bytes[0] === HANDSHAKE &&
    (hello === CLIENT_HELLO || hello === SERVER_HELLO) &&
    judge(bytes, hello === 1 ? 0 : 1) === "yes"
  );
}

function judge(bytes: Uint8Array, direction: 0 | 1): Verdict {
  const type = bytes[0];
  if (type === undefined) return "more";
  if (isOldHello(bytes) && direction === 0) return bytes.length < 11 ? "more" : "yes";
  if (type < CHANGE_CIPHER || type > APPLICATION) return "no";
  if ((bytes.length > 1 && bytes[1] !== 3) || (bytes.length > 2 && (bytes[2] as number) > 4)) return "no";
  if (bytes.length <= HEADER_BYTES) return "more";
  const length = lengthOf(bytes, 0);
  if (length === 0 || length > RECORD_BYTES_MAX || !mayFollow(bytes, HEADER_BYTES + length)) return "no";
  const first = bytes[HEADER_BYTES] as number;
  switch (type) {
    case HANDSHAKE:
      return FROM_BOTH.has(first) || (direction === 0 ? FROM_CLIENT : FROM_SERVER).has(first) ? "yes" : "no";
    case CHANGE_CIPHER:
      return length === 1 && first === 1 ? "yes" : "no";
    case ALERT:
      return (length === 2 && (first === 1 || first === FATAL)) || length >= SEALED_BYTES_MIN ? "yes" : "no";
    default:
      return length >= SEALED_BYTES_MIN ? "yes" : "no";
  }
}

/** A hello that says SSL 2 can be spoken, and asks for more: RFC 5246, appendix E.2. */
function isOldHello(bytes: Uint8Array): boolean {
  const head = bytes[0] as number;
  if (head < 0x80 || head > 0x81) return false;
  const fits = (at: number, ok: (byte: number) => boolean) => bytes.length <= at || ok(bytes[at] as number);
  return (
    fits(2, (byte) => byte === CLIENT_HELLO) &&
    fits(3, (byte) => byte === 3) &&
    fits(4, (byte) => byte <= 3) &&
    (bytes.length < 7 || (((bytes[5] as number) << 8) | (bytes[6] as number)) % 3 === 0)
  );
}

function lengthOf(bytes: Uint8Array, at: number): number {
  return ((bytes[at + 3] as number) << 8) | (bytes[at + 4] as number);
}

/** May another record begin there, or is that not seen? */
function mayFollow(bytes: Uint8Array, at: number): boolean {
  const type = bytes[at];
  if (type === undefined) return true;
  return type >= CHANGE_CIPHER && type <= 24 && (bytes.length <= at + 1 || bytes[at + 1] === 3);
}

/** What one direction is in the midst of. */
interface Direction {
  readonly header: Uint8Array;
  headerBytes: number;
  /** Of the record under way; 0: a header comes next. */
  left: number;
  type: number;
  length: number;
  /** Where records begin is not known. */
  isLost: boolean;
  /** Handshake messages until the hello is read; undefined after it. */
  messages: Uint8Array | undefined;
  alert: Uint8Array;
  hasChangedCipher: boolean;
  hasData: boolean;
}

class TlsParser implements ProtocolParser {
  readonly #sink: ExchangeSink;
  readonly #directions: readonly [Direction, Direction] = [newDirection(), newDirection()];
  readonly #attributes: Record<string, string> = {};
  readonly #ready: boolean;
  #request: MessageMark | undefined;
  #response: MessageMark | undefined;
  #serverName = "";
  #version = 0;
  #isOver = false;
  #code = -1;
  #alertBy: 0 | 1 = 0;
  #lastNs = 0;
  #oldHelloLeft = 0;
  detached: ProtocolParser["detached"] = "";
  readonly detachedTo = "";

  constructor(sink: ExchangeSink, context: ParserContext) {
    this.#sink = sink;
    this.#ready = !context.joinedLate;
  }

  data(direction: 0 | 1, slice: StreamSlice): number {
    if (this.#isOver) return slice.bytes.length;
    this.#lastNs = slice.timeNs;
    let { bytes } = slice;
    if (direction === 0 && this.#request === undefined && this.#ready && isOldHello(bytes)) {
      this.#request = markOf(slice);
      this.#oldHelloLeft = 2 + ((((bytes[0] as number) & 0x7f) << 8) | (bytes[1] ?? 0));
    }
    if (direction === 0 && this.#oldHelloLeft > 0) {
      const skipped = Math.min(this.#oldHelloLeft, bytes.length);
      this.#oldHelloLeft -= skipped;
      bytes = bytes.subarray(skipped);
    }
    this.#read(direction, bytes, slice);
    return slice.bytes.length;
  }

  gap(direction: 0 | 1, count: number, _timeNs: number, _tid: number): void {
    if (this.#isOver || count === 0) return;
    const state = this.#directions[direction];
    this.#readHello(direction, state);
    state.messages = undefined;
    if (count > 0 && count <= state.left) state.left -= count;
    else {
      state.left = 0;
      state.headerBytes = 0;
      state.isLost = true;
    }
  }

  closed(_timeNs: number, reset: boolean): void {
    this.#finish(reset ? "reset" : "connection_closed");
  }

  stopped(): void {
    this.#finish("");
  }

  expire(nowNs: number): void {
    if (this.#request !== undefined && nowNs - this.#lastNs > HANDSHAKE_NS_MAX) this.#finish("timeout");
  }

  #read(direction: 0 | 1, bytes: Uint8Array, slice: StreamSlice): void {
    const state = this.#directions[direction];
    if (state.isLost) {
      if (judge(bytes, direction) !== "yes") return;
      state.isLost = false;
    }
    for (let at = 0; at < bytes.length && !this.#isOver; ) {
      if (state.left > 0) {
        const part = bytes.subarray(at, at + state.left);
        state.left -= part.length;
        at += part.length;
        this.#content(direction, state, part);
        continue;
      }
      state.header[state.headerBytes++] = bytes[at++] as number;
      if (state.headerBytes < HEADER_BYTES) continue;
      state.headerBytes = 0;
      if (!this.#begin(direction, state, slice)) return;
    }
    this.#extend(direction, slice, bytes.length);
  }

  /** A record begins. @returns false where it is none. */
  #begin(direction: 0 | 1, state: Direction, slice: StreamSlice): boolean {
    const { header } = state;
    state.type = header[0] as number;
    state.length = lengthOf(header, 0);
    const isRecord = state.type >= CHANGE_CIPHER && state.type <= 24 && header[1] === 3;
    if (!isRecord || state.length > RECORD_BYTES_MAX) {
      state.isLost = true;
      return false;
    }
    state.left = state.length;
    if (state.type === HANDSHAKE || state.type === ALERT) this.#mark(direction, slice);
    if (state.type === CHANGE_CIPHER) state.hasChangedCipher = true;
    if (state.type === APPLICATION) state.hasData = true;
    if (state.type === ALERT) state.alert = new Uint8Array(0);
    this.#lookWhetherDone();
    return true;
  }

  #content(direction: 0 | 1, state: Direction, part: Uint8Array): void {
    if (state.type === HANDSHAKE && state.messages !== undefined && !state.hasChangedCipher) {
      if (state.messages.length + part.length <= HELLO_BYTES_MAX) state.messages = joined(state.messages, part);
      if (isWhole(state.messages)) {
        this.#readHello(direction, state);
        state.messages = undefined;
      }
    }
    if (state.type !== ALERT || state.length !== 2 || state.hasChangedCipher) return;
    state.alert = joined(state.alert, part);
    const [level, description] = state.alert;
    if (description === undefined || description === CLOSE_NOTIFY || level !== FATAL) return;
    this.#code = description;
    this.#alertBy = direction;
    this.#finish("");
  }

  #readHello(direction: 0 | 1, state: Direction): void {
    const { messages } = state;
    if (messages === undefined || messages.length < MESSAGE_HEADER_BYTES) return;
    const length = ((messages[1] as number) << 16) | ((messages[2] as number) << 8) | (messages[3] as number);
    const body = messages.subarray(MESSAGE_HEADER_BYTES, MESSAGE_HEADER_BYTES + length);
    if (direction === 0 && messages[0] === CLIENT_HELLO) {
      const { serverName, protocols } = readClientHello(body);
      this.#serverName = serverName;
      if (protocols.length > 0) this.#attributes["thalweg.tls.client_protocols"] = protocols.join(",");
    } else if (direction === 1 && messages[0] === SERVER_HELLO && body.length >= 38) {
      const { version, cipher, protocol } = readServerHello(body);
      this.#version = version;
      this.#attributes["thalweg.tls.cipher_id"] = `0x${cipher.toString(16).padStart(4, "0")}`;
      if (protocol !== "") this.#attributes["tls.next_protocol"] = protocol;
    }
  }

  #mark(direction: 0 | 1, slice: StreamSlice): void {
    if (direction === 0) this.#request ??= markOf(slice);
    else this.#response ??= markOf(slice);
  }

  #extend(direction: 0 | 1, slice: StreamSlice, bytes: number): void {
    const mark = direction === 0 ? this.#request : this.#response;
    if (mark === undefined || this.#isOver) return;
    mark.endNs = slice.timeNs;
    mark.lastTid = slice.tid;
    mark.bytes += bytes;
  }

  /** Both have changed to secret keys, or data flows: the handshake is over for all that can be seen. */
  #lookWhetherDone(): void {
    const [client, server] = this.#directions;
    const isDone = client.hasData || (client.hasChangedCipher && server.hasChangedCipher && this.#version < 0x0304);
    if (isDone && this.#response !== undefined) this.#finish("");
  }

  #finish(cutShort: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const [client, server] = this.#directions;
    for (const direction of [0, 1] as const) this.#readHello(direction, this.#directions[direction]);
    const isLate = this.#request === undefined && this.#response === undefined;
    if (isLate && !client.hasData && !server.hasData) return;
    const exchange = this.#exchange(cutShort);
    this.#sink.finished(exchange);
  }

  #exchange(cutShort: string): Exchange {
    const attributes: Record<string, string> = { ...this.#attributes };
    const version = versionText(this.#version);
    if (this.#version !== 0) {
      attributes["tls.protocol.name"] = this.#version === 0x0300 ? "ssl" : "tls";
      attributes["tls.protocol.version"] = version;
    }
    if (this.#serverName !== "") attributes["tls.client.server_name"] = this.#serverName;
    const isFailed = this.#code >= 0;
    const isAnswered = this.#response !== undefined;
    if (isFailed) attributes["error.type"] = ALERTS[this.#code] ?? `alert_${this.#code}`;
    const status = isFailed ? (this.#alertBy === 1 ? "client_error" : "server_error") : isAnswered ? "ok" : "unknown";
    const hasRequest = this.#request !== undefined;
    return {
      protocol: "tls",
      type: hasRequest ? (isAnswered || isFailed ? "exchange" : "request") : isAnswered ? "response" : "message",
      op: "handshake",
      resource: this.#serverName,
      endpoint: "TLS handshake",
      status,
      code: isFailed ? (ALERTS[this.#code] ?? String(this.#code)) : "",
      id: "",
      stream: 0,
      version,
      request: this.#request,
      response: this.#response,
      context: undefined,
      attributes,
      cutShort: isAnswered || isFailed ? "" : cutShort,
    };
  }
}

function newDirection(): Direction {
  return {
    header: new Uint8Array(HEADER_BYTES),
    headerBytes: 0,
    left: 0,
    type: 0,
    length: 0,
    isLost: false,
    messages: new Uint8Array(0),
    alert: new Uint8Array(0),
    hasChangedCipher: false,
    hasData: false,
  };
}

function markOf(slice: StreamSlice): MessageMark {
  const { timeNs, seq, tid, pid } = slice;
  return { startNs: timeNs, endNs: timeNs, seq, bytes: 0, tid, pid, lastTid: tid };
}

/** Is the first handshake message there from its first byte to its last? */
function isWhole(messages: Uint8Array): boolean {
  if (messages.length < MESSAGE_HEADER_BYTES) return false;
  const length = ((messages[1] as number) << 16) | ((messages[2] as number) << 8) | (messages[3] as number);
  return messages.length >= MESSAGE_HEADER_BYTES + length;
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second.slice();
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

/** `1.2` for 0x0303; drafts of 1.3 count as it. */
function versionText(version: number): string {
  if (version === 0) return "";
  if (version === 0x0300) return "3";
  return version >> 8 === 0x7f ? "1.3" : `1.${(version & 255) - 1}`;
}
