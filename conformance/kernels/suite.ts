/**
 * The rungs on kernels of other machines: each is booted in QEMU without KVM, the agent of this clone runs in it, and
 * two real processes speak HTTP under every rung in turn. The tests of the fexit rung follow, which not every machine
 * lets run.
 *
 * A kernel is a Debian package unpacked to `build/kernels/NAME/` (`boot/vmlinuz-*` and `lib/modules`), or the one that is
 * installed in `/boot`.
 */

import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { buildSync } from "esbuild";
import type { PlainSpan } from "../../agent/agent.testkit.ts";
import type { AgentStatus } from "../../agent/agent-message.ts";
import type { Ability } from "../../agent/capture/doctor.ts";
import { nativeDirectory } from "../../bpf/native.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { REQUESTS } from "./guest-requests.ts";

const CHECKOUT = join(import.meta.dirname, "..", "..");
const KERNELS = join(CHECKOUT, "build", "kernels");
const VERSION = /^vmlinuz-(6\.1\..*)$/;
/** Rungs that have to work on kernel 6.1, and `auto`, which has to find the richest of them. */
const MODES = ["fexit", "syscall", "auto"] as const;
/** Far above what it takes on two cores of their own, some 200 s. */
const BOOT_MS_MAX = 540_000;
/** What the guest says once it has done all. */
const END = "GUEST ENDS";
const TOOLS = ["qemu-system-x86_64", "busybox", "cpio", "ldd", "openssl"] as const;
/** Owners of connections and sockets older than the agent; loaded by themselves where there is a modprobe. */
const MODULES = ["inet_diag", "tcp_diag"] as const;

const INIT = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox ip link set lo up
for module in ${MODULES.join(" ")}; do /bin/busybox insmod /lib/modules/$module.ko; done
/bin/node --no-warnings /thalweg/guest.mjs ${MODES.join(" ")}
for tests in socket-rung capture-depths; do
/bin/node --no-warnings --test-reporter=tap --test-name-pattern="^fexit rung" /thalweg/$tests.test.mjs
done
/bin/busybox echo ${END}
/bin/busybox poweroff -f
`;

/** Valid for years to come, and from long ago: the guest has no clock of its own to trust. */
const CERTIFICATE = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=guest"];

interface Kernel {
  readonly version: string;
  readonly image: string;
  /** Directory of the package's modules. */
  readonly modules: string;
}

/** What the guest says of a rung. */
interface GuestRung {
  readonly mode: string;
  readonly error?: string;
  readonly status?: AgentStatus;
  readonly spans?: readonly (Omit<PlainSpan, "spanId" | "parentSpanId"> & {
    readonly spanId: string;
    readonly parentSpanId: string;
  })[];
}

/** The suite `kernels`. */
export async function runKernels(): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  const missing = TOOLS.filter((tool) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0);
  const kernels = findKernels();
  if (process.arch !== "x64") report.skip("kernels", "the guest is built for x64", "suites");
  else if (missing.length > 0) report.skip("kernels", `this machine has no ${missing.join(", ")}`, "suites");
  else if (kernels.length === 0) report.skip("kernels", `no kernel 6.1 in ${KERNELS} or /boot`, "suites");
  else for (const kernel of kernels) await runOn(kernel, report);
  return report.outcome;
}

function findKernels(): Kernel[] {
  const roots = existsSync(KERNELS) ? readdirSync(KERNELS).map((name) => join(KERNELS, name)) : [];
  const kernels = new Map<string, Kernel>();
  for (const root of [...roots, "/"]) {
    const boot = join(root, "boot");
    for (const name of existsSync(boot) ? readdirSync(boot) : []) {
      const version = VERSION.exec(name)?.[1];
      if (version === undefined || kernels.has(version)) continue;
      kernels.set(version, { version, image: join(boot, name), modules: join(root, "lib", "modules", version) });
    }
  }
  return [...kernels.values()];
}

async function runOn(kernel: Kernel, report: SuiteReport): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-kernel-"));
  try {
    const initrd = makeInitrd(directory, kernel);
    const said = await boot(kernel, initrd);
    judge(kernel.version, said, report);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Node, busybox, the agent in bundles and its native parts, in the form that the kernel unpacks by itself. */
function makeInitrd(directory: string, kernel: Kernel): string {
  const root = join(directory, "root");
  for (const name of ["bin", "dev", "proc", "sys", "tmp", "lib/modules", "thalweg"])
    mkdirSync(join(root, name), { recursive: true });
  // A program is called by the file that it runs from.
  for (const name of ["busybox", "httpd", "wget"]) copyFileSync("/bin/busybox", join(root, "bin", name));
  copyFileSync(process.execPath, join(root, "bin/node"));
  for (const library of librariesOf(process.execPath)) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    copyFileSync(library, join(root, library));
  }
  for (const module of MODULES) {
    const file = join(kernel.modules, "kernel/net/ipv4", `${module}.ko`);
    if (existsSync(file)) copyFileSync(file, join(root, "lib/modules", `${module}.ko`));
  }
  const native = nativeDirectory();
  const beside = join(root, "thalweg", "prebuilt", basename(native));
  mkdirSync(beside, { recursive: true });
  for (const name of readdirSync(native)) copyFileSync(join(native, name), join(beside, name));
  buildSync({
    entryPoints: [
      join(import.meta.dirname, "guest.ts"),
      join(CHECKOUT, "agent", "agent-worker.ts"),
      join(CHECKOUT, "agent", "capture", "socket-rung.test.ts"),
      join(CHECKOUT, "agent", "capture", "capture-depths.test.ts"),
    ],
    bundle: true,
    platform: "node",
    format: "esm",
    outdir: join(root, "thalweg"),
    entryNames: "[name]",
    outExtension: { ".js": ".mjs" },
  });
  const keys = ["-keyout", join(root, "thalweg/key.pem"), "-out", join(root, "thalweg/cert.pem")];
  const made = spawnSync("openssl", [...CERTIFICATE, ...keys], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`openssl: ${made.stderr}`);
  writeFileSync(join(root, "init"), INIT);
  chmodSync(join(root, "init"), 0o755);
  const initrd = join(directory, "initrd");
  const packed = spawnSync("sh", ["-c", `find . | cpio -o -H newc --quiet > "${initrd}"`], { cwd: root });
  if (packed.status !== 0) throw new Error(`cpio: ${String(packed.stderr)}`);
  return initrd;
}

function librariesOf(program: string): string[] {
  const text = spawnSync("ldd", [program], { encoding: "utf8" }).stdout;
  return [...text.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? "");
}

/** Boots and returns what the console said until the guest went off. */
async function boot(kernel: Kernel, initrd: string): Promise<string> {
  const kernelWords = "console=ttyS0 quiet panic=-1";
  const machine = ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"];
  const devices = ["-nographic", "-nic", "none", "-no-reboot"];
  const guest = ["-kernel", kernel.image, "-initrd", initrd, "-append", kernelWords];
  const qemu = spawn("qemu-system-x86_64", [...machine, ...devices, ...guest], { stdio: ["ignore", "pipe", "pipe"] });
  const chunks: Buffer[] = [];
  for (const stream of [qemu.stdout, qemu.stderr]) stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  const timer = setTimeout(() => qemu.kill("SIGKILL"), BOOT_MS_MAX);
  await new Promise((resolve, reject) => qemu.on("close", resolve).on("error", reject));
  clearTimeout(timer);
  return Buffer.concat(chunks).toString().replaceAll("\r", "");
}

function judge(version: string, said: string, report: SuiteReport): void {
  const rungs = [...said.matchAll(/^RUNG (.*)$/gm)].map((match) => JSON.parse(match[1] ?? "") as GuestRung);
  const abilities = JSON.parse(/ABILITIES (.*)$/m.exec(said)?.[1] ?? "[]") as Ability[];
  for (const mode of MODES) {
    const rung = rungs.find((candidate) => candidate.mode === mode);
    const fault =
      rung === undefined ? `it did not come to it; the console's end:\n${said.slice(-2000)}` : faultOf(rung);
    report.add(`${version}: ${mode}${mode === "auto" ? ", TLS among it" : ""}`, fault);
  }
  const tests = [...said.matchAll(/^(not ok|ok) \d+ - (fexit rung: [^#\n]*)(#.*)?$/gm)];
  for (const { index, 0: line, 1: outcome, 2: name = "", 3: note = "" } of tests) {
    // What TAP says of a test stands behind its line.
    const why = said.slice(index + line.length, index + line.length + 2000);
    report.add(`${version}: ${name.trim()}`, outcome === "ok" && note === "" ? "" : `${outcome} ${note}\n${why}`);
  }
  const ended = new RegExp(`^${END}$`, "m").test(said);
  report.add(
    `${version}: the guest comes to its end`,
    ended ? "" : `it did not; what it said last:\n${said.slice(-2000)}`,
  );
  if (tests.length === 0) report.add(`${version}: tests of the fexit rung`, `none ran:\n${said.slice(-2000)}`);
  const works = abilities.filter(({ ok }) => ok).map(({ ability }) => ability);
  const absent = ["fexit rung", "syscall rung", "packet rung"].filter((ability) => !works.includes(ability));
  const socket = abilities.find(({ ability }) => ability === "socket rung");
  const refused = socket?.ok === false && /has no tracepoint \w+, which came with 6\.3/.test(socket.why);
  const fault = absent.length > 0 ? `not able: ${absent.join(", ")}` : refused ? "" : `socket rung: ${socket?.why}`;
  report.add(`${version}: doctor`, fault);
}

/** Each request is one trace of two spans, the client's the parent of the server's, and nothing was lost. */
function faultOf({ mode, error, status, spans = [] }: GuestRung): string {
  if (error !== undefined || status === undefined) return error ?? "no status";
  const tier = mode === "auto" ? "fexit" : mode;
  if (status.tier !== tier) return `it ran as ${status.tier}: ${status.why}`;
  const faults: string[] = [];
  for (let request = 0; request < REQUESTS; request++) {
    const name = `GET /page${request}.html`;
    const ofRequest = spans.filter((span) => span.name === name);
    const client = ofRequest.find(({ kind }) => kind === "client");
    const server = ofRequest.find(({ kind }) => kind === "server");
    if (ofRequest.length !== 2 || client?.service !== "wget" || server?.service !== "httpd")
      faults.push(`${name}: ${ofRequest.map(({ service, kind }) => `${service} ${kind}`).join(", ") || "no span"}`);
    else if (server.parentSpanId !== client.spanId || server.traceId !== client.traceId)
      faults.push(`${name}: the server's span has another parent`);
  }
  faults.push(...faultsWithin("named", spans));
  if (mode === "auto") {
    if (status.tls?.why !== "") faults.push(`no TLS: ${status.tls?.why}`);
    faults.push(...faultsWithin("sealed", spans));
  }
  const lost = Object.values(status.lost).reduce((sum, count) => sum + count, 0);
  if (lost > 0 || status.seen !== status.delivered) faults.push(`lost: ${JSON.stringify(status.lost)}`);
  return faults.join("\n");
}

/** What the guest asked itself, by TLS (`sealed`) or over a path (`named`), is told of as in the clear and over TCP. */
function faultsWithin(page: string, spans: NonNullable<GuestRung["spans"]>): string[] {
  const faults: string[] = [];
  for (let request = 0; request < REQUESTS; request++) {
    const ofRequest = spans.filter(({ name }) => name === `GET /${page}${request}.html`);
    const client = ofRequest.find(({ kind }) => kind === "client");
    const server = ofRequest.find(({ kind }) => kind === "server");
    if (ofRequest.length !== 2 || client === undefined || server?.parentSpanId !== client.spanId)
      faults.push(`/${page}${request}.html: ${ofRequest.map(({ kind }) => kind).join(", ") || "no span"}`);
  }
  return faults;
}
