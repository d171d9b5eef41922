/**
 * What `/proc` says of a process whose inspector is to be opened: whether that may be done, and where it listens then.
 */

import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";

/** Node's name for its program, as distributions have it. */
const NODE = /^node(js)?(-?\d+)?$/;
const SIGUSR1 = 10n;
const LISTENING = "0A";
const LOOPBACK = "0100007F";

/** Why the inspector of a process is left alone. */
export type InspectorRefusal =
  | "gone"
  | "not_node"
  | "other_user"
  | "other_network_namespace"
  | "other_time_namespace"
  | "inspector_in_use"
  | "no_signal_handler";

/**
 * Why a process must not be sent the signal that opens its inspector; undefined where it may. The signal ends a process that
 * has no handler for it.
 */
export function inspectorRefusal(pid: number): InspectorRefusal | undefined {
  try {
    const program = readlinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, "");
    if (!NODE.test(program.slice(program.lastIndexOf("/") + 1))) return "not_node";
    const own = process.geteuid?.();
    if (own !== 0 && own !== statSync(`/proc/${pid}`).uid) return "other_user";
    for (const name of ["net", "time"] as const) {
      if (readlinkSync(`/proc/${pid}/ns/${name}`) !== readlinkSync(`/proc/self/ns/${name}`))
        return name === "net" ? "other_network_namespace" : "other_time_namespace";
    }
    const words = readFileSync(`/proc/${pid}/cmdline`, "latin1") + readFileSync(`/proc/${pid}/environ`, "latin1");
    if (/(^|[\0 =])--(inspect|debug)(-brk|-wait)?([\0 =]|$)/.test(words)) return "inspector_in_use";
    const caught = /^SigCgt:\s+([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
    const mask = BigInt(`0x${caught ?? "0"}`);
    return (mask & (1n << (SIGUSR1 - 1n))) === 0n ? "no_signal_handler" : undefined;
  } catch {
    return "gone"; // Or not ours to look at, which comes to the same.
  }
}

/** Ports of 127.0.0.1 that a process listens on; empty where it is gone. */
export function loopbackPorts(pid: number): Set<number> {
  const ports = new Set<number>();
  try {
    const sockets = new Set<string>();
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkIfThere(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) sockets.add(inode);
    }
    for (const line of readFileSync(`/proc/${pid}/net/tcp`, "latin1").split("\n").slice(1)) {
      const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
      const [address, port = ""] = local.split(":");
      if (state === LISTENING && address === LOOPBACK && sockets.has(inode)) ports.add(Number.parseInt(port, 16));
    }
  } catch {
    return new Set(); // Gone.
  }
  return ports;
}

function readlinkIfThere(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // Closed meanwhile.
  }
}
