/**
 * A lock file that names its holder.
 *
 * Invariants: the file exists while a process holds the lock; it holds the pid and the process' start in clock ticks,
 * so that a pid used again is not taken for the holder. A lock whose holder is dead is removed by whoever holds a second
 * file, and by nobody else, after looking again: so a living lock is never removed. Processes of another pid namespace
 * are not seen here: the locks that the database keeps on its own files refuse those.
 */

import { link, readFile, rm, writeFile } from "node:fs/promises";
import { errorCodeOf, isMissing } from "./files.ts";

/** How often taking is tried again while others remove a dead holder's file. */
const TRIES_MAX = 200;
const RETRY_MS = 10;

/** A lock held by this process. */
export interface HeldLock {
  /** Gives the lock up; a second call does nothing. */
  release(): Promise<void>;
}

/** The outcome of an attempt: held, or the pid of the holder. */
export type LockOutcome =
  | { readonly kind: "held"; readonly lock: HeldLock }
  | { readonly kind: "taken"; readonly pid: number };

/**
 * Tries to take the lock file at `path`.
 *
 * Also refuses a second lock of the same process, from whatever thread.
 */
export async function takeLock(path: string): Promise<LockOutcome> {
  const mine = `${process.pid} ${await startTicksOf(process.pid)}\n`;
  const own = `${path}.${process.pid}.${process.hrtime.bigint().toString(36)}`;
  await writeFile(own, mine, { mode: 0o600, flag: "wx" });
  try {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      if (await linkUnlessExists(own, path)) return { kind: "held", lock: heldLock(path, mine) };
      const seen = await readOrUndefined(path);
      if (seen === undefined) continue;
      const holderPid = await livingHolder(seen);
      if (holderPid !== undefined) return { kind: "taken", pid: holderPid };
      await removeDead(own, path, seen);
    }
  } finally {
    await rm(own, { force: true });
  }
  const [pid] = parseHolder((await readOrUndefined(path)) ?? "");
  return { kind: "taken", pid };
}

function heldLock(path: string, mine: string): HeldLock {
  let released = false;
  return {
    async release() {
      if (released) return;
      released = true;
      if ((await readOrUndefined(path)) === mine) await rm(path, { force: true });
    },
  };
}

/** Removes the file of a dead holder while holding the second file; where another holds that, waits a little. */
async function removeDead(own: string, path: string, dead: string): Promise<void> {
  const guard = `${path}.takeover`;
  if (await linkUnlessExists(own, guard)) {
    try {
      if ((await readOrUndefined(path)) === dead) await rm(path, { force: true });
    } finally {
      await rm(guard, { force: true });
    }
    return;
  }
  const guardian = await readOrUndefined(guard);
  // Only a process that died within these few system calls leaves the second file behind.
  if (guardian !== undefined && (await livingHolder(guardian)) === undefined) await rm(guard, { force: true });
  await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
}

async function linkUnlessExists(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (errorCodeOf(error) === "EEXIST") return false;
    throw error;
  }
}

async function readOrUndefined(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function parseHolder(text: string): [pid: number, startTicks: string] {
  const [pid, startTicks] = text.trim().split(" ");
  return [Number(pid ?? 0) || 0, startTicks ?? ""];
}

async function livingHolder(text: string): Promise<number | undefined> {
  const [pid, startTicks] = parseHolder(text);
  if (pid <= 0) return undefined;
  const living = await startTicksOf(pid);
  if (living === "") return undefined;
  return startTicks === "" || startTicks === living ? pid : undefined;
}

/** Start of a process in clock ticks since boot; `?` where /proc does not tell, empty where there is no such process. */
async function startTicksOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The command may hold spaces and parentheses: fields are counted after the last one.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "?";
  } catch {
    return isAlive(pid) ? "?" : "";
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCodeOf(error) === "EPERM";
  }
}
