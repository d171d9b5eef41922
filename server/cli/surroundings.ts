/**
 * What the program finds around itself at start: where data may lie, how much memory there is, whose files these are.
 */

import { accessSync, chownSync, constants, lstatSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { homedir, tmpdir, totalmem } from "node:os";
import { join } from "node:path";

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
  const base = process.env["XDG_DATA_HOME"] ?? join(homeDirectory(), ".local", "share");
  return join(base, "thalweg");
}

/**
 * Makes the data directory with mode 0700.
 *
 * @param given Named by a person: it is used or the start fails; a default one is replaced by one in memory.
 * @throws The system's error where no directory can be written.
 */
export function chooseDataDirectory(wanted: string, given: boolean, owner: FileOwner | undefined): ChosenDirectory {
  const failures: string[] = [];
  const candidates = given
    ? [wanted]
    : [wanted, `/dev/shm/thalweg-${process.getuid?.() ?? 0}`, join(tmpdir(), `thalweg-${process.getuid?.() ?? 0}`)];
  for (const directory of candidates) {
    try {
      const made = mkdirSync(directory, { recursive: true, mode: 0o700 });
      accessSync(directory, constants.W_OK);
      if (lstatSync(directory).uid !== process.getuid?.() && process.getuid?.() !== 0)
        throw new Error("it belongs to another user");
      if (owner !== undefined && made !== undefined) chownSync(directory, owner.uid, owner.gid);
      const note =
        directory === wanted
          ? ""
          : `${failures[0]}; what is stored is lost at the next restart of the machine. Choose a place with --data DIR`;
      return { directory, note };
    } catch (error) {
      failures.push(`${directory} cannot be used (${error instanceof Error ? error.message : String(error)})`);
    }
  }
  throw new Error(failures.join("; "));
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
