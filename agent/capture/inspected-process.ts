/**
 * What `/proc` says of a process whose inspector is to be opened: whether that may be done, and where it listens then.
 */

import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";

/** Node's name for its program, as distributions have it. */
const NODE = /^node(js)?(-?\d+)?$/;
const SIGUSR1 = 10n;
const LISTENING = "0A";
const LOOPBACK = "0100007F";
const EVERYWHERE = "00000000";
const USUAL_PORT = 9229;
/** Flags that say where an inspector listens once it is asked for. */
const PORT_FLAG = /^--(?:inspect|debug)-port(?:=(.*))?$/;

/** Why the inspector of a process is left alone. */
export type InspectorRefusal =
  | "gone"
  | "not_node"
  | "other_user"
  | "other_network_namespace"
  | "other_time_namespace"
  | "inspector_in_use"
  | "inspector_elsewhere"
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
    if (inspectorPort(pid) === undefined) return "inspector_elsewhere";
    const caught = /^SigCgt:\s+([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
    const mask = BigInt(`0x${caught ?? "0"}`);
    return (mask & (1n << (SIGUSR1 - 1n))) === 0n ? "no_signal_handler" : undefined;
  } catch {
    return "gone"; // Or not ours to look at, which comes to the same.
  }
}

/**
 * The port of 127.0.0.1 on which the inspector of a process will listen: Node's usual one, or that of its flags; undefined
 * where flags name another address, or any port, so that it could not be told which one it is.
 *
 * @throws Error where the process is gone.
 */
export function inspectorPort(pid: number): number | undefined {
  const options = /(?:^|\0)NODE_OPTIONS=([^\0]*)/.exec(readFileSync(`/proc/${pid}/environ`, "latin1"))?.[1] ?? "";
  const words = [...options.split(/[\s"]+/), ...ownFlags(readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0"))];
  let text = String(USUAL_PORT);
  for (const [at, word] of words.entries()) {
    const flag = PORT_FLAG.exec(word);
    if (flag !== null) text = flag[1] ?? words[at + 1] ?? "";
  }
  const port = Number(/^(?:(?:127\.0\.0\.1|localhost):)?(\d+)$/.exec(text)?.[1]);
  return port > 0 ? port : undefined;
}

/** Words between the program and its script, which begins where a word is neither a flag nor the value of one. */
function ownFlags(words: readonly string[]): string[] {
  const flags: string[] = [];
  for (const word of words.slice(1)) {
    if (!word.startsWith("-") && !(flags.at(-1) ?? "").startsWith("-")) break;
    flags.push(word);
  }
  return flags;
}

/** Whether any process of this network namespace listens where an inspector on this port of 127.0.0.1 would. */
export function isPortTaken(port: number): boolean {
  const rows = readFileSync("/proc/self/net/tcp", "latin1") + readFileSync("/proc/self/net/tcp6", "latin1");
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return rows.split("\n").some((line) => {
    const [, local = "", , state] = line.trim().split(/\s+/);
    const [address, own] = local.split(":");
    return (
      state === LISTENING && own === hex && (address === LOOPBACK || address === EVERYWHERE || address?.length === 32)
    );
  });
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
