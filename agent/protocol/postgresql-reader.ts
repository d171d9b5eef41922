/**
 * Cuts one direction of a PostgreSQL connection into messages.
 *
 * Invariants: of a message only as many bytes are kept as its owner asks for, so that rows, parameters, copied data and
 * passwords pass by; `#kept` never exceeds what was asked for. Once framing is lost, only the beginning of a slice that
 * reads like messages begins one.
 *
 * @see https://www.postgresql.org/docs/current/protocol-overview.html "Messaging Overview"
 */

import type { MessageMark, StreamSlice } from "./exchange.ts";
import { extendMark, markAt } from "./message-mark.ts";
import { areMessages, u32 } from "./postgresql-detect.ts";

/** What stands for the type of a message without one: startup, requests for encryption, cancel. */
export const TYPE_STARTUP = 0;
/** What stands for the type of a one-byte answer to a request for encryption. */
export const TYPE_ANSWER = 1;

/** Longest message that a header may announce; PostgreSQL's own limit is 1 GiB. */
const MESSAGE_BYTES_MAX = 0x4000_0000;
const STARTUP_BYTES_MAX = 10_000;

/** A message, as far as it is kept. `bytes` is only valid during the call. */
export interface PgMessage {
  readonly type: number;
  /** The body from its first byte on. */
  readonly bytes: Uint8Array;
  /** Bytes that were asked for are missing. */
  readonly isCut: boolean;
  readonly mark: MessageMark;
}

/** Who makes sense of the messages. */
export interface PgOwner {
  /** Bytes of a body that are looked at. */
  bytesWanted(direction: 0 | 1, type: number): number;
  messageRead(direction: 0 | 1, message: PgMessage): void;
  /** A message that is not over goes on: data being copied is seen while it passes. */
  messageUnderWay(direction: 0 | 1, type: number, mark: MessageMark): void;
  /** Bytes are missing that may have held messages. `partial` is the one under way; its body was not read. */
  messagesLost(direction: 0 | 1, partial: PgMessage | undefined): void;
  /** The bytes are none of PostgreSQL's. */
  foreignRead(direction: 0 | 1): void;
}

const STATE_HEADER = 0;
const STATE_BODY = 1;

const HEADER_BYTES = 5;
const ANSWER_ERROR = 0x45;

/** One direction of one connection. */
export class PgReader {
  readonly #owner: PgOwner;
  readonly #direction: 0 | 1;
  #isLost: boolean;
  /** The next message has no type: the client's first ones. */
  #expectsStartup: boolean;
  /** The next byte answers a request for encryption. */
  #expectsAnswer = false;
  /** The owner has let go: nothing more is read. */
  isOver = false;
  #state = STATE_HEADER;
  #header = new Uint8Array(HEADER_BYTES);
  #headerBytes = 0;
  #mark: MessageMark | undefined;
  #type = 0;
  #remaining = 0;
  #wanted = 0;
  #kept: Uint8Array = NO_BYTES;
  #keptBytes = 0;
  #isCut = false;

  constructor(owner: PgOwner, direction: 0 | 1, joinedLate: boolean) {
    this.#owner = owner;
    this.#direction = direction;
    this.#isLost = joinedLate;
    this.#expectsStartup = direction === 0 && !joinedLate;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** The next byte of this direction answers a request for encryption. */
  expectAnswer(): void {
    if (this.#state === STATE_HEADER && this.#headerBytes === 0) this.#expectsAnswer = true;
  }

  /** The client's first bytes come: with a startup message, or one that has a type. */
  begin(isStartup: boolean): void {
    if (this.#headerBytes > 0 || this.#state !== STATE_HEADER) return;
    if (isStartup) this.#isLost = false;
    this.#expectsStartup = isStartup;
  }

  /** Messages have types from here on. */
  startupOver(): void {
    this.#expectsStartup = false;
  }

  /** @returns How many bytes were used; fewer than all where the owner let go. */
  feed(slice: StreamSlice): number {
    const { bytes } = slice;
    if (this.#isLost) {
      if (!areMessages(bytes, this.#direction)) return bytes.length;
      this.#isLost = false;
    }
    let at = 0;
    while (at < bytes.length && !this.isOver) {
      const next = this.#state === STATE_HEADER ? this.#stepHeader(slice, at) : this.#stepBody(slice, at);
      if (next < 0) {
        this.#lose();
        return bytes.length;
      }
      at = next;
    }
    return at;
  }

  /** `count` bytes passed unseen; -1 where their number is unknown. */
  gap(count: number, timeNs: number, tid: number): void {
    const mark = this.#mark;
    if (mark !== undefined) {
      mark.endNs = timeNs;
      mark.lastTid = tid;
    }
    if (this.#state === STATE_BODY && count >= 0 && count <= this.#remaining && mark !== undefined) {
      mark.bytes += count;
      this.#remaining -= count;
      if (this.#keptBytes < this.#wanted) {
        this.#isCut = true;
        // What comes after the hole does not belong to what came before it.
        this.#wanted = this.#keptBytes;
      }
      if (this.#remaining === 0) this.#tell(this.#kept.subarray(0, this.#keptBytes), mark);
      else this.#owner.messageUnderWay(this.#direction, this.#type, mark);
      return;
    }
    this.#lose();
  }

  #lose(): void {
    const mark = this.#mark;
    const partial =
      this.#state === STATE_BODY && mark !== undefined
        ? { type: this.#type, bytes: this.#kept.subarray(0, this.#keptBytes), isCut: true, mark }
        : undefined;
    this.#isLost = true;
    this.#expectsAnswer = false;
    this.#expectsStartup = false;
    this.#reset();
    this.#owner.messagesLost(this.#direction, partial);
  }

  #reset(): void {
    this.#state = STATE_HEADER;
    this.#headerBytes = 0;
    this.#mark = undefined;
    this.#kept = NO_BYTES;
    this.#keptBytes = 0;
    this.#isCut = false;
  }

  #stepHeader(slice: StreamSlice, from: number): number {
    const { bytes } = slice;
    if (this.#headerBytes === 0) {
      this.#mark = markAt(slice, from);
      if (this.#expectsAnswer) {
        this.#expectsAnswer = false;
        const answer = bytes[from] as number;
        // Servers that never heard of encryption answer with an error, which is a message as any other.
        if (answer !== ANSWER_ERROR) return this.#answer(slice, from);
      }
    }
    const needed = this.#expectsStartup ? HEADER_BYTES - 1 : HEADER_BYTES;
    const take = Math.min(needed - this.#headerBytes, bytes.length - from);
    for (let i = 0; i < take; i++) this.#header[this.#headerBytes + i] = bytes[from + i] as number;
    this.#headerBytes += take;
    const mark = this.#mark as MessageMark;
    extendMark(mark, slice, take);
    if (this.#headerBytes < needed) return from + take;
    const lengthAt = needed - 4;
    const length = u32(this.#header, lengthAt);
    this.#type = this.#expectsStartup ? TYPE_STARTUP : (this.#header[0] as number);
    const isSane = this.#expectsStartup
      ? length >= 8 && length <= STARTUP_BYTES_MAX
      : length >= 4 && length <= MESSAGE_BYTES_MAX;
    if (!isSane) {
      if (this.#expectsStartup) this.#owner.foreignRead(this.#direction);
      return -1;
    }
    this.#remaining = length - 4;
    this.#wanted = Math.min(this.#remaining, this.#owner.bytesWanted(this.#direction, this.#type));
    this.#state = STATE_BODY;
    if (this.#remaining === 0) this.#tell(NO_BYTES, mark);
    return from + take;
  }

  #answer(slice: StreamSlice, at: number): number {
    const mark = this.#mark as MessageMark;
    extendMark(mark, slice, 1);
    this.#reset();
    this.#owner.messageRead(this.#direction, {
      type: TYPE_ANSWER,
      bytes: slice.bytes.subarray(at, at + 1),
      isCut: false,
      mark,
    });
    return at + 1;
  }

  #stepBody(slice: StreamSlice, at: number): number {
    const { bytes } = slice;
    const take = Math.min(this.#remaining, bytes.length - at);
    const mark = this.#mark as MessageMark;
    extendMark(mark, slice, take);
    this.#remaining -= take;
    const isWhole = this.#keptBytes === 0 && this.#remaining === 0 && !this.#isCut;
    if (isWhole) this.#tell(bytes.subarray(at, at + Math.min(take, this.#wanted)), mark);
    else {
      this.#keep(bytes, at, take);
      if (this.#remaining === 0) this.#tell(this.#kept.subarray(0, this.#keptBytes), mark);
      else this.#owner.messageUnderWay(this.#direction, this.#type, mark);
    }
    return at + take;
  }

  #keep(bytes: Uint8Array, at: number, count: number): void {
    const take = Math.min(count, this.#wanted - this.#keptBytes);
    if (take <= 0) return;
    const needed = this.#keptBytes + take;
    if (needed > this.#kept.length) {
      const larger = new Uint8Array(Math.min(this.#wanted, Math.max(256, needed, this.#kept.length * 2)));
      larger.set(this.#kept.subarray(0, this.#keptBytes));
      this.#kept = larger;
    }
    this.#kept.set(bytes.subarray(at, at + take), this.#keptBytes);
    this.#keptBytes = needed;
  }

  #tell(bytes: Uint8Array, mark: MessageMark): void {
    const message = { type: this.#type, bytes, isCut: this.#isCut, mark };
    this.#reset();
    this.#owner.messageRead(this.#direction, message);
  }
}

const NO_BYTES = new Uint8Array(0);
