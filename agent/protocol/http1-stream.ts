/**
 * Cuts one direction of an HTTP/1 connection into messages.
 *
 * Invariants: `#mark` is the message under way and undefined between messages. Bytes of a body are counted and never
 * looked at. Framing that is certain never ends but where a message ends; once it is lost (`#isLost`), only the
 * beginning of a slice that reads like a start line begins a message; where it was merely violated (bytes after the
 * end of a message), the beginning of a line does, too.
 *
 * @see RFC 9112 sections 6 and 7
 */

import { indexOfLineFeed } from "./bytes.ts";
import type { MessageMark, StreamSlice } from "./exchange.ts";
import { BODY_CHUNKED, BODY_FOREIGN, BODY_UNKNOWN, BODY_UNTIL_CLOSE, Http1Body } from "./http1-body.ts";
import { isEmptyLine } from "./http1-chunk.ts";
import {
  HEADER_NAME_BYTES,
  HEADER_OTHER,
  type Head,
  headerOf,
  judgeStart,
  mayBeLooseStatusLine,
  readLooseStatusLine,
  readStartLine,
} from "./http1-head.ts";
import { HeadBuilder } from "./http1-head-builder.ts";
import { headAt, headBytesAt, placeOfHead, rememberHead } from "./http1-head-memory.ts";
import { LineAssembler } from "./line-assembler.ts";
import { markAt } from "./message-mark.ts";

/** Longest head; a longer one is taken as far as it goes, and framing is lost behind it. */
export const HEAD_BYTES_MAX = 262_144;

/** Prefixes up to this length are judged anew with each slice; longer ones are believed until their line ends. */
const PREFIX_BYTES_MAX = 512;

/** Who pairs the messages. */
export interface StreamOwner {
  /** May a message begin here, though framing was lost? */
  mayStart(direction: 0 | 1): boolean;
  /** Does a request wait for an answer that has not begun? */
  isAnswerDue(): boolean;
  /**
   * A head was read, wholly or, if `isCut`, as far as it was captured.
   *
   * @returns What follows it: a length, or one of the constants of `http1-body.ts`.
   */
  headRead(direction: 0 | 1, head: Head, isCut: boolean): number;
  /** The message under way is over. `mark` has its last byte. */
  messageEnded(direction: 0 | 1): void;
  /** Bytes are missing that may have held messages; the first of them belonged to the message under way if `isInside`. */
  trackLost(direction: 0 | 1, isInside: boolean): void;
}

const STATE_START = 0;
const STATE_HEAD = 1;
const STATE_BODY = 2;
const STATE_FOREIGN = 3;

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;

/** One direction of a connection. */
export class Http1Stream {
  readonly #owner: StreamOwner;
  readonly #direction: 0 | 1;
  #state = STATE_START;
  #isLost: boolean;
  #line = new LineAssembler();
  readonly #head = new HeadBuilder();
  #headBytes = 0;
  readonly #body = new Http1Body();
  /** Of a message whose head was cut: bytes that must still come; -1 where unknown. */
  #atLeast = -1;
  #mark: MessageMark | undefined;
  #nextMark: MessageMark | undefined;
  #bodyBytes = 0;
  #suspectsEmpty = false;
  #reportedEarly = false;
  /** Where in the slice under way the head under way began, if it is read by the strict rules; else -1. */
  #headFrom = -1;

  constructor(owner: StreamOwner, direction: 0 | 1, joinedLate: boolean) {
    this.#owner = owner;
    this.#direction = direction;
    this.#isLost = joinedLate;
  }

  /** The message under way, or the one that has just ended. */
  get mark(): MessageMark | undefined {
    return this.#mark;
  }

  /** Bytes of the body so far. */
  get bodyBytes(): number {
    return this.#bodyBytes;
  }

  /** Is a message under way whose end cannot be told? */
  get isAdrift(): boolean {
    return this.#mark !== undefined && this.#state === STATE_START;
  }

  /** Is a message under way that ends with the connection? */
  get endsWithConnection(): boolean {
    return this.#state === STATE_BODY && this.#body.endsWithConnection;
  }

  /** The response may be one to HEAD: if the next slice begins like a response, its body is empty. */
  suspectEmptyBody(): void {
    this.#suspectsEmpty = true;
  }

  /** @returns How many bytes of the slice were used; fewer than all only where `BODY_FOREIGN` follows. */
  feed(slice: StreamSlice): number {
    const { bytes } = slice;
    let at = 0;
    this.#headFrom = -1;
    if (this.#suspectsEmpty) this.#endIfEmpty(bytes);
    while (at < bytes.length) {
      switch (this.#state) {
        case STATE_START:
          at = this.#feedStart(slice, at);
          break;
        case STATE_HEAD:
          at = this.#feedHead(slice, at);
          break;
        case STATE_BODY:
          at = this.#feedBody(slice, at);
          break;
        default:
          return at;
      }
    }
    if (this.#atLeast === 0) this.#endMessage();
    return at;
  }

  /** Bytes passed unseen. */
  gap(count: number, timeNs: number, tid: number): void {
    const mark = this.#mark;
    if (mark !== undefined) {
      mark.endNs = timeNs;
      mark.lastTid = tid;
    }
    switch (this.#state) {
      case STATE_BODY:
        this.#gapInBody(count);
        break;
      case STATE_HEAD:
        this.#cutHead(count);
        break;
      case STATE_START:
        this.#gapAtStart(count);
        break;
      default:
        break;
    }
  }

  /**
   * The head under way, as far as it was read, for an answer that comes before its end. Told once: when the head is
   * complete its `reported` is set.
   */
  takeEarly(): Head | undefined {
    if (this.#state === STATE_HEAD) {
      const soFar = this.#head.settle();
      if (soFar === undefined || soFar.reported) return undefined;
      soFar.reported = true;
      return soFar;
    }
    if (this.#state !== STATE_START || this.#line.length === 0 || this.#reportedEarly) return undefined;
    const head = readStartLine(this.#line.bytes, 0, this.#line.length, this.#direction, true);
    if (head === undefined) return undefined;
    this.#endAdrift();
    this.#reportedEarly = true;
    this.#mark = this.#nextMark;
    return head;
  }

  /** Ends a message whose end could not be told, because it is known by other means to be over. */
  endAdrift(): void {
    if (this.isAdrift) this.#endAdrift();
  }

  #endAdrift(): void {
    if (this.#mark !== undefined && this.#state === STATE_START) this.#endMessage();
  }

  #feedStart(slice: StreamSlice, from: number): number {
    const { bytes } = slice;
    let at = from;
    const line = this.#line;
    if (line.length === 0) {
      while (at < bytes.length && (bytes[at] === CR || bytes[at] === LF)) at++;
      if (at === bytes.length) return at;
      this.#nextMark = markAt(slice, at);
    }
    if (line.length === 0 && !this.#isLost && !this.#reportedEarly) {
      const place = placeOfHead(bytes, at, (slice.seq + at) >>> 0, this.#direction);
      if (place >= 0) return this.#recalled(slice, at, headBytesAt(place), headAt(place));
    }
    const lf = indexOfLineFeed(bytes, at);
    const end = lf < 0 ? bytes.length : lf;
    const wasOpen = line.length > 0;
    if (this.#isLost && !wasOpen && !this.#owner.mayStart(this.#direction)) {
      return this.#notAMessage(slice, at, end, false);
    }
    if (wasOpen || lf < 0) line.append(bytes, at, end);
    const source = wasOpen || lf < 0 ? line.bytes : bytes;
    const start = source === bytes ? at : 0;
    const stop = source === bytes ? end : line.length;
    const isLoose = this.#direction === 1 && !this.#isLost && this.#owner.isAnswerDue();
    if (lf < 0) {
      const mayGoOn =
        stop > PREFIX_BYTES_MAX ||
        judgeStart(source.subarray(0, stop), this.#direction) !== "no" ||
        (isLoose && mayBeLooseStatusLine(source, 0, stop));
      return mayGoOn ? end : this.#notAMessage(slice, at, end, wasOpen);
    }
    const strict = readStartLine(source, start, stop, this.#direction, line.overlong);
    const head = strict ?? (isLoose ? readLooseStatusLine(source, start, stop) : undefined);
    if (head === undefined) return this.#notAMessage(slice, at, lf + 1, wasOpen);
    line.clear();
    this.#headFrom = strict === undefined || source !== bytes || this.#reportedEarly ? -1 : at;
    this.#beginHead(slice, head);
    const mark = this.#mark as MessageMark;
    mark.bytes += stop - start + 1;
    this.#headBytes = mark.bytes;
    return lf + 1;
  }

  /** A head that was read before from the same `length` bytes as stand at `at`. @returns Where to look next. */
  #recalled(slice: StreamSlice, at: number, length: number, head: Head): number {
    this.#beginHead(slice, head);
    const mark = this.#mark as MessageMark;
    mark.bytes += length;
    this.#headBytes = mark.bytes;
    this.#follow(this.#owner.headRead(this.#direction, this.#head.take(), false));
    return at + length;
  }

  /** What began at `at` is no message. @returns Where to look next. */
  #notAMessage(slice: StreamSlice, at: number, lineEnd: number, wasOpen: boolean): number {
    this.#line.clear();
    // What was held came with earlier slices: this slice may still begin with a message.
    if (wasOpen && at === 0) return this.#feedStart(slice, 0);
    const next = this.#isLost ? slice.bytes.length : lineEnd;
    this.#passAdrift(slice, next - at);
    return next;
  }

  /** Bytes that belong to a message whose end cannot be told, if to any. */
  #passAdrift(slice: StreamSlice, count: number): void {
    if (this.#mark === undefined) return;
    this.#countBody(slice, count);
    if (this.#atLeast > 0) this.#atLeast = Math.max(0, this.#atLeast - count);
  }

  #beginHead(slice: StreamSlice, head: Head): void {
    if (this.#reportedEarly) head.reported = true;
    else {
      this.#endAdrift();
      this.#mark = this.#nextMark;
    }
    this.#reportedEarly = false;
    this.#isLost = false;
    this.#head.begin(head);
    this.#bodyBytes = 0;
    this.#state = STATE_HEAD;
    this.#touch(slice);
  }

  #feedHead(slice: StreamSlice, from: number): number {
    const { bytes } = slice;
    const line = this.#line;
    const mark = this.#mark as MessageMark;
    this.#touch(slice);
    let at = from;
    while (at < bytes.length) {
      const lf = indexOfLineFeed(bytes, at);
      const end = lf < 0 ? bytes.length : lf;
      const passed = lf < 0 ? end - at : end - at + 1;
      mark.bytes += passed;
      this.#headBytes += passed;
      if (lf < 0) {
        line.append(bytes, at, end);
        if (line.length >= HEADER_NAME_BYTES && !isWanted(line)) line.skipping = true;
        at = end;
        break;
      }
      const start = at;
      at = lf + 1;
      if (line.isOpen) {
        line.append(bytes, start, end);
        const isLast = !line.skipping && isEmptyLine(line.bytes, 0, line.length);
        if (!line.skipping && !line.overlong && !isLast) this.#head.line(line.bytes, 0, line.length);
        else this.#head.settle();
        line.clear();
        if (isLast) return this.#headComplete(at);
      } else if (isEmptyLine(bytes, start, end)) {
        return this.#headComplete(at, slice);
      } else {
        this.#head.line(bytes, start, end);
      }
      if (this.#headBytes > HEAD_BYTES_MAX) break;
    }
    if (this.#headBytes > HEAD_BYTES_MAX) {
      this.#cutHead(0);
      if (at < bytes.length) this.#passAdrift(slice, bytes.length - at);
    }
    return bytes.length;
  }

  /** @param slice Holds the head's last line. */
  #headComplete(at: number, slice?: StreamSlice): number {
    const head = this.#head.take();
    const from = this.#headFrom;
    if (slice !== undefined && from >= 0 && !head.reported) {
      rememberHead(slice.bytes, from, at, (slice.seq + from) >>> 0, head);
    }
    this.#follow(this.#owner.headRead(this.#direction, head, false));
    return at;
  }

  /** Enters the state that reads what follows a head. */
  #follow(body: number): void {
    this.#atLeast = -1;
    if (body > 0 || body === BODY_CHUNKED || body === BODY_UNTIL_CLOSE) {
      this.#state = STATE_BODY;
      this.#body.begin(body);
    } else if (body === BODY_FOREIGN) {
      this.#state = STATE_FOREIGN;
      this.#mark = undefined;
    } else if (body === BODY_UNKNOWN) {
      this.#state = STATE_START;
      this.#isLost = true;
    } else this.#endMessage();
  }

  /** The head under way ends unseen: `count` bytes are missing, -1 where their number is unknown. */
  #cutHead(count: number): void {
    this.#line.clear();
    const body = this.#owner.headRead(this.#direction, this.#head.take(), true);
    if (body === BODY_FOREIGN) {
      this.#follow(body);
      return;
    }
    this.#state = STATE_START;
    this.#isLost = true;
    if (body === 0) {
      if (this.#mark !== undefined) this.#mark.bytes += Math.max(0, count);
      this.#endMessage();
      return;
    }
    // The rest of the head is at least a line end; its true length is not known.
    this.#atLeast = body > 0 ? Math.max(0, body + 2 - Math.max(0, count)) : -1;
    this.#addUnseen(Math.max(0, count));
    if (this.#atLeast === 0) this.#endMessage();
  }

  #feedBody(slice: StreamSlice, at: number): number {
    const body = this.#body;
    const isBetweenChunks = body.isBetweenChunks;
    const next = body.feed(slice.bytes, at);
    if (isBetweenChunks) {
      this.#touch(slice);
      if (this.#mark !== undefined) this.#mark.bytes += next - at;
    } else this.#countBody(slice, next - at);
    if (body.isEnded) this.#endMessage();
    else if (body.isViolated) {
      // What the chunks belong to ends here.
      this.#endMessage();
      this.#isLost = true;
    }
    return next;
  }

  #gapInBody(count: number): void {
    const body = this.#body;
    if (body.isBetweenChunks) {
      this.#lose();
      this.#addUnseen(Math.max(0, count));
      return;
    }
    const inside = body.pass(count);
    this.#addUnseen(inside);
    if (body.isViolated) this.#lose();
    else if (body.isEnded) {
      this.#endMessage();
      if (inside === count) return;
      this.#isLost = true;
      this.#owner.trackLost(this.#direction, true);
    }
  }

  /** Framing inside the message under way is gone. */
  #lose(): void {
    this.#line.clear();
    this.#state = STATE_START;
    this.#isLost = true;
    this.#atLeast = -1;
    this.#owner.trackLost(this.#direction, true);
  }

  #gapAtStart(count: number): void {
    const held = this.#line.length;
    const head = held > 0 ? readStartLine(this.#line.bytes, 0, held, this.#direction, true) : undefined;
    this.#line.clear();
    if (head !== undefined && this.#nextMark !== undefined) {
      this.#nextMark.bytes += 1;
      const mark = this.#nextMark;
      this.#beginHead({ bytes: NO_BYTES, timeNs: mark.endNs, seq: mark.seq, tid: mark.tid, pid: mark.pid }, head);
      this.#cutHead(count);
      return;
    }
    this.#reportedEarly = false;
    const isInside = this.#mark !== undefined;
    if (isInside) {
      this.#addUnseen(Math.max(0, count));
      if (this.#atLeast > 0) this.#atLeast = Math.max(0, this.#atLeast - Math.max(0, count));
      if (this.#atLeast === 0) this.#endMessage();
    }
    this.#isLost = true;
    this.#owner.trackLost(this.#direction, isInside);
  }

  #endMessage(): void {
    this.#state = STATE_START;
    this.#atLeast = -1;
    this.#suspectsEmpty = false;
    this.#owner.messageEnded(this.#direction);
    this.#mark = undefined;
  }

  /** Ends the message if it should have a body, has none yet, and a response begins instead. */
  #endIfEmpty(bytes: Uint8Array): void {
    this.#suspectsEmpty = false;
    if (this.#bodyBytes === 0 && judgeStart(bytes, 1) === "yes") this.#endMessage();
  }

  #countBody(slice: StreamSlice, count: number): void {
    this.#addUnseen(count);
    this.#touch(slice);
  }

  #addUnseen(count: number): void {
    if (this.#mark === undefined) return;
    this.#mark.bytes += count;
    this.#bodyBytes += count;
  }

  #touch(slice: StreamSlice): void {
    const mark = this.#mark;
    if (mark === undefined) return;
    mark.endNs = slice.timeNs;
    mark.lastTid = slice.tid;
  }
}

const NO_BYTES = new Uint8Array(0);

/** May the line under way be a header that is read, or go on with one? */
function isWanted(line: LineAssembler): boolean {
  const first = line.bytes[0];
  return first === SPACE || first === TAB || headerOf(line.bytes, 0, line.length) !== HEADER_OTHER;
}
