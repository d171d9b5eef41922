/** Directories and renames that survive a power cut. */

import { mkdir, open, readdir, rename, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";

/** Rights of directories that hold captured traffic. */
const PRIVATE_DIRECTORY_MODE = 0o700;

/** Makes a directory that only its owner may enter; an existing one keeps its owner and loses rights of others. */
export async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
  const handle = await open(path);
  try {
    const { mode } = await handle.stat();
    if ((mode & 0o777) !== PRIVATE_DIRECTORY_MODE) await handle.chmod(PRIVATE_DIRECTORY_MODE);
  } finally {
    await handle.close();
  }
}

/** Makes the names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Renames within one file system; durable when it resolves. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncDirectory(dirname(to));
  if (dirname(from) !== dirname(to)) await syncDirectory(dirname(from));
}

/** Names in a directory, sorted. */
export async function listNames(path: string): Promise<string[]> {
  return (await readdir(path)).sort();
}

/** Bytes of a file; 0 where there is none. */
export async function fileBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
}

/** Bytes that may still be written to the file system of a path. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** Whether an error says that a file or directory does not exist. */
export function isMissing(error: unknown): boolean {
  return errorCodeOf(error) === "ENOENT";
}

/** Code of a system error such as `EEXIST`; undefined for other errors. */
export function errorCodeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
