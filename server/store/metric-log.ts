/**
 * The metric head's log: segments `metrics-00000001.log` in one directory, written one after another.
 *
 * Invariants: a segment declares every series before its first sample, so any segment can be deleted alone; only the
 * newest segment is written, by one write at a time; after a failed write or sync a segment is never written again.
 * With durability `always` a write is on the disk when it resolves, with `interval` `SYNC_EVERY_MS` later at most.
 */

import { type FileHandle, open, readdir, readFile, rename, rm, stat, truncate, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BytesEndError } from "../model/byte-reader.ts";
import { makePrivateDirectory, renameDurably, syncDirectory } from "../platform/files.ts";
import { type KnownLabels, type LogVisitor, readPayload, readStretches } from "./metric-log-record.ts";

const SEGMENT_NAME = /^metrics-(\d{8})\.log$/;
const QUARANTINE_NAME = /^metrics-\d{8}\.log\.damaged-\d+$/;
const PRIVATE_FILE_MODE = 0o600;
/** A segment holds at least so many times the bytes of its declarations. */
const DECLARED_TIMES = 2;
/** Damaged segments that are kept for a person to look at; the oldest go. */
const QUARANTINED_FILES_MAX = 16;
/** With durability `interval`: how long what was written may be in the system's memory only. */
const SYNC_EVERY_MS = 1_000;

/** When a write is acknowledged: on the disk, or on its way there within a second. */
export type LogDurability = "always" | "interval";

/** Bytes of the log that could not be read. The rest of the file is used, the original is kept as `quarantine`, of a torn end the end. */
export interface LogDamage {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  readonly why: string;
  readonly quarantine: string;
}

/** What a reading of all segments tells. */
export interface LogVisit extends LogVisitor {
  /** Called before a segment's records. */
  segment(number: number): void;
}

interface Segment {
  readonly number: number;
  readonly path: string;
  bytes: number;
  /** Those of `bytes` that declare series. */
  declaredBytes: number;
  /** Newest sample inside; `-Infinity` where there is none. */
  maxMs: number;
}

interface LogOptions {
  readonly directory: string;
  readonly segmentBytesMax: number;
  readonly durability: LogDurability;
  /** Number of the first segment to write at least. */
  readonly firstSegment: number;
  /** Takes the file of a segment of which the log needs nothing any more. */
  readonly retire: (segment: {
    readonly number: number;
    readonly path: string;
    readonly bytes: number;
  }) => Promise<void>;
}

/** The open log. Calls of `write` must not overlap. */
export class MetricLog {
  readonly #directory: string;
  readonly #segmentBytesMax: number;
  readonly #segments: Segment[];
  readonly #durability: LogDurability;
  readonly #retire: LogOptions["retire"];
  #handle: FileHandle | undefined;
  #nextNumber: number;
  #syncTimer: NodeJS.Timeout | undefined;
  #syncing: Promise<void> = Promise.resolve();
  #syncs = 0;

  /** Use `openMetricLog`. */
  constructor(options: LogOptions, segments: Segment[], nextNumber: number) {
    this.#directory = options.directory;
    this.#segmentBytesMax = options.segmentBytesMax;
    this.#durability = options.durability;
    this.#retire = options.retire;
    this.#segments = segments;
    this.#nextNumber = nextNumber;
  }

  /** Times the log was synced. */
  get syncs(): number {
    return this.#syncs;
  }

  get segments(): number {
    return this.#segments.length;
  }

  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  /** Those of `bytes` that are not declarations: what takes most of the time to read again. Segments of an earlier run count whole. */
  get sampleBytes(): number {
    return this.#segments.reduce((sum, { bytes, declaredBytes }) => sum + bytes - declaredBytes, 0);
  }

  /** Number of the oldest segment; above all numbers where there is none. */
  get firstSegment(): number {
    return this.#segments[0]?.number ?? Number.POSITIVE_INFINITY;
  }

  /** Files of the segments and their bytes that hold, oldest first. */
  get files(): readonly { readonly number: number; readonly path: string; readonly bytes: number }[] {
    return this.#segments;
  }

  /** Where the next write goes at the earliest. */
  get end(): { readonly segment: number; readonly offset: number } {
    const current = this.#handle === undefined ? undefined : this.#segments[this.#segments.length - 1];
    if (current === undefined) return { segment: this.#nextNumber, offset: 0 };
    return { segment: current.number, offset: current.bytes };
  }

  /** Files of the segments up to a number, oldest first. */
  pathsUpTo(number: number): string[] {
    return this.#segments.filter((segment) => segment.number <= number).map(({ path }) => path);
  }

  /** Number of the segment the next `write` goes to; opens a new one where the last is full or failed. */
  async ready(): Promise<number> {
    const current = this.#segments[this.#segments.length - 1];
    if (this.#handle !== undefined && current !== undefined && !this.#isFull(current)) {
      return current.number;
    }
    await this.#closeHandle();
    const number = this.#nextNumber;
    const path = join(this.#directory, segmentName(number));
    const handle = await open(path, "wx", PRIVATE_FILE_MODE);
    // The name is used up even where the directory cannot be synced and the file cannot be deleted.
    this.#nextNumber = number + 1;
    try {
      await syncDirectory(this.#directory);
    } catch (error) {
      await Promise.allSettled([handle.close(), unlink(path)]);
      throw error;
    }
    this.#handle = handle;
    this.#segments.push({ number, path, bytes: 0, declaredBytes: 0, maxMs: Number.NEGATIVE_INFINITY });
    return number;
  }

  /** Every segment declares the series that come in it: with very many it must hold more, or declarations are most of it. */
  #isFull({ bytes, declaredBytes }: Segment): boolean {
    return bytes - declaredBytes >= Math.max(this.#segmentBytesMax, DECLARED_TIMES * declaredBytes);
  }

  /**
   * Closes the segment being written, so that the next write opens another.
   *
   * @returns The last segment that was written so far.
   */
  async rotate(): Promise<number> {
    await this.#closeHandle();
    return this.#nextNumber - 1;
  }

  /**
   * Appends whole frames and makes them durable, at once or within a second.
   *
   * @param written.maxMs Newest sample among them.
   * @param written.declaredBytes Those of the bytes that declare series.
   * @throws The system's error; then nothing of `bytes` counts, and the next `ready` opens a new segment.
   */
  async write(
    bytes: Uint8Array,
    { maxMs, declaredBytes }: { readonly maxMs: number; readonly declaredBytes: number },
  ): Promise<void> {
    const current = this.#segments[this.#segments.length - 1];
    const handle = this.#handle;
    if (current === undefined || handle === undefined) throw new Error("write before ready");
    try {
      let done = 0;
      while (done < bytes.length) {
        const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, current.bytes + done);
        done += bytesWritten;
      }
      if (this.#durability === "always") await this.#sync(handle);
      else this.#syncTimer ??= setTimeout(() => this.#syncLater(), SYNC_EVERY_MS);
    } catch (error) {
      await this.#abandon(current);
      throw error;
    }
    current.bytes += bytes.length;
    current.declaredBytes += declaredBytes;
    current.maxMs = Math.max(current.maxMs, maxMs);
  }

  /** Whether there are segments that `drop` would delete. */
  has(isSpare: (segment: number, maxMs: number) => boolean): boolean {
    return this.#spare(isSpare).length > 0;
  }

  /** Lets go of segments of which nothing is needed any more; the one being written stays. */
  async drop(isSpare: (segment: number, maxMs: number) => boolean): Promise<void> {
    for (const segment of this.#spare(isSpare)) {
      await this.#retire(segment);
      this.#segments.splice(this.#segments.indexOf(segment), 1);
    }
  }

  #spare(isSpare: (segment: number, maxMs: number) => boolean): Segment[] {
    const current = this.#handle === undefined ? undefined : this.#segments[this.#segments.length - 1];
    return this.#segments.filter((segment) => segment !== current && isSpare(segment.number, segment.maxMs));
  }

  /** Makes what was written durable, whatever the durability. */
  async sync(): Promise<void> {
    if (this.#handle !== undefined) await this.#sync(this.#handle);
  }

  async close(): Promise<void> {
    await this.#closeHandle();
  }

  /**
   * What was written of a failed group is cut off where the disk allows; a reader would pass over it anyway. A segment
   * without more goes, so that a disk that fails for long does not collect empty files.
   */
  async #abandon(segment: Segment): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle === undefined) return;
    // The caller gets the error that led here; a disk that failed once may fail these too.
    await Promise.allSettled([handle.truncate(segment.bytes)]);
    await Promise.allSettled([handle.close()]);
    if (segment.bytes > 0) return;
    this.#segments.splice(this.#segments.indexOf(segment), 1);
    await Promise.allSettled([unlink(segment.path)]);
  }

  /** Nothing of a closed segment is left to a sync that comes later. */
  async #closeHandle(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    const isDue = this.#syncTimer !== undefined;
    clearTimeout(this.#syncTimer);
    this.#syncTimer = undefined;
    await this.#syncing;
    try {
      if (isDue && handle !== undefined) await this.#sync(handle);
    } finally {
      await handle?.close();
    }
  }

  async #sync(handle: FileHandle): Promise<void> {
    this.#syncs++;
    await handle.datasync();
  }

  /** A segment that a sync failed for is never written again, since the system may have forgotten its pages. */
  #syncLater(): void {
    this.#syncTimer = undefined;
    const handle = this.#handle;
    if (handle === undefined) return;
    this.#syncing = this.#sync(handle).catch((error: unknown) => {
      process.emitWarning(`samples acknowledged within the last second may not be on the disk: ${String(error)}`);
      if (handle !== this.#handle) return undefined;
      this.#handle = undefined;
      return handle.close();
    });
  }
}

/**
 * Opens the log and reads all of it.
 *
 * A write that never finished is cut off, told and kept unless it is zeros. Damaged bytes are stepped over; the file they
 * were in is set aside and replaced by one with the readable records.
 *
 * @param nowMs Unix milliseconds, for the name of a file set aside.
 * @returns The log, which starts a new segment at the first write, and the damage found.
 */
export async function openMetricLog(
  options: LogOptions & { readonly nowMs: number },
  visit: LogVisit,
): Promise<{ log: MetricLog; damage: LogDamage[] }> {
  const { directory, nowMs } = options;
  await makePrivateDirectory(directory);
  const segments: Segment[] = [];
  const damage: LogDamage[] = [];
  const known: KnownLabels = new Map();
  let nextNumber = options.firstSegment;
  for (const name of (await readdir(directory)).sort()) {
    const number = Number(SEGMENT_NAME.exec(name)?.[1] ?? 0);
    if (number === 0) continue;
    nextNumber = Math.max(nextNumber, number + 1);
    if (!(await stat(join(directory, name))).isFile()) {
      damage.push(await setOtherAside(join(directory, name), nowMs));
      continue;
    }
    const segment = await readSegment({ number, path: join(directory, name), nowMs, known }, visit, damage);
    if (segment.bytes === 0) await unlink(segment.path);
    else segments.push(segment);
  }
  if (damage.length > 0) await dropOldQuarantine(directory);
  return { log: new MetricLog(options, segments, nextNumber), damage };
}

/** Something with the name of a segment that is no file. */
async function setOtherAside(path: string, nowMs: number): Promise<LogDamage> {
  const quarantine = `${path}.damaged-${nowMs}`;
  await renameDurably(path, quarantine);
  return { file: path, offset: 0, bytes: 0, why: "it is not a file", quarantine };
}

async function readSegment(
  source: { readonly number: number; readonly path: string; readonly nowMs: number; readonly known: KnownLabels },
  visit: LogVisit,
  damage: LogDamage[],
): Promise<Segment> {
  const { number, path, nowMs, known } = source;
  const bytes = await readFile(path);
  const quarantine = `${path}.damaged-${nowMs}`;
  const good: Uint8Array[] = [];
  const damageBefore = damage.length;
  let maxMs = Number.NEGATIVE_INFINITY;
  let goodFrom = 0;
  let tornAt: number | undefined;
  const visitor: LogVisitor = {
    declare: (ref, labels) => visit.declare(ref, labels),
    float: (ref, timestampMs, value) => {
      if (timestampMs > maxMs) maxMs = timestampMs;
      visit.float(ref, timestampMs, value);
    },
    sample: (ref, sample) => {
      if (sample.timestampMs > maxMs) maxMs = sample.timestampMs;
      visit.sample(ref, sample);
    },
    exemplar: (ref, exemplar, isAgain) => visit.exemplar(ref, exemplar, isAgain),
    metadata: (metadata) => visit.metadata(metadata),
  };
  visit.segment(number);
  for (const stretch of readStretches(bytes)) {
    if (stretch.kind === "payload") {
      const why = readChecked(stretch.bytes, visitor, known);
      if (why === undefined) continue;
      damage.push({ file: path, offset: stretch.from, bytes: stretch.bytes.length, why, quarantine });
    } else {
      good.push(bytes.subarray(goodFrom, stretch.from));
      goodFrom = stretch.to;
      if (stretch.kind === "torn") tornAt = stretch.from;
      else {
        const { from, to, why } = stretch;
        damage.push({ file: path, offset: from, bytes: to - from, why, quarantine });
      }
    }
  }
  good.push(bytes.subarray(goodFrom));
  const length = good.reduce((sum, part) => sum + part.length, 0);
  if (damage.length > damageBefore) await replaceDamaged(path, quarantine, good);
  else if (tornAt !== undefined) {
    const end = bytes.subarray(tornAt);
    // A kill tears a write that nobody was told of, a cut from outside one that somebody was: it is told either way.
    if (end.some((byte) => byte !== 0)) {
      await writePrivately(quarantine, [end]);
      await syncDirectory(dirname(path));
      damage.push({ file: path, offset: tornAt, bytes: end.length, why: "its last write did not end", quarantine });
    }
    await truncate(path, tornAt);
  }
  return { number, path, bytes: length, declaredBytes: 0, maxMs };
}

/** Reads a payload whose check sum holds; says why where its content makes no sense all the same. */
function readChecked(payload: Uint8Array, visitor: LogVisitor, known: KnownLabels): string | undefined {
  try {
    readPayload(payload, visitor, known);
    return undefined;
  } catch (error) {
    if (error instanceof BytesEndError) return `record cannot be read: ${error.message}`;
    throw error;
  }
}

async function replaceDamaged(path: string, quarantine: string, good: readonly Uint8Array[]): Promise<void> {
  const replacement = `${path}.new`;
  await writePrivately(replacement, good);
  await rename(path, quarantine);
  await renameDurably(replacement, path);
}

async function writePrivately(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const handle = await open(path, "w", PRIVATE_FILE_MODE);
  try {
    for (const part of parts) await handle.writeFile(part);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function dropOldQuarantine(directory: string): Promise<void> {
  const kept = (await readdir(directory)).filter((name) => QUARANTINE_NAME.test(name)).sort();
  for (const name of kept.slice(0, Math.max(0, kept.length - QUARANTINED_FILES_MAX))) {
    await rm(join(directory, name), { recursive: true, force: true });
  }
}

function segmentName(number: number): string {
  return `metrics-${String(number).padStart(8, "0")}.log`;
}
