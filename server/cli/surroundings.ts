/**
 * What the program finds around itself at start: where data may lie, how much memory there is, whose files these are.
 */

import {
  accessSync,
  chownSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
} from "node:fs";
import { homedir, totalmem } from "node:os";
import { dirname, join, resolve } from "node:path";
import { ThalwegError } from "../model/errors.ts";

/** A directory to keep data in, and what a person should know of the choice. */
export interface ChosenDirectory {
  readonly directory: string;
  /** Empty where the choice is the expected one. */
  readonly note: string;
}

/** The user on whose behalf sudo started the program. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

/** True where the program runs from the TypeScript files of a clone. */
export function runsFromClone(): boolean {
  return import.meta.filename?.endsWith(".ts") === true;
}

/** `data` of a clone, else the user's data directory. */
export function defaultDataDirectory(): string {
  if (runsFromClone()) return join(import.meta.dirname, "..", "..", "data");
  return userDataDirectory();
}

function userDataDirectory(): string {
  return join(process.env["XDG_DATA_HOME"] ?? join(homeDirectory(), ".local", "share"), "thalweg");
}

/**
 * Makes the data directory with mode 0700.
 *
 * A relative name counts from where the person stands, also when npm runs the program elsewhere.
 *
 * @param given Named by a person: it is used or the start fails; a default one is replaced by the user's own, then by
 *   one in memory.
 * @throws ThalwegError `data_unusable` naming every directory that was tried.
 */
export function chooseDataDirectory(wanted: string, given: boolean, owner: FileOwner | undefined): ChosenDirectory {
  const first = resolve(process.env["INIT_CWD"] ?? process.cwd(), wanted);
  const user = process.getuid?.() ?? 0;
  const failures: string[] = [];
  for (const directory of given ? [first] : [first, userDataDirectory(), `/dev/shm/thalweg-${user}`]) {
    const fault = makeUsable(directory, owner);
    if (fault !== "") failures.push(`${directory}: ${fault}`);
    else if (directory === first) return { directory, note: "" };
    else {
      const lost = directory.startsWith("/dev/shm/") ? "; it is in memory, and lost when the machine restarts" : "";
      return { directory, note: `kept here because ${failures[0]}${lost}. Choose a place with --data DIR` };
    }
  }
  throw new ThalwegError("data_unusable", { failures: failures.join("; ") });
}

/** @returns Why the directory cannot be used, or an empty string. */
function makeUsable(directory: string, owner: FileOwner | undefined): string {
  try {
    for (const made of makeDirectories(directory)) if (owner !== undefined) chownSync(made, owner.uid, owner.gid);
    accessSync(directory, constants.W_OK);
    const holder = statSync(directory);
    if (!holder.isDirectory()) return "it is not a directory";
    const user = process.getuid?.();
    return user !== 0 && user !== undefined && holder.uid !== user ? "it belongs to another user" : "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Makes a directory and those above it, one by one: on some file systems Node's own recursion never ends. */
function makeDirectories(directory: string): string[] {
  const missing: string[] = [];
  for (let path = directory; !existsSync(path); path = dirname(path)) missing.unshift(path);
  for (const path of missing) mkdirSync(path, { mode: 0o700 });
  return missing;
}

/** Who called sudo; undefined where nobody did or the program is not root. */
export function sudoOwner(): FileOwner | undefined {
  const uid = Number(process.env["SUDO_UID"] ?? "0");
  const gid = Number(process.env["SUDO_GID"] ?? "0");
  return process.getuid?.() === 0 && Number.isInteger(uid) && uid > 0 && Number.isInteger(gid)
    ? { uid, gid }
    : undefined;
}

/** Gives a tree of files to `owner`; files that vanish meanwhile are passed over. */
export function giveTree(path: string, owner: FileOwner): void {
  try {
    const found = lstatSync(path);
    if (found.uid !== owner.uid || found.gid !== owner.gid) chownSync(path, owner.uid, owner.gid);
    if (found.isDirectory()) for (const name of readdirSync(path)) giveTree(join(path, name), owner);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}

/** Memory the program may plan for: the tightest of the machine and the limits of its control groups, in bytes. */
export function memoryBytesAvailable(): number {
  let least = totalmem();
  for (const file of memoryLimitFiles()) {
    try {
      const limit = Number(readFileSync(file, "utf8").trim());
      if (Number.isFinite(limit) && limit > 0) least = Math.min(least, limit);
    } catch {
      // A level without the file sets no limit.
    }
  }
  return least;
}

/** Limit files of this process' control group and of all above it, for version 1 and 2. */
function memoryLimitFiles(): string[] {
  let membership: string;
  try {
    membership = readFileSync("/proc/self/cgroup", "utf8");
  } catch {
    // Not Linux, or /proc is not mounted: only the machine's own size is known.
    return [];
  }
  const files: string[] = [];
  for (const line of membership.split("\n")) {
    const [, controllers, path] = line.split(":");
    if (path === undefined || controllers === undefined) continue;
    const roots =
      controllers === ""
        ? ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        : controllers.split(",").includes("memory")
          ? ["/sys/fs/cgroup/memory"]
          : [];
    const name = controllers === "" ? "memory.max" : "memory.limit_in_bytes";
    const parts = path.split("/").filter((part) => part !== "");
    for (const root of roots)
      for (let depth = 0; depth <= parts.length; depth++) files.push(join(root, ...parts.slice(0, depth), name));
  }
  return files;
}

function homeDirectory(): string {
  const home = homedir();
  return home === "" ? "/" : home;
}
