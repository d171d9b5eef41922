/** Priority of single threads; Linux knows it, elsewhere nothing happens. */

import { readlinkSync } from "node:fs";
import { getPriority, setPriority } from "node:os";

/** How much a thread that may wait steps back behind one that may not. */
const NICE = 10;
const NICE_MAX = 19;

/**
 * Lets the calling thread run only in time that the process' other threads leave, as far as the machine's cores are
 * all busy.
 *
 * @returns Whether the system took it.
 */
export function lowerThreadPriority(): boolean {
  try {
    // Linux takes the number of a thread where it takes that of a process.
    const threadId = Number(readlinkSync("/proc/thread-self").split("/").at(-1));
    if (!Number.isInteger(threadId)) return false;
    setPriority(threadId, Math.min(NICE_MAX, getPriority() + NICE));
    return true;
  } catch {
    // No such file or no such right: the thread keeps its priority, and what it does stays right.
    return false;
  }
}
