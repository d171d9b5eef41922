/**
 * Loading of the socket rung's programs: their file, their constants and the sizes of their maps.
 */

import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { type Attached, type Native, nativeDirectory } from "../../bpf/native.ts";

/** Programs that run at each call. */
export const HOOKS = ["tcp_sent", "tcp_received"] as const;
/** Bytes of the data ring unless told otherwise: a quarter of a second of a saturated web server, which a busy machine may keep us waiting. */
export const RING_BYTES = 16 << 20;

/** What may be set of the programs. */
export interface ProbeOptions {
  /** Directory of the object where it is not the committed one. */
  readonly directory?: string | undefined;
  /** Bytes of the data ring, a power of two. */
  readonly ringBytes?: number | undefined;
  /** Bytes copied of a call that starts no message, at most 4096. */
  readonly copyBytes?: number | undefined;
}

const OBJECT_FILE = "socket.bpf.o";
const CONTROL_RING_BYTES = 1 << 20;
const COPY_BYTES = 1024;
/** The first pid namespace's inode (PROC_PID_INIT_INO). */
const INITIAL_PIDNS = 0xeffffffc;

/**
 * Loads and attaches the programs of the socket rung.
 *
 * @throws NativeError where the kernel refuses.
 */
export function attachProbes(native: Native, options: ProbeOptions): Attached {
  const { directory, ringBytes = RING_BYTES, copyBytes = COPY_BYTES } = options;
  const object = readFileSync(probesFile(directory));
  const constants = { copy_bytes: copyBytes, agent_pidns: ownPidNamespace() };
  const sizes = { slices: ringBytes, controls: CONTROL_RING_BYTES, scratches: possibleProcessors() };
  return native.attach(object, constants, sizes);
}

/** The object to be loaded. */
export function probesFile(directory: string | undefined): string {
  return join(nativeDirectory(directory), OBJECT_FILE);
}

/** Inode of this process's pid namespace; 0 for the initial one, whose numbers the kernel has at hand. */
function ownPidNamespace(): number {
  const inode = Number(/\[(\d+)\]/.exec(readlinkSync("/proc/self/ns/pid"))?.[1]);
  return inode === INITIAL_PIDNS ? 0 : inode;
}

/** Number of processors that may ever run, which is above the highest processor number. */
function possibleProcessors(): number {
  const text = readFileSync("/sys/devices/system/cpu/possible", "utf8");
  return Math.max(...(text.match(/\d+/g) ?? []).map(Number)) + 1;
}

/** The descriptor of a map or program. */
export function fdOf(fds: Readonly<Record<string, number>>, name: string): number {
  const fd = fds[name];
  if (fd === undefined) throw new Error(`${OBJECT_FILE} has no ${name}: it is not the one of this agent.`);
  return fd;
}
