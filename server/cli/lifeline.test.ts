import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

const ROOT = join(import.meta.dirname, "..", "..");
const FREE = "127.0.0.1:0";

async function until(holds: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (holds()) return;
    await sleep(50);
  }
  assert.fail(`${what}: not within 30 s`);
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    // No such process.
    return false;
  }
}

/** Starts a server through a launcher and gives the pid that holds its directory. */
async function start(t: TestContext, program: string, words: readonly string[]): Promise<[ChildProcess, number]> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-lifeline-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const ports = ["--listen", FREE, "--otlp-grpc", FREE, "--otlp-http", FREE];
  const flags = ["serve", "--data", directory, ...ports, "--capture", "off"];
  const child = spawn(program, [...words, ...flags], { cwd: ROOT, stdio: "ignore" });
  await until(() => existsSync(join(directory, "addresses.json")), "the server starts");
  const pid = Number(/\d+/.exec(readFileSync(join(directory, "lock"), "utf8"))?.[0]);
  assert.ok(isAlive(pid));
  return [child, pid];
}

test("a server ends when its launcher is killed", async (t) => {
  const [launcher, pid] = await start(t, process.execPath, [join(ROOT, "bin", "thalweg.mjs")]);
  assert.notEqual(pid, launcher.pid);
  launcher.kill("SIGKILL");
  await until(() => !isAlive(pid), "the server ends");
});

test("a server ends when the npm that runs it is killed", async (t) => {
  const [npm, pid] = await start(t, "npm", ["run", "-s", "thalweg", "--"]);
  npm.kill("SIGKILL");
  await until(() => !isAlive(pid), "the server ends");
});

test("a server that was asked to end through its launcher ends well", async (t) => {
  const [launcher, pid] = await start(t, process.execPath, [join(ROOT, "bin", "thalweg.mjs")]);
  const status = new Promise((resolve) => launcher.once("exit", resolve));
  launcher.kill("SIGTERM");
  assert.equal(await status, 0);
  assert.ok(!isAlive(pid));
});
