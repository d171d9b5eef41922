/**
 * A file that names the queries that run, so that the one that took the process down can be found after it.
 *
 * Prometheus' own form: `[`, then a place of fixed size for each query that may run at a time, a JSON object padded with
 * NUL bytes and closed by a comma. Writes reach the system's cache at once and are never synced: they have to outlive
 * the process, not the machine.
 */

import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";

const PLACE_BYTES = 1000;

/** A query that ran when a process ended without closing its file. */
interface UnfinishedQuery {
  readonly text: string;
  readonly startedSeconds: number;
}

/** The open file. */
export interface ActiveQueryFile {
  /** What an earlier process left. */
  readonly unfinished: readonly UnfinishedQuery[];
  /** Writes a query into a place from 0; its text is cut to fit. */
  enter(place: number, text: string, startedSeconds: number): void;
  leave(place: number): void;
  /** Removes the file. */
  close(): void;
}

/**
 * Opens the file for so many queries at a time and forgets what it held.
 *
 * @throws The system's error where the file cannot be written.
 */
export function openActiveQueryFile(path: string, places: number): ActiveQueryFile {
  const unfinished = readUnfinished(path);
  const file = openSync(path, "w", 0o600);
  ftruncateSync(file, 1 + places * PLACE_BYTES);
  writeSync(file, "[", 0);
  const write = (place: number, entry: Uint8Array) => writeSync(file, entry, 0, PLACE_BYTES, 1 + place * PLACE_BYTES);
  const empty = new Uint8Array(PLACE_BYTES);
  return {
    unfinished,
    enter: (place, text, startedSeconds) => write(place, entryOf(text, startedSeconds)),
    leave: (place) => write(place, empty),
    close: () => {
      closeSync(file);
      rmSync(path, { force: true });
    },
  };
}

function entryOf(text: string, startedSeconds: number): Buffer {
  const entry = Buffer.alloc(PLACE_BYTES);
  let shown = text.slice(0, PLACE_BYTES).toWellFormed();
  let json = "";
  for (;;) {
    json = JSON.stringify({ query: shown, timestamp_sec: startedSeconds });
    const over = Buffer.byteLength(json) - (PLACE_BYTES - 1);
    if (over <= 0) break;
    // An escaped character takes several bytes, so what is cut off may be more than needed and never too little.
    shown = shown.slice(0, Math.max(0, shown.length - over)).toWellFormed();
  }
  entry.write(json);
  entry[PLACE_BYTES - 1] = 0x2c; // ","
  return entry;
}

function readUnfinished(path: string): UnfinishedQuery[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch {
    // There is none: the process before ended as it should, or this is the first one.
    return [];
  }
  const unfinished: UnfinishedQuery[] = [];
  for (let at = 1; at < bytes.length; at += PLACE_BYTES) {
    const entry = bytes.toString("utf8", at, at + PLACE_BYTES - 1).replaceAll("\0", "");
    const query = entry === "" ? undefined : parseEntry(entry);
    if (query !== undefined) unfinished.push(query);
  }
  return unfinished;
}

/** Undefined where the process ended in the middle of writing. */
function parseEntry(json: string): UnfinishedQuery | undefined {
  try {
    const entry: unknown = JSON.parse(json);
    if (typeof entry !== "object" || entry === null || !("query" in entry) || !("timestamp_sec" in entry)) return;
    return { text: String(entry.query), startedSeconds: Number(entry.timestamp_sec) };
  } catch {
    return undefined;
  }
}
