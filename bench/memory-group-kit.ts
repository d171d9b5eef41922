/** A memory control group for one program, of whichever version the machine uses for memory. */

import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const FIRST = "/sys/fs/cgroup/memory";
const SECOND = "/sys/fs/cgroup";

/** A group while it is there. */
export interface MemoryGroup {
  /** Words to put before a command that shall run in it. */
  readonly before: readonly string[];
  /** Times the kernel killed something in it. */
  kills(): number;
  /** The most that was charged to it, page cache that the kernel takes back on need included. */
  peakBytes(): number;
  /** Removes it; nothing may run in it any more. */
  remove(): void;
}

/** Makes a group, or says why this machine does not allow one. */
export function memoryGroup(name: string, bytesMax: number): MemoryGroup | string {
  const isFirst = existsSync(join(FIRST, "memory.limit_in_bytes"));
  const group = join(isFirst ? FIRST : SECOND, name);
  const read = (file: string) => readFileSync(join(group, file), "utf8");
  try {
    if (!isFirst) writeFileSync(join(SECOND, "cgroup.subtree_control"), "+memory");
    mkdirSync(group);
    writeFileSync(join(group, isFirst ? "memory.limit_in_bytes" : "memory.max"), String(bytesMax));
  } catch (error) {
    return `no memory control group can be made: ${error instanceof Error ? error.message : String(error)}`;
  }
  return {
    before: ["sh", "-c", `echo $$ > ${join(group, "cgroup.procs")} && exec "$@"`, "sh"],
    kills: () => Number(/^oom_kill (\d+)/m.exec(read(isFirst ? "memory.oom_control" : "memory.events"))?.[1] ?? "0"),
    peakBytes: () => Number(read(isFirst ? "memory.max_usage_in_bytes" : "memory.peak").trim()),
    remove: () => rmdirSync(group),
  };
}
