/**
 * Reads the log while it is written, frame by frame, from a place in it on.
 *
 * Invariants: only bytes that hold are read; a segment's declarations are known before its samples are given, also where
 * reading starts in its middle.
 */

import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import type { Labels } from "../model/series.ts";
import { isMissing } from "../platform/files.ts";
import { FRAME_HEADER_BYTES, isDeclaration, type LogVisitor, readFrame, readPayload } from "./metric-log-record.ts";
import type { SeriesTable } from "./metric-series-table.ts";
import type { LogPlace, TailRead, TailSample } from "./reader.ts";

/** Bytes that are read at once; a longer frame is read whole. */
const READ_BYTES = 2 ** 20;
/** A file that is not there after so many looks is passed over. */
const MISSING_MAX = 100;
const MISSING_PAUSE_MS = 5;

/** A file of the log, and how many of its bytes hold. */
export interface LogFile {
  readonly number: number;
  readonly path: string;
  readonly bytes: number;
}

interface TailOptions {
  readonly from: LogPlace;
  readonly table: SeriesTable;
  /** Files of the log that there are, in any order. */
  readonly files: () => readonly LogFile[];
  /** Where the log ends. */
  readonly end: () => LogPlace;
}

/** One reader's place in the log. */
export class LogTail {
  readonly #options: TailOptions;
  #segment: number;
  #offset: number;
  #open: { readonly segment: number; readonly handle: FileHandle } | undefined;
  /** Labels by reference in `#declaredOf`. */
  #declared = new Map<number, Labels>();
  #declaredOf = 0;
  #wake: (() => void) | undefined;
  #missing = 0;

  constructor(options: TailOptions) {
    this.#options = options;
    this.#segment = options.from.segment;
    this.#offset = options.from.offset;
  }

  /** Bytes of the log that are not read yet. */
  get behindBytes(): number {
    let bytes = 0;
    for (const file of this.#options.files()) {
      if (file.number === this.#segment) bytes += Math.max(0, file.bytes - this.#offset);
      else if (file.number > this.#segment) bytes += file.bytes;
    }
    return bytes;
  }

  /** Samples from the place on until there are `samplesMax` or more; none where there are no more. */
  async read(samplesMax: number): Promise<TailRead> {
    const samples: TailSample[] = [];
    const exemplars: TailRead["exemplars"][number][] = [];
    const visitor: LogVisitor = {
      declare: (ref, labels) => this.#declare(ref, labels),
      float: (ref, timestampMs, value) => {
        const labels = this.#declared.get(ref);
        const sample = { timestampMs, value, histogram: undefined, startMs: 0 };
        if (labels !== undefined) samples.push({ labels, sample });
      },
      sample: (ref, sample) => {
        const labels = this.#declared.get(ref);
        if (labels !== undefined) samples.push({ labels, sample });
      },
      exemplar: (ref, exemplar, isAgain) => {
        if (isAgain) return;
        const labels = this.#declared.get(ref);
        if (labels !== undefined) exemplars.push({ labels, exemplar });
      },
      metadata: () => undefined,
    };
    while (samples.length < samplesMax) {
      const bytes = await this.#nextBytes();
      if (bytes === undefined) break;
      this.#offset += visitFrames(bytes, visitor, () => samples.length >= samplesMax);
    }
    return { samples, exemplars, place: { segment: this.#segment, offset: this.#offset } };
  }

  /** Resolves when there is more to read, the time is over or the signal is aborted. */
  async waitForMore(ms: number, signal: AbortSignal): Promise<void> {
    if (this.behindBytes > 0 || signal.aborted) return;
    const timeout = new AbortController();
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const timer = pause(ms, undefined, { signal: AbortSignal.any([timeout.signal, signal]) }).catch(() => undefined);
    await Promise.race([woken, timer]);
    timeout.abort();
    this.#wake = undefined;
  }

  wake(): void {
    this.#wake?.();
  }

  close(): void {
    this.#closeFile();
    this.wake();
  }

  #declare(ref: number, labels: Labels): void {
    // The store's own object where there is one: it need not be in memory twice, and is the same each time.
    this.#declared.set(ref, this.#options.table.find(labels)?.labels ?? labels);
  }

  /** Whole frames from the place on, or the start of one; undefined at the end of the log. */
  async #nextBytes(): Promise<Uint8Array | undefined> {
    for (;;) {
      const file = this.#file();
      if (file === undefined) return undefined;
      if (this.#offset >= file.bytes) {
        if (!this.#advance()) return undefined;
        continue;
      }
      const handle = await this.#handle(file);
      if (handle === undefined) continue;
      if (this.#declaredOf !== file.number) await this.#declareBefore(handle, file.number);
      const left = file.bytes - this.#offset;
      const header = await readAt(handle, this.#offset, Math.min(FRAME_HEADER_BYTES, left));
      const first = readFrame(header, 0);
      const wanted = first.kind === "short" ? Math.max(READ_BYTES, first.bytes) : READ_BYTES;
      return readAt(handle, this.#offset, Math.min(wanted, left));
    }
  }

  /** The file at the place; the place moves on where that file is gone. */
  #file(): LogFile | undefined {
    const files = this.#options.files();
    const here = files.find(({ number }) => number === this.#segment);
    if (here !== undefined) return here;
    return this.#advance() ? this.#file() : undefined;
  }

  /** Moves to the start of the next file. @returns Whether there is one. */
  #advance(): boolean {
    const later = this.#options.files().filter(({ number }) => number > this.#segment);
    if (later.length === 0) return false;
    this.#segment = Math.min(...later.map(({ number }) => number));
    this.#offset = 0;
    this.#closeFile();
    return true;
  }

  async #handle({ number, path }: LogFile): Promise<FileHandle | undefined> {
    if (this.#open?.segment === number) return this.#open.handle;
    this.#closeFile();
    try {
      const handle = await open(path, "r");
      this.#open = { segment: number, handle };
      return handle;
    } catch (error) {
      if (!isMissing(error)) throw error;
      // It is being moved, and the list of files is about to say where to; or somebody deleted it.
      if (++this.#missing % MISSING_MAX === 0 && !this.#advance()) this.#offset = Number.POSITIVE_INFINITY;
      await pause(MISSING_PAUSE_MS);
      return undefined;
    }
  }

  #closeFile(): void {
    const opened = this.#open;
    this.#open = undefined;
    opened?.handle.close().catch(() => undefined); // it was only read
  }

  /** What the segment declares before the place. */
  async #declareBefore(handle: FileHandle, segment: number): Promise<void> {
    this.#declared = new Map();
    this.#declaredOf = segment;
    const nothing = () => undefined;
    const visitor: LogVisitor = {
      declare: (ref, labels) => this.#declare(ref, labels),
      float: nothing,
      sample: nothing,
      exemplar: nothing,
      metadata: nothing,
    };
    if (this.#offset === 0) return;
    visitFrames(await readAt(handle, 0, this.#offset), { ...visitor, declarationsOnly: true }, () => false);
  }
}

/** Reads frames until one is not whole or enough were read. @returns Bytes that are done with. */
function visitFrames(
  bytes: Uint8Array,
  visitor: LogVisitor & { readonly declarationsOnly?: boolean },
  isEnough: () => boolean,
): number {
  let at = 0;
  while (at < bytes.length && !isEnough()) {
    const frame = readFrame(bytes, at);
    if (frame.kind === "short") return at === 0 ? bytes.length : at;
    if (frame.kind === "payload") {
      if (visitor.declarationsOnly !== true || isDeclaration(frame.payload))
        readPayload(frame.payload, visitor, new Map());
      at = frame.end;
    } else at++; // what is damaged was told at the start, and is stepped over
  }
  return at;
}

async function readAt(handle: FileHandle, from: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(bytes, done, length - done, from + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}
