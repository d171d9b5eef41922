/**
 * Cuts one direction of an HTTP/2 connection into frames.
 *
 * Invariants: while `#isLost` is false the next byte's place in a frame is certain. Once it is lost, reading goes on
 * where a slice begins with what can only be frames. Bytes of DATA are counted and never looked at; of a header block
 * at most `BLOCK_BYTES_MAX` bytes are held, and what was captured of it is handed on when the rest is missing.
 */

import type { MessageMark, StreamSlice } from "./exchange.ts";
import {
  CONTINUATION,
  DATA,
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  frameHeaderError,
  GOAWAY,
  HEADERS,
  isPrefaceByte,
  judgePreface,
  lookAtFrames,
  PAYLOAD_BYTES_DEFAULT,
  PREFACE_BYTES,
  PUSH_PROMISE,
  payloadPart,
  RST_STREAM,
  readFrameHeader,
  SETTINGS,
  uint31,
  uint32,
} from "./http2-frame.ts";
import { markAt } from "./message-mark.ts";

/** Longest header block; of a longer one the beginning is read. */
export const BLOCK_BYTES_MAX = 65_536;
/** Slices that may begin in vain with something else than frames before the connection is given up. */
export const SLICES_LOST_MAX = 4096;

/**
 * A block so short adds no field to the table but one without a value. Trailers of gRPC in steady state are: they
 * refer to fields that were sent before.
 */
const BLOCK_BYTES_HARMLESS = 2;
/** Longest payload of SETTINGS and GOAWAY that is read. */
const CONTROL_BYTES_MAX = 1024;
const PAYLOAD_BYTES_LIMIT = 2 ** 24 - 1;
const SETTING_FRAME_SIZE_MAX = 5;
const BYTES_AT_FIRST = 512;
const NO_BYTES = new Uint8Array(0);

/** A header block, or what was captured of it. `bytes` is only valid during the call. */
export interface HeaderBlock {
  readonly stream: number;
  /** Stream that PUSH_PROMISE promises; 0 of HEADERS, -1 where it was not captured. */
  readonly promised: number;
  readonly endsStream: boolean;
  readonly isCut: boolean;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** Of all of its frames. */
  readonly mark: MessageMark;
}

/** Who makes messages of the frames. */
export interface FrameOwner {
  /** Is a message of this stream under way? */
  isOpen(stream: number): boolean;
  prefaceRead(): void;
  /** The client's first bytes are no preface: they are not the first of the connection. */
  prefaceMissed(): void;
  blockRead(direction: 0 | 1, block: HeaderBlock): void;
  /** Bytes of DATA passed: `bodyBytes` of content among `bytes` of frames. */
  dataPassed(direction: 0 | 1, stream: number, bodyBytes: number, bytes: number, moment: Moment): void;
  /** The last DATA of a stream has passed. */
  dataEnded(direction: 0 | 1, stream: number): void;
  streamReset(direction: 0 | 1, stream: number, code: number): void;
  goneAway(direction: 0 | 1, lastStream: number): void;
  /** The sender of `direction` lets the other side send frames of up to `bytes`. */
  payloadMaxSet(direction: 0 | 1, bytes: number): void;
  /** Bytes are missing that may have held frames, and fields that later blocks refer to if `mayHaveAdded`. */
  trackLost(direction: 0 | 1, mayHaveAdded: boolean): void;
  count(reason: string): void;
}

/** When and by whom bytes were carried. */
export interface Moment {
  readonly timeNs: number;
  readonly tid: number;
}

const STATE_PREFACE = 0;
const STATE_HEADER = 1;
/** The payload is passed over; of DATA it is counted. */
const STATE_PASS = 2;
const STATE_COLLECT = 3;

/** One direction of a connection. */
export class FrameReader {
  /** Largest payload that the sender may use. */
  payloadMax: number;
  readonly #owner: FrameOwner;
  readonly #direction: 0 | 1;
  #state: number;
  #isLost: boolean;
  #hasBegun = false;
  #slicesLost = 0;
  readonly #headerBytes = new Uint8Array(FRAME_HEADER_BYTES);
  #headerLength = 0;
  readonly #header: FrameHeader = { length: 0, type: 0, flags: 0, stream: 0 };
  /** Bytes of the payload that must still come. */
  #remaining = 0;
  /** Bytes of content among them. */
  #bodyRemaining = 0;
  #isPaddingNext = false;
  #payload = new HeldBytes();
  /** The block under way: its first frame is over, its last is not. */
  #block = new HeldBytes();
  #blockFrame: { stream: number; promised: number; endsStream: boolean; mark: MessageMark } | undefined;
  /** The rest of this stream's block is passed over. */
  #passedBlock = 0;
  #mark: MessageMark | undefined;

  constructor(owner: FrameOwner, direction: 0 | 1, joinedLate: boolean) {
    this.#owner = owner;
    this.#direction = direction;
    this.#isLost = joinedLate;
    this.#state = direction === 0 ? STATE_PREFACE : STATE_HEADER;
    this.payloadMax = joinedLate ? PAYLOAD_BYTES_LIMIT : PAYLOAD_BYTES_DEFAULT;
  }

  /** So much was looked at in vain that these are hardly frames. */
  get isHopeless(): boolean {
    return this.#slicesLost > SLICES_LOST_MAX;
  }

  /** Takes all bytes of a slice. */
  feed(slice: StreamSlice): void {
    const { bytes } = slice;
    if (this.#isLost && !this.#resume(bytes)) {
      this.#slicesLost++;
      return;
    }
    this.#hasBegun = true;
    let at = 0;
    while (at < bytes.length && !this.#isLost) {
      switch (this.#state) {
        case STATE_PREFACE:
          at = this.#feedPreface(bytes, at);
          break;
        case STATE_HEADER:
          at = this.#feedHeader(slice, at);
          break;
        case STATE_PASS:
          at = this.#feedPassed(slice, at);
          break;
        default:
          at = this.#feedCollected(slice, at);
          break;
      }
    }
  }

  /** Bytes passed unseen; -1 where their number is unknown. */
  gap(count: number, timeNs: number, tid: number): void {
    if (this.#isLost) return;
    const moment = { timeNs, tid };
    const isInside = count >= 0 && count <= this.#remaining;
    if (this.#state === STATE_COLLECT) this.#cutPayload(moment);
    if (this.#state !== STATE_PASS) {
      const isBetween = this.#headerLength === 0 && this.#blockFrame === undefined && this.#passedBlock === 0;
      this.#lose(moment, isBetween && count >= 0 ? count : Number.POSITIVE_INFINITY);
      return;
    }
    const beyond = count < 0 ? Number.POSITIVE_INFINITY : count - this.#remaining;
    if (count >= 0) this.#pass(Math.min(count, this.#remaining), moment);
    if (!isInside) this.#lose(moment, beyond);
  }

  /** The beginning was seen after all: what comes is a frame. */
  trust(): void {
    if (!this.#hasBegun) this.#isLost = false;
  }

  /** The beginning was not seen after all: the other side may have allowed frames of any size. */
  distrust(): void {
    this.payloadMax = PAYLOAD_BYTES_LIMIT;
  }

  #resume(bytes: Uint8Array): boolean {
    if (!this.#hasBegun && this.#direction === 0 && judgePreface(bytes, 0) !== "no") {
      this.#restart(STATE_PREFACE);
      return true;
    }
    const look = lookAtFrames(bytes);
    if (look.isRefuted || bytes.length < FRAME_HEADER_BYTES) return false;
    if (look.sender !== -1 && look.sender !== this.#direction) return false;
    readFrameHeader(bytes, 0, this.#header);
    const isSure = look.sender !== -1 || look.whole > 1 || look.endsExactly || this.#owner.isOpen(this.#header.stream);
    if (isSure) this.#restart(STATE_HEADER);
    return isSure;
  }

  #restart(state: number): void {
    this.#isLost = false;
    this.#slicesLost = 0;
    this.#state = state;
    this.#headerLength = 0;
    this.#passedBlock = 0;
  }

  #feedPreface(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length && this.#headerLength < PREFACE_BYTES) {
      if (!isPrefaceByte(this.#headerLength, bytes[at] as number)) {
        // Without a preface: frames may come at once, but not after half of one.
        if (this.#headerLength > 0) this.#violated({ timeNs: 0, tid: 0 });
        else {
          this.#state = STATE_HEADER;
          this.#owner.prefaceMissed();
        }
        return at;
      }
      this.#headerLength++;
      at++;
    }
    if (this.#headerLength === PREFACE_BYTES) {
      this.#restart(STATE_HEADER);
      this.#owner.prefaceRead();
    }
    return at;
  }

  #feedHeader(slice: StreamSlice, from: number): number {
    const { bytes } = slice;
    if (this.#headerLength === 0 && this.#blockFrame === undefined) this.#mark = markAt(slice, from);
    let at = from;
    while (at < bytes.length && this.#headerLength < FRAME_HEADER_BYTES) {
      this.#headerBytes[this.#headerLength++] = bytes[at++] as number;
    }
    if (this.#headerLength < FRAME_HEADER_BYTES) return at;
    this.#headerLength = 0;
    readFrameHeader(this.#headerBytes, 0, this.#header);
    if (this.#isForbidden()) {
      this.#violated(slice);
      return at;
    }
    this.#beginPayload(slice);
    return at;
  }

  #isForbidden(): boolean {
    const { type, length, stream } = this.#header;
    if (length > this.payloadMax || frameHeaderError(this.#header) !== 0) return true;
    const open = this.#blockFrame?.stream ?? this.#passedBlock;
    return open !== 0 ? type !== CONTINUATION || stream !== open : type === CONTINUATION;
  }

  #beginPayload(slice: StreamSlice): void {
    const { type, length, flags, stream } = this.#header;
    this.#remaining = length;
    this.#bodyRemaining = 0;
    this.#isPaddingNext = false;
    if (type === DATA) {
      this.#state = STATE_PASS;
      this.#bodyRemaining = length;
      this.#isPaddingNext = (flags & FLAG_PADDED) !== 0 && length > 0;
      this.#owner.dataPassed(this.#direction, stream, 0, FRAME_HEADER_BYTES, slice);
    } else if (this.#passedBlock !== 0) {
      if ((flags & FLAG_END_HEADERS) !== 0) this.#passedBlock = 0;
      this.#state = STATE_PASS;
    } else {
      this.#state = isCollected(this.#header) ? STATE_COLLECT : STATE_PASS;
      if (this.#mark !== undefined && isBlock(type)) this.#mark.bytes += FRAME_HEADER_BYTES + length;
    }
    if (length > 0) return;
    if (this.#state === STATE_COLLECT) this.#payloadRead(NO_BYTES, 0, 0, slice);
    else this.#pass(0, slice);
  }

  #feedPassed(slice: StreamSlice, from: number): number {
    let at = from;
    if (this.#isPaddingNext) {
      this.#isPaddingNext = false;
      this.#bodyRemaining = Math.max(0, this.#remaining - 1 - (slice.bytes[at] as number));
      this.#remaining--;
      at++;
      this.#owner.dataPassed(this.#direction, this.#header.stream, 0, 1, slice);
    }
    const count = Math.min(this.#remaining, slice.bytes.length - at);
    this.#pass(count, slice);
    return at + count;
  }

  /** `count` bytes of the payload pass, seen or not. */
  #pass(count: number, moment: Moment): void {
    const { type, stream, flags } = this.#header;
    this.#remaining -= count;
    if (type === DATA && count > 0) {
      this.#isPaddingNext = false;
      const body = Math.min(count, this.#bodyRemaining);
      this.#bodyRemaining -= body;
      this.#owner.dataPassed(this.#direction, stream, body, count, moment);
    }
    if (this.#remaining > 0) return;
    this.#state = STATE_HEADER;
    if (type === DATA && (flags & FLAG_END_STREAM) !== 0) this.#owner.dataEnded(this.#direction, stream);
  }

  #feedCollected(slice: StreamSlice, at: number): number {
    const { bytes } = slice;
    const count = Math.min(this.#remaining, bytes.length - at);
    const end = at + count;
    const isHeld = this.#payload.length > 0;
    if (!isHeld && count === this.#remaining) {
      this.#remaining = 0;
      this.#payloadRead(bytes, at, end, slice);
      return end;
    }
    this.#payload.append(bytes, at, end);
    this.#remaining -= count;
    if (this.#remaining === 0) {
      const held = this.#payload;
      this.#payload = new HeldBytes();
      if (held.isFull) {
        this.#owner.count("http2_block_bytes_max");
        this.#blockPart(held.bytes, 0, held.length, true, slice);
        this.#passedBlock = (this.#header.flags & FLAG_END_HEADERS) === 0 ? this.#header.stream : 0;
        this.#state = STATE_HEADER;
      } else this.#payloadRead(held.bytes, 0, held.length, slice);
    }
    return end;
  }

  /** A collected payload is complete. */
  #payloadRead(bytes: Uint8Array, start: number, end: number, moment: Moment): void {
    const { type, flags, stream } = this.#header;
    this.#state = STATE_HEADER;
    if (type === RST_STREAM) this.#owner.streamReset(this.#direction, stream, uint32(bytes, start));
    else if (type === GOAWAY) this.#owner.goneAway(this.#direction, uint31(bytes, start));
    else if (type === SETTINGS) {
      if ((flags & FLAG_ACK) === 0) this.#settingsRead(bytes, start, end);
    } else this.#blockPart(bytes, start, end, false, moment);
  }

  #settingsRead(bytes: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end; at += 6) {
      const id = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
      const value = uint32(bytes, at + 2);
      if (id !== SETTING_FRAME_SIZE_MAX || value < PAYLOAD_BYTES_DEFAULT || value > PAYLOAD_BYTES_LIMIT) continue;
      this.#owner.payloadMaxSet(this.#direction, value);
    }
  }

  /** A frame's part of a block, or the captured beginning of it. */
  #blockPart(bytes: Uint8Array, start: number, end: number, isCut: boolean, moment: Moment): void {
    const { type, flags, stream } = this.#header;
    const mark = this.#mark as MessageMark;
    mark.endNs = Math.max(mark.endNs, moment.timeNs);
    mark.lastTid = moment.tid;
    const part = payloadPart(this.#header, bytes, start, end);
    const isDamaged = part.end < part.start && !isCut;
    if (isDamaged) this.#owner.count("http2_padding_invalid");
    const partEnd = Math.max(part.start, part.end);
    this.#blockFrame ??= {
      stream,
      promised: type !== PUSH_PROMISE ? 0 : part.start > end ? -1 : uint31(bytes, part.start - 4),
      endsStream: type === HEADERS && (flags & FLAG_END_STREAM) !== 0,
      mark,
    };
    const isLast = (flags & FLAG_END_HEADERS) !== 0;
    if (isLast && type !== CONTINUATION) {
      this.#deliver(bytes, part.start, partEnd, isCut || isDamaged);
      return;
    }
    this.#block.append(bytes, part.start, partEnd);
    if (!isLast && !isCut && !isDamaged && !this.#block.isFull) return;
    if (this.#block.isFull) this.#owner.count("http2_block_bytes_max");
    if (!isLast) this.#passedBlock = stream;
    this.#deliver(this.#block.bytes, 0, this.#block.length, isCut || isDamaged || this.#block.isFull || !isLast);
  }

  #deliver(bytes: Uint8Array, start: number, end: number, isCut: boolean): void {
    const frame = this.#blockFrame;
    this.#blockFrame = undefined;
    this.#block = new HeldBytes();
    if (frame !== undefined) this.#owner.blockRead(this.#direction, { ...frame, isCut, bytes, start, end });
  }

  /** The rest of a payload that was being collected is missing, or some of it is. */
  #cutPayload(moment: Moment): void {
    const { bytes, length } = this.#payload;
    this.#payload = new HeldBytes();
    this.#state = STATE_PASS;
    if (!isBlock(this.#header.type)) return;
    this.#blockPart(bytes, 0, length, true, moment);
    this.#passedBlock = (this.#header.flags & FLAG_END_HEADERS) === 0 ? this.#header.stream : 0;
  }

  /** Bytes that cannot be a frame stand where one must. */
  #violated(moment: Moment): void {
    this.#owner.count("http2_frame_invalid");
    this.#lose(moment, Number.POSITIVE_INFINITY);
  }

  /** @param missing So many bytes from the end of a frame on are missing. */
  #lose(moment: Moment, missing: number): void {
    this.#isLost = true;
    this.#hasBegun = true;
    this.#headerLength = 0;
    this.#payload = new HeldBytes();
    const frame = this.#blockFrame;
    if (frame !== undefined) {
      frame.mark.lastTid = moment.tid;
      this.#deliver(this.#block.bytes, 0, this.#block.length, true);
    }
    this.#owner.trackLost(this.#direction, missing > FRAME_HEADER_BYTES + BLOCK_BYTES_HARMLESS);
  }
}

/** Bytes put together from several slices or frames, at most `BLOCK_BYTES_MAX`. */
class HeldBytes {
  bytes: Uint8Array = NO_BYTES;
  length = 0;
  /** Some had no room. */
  isFull = false;

  append(bytes: Uint8Array, start: number, end: number): void {
    const take = Math.min(end - start, BLOCK_BYTES_MAX - this.length);
    if (take < end - start) this.isFull = true;
    const needed = this.length + take;
    if (needed > this.bytes.length) {
      const larger = new Uint8Array(Math.max(BYTES_AT_FIRST, needed, Math.min(BLOCK_BYTES_MAX, this.bytes.length * 2)));
      larger.set(this.bytes.subarray(0, this.length));
      this.bytes = larger;
    }
    this.bytes.set(bytes.subarray(start, start + take), this.length);
    this.length = needed;
  }
}

function isBlock(type: number): boolean {
  return type === HEADERS || type === PUSH_PROMISE || type === CONTINUATION;
}

function isCollected(header: FrameHeader): boolean {
  if (isBlock(header.type) || header.type === RST_STREAM) return true;
  return (header.type === SETTINGS || header.type === GOAWAY) && header.length <= CONTROL_BYTES_MAX;
}
