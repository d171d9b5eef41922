/**
 * What was deleted and is still in files: which series, between which times, in which blocks and segments of the log.
 *
 * Invariants: a tombstone hides samples only of blocks and segments that were there when it was made, so what comes later
 * is never hidden; memory holds nothing that is hidden; a tombstone goes when no file holds anything that it hides.
 *
 * The file has a line each: a check sum and JSON. It is written anew and durable under its name with every change.
 */

import { open, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { crc32 } from "node:zlib";
import { ThalwegError } from "../model/errors.ts";
import type { Labels, Matcher } from "../model/series.ts";
import { errorCodeOf, isMissing, renameDurably } from "../platform/files.ts";
import { type Interval, merged } from "./metric-intervals.ts";
import { labelsTest } from "./metric-match.ts";
import type { MetricSeries } from "./metric-series.ts";

const PRIVATE_FILE_MODE = 0o600;

/** Samples of series that satisfy all matchers, in `[minMs, maxMs]`, in blocks and log segments up to these numbers. */
export interface Tombstone extends Interval {
  readonly matchers: readonly Matcher[];
  readonly blockMax: number;
  readonly segmentMax: number;
}

interface Stone extends Tombstone {
  readonly matches: (labels: Labels) => boolean;
}

interface TombstoneFile {
  readonly path: string;
  readonly onDamage: (damage: ThalwegError) => void;
}

const NO_INTERVALS: readonly Interval[] = [];

/** All tombstones of a store. */
export class MetricTombstones {
  readonly #path: string;
  #stones: readonly Stone[];
  #ofSeries = new WeakMap<MetricSeries, readonly Stone[]>();

  private constructor(path: string, stones: readonly Stone[]) {
    this.#path = path;
    this.#stones = stones;
  }

  /** Reads the file; a damaged line is reported and kept beside it. */
  static async open({ path, onDamage }: TombstoneFile): Promise<MetricTombstones> {
    const text = await textOf(path, onDamage);
    const stones: Stone[] = [];
    let isDamaged = false;
    let offset = 0;
    for (const line of text.split("\n")) {
      const stone = line === "" ? undefined : readLine(line);
      if (stone !== undefined) stones.push(stone);
      else if (line !== "" && !isDamaged) {
        isDamaged = true;
        const quarantine = `${path}.damaged-${Date.now()}`;
        await writeDurably(quarantine, text);
        onDamage(new ThalwegError("data_damaged", { file: path, offset, why: "a tombstone is damaged", quarantine }));
      }
      offset += Buffer.byteLength(line) + 1;
    }
    const tombstones = new MetricTombstones(path, stones);
    if (isDamaged) await tombstones.#write(stones);
    return tombstones;
  }

  get all(): readonly Tombstone[] {
    return this.#stones;
  }

  /** Adds one; it holds, durably, when this resolves. @throws The system's error; then it does not hold. */
  async add(tombstone: Tombstone): Promise<void> {
    await this.#write([...this.#stones, stoneOf(tombstone)]);
  }

  /** Lets go of those that are not needed. */
  async keep(isNeeded: (tombstone: Tombstone) => boolean): Promise<void> {
    const kept = this.#stones.filter(isNeeded);
    if (kept.length < this.#stones.length) await this.#write(kept);
  }

  /** Writes the same tombstones into another directory. */
  async copyTo(directory: string): Promise<void> {
    if (this.#stones.length > 0) await writeDurably(join(directory, basename(this.#path)), textOfAll(this.#stones));
  }

  /** What is hidden of a series in a block: intervals in order, none touching another. */
  hiddenIn(block: number, series: MetricSeries): readonly Interval[] {
    if (this.#stones.length === 0) return NO_INTERVALS;
    const stones = this.#of(series).filter(({ blockMax }) => block <= blockMax);
    return stones.length === 0 ? NO_INTERVALS : merged(stones);
  }

  /** Whether a sample that a segment of the log holds is hidden. */
  hidesLogged(segment: number, series: MetricSeries, timestampMs: number): boolean {
    if (this.#stones.length === 0) return false;
    return this.#of(series).some(
      ({ segmentMax, minMs, maxMs }) => segment <= segmentMax && timestampMs >= minMs && timestampMs <= maxMs,
    );
  }

  #of(series: MetricSeries): readonly Stone[] {
    let stones = this.#ofSeries.get(series);
    if (stones === undefined) {
      stones = this.#stones.filter(({ matches }) => matches(series.labels));
      this.#ofSeries.set(series, stones);
    }
    return stones;
  }

  async #write(stones: readonly Stone[]): Promise<void> {
    const fresh = `${this.#path}.new`;
    await writeDurably(fresh, textOfAll(stones));
    await renameDurably(fresh, this.#path);
    this.#stones = stones;
    this.#ofSeries = new WeakMap();
  }
}

async function textOf(path: string, onDamage: TombstoneFile["onDamage"]): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return "";
    if (errorCodeOf(error) !== "EISDIR") throw error;
    const quarantine = `${path}.damaged-${Date.now()}`;
    await renameDurably(path, quarantine);
    onDamage(new ThalwegError("data_damaged", { file: path, offset: 0, why: "it is not a file", quarantine }));
    return "";
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  const handle = await open(path, "w", PRIVATE_FILE_MODE);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function stoneOf(tombstone: Tombstone): Stone {
  return { ...tombstone, matches: labelsTest(tombstone.matchers) };
}

function textOfAll(stones: readonly Stone[]): string {
  return stones.map(lineOf).join("");
}

function lineOf({ matchers, minMs, maxMs, blockMax, segmentMax }: Stone): string {
  const json = JSON.stringify({ matchers, minMs, maxMs, blockMax, segmentMax });
  return `${crc32(json).toString(16).padStart(8, "0")} ${json}\n`;
}

function readLine(line: string): Stone | undefined {
  const json = line.slice(9);
  if (Number.parseInt(line.slice(0, 8), 16) !== crc32(json)) return undefined;
  return stoneOf(JSON.parse(json) as Tombstone); // the check sum says that `lineOf` wrote it
}
