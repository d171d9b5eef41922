/**
 * The cgroup hierarchy of version 2 by id: a cgroup's id is the inode number of its directory, and inet_diag gives it
 * without any right.
 */

import { type Dirent, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { cgroupPathNames } from "./process-names.ts";

/** A cgroup found by its id. */
interface CgroupFound {
  /** Unit or container name, such as `nginx` or the first 12 digits of a container's id; empty where it names nothing. */
  readonly name: string;
  readonly pids: readonly number[];
}

/** Cgroups by id. */
export interface CgroupTree {
  /** @returns undefined where there is no such cgroup, or none can be read. */
  find(id: bigint, nowNs: number): CgroupFound | undefined;
}

const directoriesMax = 8192;
const rereadNs = 5e9;
const pidsMax = 1024;

/** The hierarchy mounted here; walked at the first question and again for unknown ids, at most every 5 s. */
export function cgroupTree(mountInfo = readText("/proc/self/mountinfo")): CgroupTree {
  const root = mountOf(mountInfo);
  let paths = new Map<bigint, string>();
  let readNs = Number.NEGATIVE_INFINITY;
  return {
    find(id, nowNs) {
      if (root === undefined || id === 0n) return undefined;
      if (!paths.has(id) && nowNs - readNs >= rereadNs) {
        readNs = nowNs;
        paths = walk(root);
      }
      const path = paths.get(id);
      if (path === undefined) return undefined;
      const { unit, containerId } = cgroupPathNames(path.slice(root.length));
      const words = readText(join(path, "cgroup.procs")).split("\n", pidsMax);
      // A pid of 0 is a process of another pid namespace.
      const pids = words.map(Number).filter((pid) => pid > 0);
      return { name: containerId === "" ? unit : containerId.slice(0, 12), pids };
    },
  };
}

function mountOf(mountInfo: string): string | undefined {
  for (const line of mountInfo.split("\n")) {
    const [fields, type] = line.split(" - ");
    if (type?.startsWith("cgroup2 ")) return fields?.split(" ")[4];
  }
  return undefined;
}

/** Paths by inode, parents before children, at most `directoriesMax`. */
function walk(root: string): Map<bigint, string> {
  const paths = new Map<bigint, string>();
  const waiting = [root];
  for (let path = waiting.shift(); path !== undefined && paths.size < directoriesMax; path = waiting.shift()) {
    let entries: Dirent[];
    try {
      paths.set(statSync(path, { bigint: true }).ino, path);
      entries = readdirSync(path, { withFileTypes: true });
    } catch {
      continue; // Removed while we walked.
    }
    for (const entry of entries) if (entry.isDirectory()) waiting.push(join(path, entry.name));
  }
  return paths;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // Gone, or not there on this kernel: nothing is known then.
  }
}
