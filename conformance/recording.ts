/** Recorded answers of a peer: JSON lines, compressed, read where the peer itself is not at hand. */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";

/** @returns The lines of a recording; undefined where the file does not exist. */
export function readRecording<T>(file: string): T[] | undefined {
  if (!existsSync(file)) return undefined;
  const text = gunzipSync(readFileSync(file)).toString("utf8");
  // What was written by `writeRecording` of the same suite.
  return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as T]));
}

/** Writes a recording. @returns Its size in bytes. */
export function writeRecording(file: string, lines: readonly unknown[]): number {
  const bytes = gzipSync(`${lines.map((line) => JSON.stringify(line)).join("\n")}\n`, { level: 9 });
  writeFileSync(file, bytes);
  return bytes.length;
}
