/**
 * The abilities of this machine, each tried for real and taken off again; version numbers are never believed.
 */

import { accessSync, closeSync, constants, existsSync, openSync, readdirSync, readFileSync } from "node:fs";
import { loadNative, type Native } from "../../bpf/native.ts";
import { RUNG_LOST } from "./ladder.ts";
import { tryPacketRung } from "./packet-rung.ts";
import { RungRefused } from "./rung.ts";
import type { KernelRung } from "./socket-probes.ts";
import { trySocketRung } from "./socket-rung.ts";
import { tryTls } from "./tls-attach.ts";
import { TLS_NOT_COVERED } from "./tls-capture.ts";

/** One ability. Sentences without a full stop; `why`, `lost` and `fix` are empty where all is well. */
export interface Ability {
  readonly ability: string;
  readonly ok: boolean;
  readonly why: string;
  readonly lost: string;
  readonly fix: string;
}

const KERNEL_RUNGS: readonly KernelRung[] = ["socket", "fexit", "syscall"];
const BTF_FILE = "/sys/kernel/btf/vmlinux";

/** Where no evidence is had from outside, a call has no parent: nothing is injected into a process unless that is asked for. */
const NEVER_LINKED =
  "calls beside others of Node after timers, pool work, or where its loop fails the self-check (unless --inject-node may ask them), " +
  "of Java's virtual threads, and of workers that leave the answer to others";

/** Tries everything; takes some ten milliseconds. Never throws. */
export function tryAbilities(nativeDirectory: string | undefined): Ability[] {
  const loaded = loadNative(nativeDirectory);
  if (!loaded.ok) {
    const lost = "live capture by any rung; server and replay work";
    return [
      bad("capture addon", loaded.why, lost, "use Linux on x64 with glibc 2.28 or newer"),
      btf(),
      lockdown(),
      processes(),
    ];
  }
  const { native } = loaded;
  return [
    good("capture addon"),
    ...kernelRungs(nativeDirectory),
    { ...good("parents inside of processes (rungs inside the kernel)"), lost: NEVER_LINKED },
    packetRung(native),
    tlsLibraries(native, nativeDirectory),
    socketDiag(native),
    processes(),
    btf(),
    lockdown(),
    memlock(),
  ];
}

function good(ability: string): Ability {
  return { ability, ok: true, why: "", lost: "", fix: "" };
}

function bad(ability: string, why: string, lost: string, fix: string): Ability {
  return { ability, ok: false, why, lost, fix };
}

/** From the richest on: what the one gives, the next is not missed for. */
function kernelRungs(nativeDirectory: string | undefined): Ability[] {
  let works: KernelRung | undefined;
  return KERNEL_RUNGS.map((rung) => {
    const tried = trySocketRung(nativeDirectory, rung);
    if (tried.ok) {
      works ??= rung;
      return { ...good(`${rung} rung`), lost: RUNG_LOST[rung] };
    }
    const lost = works === undefined ? tried.lost : `nothing, since the ${works} rung works`;
    return bad(`${rung} rung`, tried.why, lost, tried.fix);
  });
}

function packetRung(native: Native): Ability {
  const lost = "capture where BPF is not allowed: requests, RED, graph and parents across processes";
  try {
    tryPacketRung(native);
    return { ...good("packet rung"), lost: RUNG_LOST.packet };
  } catch (error) {
    if (!(error instanceof RungRefused)) throw error;
    return bad("packet rung", error.why, lost, error.fix);
  }
}

/** What is read inside of TLS, where `--tls` asks for it. Even where it works some libraries are out of reach. */
function tlsLibraries(native: Native, nativeDirectory: string | undefined): Ability {
  const tried = tryTls(native, nativeDirectory);
  if ("way" in tried) return { ...good(`TLS of OpenSSL (${tried.way})`), lost: TLS_NOT_COVERED };
  const fix = "run as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE; before kernel 6.6 with CAP_SYS_ADMIN";
  return bad("TLS of OpenSSL", tried.why, "what is inside of TLS; the rest is captured", fix);
}

function socketDiag(native: Native): Ability {
  try {
    native.diagListeners(4);
    return good("socket look-ups (sock_diag)");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const lost = "owners of connections on the packet rung, and listeners known from the start";
    return bad(
      "socket look-ups (sock_diag)",
      why,
      lost,
      "use a kernel with CONFIG_INET_DIAG, outside of a seccomp sandbox",
    );
  }
}

/** How many other processes let us see their descriptors. */
function processes(): Ability {
  const ability = "descriptors of other processes";
  let readable = 0;
  let refused = 0;
  for (const name of readdirIfThere("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      readdirSync(`/proc/${name}/fd`);
      readable++;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EACCES") refused++;
    }
  }
  if (readable + refused === 0) {
    return bad(ability, "/proc is not mounted", "names of processes", "mount /proc");
  }
  if (refused === 0) return good(ability);
  return bad(
    ability,
    `${refused} of ${readable + refused} processes refuse (another user, or more capabilities than ours)`,
    "on the packet rung their connections are named by cgroup or user instead of process",
    "run as root with CAP_SYS_PTRACE",
  );
}

function btf(): Ability {
  const ability = "kernel type information (BTF)";
  const lost = "the socket rung";
  const fix = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, or make /sys/kernel/btf visible";
  if (!existsSync(BTF_FILE)) return bad(ability, `${BTF_FILE} does not exist`, lost, fix);
  try {
    closeSync(openSync(BTF_FILE, "r"));
    return good(ability);
  } catch (error) {
    return bad(ability, error instanceof Error ? error.message : String(error), lost, "make the file readable");
  }
}

function lockdown(): Ability {
  const ability = "kernel lockdown lets BPF read";
  const text = readIfThere("/sys/kernel/security/lockdown");
  if (!text.includes("[confidentiality]")) return good(ability);
  const why = "kernel lockdown is in confidentiality mode, which forbids BPF programs to read kernel memory";
  return bad(ability, why, "the socket rung", "boot with lockdown=integrity or without lockdown");
}

/** Only kernels before 5.11 count maps against this limit; later ones count them to the memory cgroup. */
function memlock(): Ability {
  const ability = "locked memory for BPF maps";
  const limit = /^Max locked memory\s+(\S+)/m.exec(readIfThere("/proc/self/limits"))?.[1] ?? "unlimited";
  const [major = 0, minor = 0] = readIfThere("/proc/sys/kernel/osrelease").split(".").map(Number);
  const isCounted = major < 5 || (major === 5 && minor < 11);
  if (!isCounted || limit === "unlimited" || Number(limit) >= 64 << 20) return good(ability);
  return bad(ability, `RLIMIT_MEMLOCK is ${limit} bytes`, "the socket rung", "raise it: ulimit -l unlimited");
}

function readdirIfThere(path: string): string[] {
  try {
    accessSync(path, constants.R_OK);
    return readdirSync(path);
  } catch {
    return []; // What is missing is told by the caller.
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // Without the file there is nothing that forbids.
  }
}
