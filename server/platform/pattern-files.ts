/** Files that a person names by patterns. */

import { glob, readFile, stat } from "node:fs/promises";

/** A file with its text. */
export interface TextFile {
  readonly name: string;
  readonly text: string;
}

/** Files that all patterns together may name. */
const FILES_MAX = 10_000;

/**
 * Reads the files that the patterns name, each once, in order of pattern and name.
 *
 * A pattern with a wildcard that matches nothing is no error; a plain name must exist.
 *
 * @throws Error that names the file.
 */
export async function readPatternFiles(patterns: readonly string[], bytesMax: number): Promise<TextFile[]> {
  const names = new Set<string>();
  for (const pattern of patterns) {
    if (!/[*?[{]/.test(pattern)) names.add(pattern);
    else for (const name of await matchesOf(pattern)) names.add(name);
    if (names.size > FILES_MAX) throw new Error(`${pattern}: the patterns name more than ${FILES_MAX} files`);
  }
  const files: TextFile[] = [];
  for (const name of names) {
    const { size } = await stat(name);
    if (size > bytesMax) throw new Error(`${name}: it has ${size} bytes; the limit is ${bytesMax}`);
    files.push({ name, text: await readFile(name, "utf8") });
  }
  return files;
}

async function matchesOf(pattern: string): Promise<string[]> {
  const names: string[] = [];
  for await (const name of glob(pattern)) {
    names.push(name);
    if (names.length > FILES_MAX) break;
  }
  return names.sort();
}
