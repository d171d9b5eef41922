import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { takeLock } from "./lock.ts";

async function lockPath(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "thalweg-lock-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return join(directory, "lock");
}

/** A pid that was used and is free again. */
async function deadPid(): Promise<number> {
  const child = spawn("true");
  await once(child, "exit");
  return child.pid ?? 0;
}

test("a second taker in the same process is told this pid, until the lock is released", async (t) => {
  const path = await lockPath(t);
  const first = await takeLock(path);
  assert.equal(first.kind, "held");
  assert.deepEqual(await takeLock(path), { kind: "taken", pid: process.pid });
  if (first.kind === "held") await first.lock.release();
  const again = await takeLock(path);
  assert.equal(again.kind, "held");
  if (first.kind === "held") await first.lock.release();
  assert.match(
    await readFile(path, "utf8"),
    new RegExp(`^${process.pid} `),
    "a late second release takes nothing away",
  );
});

test("the lock of a living process is refused with its pid", async (t) => {
  const path = await lockPath(t);
  const child = spawn("sleep", ["30"]);
  t.after(() => child.kill());
  await once(child, "spawn");
  const stat = await readFile(`/proc/${child.pid}/stat`, "utf8");
  await writeFile(path, `${child.pid} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}\n`);
  assert.deepEqual(await takeLock(path), { kind: "taken", pid: child.pid });
});

test("locks of the dead, of a pid used again, and empty ones are taken over", async (t) => {
  for (const stale of [`${await deadPid()} 12345\n`, `${process.pid} 1\n`, "", "nonsense"]) {
    const path = await lockPath(t);
    await writeFile(path, stale);
    assert.equal((await takeLock(path)).kind, "held", JSON.stringify(stale));
    assert.deepEqual(await readdir(join(path, "..")), ["lock"], "nothing is left beside the lock");
  }
});

test("of many that take over at once exactly one holds the lock", async (t) => {
  const dead = `${await deadPid()} 12345\n`;
  for (let round = 0; round < 20; round++) {
    const path = await lockPath(t);
    await writeFile(path, dead);
    // Whoever died while taking over left the second file.
    if (round % 2 === 1) await writeFile(`${path}.takeover`, dead);
    const outcomes = await Promise.all(Array.from({ length: 16 }, () => takeLock(path)));
    assert.equal(outcomes.filter(({ kind }) => kind === "held").length, 1);
    assert.deepEqual(await readdir(join(path, "..")), ["lock"]);
  }
});
