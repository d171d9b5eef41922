/**
 * What the first command needs to know of the machine, in JavaScript that every Node since 20 can read:
 * which Node to run with, whether the packages are installed, and whose files these are.
 */

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, chownSync, constants, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Directory of the clone or package. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** The oldest Node that runs TypeScript files as they are and has what the program uses. */
const NODE_MAJOR_MIN = 24;
const NODE_MINOR_MIN = 15;
/** Above the number of queries that run at once, so that file reads never wait for one. */
const THREADPOOL_SIZE = "12";
/**
 * Heaps of glibc's malloc. One a thread, as by default, keeps what each freed for itself: with our twenty threads a
 * hundred MiB that nobody uses.
 */
const MALLOC_HEAPS = "2";
/**
 * What is larger has memory of its own, which goes back to the system once it is freed. Left to itself, malloc takes the
 * first large body for the usual size, puts the next ones on its heaps, and keeps them.
 */
const MALLOC_OWN_BYTES = 4 * 2 ** 20;
/** Free bytes at the end of a heap that are kept: as malloc sets it by itself, twice the other. */
const MALLOC_KEPT_BYTES = 2 * MALLOC_OWN_BYTES;
/**
 * MiB of a half of V8's room for young objects, of each thread. As by default it grows to 64 and stays there, which a
 * load of many series pays with a sixth more memory, and no less processor time.
 */
const YOUNG_FLAG = "--max-semi-space-size";
const YOUNG_MIB = 16;
/** How often the process that started this one is looked for. */
const PARENT_EVERY_MS = 100;
/** Exit status of the dynamic loader where a library or the right C library is missing. */
const MISSING_LIBRARY = 127;
const STAMP = join(ROOT, "node_modules", ".thalweg-installed.json");

/** Prints one line on standard error and ends with `status`. */
export function giveUp(line, status) {
  process.stderr.write(`thalweg: ${line}\n`);
  process.exit(status);
}

function pinnedNode() {
  try {
    const manifest = createRequire(import.meta.url).resolve(`node-${process.platform}-${process.arch}/package.json`);
    const file = join(dirname(manifest), "bin", "node");
    return existsSync(file) ? file : undefined;
  } catch {
    // Not installed, or no such package for this platform.
    return undefined;
  }
}

function isNewEnough(version) {
  const [major, minor] = version.replace(/^v/, "").split(".").map(Number);
  return major > NODE_MAJOR_MIN || (major === NODE_MAJOR_MIN && minor >= NODE_MINOR_MIN);
}

/**
 * The Node to run the program with: this one where it is new enough, else the pinned package.
 * Ends the process with one line where neither runs here.
 */
export function nodeToRun() {
  if (isNewEnough(process.version)) return process.execPath;
  const wanted = `Node ${NODE_MAJOR_MIN}.${NODE_MINOR_MIN} or newer`;
  const file = pinnedNode();
  if (file === undefined) {
    const why =
      process.platform === "linux"
        ? "the pinned one is not installed; 'npm start' installs it"
        : `this is ${process.version} on ${process.platform}; install it from https://nodejs.org`;
    return giveUp(`needs ${wanted}: ${why}`, 1);
  }
  return file;
}

/** Packages of the lock file that this directory has, or undefined where it was never installed by us. */
function installedStamp() {
  try {
    return JSON.parse(readFileSync(STAMP, "utf8"));
  } catch {
    // Missing or unreadable is the same as never installed: the install writes it again.
    return undefined;
  }
}

/** False where somebody removed what the program cannot start without. */
function isComplete() {
  const present = (name) => existsSync(join(ROOT, "node_modules", name, "package.json"));
  return (
    present("fastify") && present("@duckdb/node-api") && (isNewEnough(process.version) || pinnedNode() !== undefined)
  );
}

function lockDigest() {
  return createHash("sha256")
    .update(readFileSync(join(ROOT, "package-lock.json")))
    .digest("hex");
}

/** User who called sudo, or undefined. Files made on their behalf are theirs. */
export function sudoUser() {
  const uid = Number(process.env["SUDO_UID"]);
  const gid = Number(process.env["SUDO_GID"]);
  if (process.getuid?.() !== 0 || !Number.isInteger(uid) || !Number.isInteger(gid) || uid === 0) return undefined;
  return { uid, gid };
}

/** Absolute path of npm's own program, for this run and for the commands we print. */
export function npmProgram() {
  const fromNpm = process.env["npm_execpath"];
  if (fromNpm && /npm-cli\.c?js$/.test(fromNpm)) return fromNpm;
  const beside = join(dirname(process.execPath), "..", "lib", "node_modules", "npm", "bin", "npm-cli.js");
  return existsSync(beside) ? beside : undefined;
}

/**
 * Installs the locked packages in place where the lock file changed since the last time.
 *
 * Never removes a package, since a server may be running from this directory.
 *
 * @param dev Also the packages that tests and checks need.
 */
export function ensureInstalled(dev) {
  const digest = lockDigest();
  const stamp = installedStamp();
  if (stamp?.lock === digest && (stamp.dev || !dev) && isComplete()) return;
  if (!existsSync(join(ROOT, ".git")) && !existsSync(join(ROOT, "server", "cli", "main.ts"))) return;
  const withDev = dev || stamp?.dev === true;
  const npm = npmProgram();
  if (npm === undefined)
    giveUp("needs npm to install its packages, and found none beside Node. Install npm, then run this again", 1);
  const args = [
    "install",
    "--no-save",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=500",
    "--fetch-retry-maxtimeout=1000",
    "--fetch-timeout=30000",
  ];
  if (!withDev) args.push("--omit=dev");
  const owner = sudoUser();
  try {
    accessSync(ROOT, constants.W_OK);
  } catch {
    giveUp(`cannot write to ${ROOT} to install its packages. Clone it as the user who runs it`, 1);
  }
  process.stdout.write(
    `Installing ${withDev ? "the packages for tests" : "packages"} (only when the lock file changed) ...\n`,
  );
  const startedMs = Date.now();
  const env = { ...process.env };
  // npm sets these for the script it runs; a nested npm would take them for flags of its own, and the caller's cache
  // and settings are not root's.
  const ofOuterNpm = /^npm_(config_(omit|only|production|include)|lifecycle|package)/;
  const ofRoot = /^npm_config_(cache|userconfig|globalconfig|prefix|init_module)$/;
  for (const name of Object.keys(env)) {
    if (ofOuterNpm.test(name) || (owner !== undefined && ofRoot.test(name))) delete env[name];
  }
  if (owner !== undefined) env["HOME"] = homeOf(owner.uid) ?? ROOT;
  const ran = spawnSync(process.execPath, [npm, ...args], {
    cwd: ROOT,
    env,
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    ...(owner === undefined ? {} : owner),
  });
  if (ran.status !== 0) giveUp(installFault(String(ran.stderr), ran.status), 1);
  writeFileSync(STAMP, JSON.stringify({ lock: digest, dev: withDev }));
  if (owner !== undefined) chownSync(STAMP, owner.uid, owner.gid);
  process.stdout.write(`Installed in ${((Date.now() - startedMs) / 1000).toFixed(1)} s.\n`);
}

/** One line for a failed install: what npm said, and the way out that fits it. */
function installFault(stderr, status) {
  const lines = stderr.split("\n").map((line) => line.replace(/^npm error\s*/, "").trim());
  const code = lines.find((line) => /^code [A-Z]/.test(line))?.slice("code ".length) ?? `status ${status}`;
  const said = lines.find((line) => line !== "" && !/^(code|errno|syscall|path|network)\b/.test(line)) ?? "";
  const advice = /EACCES|EPERM|EROFS/.test(code)
    ? "It may not write where it wants to: see who owns this directory and npm's cache ('npm config get cache')"
    : /ENOSPC/.test(code)
      ? "The disk is full"
      : "Is the npm registry in reach? Set a mirror with 'npm config set registry URL', then run this again";
  return `npm could not install the packages (${code}${said === "" ? "" : `: ${said.slice(0, 160)}`}). ${advice}`;
}

function homeOf(uid) {
  try {
    const line = readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .find((entry) => entry.split(":")[2] === String(uid));
    const home = line?.split(":")[5];
    return home && statSync(home).isDirectory() ? home : undefined;
  } catch {
    // No readable passwd file: npm then keeps its cache in the clone.
    return undefined;
  }
}

/**
 * Where Node keeps compiled code between starts: half of a start's work is compiling the same files again.
 * None for sudo, whose files in the clone its owner could not remove, nor where the packages lie elsewhere.
 */
function compileCache() {
  const packages = join(ROOT, "node_modules");
  if (sudoUser() !== undefined || !existsSync(packages)) return {};
  return { NODE_COMPILE_CACHE: join(packages, ".cache", "thalweg-compiled") };
}

/**
 * Runs a TypeScript or JavaScript file of this directory with the right Node, and ends as it ends.
 * Signals are handed on.
 */
export function runToEnd(file, args) {
  const node = nodeToRun();
  const young = process.env["NODE_OPTIONS"]?.includes(YOUNG_FLAG) ? [] : [`${YOUNG_FLAG}=${YOUNG_MIB}`];
  const child = spawn(node, ["--disable-warning=ExperimentalWarning", ...young, join(ROOT, file), ...args], {
    // The last one breaks when this process is killed; see server/cli/lifeline.ts.
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    env: {
      ...compileCache(),
      ...process.env,
      THALWEG_LIFELINE: String(process.pid),
      UV_THREADPOOL_SIZE: process.env["UV_THREADPOOL_SIZE"] || THREADPOOL_SIZE,
      MALLOC_ARENA_MAX: process.env["MALLOC_ARENA_MAX"] || MALLOC_HEAPS,
      MALLOC_MMAP_THRESHOLD_: process.env["MALLOC_MMAP_THRESHOLD_"] || String(MALLOC_OWN_BYTES),
      MALLOC_TRIM_THRESHOLD_: process.env["MALLOC_TRIM_THRESHOLD_"] || String(MALLOC_KEPT_BYTES),
      THALWEG_NPM: npmProgram() || "",
      THALWEG_LAUNCHER_NODE: process.execPath,
      THALWEG_STARTED_MS: String(Math.round(performance.timeOrigin)),
    },
  });
  // A terminal signals the whole group, so the program may get a signal twice; it takes two at once for one.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  endWithNpm(child);
  child.on("error", (error) => giveUp(`${doesNotRun(node)} (${error.message})`, 1));
  child.on("exit", (code, signal) => {
    if (code === MISSING_LIBRARY && node !== process.execPath) giveUp(doesNotRun(node), 1);
    process.exit(code ?? (signal === "SIGINT" ? 130 : 143));
  });
}

/** Whoever kills the npm that runs this script means the program: npm cannot hand such a signal on. */
function endWithNpm(child) {
  if (process.env["npm_lifecycle_event"] === undefined) return;
  const npm = process.ppid;
  setInterval(() => {
    if (process.ppid === npm) return;
    child.kill("SIGKILL");
    process.exit(137);
  }, PARENT_EVERY_MS).unref();
}

function doesNotRun(node) {
  return (
    `needs Node ${NODE_MAJOR_MIN}.${NODE_MINOR_MIN} or newer: this is ${process.version}, and the pinned one (${node}) does not run here. ` +
    "It needs glibc 2.28 or newer; on musl systems install nodejs 24 from your distribution"
  );
}
