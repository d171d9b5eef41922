/**
 * Cuts the server's direction of a Redis connection into replies (RESP2 and RESP3).
 *
 * Invariants: payload of bulk strings is counted and never kept, save the first bytes of the first element, which tell
 * what a push is; `#left` has one entry for each aggregate that is open, at most `DEPTH_MAX`. Once framing is lost,
 * only the beginning of a slice that reads like a reply begins one.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/
 */

import type { MessageMark, StreamSlice } from "./exchange.ts";
import { extendMark, markAt } from "./message-mark.ts";
import { RespNumber } from "./resp-number.ts";

/** Aggregates inside each other; a reply that goes deeper loses framing. */
const DEPTH_MAX = 128;
/** Bytes kept of a first element or of the line of a simple reply. */
const WORD_BYTES_MAX = 64;
/** Longest number in a header; longer ones are no RESP. */
const NUMBER_DIGITS_MAX = 20;
/** A line of more bytes whose end is not seen begins no reply where framing was lost. */
const PREFIX_BYTES_MAX = 64;
/** Longest line of a simple string, an error, a double or a big number before framing counts as lost. */
const LINE_BYTES_MAX = 1024 * 1024;

/** One reply, or push, as far as it is looked at. */
export interface Reply {
  /** Its first byte that is no attribute: `+`, `-`, `:`, `$`, `*`, `%`, `~`, `>`, ... */
  type: number;
  /** Elements of an aggregate, pairs of a map; bytes of a string; -1 for null and for streamed ones. */
  size: number;
  isNull: boolean;
  /** Text of a simple reply or error, else of the first element of an aggregate; cut after 64 bytes. */
  word: string;
}

/** Who pairs the replies. */
export interface ReplyOwner {
  /** May the slice that begins here begin a reply, though framing was lost? */
  mayReply(): boolean;
  replyRead(reply: Reply, mark: MessageMark): void;
  /** Bytes are missing that may have held replies. `partial` is the reply that was under way. */
  repliesLost(partial: Reply | undefined, mark: MessageMark | undefined): void;
}

const STATE_TYPE = 0;
const STATE_NUMBER = 1;
const STATE_LINE = 2;
const STATE_BULK = 3;
const STATE_BULK_END = 4;

const CR = 0x0d;
const LF = 0x0a;
const MINUS = 0x2d;
const QUESTION = 0x3f;
const ATTRIBUTE = 0x7c;
const ERROR = 0x2d;
const SIMPLE = 0x2b;
const BULK_ERROR = 0x21;
const CHUNK = 0x3b;
const STREAM_END = 0x2e;
const MAP = 0x25;
const NULL = 0x5f;

const KIND_NONE = 0;
const KIND_LINE = 1;
const KIND_BULK = 2;
const KIND_AGGREGATE = 3;

/** What follows a type byte. */
const KINDS = new Uint8Array(256);
for (const byte of Buffer.from("+-:_#,(.")) KINDS[byte] = KIND_LINE;
for (const byte of Buffer.from("$!=;")) KINDS[byte] = KIND_BULK;
for (const byte of Buffer.from("*%~>|")) KINDS[byte] = KIND_AGGREGATE;

/** Streamed aggregates end by `.`, not by a count. */
const STREAMED = Number.POSITIVE_INFINITY;

/** The server's direction of one connection. */
export class ReplyReader {
  readonly #owner: ReplyOwner;
  #isLost: boolean;
  #state = STATE_TYPE;
  /** Elements that each open aggregate still lacks, outermost first, and whether it is an attribute. */
  #left: number[] = [];
  #isAttribute: boolean[] = [];
  #mark: MessageMark | undefined;
  #reply: Reply = emptyReply();
  #hasType = false;
  #hasWord = false;
  /** Element under way. */
  #type = 0;
  readonly #number = new RespNumber();
  #remaining = 0;
  #lineBytes = 0;
  /** A streamed string is under way: chunks follow until an empty one. */
  #inChunks = false;
  readonly #word = new Uint8Array(WORD_BYTES_MAX);
  #wordBytes = 0;
  #keepsWord = false;

  constructor(owner: ReplyOwner, joinedLate: boolean) {
    this.#owner = owner;
    this.#isLost = joinedLate;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** A reply is under way. */
  get isInside(): boolean {
    return this.#mark !== undefined;
  }

  /** The reply under way, as far as it came, for a connection that ends or is not read on. */
  partial(): { readonly reply: Reply; readonly mark: MessageMark } | undefined {
    return this.#mark === undefined || !this.#hasType ? undefined : { reply: this.#reply, mark: this.#mark };
  }

  feed(slice: StreamSlice): void {
    const { bytes } = slice;
    let at = 0;
    if (this.#isLost) {
      if (!this.#owner.mayReply() || !mayBeReply(bytes)) return;
      this.#isLost = false;
    }
    while (at < bytes.length) {
      const next = this.#step(slice, at);
      if (next < 0) {
        this.#lose();
        return;
      }
      at = next;
    }
  }

  /** `count` bytes passed unseen; -1 where their number is unknown. */
  gap(count: number, timeNs: number, tid: number): void {
    if (this.#mark !== undefined) {
      this.#mark.endNs = timeNs;
      this.#mark.lastTid = tid;
    }
    if (this.#isLost) {
      this.#owner.repliesLost(undefined, undefined);
      return;
    }
    if (this.#state === STATE_BULK && count >= 0 && count <= this.#remaining) {
      this.#remaining -= count;
      if (this.#mark !== undefined) this.#mark.bytes += count;
      this.#keepsWord = false;
      if (this.#remaining === 0) this.#state = STATE_BULK_END;
      return;
    }
    this.#lose();
  }

  #lose(): void {
    const mark = this.#mark;
    const partial = this.#hasType ? this.#reply : undefined;
    this.#isLost = true;
    this.#reset();
    this.#owner.repliesLost(partial, mark);
  }

  #reset(): void {
    this.#mark = undefined;
    this.#state = STATE_TYPE;
    this.#left = [];
    this.#isAttribute = [];
    this.#reply = emptyReply();
    this.#hasType = false;
    this.#hasWord = false;
    this.#inChunks = false;
  }

  /** @returns Where to go on; -1 where the bytes are no RESP. */
  #step(slice: StreamSlice, at: number): number {
    switch (this.#state) {
      case STATE_TYPE:
        return this.#stepType(slice, at);
      case STATE_NUMBER:
        return this.#stepNumber(slice, at);
      case STATE_LINE:
        return this.#stepLine(slice, at);
      case STATE_BULK:
        return this.#stepBulk(slice, at);
      default:
        return this.#stepBulkEnd(slice, at);
    }
  }

  #stepType(slice: StreamSlice, at: number): number {
    const type = slice.bytes[at] as number;
    if (this.#mark === undefined) {
      // Line ends between replies are harmless; some servers send them.
      if (type === LF || type === CR) return at + 1;
      this.#mark = markAt(slice, at);
    }
    const kind = KINDS[type] as number;
    if (kind === KIND_NONE || (type === CHUNK) !== this.#inChunks) return -1;
    if (type === STREAM_END && this.#left.at(-1) !== STREAMED) return -1;
    this.#type = type;
    const isTop = !this.#hasType && type !== ATTRIBUTE && this.#left.length === 0;
    if (isTop) {
      this.#hasType = true;
      this.#reply.type = type;
    }
    const isFirst = this.#left.length === 1 && this.#isAttribute[0] !== true;
    // Texts of strings at the top are values, which nobody needs.
    const isTold = isTop ? type === ERROR || type === SIMPLE || type === BULK_ERROR : isFirst;
    this.#keepsWord = !this.#hasWord && this.#hasType && isTold && kind !== KIND_AGGREGATE;
    this.#wordBytes = 0;
    this.#lineBytes = 0;
    this.#state = kind === KIND_LINE ? STATE_LINE : STATE_NUMBER;
    this.#number.begin();
    this.#extend(slice, 1);
    return at + 1;
  }

  /** The length behind a type byte, up to its line end. */
  #stepNumber(slice: StreamSlice, from: number): number {
    const at = this.#number.feed(slice.bytes, from);
    if (at < 0) return -1;
    this.#extend(slice, at - from);
    return this.#number.isOver && !this.#numberRead() ? -1 : at;
  }

  #numberRead(): boolean {
    if (this.#number.digits === 0 && !this.#number.isStreamed) return false;
    const isBulk = KINDS[this.#type] === KIND_BULK;
    const isTop = this.#left.length === 0;
    if (isTop && this.#type !== ATTRIBUTE && !this.#inChunks)
      this.#reply.size = this.#number.isNegative || this.#number.isStreamed ? -1 : this.#number.value;
    if (this.#number.isNegative) {
      if (isTop) this.#reply.isNull = true;
      this.#elementRead();
      return true;
    }
    if (isBulk) return this.#bulkBegins();
    return this.#aggregateBegins();
  }

  #bulkBegins(): boolean {
    if (this.#number.isStreamed) {
      if (this.#type === CHUNK) return false;
      this.#inChunks = true;
      this.#state = STATE_TYPE;
      return true;
    }
    if (this.#type === CHUNK && this.#number.value === 0) {
      this.#inChunks = false;
      this.#elementRead();
      return true;
    }
    this.#remaining = this.#number.value;
    this.#state = this.#number.value === 0 ? STATE_BULK_END : STATE_BULK;
    return true;
  }

  #aggregateBegins(): boolean {
    const isAttribute = this.#type === ATTRIBUTE;
    const count = this.#number.isStreamed ? STREAMED : this.#number.value * (this.#type === MAP || isAttribute ? 2 : 1);
    this.#state = STATE_TYPE;
    if (count === 0) {
      if (!isAttribute) this.#elementRead();
      return true;
    }
    if (this.#left.length >= DEPTH_MAX) return false;
    // An aggregate is no word, so the first element of its parent has none.
    if (this.#left.length === 1 && !isAttribute && this.#isAttribute[0] !== true) this.#hasWord = true;
    this.#left.push(count);
    this.#isAttribute.push(isAttribute);
    return true;
  }

  #stepLine(slice: StreamSlice, from: number): number {
    const { bytes } = slice;
    const found = bytes.indexOf(LF, from);
    const end = found < 0 ? bytes.length : found;
    this.#keep(bytes, from, end);
    this.#lineBytes += end - from;
    if (this.#lineBytes > LINE_BYTES_MAX) return -1;
    const next = found < 0 ? end : end + 1;
    this.#extend(slice, next - from);
    if (found < 0) return next;
    if (this.#type === STREAM_END) return this.#streamEnds() ? next : -1;
    if (this.#type === NULL && this.#left.length === 0) this.#reply.isNull = true;
    this.#wordRead();
    this.#elementRead();
    return next;
  }

  #streamEnds(): boolean {
    if (this.#left.length === 0) return false;
    this.#left.pop();
    if (this.#isAttribute.pop() === true) this.#state = STATE_TYPE;
    else this.#elementRead();
    return true;
  }

  #stepBulk(slice: StreamSlice, at: number): number {
    const take = Math.min(this.#remaining, slice.bytes.length - at);
    if (this.#keepsWord) this.#keep(slice.bytes, at, at + take);
    this.#remaining -= take;
    this.#extend(slice, take);
    if (this.#remaining === 0) this.#state = STATE_BULK_END;
    return at + take;
  }

  /** The line end behind the bytes of a string. */
  #stepBulkEnd(slice: StreamSlice, at: number): number {
    const byte = slice.bytes[at] as number;
    this.#extend(slice, 1);
    if (byte === CR) return at + 1;
    if (byte !== LF) return -1;
    if (this.#inChunks) this.#state = STATE_TYPE;
    else {
      this.#wordRead();
      this.#elementRead();
    }
    return at + 1;
  }

  #keep(bytes: Uint8Array, start: number, end: number): void {
    if (!this.#keepsWord) return;
    const take = Math.min(end - start, WORD_BYTES_MAX - this.#wordBytes);
    for (let i = 0; i < take; i++) this.#word[this.#wordBytes + i] = bytes[start + i] as number;
    this.#wordBytes += take;
  }

  #wordRead(): void {
    if (!this.#keepsWord) return;
    this.#keepsWord = false;
    this.#hasWord = true;
    let length = this.#wordBytes;
    if (length > 0 && this.#word[length - 1] === CR) length--;
    this.#reply.word = Buffer.from(this.#word.buffer, 0, length).toString("latin1");
  }

  /** An element is over, and with it the aggregates that lacked only it. */
  #elementRead(): void {
    this.#state = STATE_TYPE;
    if (this.#left.length === 1 && this.#isAttribute[0] !== true) this.#hasWord = true;
    while (this.#left.length > 0) {
      const last = this.#left.length - 1;
      const left = (this.#left[last] as number) - 1;
      if (left > 0) {
        this.#left[last] = left;
        return;
      }
      this.#left.pop();
      // What an attribute describes comes after it.
      if (this.#isAttribute.pop() === true) return;
    }
    const mark = this.#mark as MessageMark;
    const reply = this.#reply;
    this.#reset();
    this.#owner.replyRead(reply, mark);
  }

  #extend(slice: StreamSlice, count: number): void {
    const mark = this.#mark;
    if (mark !== undefined) extendMark(mark, slice, count);
  }
}

function emptyReply(): Reply {
  return { type: 0, size: -1, isNull: false, word: "" };
}

/** Is the reply an error? */
export function isErrorReply(reply: Reply): boolean {
  return reply.type === ERROR || reply.type === BULK_ERROR;
}

/** May these bytes begin a reply? Cheap, and wrong now and then, so it is asked only where framing was lost. */
function mayBeReply(bytes: Uint8Array): boolean {
  const kind = KINDS[bytes[0] as number] as number;
  if (kind === KIND_NONE || bytes[0] === CHUNK || bytes[0] === STREAM_END) return false;
  if (kind === KIND_LINE) {
    const isText = bytes[0] === ERROR || bytes[0] === SIMPLE;
    const end = bytes.indexOf(LF);
    if (end < 0) return bytes.length <= PREFIX_BYTES_MAX && (isText || isNumberLine(bytes, bytes.length));
    if (end < 2 || bytes[end - 1] !== CR) return false;
    return isText || isNumberLine(bytes, end - 1);
  }
  return isLengthLine(bytes);
}

/** `:12`, `#t`, `_`, `,1.5e3`, `(123`. */
function isNumberLine(bytes: Uint8Array, end: number): boolean {
  if (end > PREFIX_BYTES_MAX) return false;
  for (let at = 1; at < end; at++) {
    const byte = bytes[at] as number;
    const isDigit = byte >= 0x30 && byte <= 0x39;
    const isOther = byte === MINUS || byte === CR || byte === 0x2b || byte === 0x2e || (byte | 0x20) === 0x65;
    const isWord = "tfinan".includes(String.fromCharCode(byte));
    if (!isDigit && !isOther && !isWord) return false;
  }
  return true;
}

function isLengthLine(bytes: Uint8Array): boolean {
  let at = 1;
  if (bytes[at] === MINUS || bytes[at] === QUESTION) at++;
  const first = at;
  while (at < bytes.length && at - first < NUMBER_DIGITS_MAX && isDigitByte(bytes[at])) at++;
  if (at === bytes.length) return true;
  if (at === first && bytes[first - 1] !== QUESTION) return false;
  return bytes[at] === CR && (at + 1 >= bytes.length || bytes[at + 1] === LF);
}

function isDigitByte(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}
