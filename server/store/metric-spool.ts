/**
 * Who reads the log after it is written: remote write out. Each reader has a place in the log that survives a restart;
 * segments that the log is done with wait here, under the same name, until every reader is past them.
 *
 * Invariants: a reader's place never lies behind what it was told of as acknowledged; a segment goes when no reader needs
 * it, or when those that wait take more than `bytesMax`: then the oldest go, and what they held is counted as lost.
 */

import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { errorCodeOf, isMissing, listNames, makePrivateDirectory } from "../platform/files.ts";
import type { MetricLog } from "./metric-log.ts";
import { countSamples } from "./metric-log-record.ts";
import type { SeriesTable } from "./metric-series-table.ts";
import { type LogFile, LogTail } from "./metric-tail.ts";
import type { LogPlace, SampleTail } from "./reader.ts";

const SEGMENT_NAME = /^metrics-(\d{8})\.log$/;
const PLACE_NAME = /^([0-9A-Za-z_-]{1,100})\.place$/;
const PRIVATE_FILE_MODE = 0o600;

interface SpoolOptions {
  readonly directory: string;
  readonly bytesMax: number;
  readonly table: SeriesTable;
  readonly log: () => MetricLog | undefined;
}

/** Places of readers, and segments that wait for them. */
export class MetricSpool {
  readonly #options: SpoolOptions;
  #files: readonly LogFile[] = [];
  readonly #places = new Map<string, LogPlace>();
  readonly #tails = new Map<string, LogTail>();
  readonly #lost = new Map<string, number>();

  private constructor(options: SpoolOptions) {
    this.#options = options;
  }

  /** Reads which places and segments there are. */
  static async open(options: SpoolOptions): Promise<MetricSpool> {
    const spool = new MetricSpool(options);
    await makePrivateDirectory(options.directory);
    for (const name of await listNames(options.directory)) {
      const path = join(options.directory, name);
      const number = Number(SEGMENT_NAME.exec(name)?.[1] ?? 0);
      const found = number > 0 ? await stat(path) : undefined;
      if (found?.isFile() === true) spool.#files = [...spool.#files, { number, path, bytes: found.size }];
      const reader = PLACE_NAME.exec(name)?.[1];
      const place = reader === undefined ? undefined : await readPlace(path);
      if (reader !== undefined && place !== undefined) spool.#places.set(reader, place);
    }
    return spool;
  }

  /** No segment with this number or a lower one may be begun. */
  get lastSegment(): number {
    const places = [...this.#places.values()].map(({ segment }) => segment);
    return Math.max(0, ...places, ...this.#files.map(({ number }) => number));
  }

  /** Bytes of segments that wait. */
  get bytes(): number {
    return this.#files.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * Opens the readers of these names, and forgets all others. A new one starts at the end of the log; one that is open is
   * given again.
   *
   * @param names Letters, digits, `_` and `-`.
   */
  async openTails(names: readonly string[]): Promise<SampleTail[]> {
    for (const name of this.#places.keys()) {
      if (names.includes(name)) continue;
      this.#places.delete(name);
      this.#tails.get(name)?.close();
      this.#tails.delete(name);
      await rm(this.#placePath(name), { force: true });
    }
    const { table, log } = this.#options;
    const end = log()?.end ?? { segment: this.lastSegment + 1, offset: 0 };
    for (const name of names) {
      if (!this.#places.has(name)) await this.#keep(name, end);
      const from = this.#places.get(name) ?? end;
      const known = this.#tails.get(name);
      const tail = known ?? new LogTail({ from, table, files: () => this.#allFiles(), end: () => log()?.end ?? end });
      this.#tails.set(name, tail);
    }
    await this.#release();
    return names.flatMap((name) => {
      const tail = this.#tails.get(name);
      return tail === undefined ? [] : [this.#doorOf(name, tail)];
    });
  }

  /** Tells readers that there is more. */
  wake(): void {
    for (const tail of this.#tails.values()) tail.wake();
  }

  /** Takes a segment that the log is done with: it waits here, or goes where nobody needs it. */
  async retire(file: LogFile): Promise<void> {
    if (![...this.#places.values()].some(({ segment }) => segment <= file.number)) {
      await rm(file.path, { force: true });
      return;
    }
    const path = join(this.#options.directory, basename(file.path));
    await rename(file.path, path);
    this.#files = [...this.#files, { ...file, path }];
    while (this.bytes > this.#options.bytesMax) await this.#loseOldest();
  }

  close(): void {
    for (const tail of this.#tails.values()) tail.close();
  }

  #doorOf(name: string, tail: LogTail): SampleTail {
    return {
      read: (samplesMax) => tail.read(samplesMax),
      waitForMore: (ms, signal) => tail.waitForMore(ms, signal),
      commit: async (place) => {
        if (this.#tails.get(name) !== tail) return;
        await this.#keep(name, place);
        await this.#release();
      },
      close: () => {
        tail.close();
        if (this.#tails.get(name) === tail) this.#tails.delete(name);
      },
      stats: () => ({ behindBytes: tail.behindBytes, lostSamples: this.#lost.get(name) ?? 0, spoolBytes: this.bytes }),
    };
  }

  #allFiles(): readonly LogFile[] {
    return [...this.#files, ...(this.#options.log()?.files ?? [])];
  }

  async #keep(name: string, place: LogPlace): Promise<void> {
    const path = this.#placePath(name);
    await writeFile(`${path}.new`, JSON.stringify(place), { mode: PRIVATE_FILE_MODE });
    await rename(`${path}.new`, path);
    this.#places.set(name, place);
  }

  #placePath(name: string): string {
    return join(this.#options.directory, `${name}.place`);
  }

  /** Lets go of what all readers are past. */
  async #release(): Promise<void> {
    const first = Math.min(Number.POSITIVE_INFINITY, ...[...this.#places.values()].map(({ segment }) => segment));
    const spare = this.#files.filter(({ number }) => number < first);
    if (spare.length === 0) return;
    this.#files = this.#files.filter(({ number }) => number >= first);
    for (const { path } of spare) await rm(path, { force: true });
  }

  async #loseOldest(): Promise<void> {
    const [oldest, ...others] = this.#files.toSorted((a, b) => a.number - b.number);
    if (oldest === undefined) return;
    this.#files = others;
    const bytes = await readFile(oldest.path);
    for (const [name, { segment, offset }] of this.#places) {
      if (segment > oldest.number) continue;
      const lost = countSamples(bytes, segment === oldest.number ? offset : 0);
      this.#lost.set(name, (this.#lost.get(name) ?? 0) + lost);
      await this.#keep(name, { segment: oldest.number + 1, offset: 0 });
    }
    await rm(oldest.path, { force: true });
  }
}

async function readPlace(path: string): Promise<LogPlace | undefined> {
  try {
    const place: Partial<LogPlace> = JSON.parse(await readFile(path, "utf8"));
    const { segment, offset } = place;
    return typeof segment === "number" && typeof offset === "number" ? { segment, offset } : undefined;
  } catch (error) {
    if (errorCodeOf(error) === "EISDIR") await rm(path, { recursive: true, force: true });
    else if (!(error instanceof SyntaxError) && !isMissing(error)) throw error;
    return undefined;
  }
}
