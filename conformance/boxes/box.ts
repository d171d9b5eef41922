/**
 * A box: a fresh clone under restricted rights, in which the README's two commands are run as a newcomer would.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");
const NOBODY = 65_534;
const MEMORY_BYTES = 2 ** 30;
/** Programs an unprivileged newcomer may not have. */
const LEFT_OUT =
  /^(gcc|g\+\+|cc|c\+\+|c89|c99|cpp|clang|make|gmake|cmake|python|pip|ld|as|gold|rustc|cargo|go)([-.\d].*)?$/;

/** How a box restricts what runs in it. */
export interface Box {
  readonly name: string;
  /** Words put before a command. */
  readonly before: readonly string[];
  /** The user it runs as, where not root. */
  readonly user: number | undefined;
  /** PATH inside, where not this process' own. */
  readonly path: string | undefined;
  readonly release: () => void;
}

/** The four boxes; making one may throw where the machine does not allow it. */
export const BOXES: Readonly<Record<string, () => Box>> = {
  root: () => ({ name: "root", before: [], user: undefined, path: undefined, release: () => {} }),
  "net-raw": () => ({
    name: "net-raw",
    before: ["setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all,+net_raw", "--no-new-privs"],
    user: undefined,
    path: undefined,
    release: () => {},
  }),
  unprivileged: () => {
    const path = pathWithoutCompilers();
    return {
      name: "unprivileged",
      before: [
        "setpriv",
        `--reuid=${NOBODY}`,
        `--regid=${NOBODY}`,
        "--clear-groups",
        "--bounding-set=-all",
        "--no-new-privs",
      ],
      user: NOBODY,
      path,
      release: () => rmSync(path, { recursive: true, force: true }),
    };
  },
  "memory-1gib": memoryBox,
};

/** A clone inside a box, with an npm cache and a home of its own. */
export class BoxedClone {
  readonly #box: Box;
  readonly #directory: string;
  #children: ChildProcess[] = [];

  constructor(box: Box) {
    this.#box = box;
    this.#directory = mkdtempSync(join(tmpdir(), `thalweg-box-${box.name}-`));
    chmodSync(this.#directory, 0o755);
    for (const name of ["home", "cache"]) mkdirSync(join(this.#directory, name));
    const cloned = spawnSync("git", ["clone", "--quiet", "--no-hardlinks", ROOT, this.clone], { encoding: "utf8" });
    if (cloned.status !== 0) throw new Error(`git clone failed: ${cloned.stderr}`);
    if (box.user !== undefined) giveAll(this.#directory, box.user);
  }

  get clone(): string {
    return join(this.#directory, "clone");
  }

  /** Starts a command in the clone; its output goes to `onText`. */
  start(words: readonly string[], onText: (text: string) => void): ChildProcess {
    const [program, ...args] = [...this.#box.before, ...words];
    if (program === undefined) throw new Error("no command");
    const { THALWEG_REQUIRE: _, ...env } = process.env;
    const child = spawn(program, args, {
      cwd: this.clone,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...withoutNpm(env),
        HOME: join(this.#directory, "home"),
        npm_config_cache: join(this.#directory, "cache"),
        ...(this.#box.path === undefined ? {} : { PATH: this.#box.path }),
      },
    });
    this.#children.push(child);
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", onText);
    return child;
  }

  /** Ends what still runs and removes the clone. */
  async close(): Promise<void> {
    for (const child of this.#children) await endGroup(child);
    this.#children = [];
    rmSync(this.#directory, { recursive: true, force: true });
    this.#box.release();
  }
}

/** Ends a child and everything it started. */
export async function endGroup(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  signalGroup(child.pid, "SIGTERM");
  const timer = setTimeout(() => signalGroup(child.pid ?? 0, "SIGKILL"), 8_000);
  await ended;
  clearTimeout(timer);
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

function withoutNpm(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(npm_|THALWEG_|NODE_TEST)/.test(name)));
}

function pathWithoutCompilers(): string {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-box-path-"));
  chmodSync(directory, 0o755);
  const seen = new Set<string>();
  for (const from of ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]) {
    for (const name of safeList(from)) {
      if (seen.has(name) || LEFT_OUT.test(name) || /-(gcc|g\+\+|cpp)(-\d+)?$/.test(name)) continue;
      seen.add(name);
      symlinkSync(join(from, name), join(directory, name));
    }
  }
  return directory;
}

function safeList(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

/** A memory control group of 1 GiB, of whichever version the machine uses for memory. */
function memoryBox(): Box {
  const name = `thalweg-box-${process.pid}`;
  const first = join("/sys/fs/cgroup/memory", name);
  const second = join("/sys/fs/cgroup", name);
  const isFirst = safeList("/sys/fs/cgroup/memory").includes("memory.limit_in_bytes");
  const group = isFirst ? first : second;
  if (!isFirst) writeFileSync("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
  mkdirSync(group);
  writeFileSync(join(group, isFirst ? "memory.limit_in_bytes" : "memory.max"), String(MEMORY_BYTES));
  return {
    name: "memory-1gib",
    before: ["sh", "-c", `echo $$ > ${join(group, "cgroup.procs")} && exec "$@"`, "sh"],
    user: undefined,
    path: undefined,
    release: () => spawnSync("rmdir", [group]),
  };
}

function giveAll(path: string, user: number): void {
  const ran = spawnSync("chown", ["-R", `${user}:${user}`, path]);
  if (ran.status !== 0) chownSync(path, user, user);
}
