/**
 * Writes the executable's native files to a private directory, once for each build.
 *
 * Invariants: a directory that bears its final name is complete, since it is renamed into place last; it is used only
 * where it belongs to this user and nobody else can write to it.
 */

import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { getAsset, getRawAsset } from "node:sea";
import { zstdDecompressSync } from "node:zlib";

interface NativeFile {
  readonly name: string;
  readonly bytes: number;
  /** Stored as zstd. */
  readonly compressed: boolean;
}

interface Manifest {
  /** SHA-256 of all files, 16 hex digits. */
  readonly id: string;
  readonly files: readonly NativeFile[];
}

let unpacked: string | undefined;

/**
 * The directory with the native files.
 *
 * @throws Error naming every directory that was tried and what was wrong with it.
 */
export function unpackNatives(): string {
  if (unpacked !== undefined) return unpacked;
  // Written by the build beside the files it lists.
  const manifest = JSON.parse(getAsset("natives.json", "utf8")) as Manifest;
  const failures: string[] = [];
  for (const base of baseDirectories()) {
    try {
      unpacked = unpackInto(base, manifest);
      return unpacked;
    } catch (error) {
      failures.push(`${base}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new Error(
    `no directory takes the program's native files. Set THALWEG_CACHE to one that does.\n${failures.join("\n")}`,
  );
}

function baseDirectories(): string[] {
  const named = process.env["THALWEG_CACHE"];
  if (named !== undefined && named !== "") return [named];
  const user = process.getuid?.() ?? 0;
  const cache = process.env["XDG_CACHE_HOME"] ?? (homedir() === "" ? undefined : join(homedir(), ".cache"));
  return [
    ...(cache === undefined ? [] : [join(cache, "thalweg")]),
    join(tmpdir(), `thalweg-cache-${user}`),
    `/dev/shm/thalweg-cache-${user}`,
  ];
}

function unpackInto(base: string, manifest: Manifest): string {
  mkdirSync(base, { recursive: true, mode: 0o700 });
  const found = lstatSync(base);
  if (!found.isDirectory() || found.uid !== process.getuid?.()) throw new Error("it belongs to another user");
  chmodSync(base, 0o700);
  const directory = join(base, manifest.id);
  if (isComplete(directory, manifest)) return directory;
  const fresh = mkdtempSync(join(base, "unpacking-"));
  try {
    for (const file of manifest.files) {
      const stored = new Uint8Array(getRawAsset(`native/${file.name}`));
      writeFileSync(join(fresh, file.name), file.compressed ? zstdDecompressSync(stored) : stored, { mode: 0o500 });
    }
    if (existsSync(directory)) rmSync(directory, { recursive: true });
    renameSync(fresh, directory);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    // Another process of this build may have been first: what it wrote is what we would have written.
    if (isComplete(directory, manifest)) return directory;
    throw error;
  }
  removeOlder(base, manifest.id);
  return directory;
}

function isComplete(directory: string, manifest: Manifest): boolean {
  if (!existsSync(directory)) return false;
  return manifest.files.every((file) => {
    const path = join(directory, file.name);
    return existsSync(path) && statSync(path).size === file.bytes;
  });
}

/** Keeps the two newest builds: one may still run. */
function removeOlder(base: string, current: string): void {
  const others = readdirSync(base)
    .filter((name) => /^[0-9a-f]{16}$/.test(name) && name !== current)
    .map((name) => ({ name, mtimeMs: statSync(join(base, name)).mtimeMs }))
    .sort((left, right) => right.mtimeMs - left.mtimeMs);
  for (const { name } of others.slice(1)) rmSync(join(base, name), { recursive: true, force: true });
}
