/**
 * Loading of the programs of the rungs inside the kernel: their file, their constants and the sizes of their maps.
 */

import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { type Attached, type Native, nativeDirectory } from "../../bpf/native.ts";

/** Rungs inside the kernel. They differ in how they learn of a call, and tell of it in one language. */
export type KernelRung = "socket" | "fexit" | "syscall";

/** Programs that run at each call. What a kernel has no function for (`inet_paged`, AF_UNIX as a module) is not attached. */
export const HOOKS: Readonly<Record<KernelRung, readonly string[]>> = {
  socket: ["tcp_sent", "tcp_received"],
  fexit: ["inet_sent", "inet6_sent", "inet_received", "inet6_received", "unix_sent", "unix_received", "inet_paged"],
  syscall: ["call_done"],
};
/** Bytes of the data ring unless told otherwise: a quarter of a second of a saturated web server, which a busy machine may keep us waiting. */
export const RING_BYTES = 16 << 20;

/** What may be set of the programs. */
export interface ProbeOptions {
  /** Whose programs. */
  readonly rung: KernelRung;
  /** Directory of the object where it is not the committed one. */
  readonly directory?: string | undefined;
  /** Bytes of the data ring, a power of two. */
  readonly ringBytes?: number | undefined;
  /** Bytes copied of a call that starts no message, at most 4096. */
  readonly copyBytes?: number | undefined;
}

/**
 * Bytes of the control ring. Ten thousand connections older than the agent may all speak within one drain: an opening takes
 * 120 bytes at each end, 2.4 MB together; at 1 MiB calls of such a crowd were lost.
 */
const CONTROL_RING_BYTES = 4 << 20;
const COPY_BYTES = 1024;
/** The first pid namespace's inode (PROC_PID_INIT_INO). */
const INITIAL_PIDNS = 0xeffffffc;

/**
 * Loads and attaches the programs of a rung.
 *
 * @throws NativeError where the kernel refuses.
 */
export function attachProbes(native: Native, options: ProbeOptions): Attached {
  const { rung, directory, ringBytes = RING_BYTES, copyBytes = COPY_BYTES } = options;
  const object = readFileSync(probesFile(rung, directory));
  const constants = { copy_bytes: copyBytes, agent_pidns: ownPidNamespace() };
  const sizes = { slices: ringBytes, controls: CONTROL_RING_BYTES, scratches: possibleProcessors() };
  return native.attach(object, constants, sizes);
}

/** The object to be loaded. */
export function probesFile(rung: KernelRung, directory: string | undefined): string {
  return join(nativeDirectory(directory), `${rung}.bpf.o`);
}

/** Inode of this process's pid namespace; 0 for the initial one, whose numbers the kernel has at hand. */
export function ownPidNamespace(): number {
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
  if (fd === undefined) throw new Error(`The BPF object has no ${name}: it is not the one of this agent.`);
  return fd;
}
