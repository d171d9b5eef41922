/**
 * Follows the records of one direction of a TLS connection, as far as their headers are seen, so that clear bytes can be
 * numbered by the record that carried them: that number is the same at both ends.
 *
 * Invariants: `next` is where a header stands, or -1 where that is not known; then a slice that begins with a header
 * finds it again. At most `recordsMax` records wait for their clear bytes.
 */

/** Records seen whose clear bytes were not; beyond, the oldest is forgotten. */
const recordsMax = 256;
const HEADER_BYTES = 5;
const TYPE_FIRST = 20;
const TYPE_LAST = 24;
const TYPE_HANDSHAKE = 22;
const TYPE_APPLICATION = 23;
/** 2^14 of content and 256 more. */
const RECORD_BYTES_MAX = 16_640;
/** Clear bytes of one record at most, which is how a long write is cut. */
const FRAGMENT_BYTES = 16_384;
/** What a record has beside its clear bytes: TLS 1.3, and 1.2 with AES-GCM and ChaCha20. */
const OVERHEADS: readonly number[] = [17, 24, 16];
/** Of any cipher: from an authentication tag alone to a block of padding with a long code. */
const OVERHEAD_MIN = 16;
const OVERHEAD_MAX = 100;

interface ApplicationRecord {
  readonly seq: number;
  /** Of its content, as the header says. */
  readonly length: number;
  /** Clear bytes of it that were read. */
  taken: number;
}

/** May these be the first bytes of a record? */
export function isRecordStart(bytes: Uint8Array): boolean {
  if (bytes.length < HEADER_BYTES) return false;
  const type = bytes[0] as number;
  const length = ((bytes[3] as number) << 8) | (bytes[4] as number);
  return (
    type >= TYPE_FIRST &&
    type <= TYPE_LAST &&
    bytes[1] === 3 &&
    (bytes[2] as number) <= 4 &&
    length > 0 &&
    length <= RECORD_BYTES_MAX
  );
}

/** May these be the first bytes of a ClientHello or ServerHello in a record of its own? */
export function isHello(bytes: Uint8Array): boolean {
  if (bytes.length < HEADER_BYTES + 1 || bytes[0] !== TYPE_HANDSHAKE || !isRecordStart(bytes)) return false;
  return bytes[HEADER_BYTES] === 1 || bytes[HEADER_BYTES] === 2;
}

/** One direction of one connection. */
export class TlsRecords {
  #next = -1;
  /** Beginning of a header that the last slice ended in. */
  #carry = new Uint8Array(0);
  readonly #records: ApplicationRecord[] = [];
  /** Sequence number of the slice seen last, and the one behind it. */
  #lastSeq = -1;
  #end = 0;

  /** Sequence number that bytes are likely to have which no record is known for; -1 where nothing was seen. */
  get likelySeq(): number {
    return this.#records.length === 0
      ? this.#next === -1
        ? this.#lastSeq
        : this.#next
      : (this.#records[0]?.seq ?? -1);
  }

  /** Records of application type that wait. */
  get waiting(): number {
    return this.#records.length;
  }

  /** A slice of the connection in this direction. @returns Whether a record of application type begins in it. */
  take(seq: number, total: number, bytes: Uint8Array): boolean {
    this.#lastSeq = seq;
    this.#end = (seq + total) >>> 0;
    let start = seq;
    let seen = bytes;
    if (this.#carry.length > 0) {
      if (((this.#next + this.#carry.length) | 0) === (seq | 0)) {
        start = this.#next;
        seen = new Uint8Array(this.#carry.length + bytes.length);
        seen.set(this.#carry);
        seen.set(bytes, this.#carry.length);
      } else this.#next = -1;
      this.#carry = new Uint8Array(0);
    }
    let at = this.#next === -1 ? -1 : (this.#next - start) | 0;
    if (at < 0) {
      if (!isRecordStart(seen)) {
        this.#next = -1;
        return false;
      }
      at = 0;
    }
    return this.#walk(start, total + (seen.length - bytes.length), seen, at);
  }

  /** Whether a record that waits fits `count` clear bytes, read with room for `room`, or written (-1), by one of the usual ciphers. */
  holds(count: number, room: number): boolean {
    const first = room === -1 ? Math.min(count, FRAGMENT_BYTES) : count;
    return this.#records.some((record) => isExact(record, first) || (count === room && fits(record, count, false)));
  }

  /** Number of the first of `count` clear bytes that were read with room for `room`; -1 where no record fits. */
  read(count: number, room: number): number {
    const records = this.#records;
    const isDone = count < room;
    let found = records.findIndex((record) => isDone && isExact(record, count));
    if (found < 0) found = records.findIndex((record) => fits(record, count, isDone));
    const record = records[found];
    if (record === undefined) return -1;
    records.splice(0, found);
    const seq = (record.seq + record.taken) >>> 0;
    record.taken += count;
    if (isDone || isExact(record, 0)) records.shift();
    return seq;
  }

  /** Number of the first of `count` clear bytes that were written; -1 where no record fits. */
  wrote(count: number): number {
    const records = this.#records;
    const first = Math.min(count, FRAGMENT_BYTES);
    let found = records.findIndex((record) => isExact(record, first));
    if (found < 0) found = records.findIndex((record) => fits(record, first, true));
    const record = records[found];
    if (record === undefined) return -1;
    records.splice(0, found + Math.ceil(count / FRAGMENT_BYTES));
    return record.seq;
  }

  /**
   * Records that end before `seq` hold nothing that is still to come: their clear bytes were told, or passed before anybody
   * told of them.
   */
  forgetBefore(seq: number): void {
    let over = 0;
    for (const record of this.#records) {
      if (((record.seq + HEADER_BYTES + record.length - seq) | 0) > 0) break;
      over++;
    }
    this.#records.splice(0, over);
  }

  /** All records that were seen to their ends are read: the library asks for more. */
  drained(): void {
    this.forgetBefore(this.#end);
  }

  /** All clear bytes of what was seen so far are told. */
  settle(): void {
    this.#records.length = 0;
  }

  #walk(start: number, total: number, bytes: Uint8Array, from: number): boolean {
    let at = from;
    let hasData = false;
    while (at + HEADER_BYTES <= bytes.length) {
      if (!isRecordStart(bytes.subarray(at, at + HEADER_BYTES))) {
        this.#next = -1;
        return hasData;
      }
      const length = ((bytes[at + 3] as number) << 8) | (bytes[at + 4] as number);
      if (bytes[at] === TYPE_APPLICATION) {
        hasData = true;
        if (this.#records.length >= recordsMax) this.#records.shift();
        this.#records.push({ seq: (start + at) >>> 0, length, taken: 0 });
      }
      at += HEADER_BYTES + length;
    }
    if (at >= total) this.#next = (start + at) >>> 0;
    else if (bytes.length === total) {
      this.#next = (start + at) >>> 0;
      this.#carry = bytes.slice(at);
    } else this.#next = -1;
    return hasData;
  }
}

/** Are `count` more bytes the last of the record, for one of the usual ciphers? */
function isExact(record: ApplicationRecord, count: number): boolean {
  return OVERHEADS.includes(record.length - record.taken - count);
}

function fits(record: ApplicationRecord, count: number, isDone: boolean): boolean {
  const rest = record.length - record.taken - count;
  return rest >= OVERHEAD_MIN && (!isDone || rest <= OVERHEAD_MAX);
}
