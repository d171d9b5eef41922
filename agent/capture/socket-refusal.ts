/**
 * Why a rung inside the kernel cannot start, named exactly: the missing capability, file or kernel feature, never a guess.
 */

import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { release } from "node:os";
import type { NativeError } from "../../bpf/native.ts";
import type { KernelRung } from "./socket-probes.ts";

/** What stops the rung, what is lost without it, and the way out. Sentences without a full stop. */
export interface SocketRefusal {
  readonly ok: false;
  readonly why: string;
  readonly lost: string;
  readonly fix: string;
}

const BTF_FILE = "/sys/kernel/btf/vmlinux";
const STATUS_FILE = "/proc/self/status";
const LOCKDOWN_FILE = "/sys/kernel/security/lockdown";
const LOST =
  "calls seen inside the kernel with their process and thread: parents within a process, and traffic of other network namespaces";

/** Inode of the first user namespace (PROC_USER_INIT_INO). */
const FIRST_USER_NAMESPACE = 0xeffffffd;

/** Capabilities by their bit in `CapEff`. */
const CAP_SYS_ADMIN = 21n;
const NEEDED = [
  { name: "CAP_BPF", bit: 39n },
  { name: "CAP_PERFMON", bit: 38n },
] as const;

/** The refusal for a reason that is known in full. */
export function socketRefusal(why: string, fix: string): SocketRefusal {
  return { ok: false, why, lost: LOST, fix };
}

/**
 * What can be told without trying. undefined: only an attempt can tell more.
 *
 * @param objectFile The `.bpf.o` to be loaded.
 */
export function refusalBefore(objectFile: string): SocketRefusal | undefined {
  if (!existsSync(objectFile)) {
    return socketRefusal(`the BPF programs are missing: ${objectFile} does not exist`, "install Thalweg again");
  }
  if (!existsSync(STATUS_FILE)) {
    return socketRefusal("/proc is not mounted, and processes cannot be named", "mount it: mount -t proc proc /proc");
  }
  if (!existsSync(BTF_FILE)) {
    return socketRefusal(
      `the kernel's type information is missing: ${BTF_FILE} does not exist`,
      "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, or make /sys/kernel/btf visible",
    );
  }
  const missing = missingCapabilities(readText(STATUS_FILE));
  if (missing.length > 0) {
    return socketRefusal(
      `${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} missing (effective capabilities of this process)`,
      "run as root, or give the process CAP_BPF and CAP_PERFMON",
    );
  }
  if (readText(LOCKDOWN_FILE).includes("[confidentiality]")) {
    return socketRefusal(
      "kernel lockdown is in confidentiality mode, which forbids BPF programs to read kernel memory",
      "boot with lockdown=integrity or without lockdown",
    );
  }
  return undefined;
}

/** Names of what `CapEff` of a `/proc/PID/status` lacks. CAP_SYS_ADMIN includes both. */
export function missingCapabilities(status: string): string[] {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  // Without /proc nothing is known, and the attempt decides.
  if (hex === undefined) return [];
  const effective = BigInt(`0x${hex}`);
  const has = (bit: bigint) => ((effective >> bit) & 1n) === 1n;
  return has(CAP_SYS_ADMIN) ? [] : NEEDED.filter((capability) => !has(capability.bit)).map(({ name }) => name);
}

/** What is wrong where a rung's hooks are absent, and what else may work. */
const ABSENT: Readonly<Record<KernelRung, { readonly kind: string; readonly fix: string }>> = {
  socket: {
    kind: "tracepoint",
    fix: "use kernel 6.3 or newer; on older ones the fexit and syscall rungs see the same",
  },
  fexit: { kind: "function", fix: "the syscall rung sees the same" },
  syscall: { kind: "tracepoint", fix: "use a kernel built with CONFIG_HAVE_SYSCALL_TRACEPOINTS=y" },
};

/** What an attempt's error means. */
export function refusalAfter(error: NativeError, rung: KernelRung = "socket"): SocketRefusal {
  const absent =
    /failed to find kernel BTF type ID of '(\w+)'|kernel BTF type for (\w+)|'(\w+)' is not found in vmlinux BTF/.exec(
      error.log,
    );
  if (absent !== null || error.code === "ESRCH") {
    const name = absent?.[1] ?? absent?.[2] ?? absent?.[3] ?? (rung === "socket" ? "sock_send_length" : "it needs");
    const since = rung === "socket" ? ", which came with 6.3" : "";
    return socketRefusal(`kernel ${release()} has no ${ABSENT[rung].kind} ${name}${since}`, ABSENT[rung].fix);
  }
  if (error.code === "EPERM" && !isFirstUserNamespace()) {
    return socketRefusal(
      "this process runs in a user namespace of its own, where capabilities do not count for BPF",
      "start it outside of the namespace (a container: without user namespaces, such as --userns=host)",
    );
  }
  if (rung === "fexit" && (error.code === "EPERM" || error.code === "ENOTSUPP" || error.code === "EOPNOTSUPP")) {
    return socketRefusal(
      `this kernel refuses programs at the ends of its functions (${error.syscall}: ${error.code})`,
      "the socket rung (kernel 6.3 or newer) and the syscall rung need none",
    );
  }
  if (error.code === "EPERM" || error.code === "EACCES") {
    return socketRefusal(
      `the kernel refuses ${error.syscall} (${error.code}) though the capabilities are there: ` +
        "a seccomp filter or a security module forbids it",
      "allow the bpf system call in the container's seccomp profile",
    );
  }
  if (error.code === "ENOMEM" && isBefore(5, 11)) {
    return socketRefusal(
      "RLIMIT_MEMLOCK is too small for the maps, which kernels before 5.11 count against it",
      "raise it: ulimit -l unlimited",
    );
  }
  const lastWords = error.log.trim().split("\n").at(-1) ?? "";
  return socketRefusal(
    `${error.message}${lastWords === "" ? "" : `; the kernel says: ${lastWords}`}`,
    "see 'thalweg doctor --json' for every ability of this machine",
  );
}

function isFirstUserNamespace(): boolean {
  try {
    return readlinkSync("/proc/self/ns/user") === `user:[${FIRST_USER_NAMESPACE}]`;
  } catch {
    return true; // A kernel without user namespaces.
  }
}

function isBefore(major: number, minor: number): boolean {
  const found = /^(\d+)\.(\d+)/.exec(release());
  const [ownMajor, ownMinor] = [Number(found?.[1]), Number(found?.[2])];
  return ownMajor < major || (ownMajor === major && ownMinor < minor);
}

/** Text of a file of /proc or /sys; empty where it cannot be read, which the attempt then shows. */
function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
