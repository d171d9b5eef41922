import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { getPriority } from "node:os";
import { test } from "node:test";
import { Worker } from "node:worker_threads";

test("a thread that steps back takes only itself", { skip: process.platform !== "linux" }, async () => {
  const before = getPriority();
  const file = new URL("./thread-priority.ts", import.meta.url).href;
  const code = `
    const { lowerThreadPriority } = await import(${JSON.stringify(file)});
    const { parentPort } = await import("node:worker_threads");
    const { readlinkSync } = await import("node:fs");
    parentPort.postMessage([lowerThreadPriority(), readlinkSync("/proc/thread-self")]);
    parentPort.once("message", () => {});`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
  const [lowered, thread] = await new Promise<[boolean, string]>((resolve, reject) => {
    worker.once("message", resolve).once("error", reject);
  });
  const niceOf = (path: string) =>
    Number(
      readFileSync(path, "utf8")
        .replace(/^.*\) /, "")
        .split(" ")[16],
    );
  assert.equal(lowered, true);
  assert.equal(niceOf(`/proc/${thread}/stat`), before + 10);
  assert.equal(niceOf(`/proc/self/task/${process.pid}/stat`), before);
  await worker.terminate();
});
