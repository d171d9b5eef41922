/**
 * Uprobes as events of tracefs: for kernels without uprobe_multi that keep the uprobe PMU to CAP_SYS_ADMIN.
 *
 * Invariants: an event is this process's own, under a group with its number; it is taken away with its link. What a killed
 * agent left behind does nothing, and is taken away by the next one's start.
 */

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Native } from "../../bpf/native.ts";

const ROOTS: readonly string[] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const GROUP = "thalweg_";

/** One place of a file. */
export interface TracedPlace {
  readonly program: number;
  readonly path: string;
  readonly pid: number;
  readonly offset: number;
  readonly cookie: number;
  readonly isReturn: boolean;
}

/** A link, and the event it hangs on. */
export interface TracedLink {
  readonly fd: number;
  /** Group and name; empty where the link is by other means. */
  readonly event: string;
}

let lastEvent = 0;

/** @throws the system's error where tracefs is not there or refuses; with `code`. */
export function attachByTracefs(native: Native, place: TracedPlace): TracedLink {
  const { program, path, pid, offset, cookie, isReturn } = place;
  const root = rootOfTracefs();
  const event = `${GROUP}${process.pid}/place${++lastEvent}`;
  appendFileSync(join(root, "uprobe_events"), `${isReturn ? "r" : "p"}:${event} ${path}:0x${offset.toString(16)}\n`);
  try {
    const id = Number(readFileSync(join(root, "events", event, "id"), "utf8"));
    return { fd: native.uprobeTrace(program, id, pid, cookie), event };
  } catch (error) {
    removeEvent(event);
    throw error;
  }
}

/** Takes an event away whose link is closed. */
export function removeEvent(event: string): void {
  try {
    appendFileSync(join(rootOfTracefs(), "uprobe_events"), `-:${event}\n`);
  } catch (error) {
    // Unmounted, or still in use for a moment: it does nothing, and the next start takes it away.
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

/** Takes away what agents left behind that are gone. */
export function removeLeftEvents(): void {
  let listed: string;
  try {
    listed = readFileSync(join(rootOfTracefs(), "uprobe_events"), "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error) return; // No tracefs, so nothing is left in it.
    throw error;
  }
  for (const [, event = "", pid] of listed.matchAll(/^[pr]:(thalweg_(\d+)\/\S+) /gm))
    if (!existsSync(`/proc/${pid}`)) removeEvent(event);
}

function rootOfTracefs(): string {
  const root = ROOTS.find((folder) => existsSync(join(folder, "uprobe_events")));
  if (root !== undefined) return root;
  throw Object.assign(new Error("tracefs is not mounted at /sys/kernel/tracing"), { code: "ENOENT" });
}
