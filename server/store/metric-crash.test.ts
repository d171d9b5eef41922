import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { systemClock } from "../platform/system-clock.ts";
import { MetricStore } from "./metric-store.ts";

const CHILD = fileURLToPath(import.meta.resolve("./metric-crash-child.ts"));

/** Lets the child append for a while, kills it, and tells the last acknowledged step of each run. */
async function runAndKill(directory: string, start: number, forMs: number): Promise<[step: number, ms: number][]> {
  const child = spawn(process.execPath, [CHILD, directory, String(start)], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8");
  const first = new Promise<void>((resolve) => child.stdout.once("data", () => resolve()));
  child.stdout.on("data", (part: string) => {
    text += part;
  });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  await first;
  setTimeout(() => child.kill("SIGKILL"), forMs);
  await ended;
  const lines = text.slice(0, text.lastIndexOf("\n")).split("\n");
  return lines.map((line): [number, number] => {
    const [step = 0, ms = 0] = line.split(" ").map(Number);
    return [step, ms];
  });
}

test("kill -9 in the middle of appends loses no acknowledged sample", { timeout: 60_000 }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "thalweg-head-crash-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const acknowledged = new Map<number, number>();
  for (const forMs of [40, 150, 90, 300]) {
    const start = acknowledged.size === 0 ? 0 : Math.max(...acknowledged.keys()) + 100;
    for (const [step, ms] of await runAndKill(directory, start, forMs)) acknowledged.set(step, ms);
    const metrics = await MetricStore.open({
      directory,
      clock: systemClock(),
      retentionMs: 86_400_000,
      onDamage: (damage) => assert.fail(damage.message),
    });
    const matchers = [{ name: "__name__", kind: "=", value: "m" }] as const;
    const found = await metrics.reader.select(matchers, 0, Number.MAX_SAFE_INTEGER);
    assert.equal(found.length, 50);
    for (const { timestampsMs, values } of found) {
      const stored = new Map([...values].map((value, at) => [value, timestampsMs[at]]));
      for (const [step, ms] of acknowledged) assert.equal(stored.get(step), ms, `step ${step}`);
    }
    await metrics.close();
  }
  assert.ok(acknowledged.size > 20, `${acknowledged.size} acknowledged steps prove something`);
});
