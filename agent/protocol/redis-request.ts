/**
 * Cuts the client's direction of a Redis connection into commands: arrays of bulk strings, or inline lines.
 *
 * Invariants: of a command at most `WORDS_MAX` words of at most `WORD_BYTES_MAX` bytes are kept, all else is counted
 * and passed over. Once framing is lost, only the beginning of a slice that reads like a command begins one.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/ "Sending commands", "Inline commands"
 */

import type { MessageMark, StreamSlice } from "./exchange.ts";
import { extendMark, markAt } from "./message-mark.ts";
import { mayBeCommand } from "./redis-detect.ts";
import { RespNumber } from "./resp-number.ts";

/** Words of a command that are kept, its verb among them. */
const WORDS_MAX = 24;
/** Bytes kept of a word. */
const WORD_BYTES_MAX = 256;
/** Longest inline command; servers refuse longer ones. */
const INLINE_BYTES_MAX = 65_536;
/** Most arguments that a header may announce before it counts as no command. */
const COUNT_MAX = 2 ** 31 - 1;
/** Longest argument that a header may announce. */
const BULK_BYTES_MAX = 2 ** 40;

/** A command as far as it is kept. */
export interface Command {
  /** The verb and what follows it, cut. */
  readonly words: string[];
  /** Words that the command has, kept or not. */
  count: number;
  /** Bytes of it were missing. */
  isCut: boolean;
}

/** Who pairs the commands. */
export interface RequestOwner {
  commandRead(command: Command, mark: MessageMark): void;
  /** Bytes are missing that may have held commands. */
  requestsLost(): void;
}

const STATE_START = 0;
const STATE_COUNT = 1;
const STATE_DOLLAR = 2;
const STATE_LENGTH = 3;
const STATE_BULK = 4;
const STATE_BULK_END = 5;
const STATE_INLINE = 6;
const DOUBLE_QUOTE = 0x22;
const SINGLE_QUOTE = 0x27;
const BACKSLASH = 0x5c;

const CR = 0x0d;
const LF = 0x0a;
const STAR = 0x2a;
const DOLLAR = 0x24;
const SPACE = 0x20;

/** The client's direction of one connection. */
export class RequestReader {
  readonly #owner: RequestOwner;
  #isLost: boolean;
  #state = STATE_START;
  #mark: MessageMark | undefined;
  #command: Command = emptyCommand();
  readonly #number = new RespNumber();
  /** Arguments that are still to come. */
  #left = 0;
  #remaining = 0;
  readonly #word = new Uint8Array(WORD_BYTES_MAX);
  #wordBytes = 0;
  #line = NO_BYTES;
  #lineBytes = 0;

  constructor(owner: RequestOwner, joinedLate: boolean) {
    this.#owner = owner;
    this.#isLost = joinedLate;
  }

  feed(slice: StreamSlice): void {
    const { bytes } = slice;
    if (this.#isLost) {
      if (!mayBeCommand(bytes)) return;
      this.#isLost = false;
    }
    let at = 0;
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
    const mark = this.#mark;
    if (mark !== undefined) {
      mark.endNs = timeNs;
      mark.lastTid = tid;
    }
    if (this.#state === STATE_BULK && count >= 0 && count <= this.#remaining) {
      this.#remaining -= count;
      if (mark !== undefined) mark.bytes += count;
      this.#command.isCut ||= this.#command.words.length < WORDS_MAX && this.#wordBytes < WORD_BYTES_MAX;
      if (this.#remaining === 0) this.#bulkRead();
      return;
    }
    this.#lose();
  }

  /** Framing is gone. A command whose verb was read is told as far as it came. */
  #lose(): void {
    const mark = this.#mark;
    const command = this.#command;
    this.#isLost = true;
    this.#reset();
    if (mark !== undefined && command.words.length > 0) {
      command.isCut = true;
      this.#owner.commandRead(command, mark);
    }
    this.#owner.requestsLost();
  }

  #reset(): void {
    this.#state = STATE_START;
    this.#mark = undefined;
    this.#command = emptyCommand();
    this.#line = NO_BYTES;
    this.#lineBytes = 0;
  }

  /** @returns Where to go on; -1 where the bytes are no command. */
  #step(slice: StreamSlice, at: number): number {
    switch (this.#state) {
      case STATE_START:
        return this.#stepStart(slice, at);
      case STATE_COUNT:
      case STATE_LENGTH:
        return this.#stepNumber(slice, at);
      case STATE_DOLLAR:
        if (slice.bytes[at] !== DOLLAR) return -1;
        this.#beginNumber(STATE_LENGTH);
        this.#extend(slice, 1);
        return at + 1;
      case STATE_BULK:
        return this.#stepBulk(slice, at);
      case STATE_BULK_END:
        return this.#stepBulkEnd(slice, at);
      default:
        return this.#stepInline(slice, at);
    }
  }

  #stepStart(slice: StreamSlice, at: number): number {
    const byte = slice.bytes[at] as number;
    if (byte === LF || byte === CR) return at + 1;
    this.#mark = markAt(slice, at);
    if (byte !== STAR) {
      this.#state = STATE_INLINE;
      return at;
    }
    this.#beginNumber(STATE_COUNT);
    this.#extend(slice, 1);
    return at + 1;
  }

  #beginNumber(state: number): void {
    this.#state = state;
    this.#number.begin();
  }

  #stepNumber(slice: StreamSlice, from: number): number {
    const at = this.#number.feed(slice.bytes, from);
    if (at < 0 || this.#number.value > BULK_BYTES_MAX) return -1;
    this.#extend(slice, at - from);
    return this.#number.isOver && !this.#numberRead() ? -1 : at;
  }

  #numberRead(): boolean {
    const { value, digits, isNegative, isStreamed } = this.#number;
    if (digits === 0 || isStreamed) return false;
    if (this.#state === STATE_COUNT) {
      if (value > COUNT_MAX) return false;
      // An empty command is passed over by servers, without an answer.
      if (isNegative || value === 0) this.#reset();
      else {
        this.#left = value;
        this.#command.count = value;
        this.#state = STATE_DOLLAR;
      }
      return true;
    }
    if (isNegative) return false;
    this.#remaining = value;
    this.#wordBytes = 0;
    if (value === 0) this.#bulkRead();
    else this.#state = STATE_BULK;
    return true;
  }

  #stepBulk(slice: StreamSlice, at: number): number {
    const { bytes } = slice;
    const take = Math.min(this.#remaining, bytes.length - at);
    if (this.#command.words.length < WORDS_MAX) {
      const kept = Math.min(take, WORD_BYTES_MAX - this.#wordBytes);
      for (let i = 0; i < kept; i++) this.#word[this.#wordBytes + i] = bytes[at + i] as number;
      this.#wordBytes += kept;
    }
    this.#remaining -= take;
    this.#extend(slice, take);
    if (this.#remaining === 0) this.#bulkRead();
    return at + take;
  }

  #bulkRead(): void {
    const { words } = this.#command;
    if (words.length < WORDS_MAX) words.push(textOfWord(this.#word, 0, this.#wordBytes));
    this.#state = STATE_BULK_END;
  }

  /** The line end behind an argument. */
  #stepBulkEnd(slice: StreamSlice, at: number): number {
    const byte = slice.bytes[at];
    if (byte !== CR && byte !== LF) return -1;
    this.#extend(slice, 1);
    if (byte === CR) return at + 1;
    this.#left--;
    if (this.#left > 0) this.#state = STATE_DOLLAR;
    else this.#tell();
    return at + 1;
  }

  #stepInline(slice: StreamSlice, at: number): number {
    const { bytes } = slice;
    const found = bytes.indexOf(LF, at);
    const end = found < 0 ? bytes.length : found;
    if (this.#lineBytes + end - at > INLINE_BYTES_MAX) return -1;
    const next = found < 0 ? end : end + 1;
    this.#extend(slice, next - at);
    if (found < 0 || this.#lineBytes > 0) this.#appendLine(bytes, at, end);
    if (found < 0) return next;
    const isHeld = this.#lineBytes > 0;
    const count = isHeld ? this.#inlineWords(this.#line, 0, this.#lineBytes) : this.#inlineWords(bytes, at, end);
    if (count < 0) return -1;
    if (count === 0) this.#reset();
    else this.#tell();
    return next;
  }

  #appendLine(bytes: Uint8Array, start: number, end: number): void {
    const needed = this.#lineBytes + end - start;
    if (needed > this.#line.length) {
      const larger = new Uint8Array(Math.max(128, needed, Math.min(INLINE_BYTES_MAX, this.#line.length * 2)));
      larger.set(this.#line.subarray(0, this.#lineBytes));
      this.#line = larger;
    }
    this.#line.set(bytes.subarray(start, end), this.#lineBytes);
    this.#lineBytes = needed;
  }

  /** Splits a line at spaces outside of quotes. @returns How many words it has; -1 where it is no text. */
  #inlineWords(bytes: Uint8Array, start: number, end: number): number {
    const command = this.#command;
    let at = start;
    while (at < end) {
      const byte = bytes[at] as number;
      if (byte === SPACE || (byte >= 0x09 && byte <= CR)) {
        at++;
        continue;
      }
      if (byte < SPACE && command.count === 0) return -1;
      const stop = endOfWord(bytes, at, end);
      command.count++;
      if (command.words.length < WORDS_MAX) {
        command.words.push(unquoted(textOfWord(bytes, at, Math.min(stop, at + WORD_BYTES_MAX))));
      }
      at = stop;
    }
    return command.count;
  }

  #tell(): void {
    const mark = this.#mark as MessageMark;
    const command = this.#command;
    this.#reset();
    this.#owner.commandRead(command, mark);
  }

  #extend(slice: StreamSlice, count: number): void {
    const mark = this.#mark;
    if (mark !== undefined) extendMark(mark, slice, count);
  }
}

const NO_BYTES = new Uint8Array(0);

function emptyCommand(): Command {
  return { words: [], count: 0, isCut: false };
}

/** Keys and values are any bytes: each becomes one character, so that none is lost. */
function textOfWord(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
}

/** Where a word that begins at `at` ends. A quote that is not closed goes on to the end of the line. */
function endOfWord(bytes: Uint8Array, at: number, end: number): number {
  let quote = 0;
  for (let i = at; i < end; i++) {
    const byte = bytes[i];
    if (quote === 0) {
      if (byte === SPACE || byte === CR || byte === 0x09) return i;
      if (byte === DOUBLE_QUOTE || byte === SINGLE_QUOTE) quote = byte;
    } else if (byte === BACKSLASH) i++;
    else if (byte === quote) return i + 1;
  }
  return end;
}

/** A word of an inline command without its quotes, as servers read it. */
function unquoted(text: string): string {
  if (!text.includes('"') && !text.includes("'")) return text;
  let plain = "";
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const sign = text[i] as string;
    const isEscape = sign === "\\" && (quote === '"' || (quote === "'" && text[i + 1] === "'"));
    if (isEscape) plain += text[++i] ?? "";
    else if (quote === "" && (sign === '"' || sign === "'")) quote = sign;
    else if (sign === quote) quote = "";
    else plain += sign;
  }
  return plain;
}
