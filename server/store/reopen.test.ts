import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ThalwegError } from "../model/errors.ts";
import { TYPED_ATTRIBUTES } from "../model/sql-tables.ts";
import { systemClock } from "../platform/system-clock.ts";
import { requireOrSkip } from "../platform/test-ability.ts";
import { batchOf, openIn, rowsOf, temporaryDirectory } from "./store-fixture.ts";

/** Injects faults into system calls. */
const TRACER = "strace";
const run = promisify(execFile);

/** Has a value in most columns of which a file has those alone that are needed. */
const IN_MANY_COLUMNS = {
  ...{ statusMessage: "a", linkReason: "a", protocol: "a", clientAddr: "a", serverAddr: "a", traceState: "a" },
  ...{ clientPort: 1, serverPort: 1, pid: 1, duplicateOf: 9n, events: Uint8Array.of(1), links: Uint8Array.of(1) },
  attributes: TYPED_ATTRIBUTES.map(({ key, kind }) => ({ key, kind, value: "1" })),
};

/** Why a command cannot run here; undefined where it can. */
async function refusalOf(command: string, args: string[]): Promise<string | undefined> {
  try {
    await run(command, args);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.trim() : String(error);
  }
}

test("a checkpoint that finds the disk full loses nothing, and storing goes on by itself once there is room", async (t) => {
  let mounted: string | undefined;
  const directory = await temporaryDirectory(t, async () => mounted !== undefined && run("umount", [mounted]));
  const mountPoint = join(directory, "small");
  await mkdir(mountPoint);
  const refusal = await refusalOf("mount", ["-t", "tmpfs", "-o", "size=71m", "tmpfs", mountPoint]);
  if (!requireOrSkip(t, "servers", refusal && `a small file system cannot be mounted: ${refusal}`)) return;
  mounted = mountPoint;
  await run("fallocate", ["-l", "4M", join(mountPoint, "filler")]);
  const store = await openIn(t, join(mountPoint, "data"));
  let spans = 1;
  // Rows with many columns bring more to the WAL than is reckoned with: so a checkpoint is tried that finds no room.
  let stored = (await store.writer.commitSpans(batchOf([{ spanId: 1n, ...IN_MANY_COLUMNS }]))).spans;
  const commit = async () => {
    const rows = Array.from({ length: 5000 }, () => ({
      spanId: BigInt(++spans),
      attributes: [{ key: "text", kind: "s", value: `value ${spans * 7919}` }] as const,
    }));
    stored += (await store.writer.commitSpans(batchOf(rows))).spans;
  };
  let refused: unknown;
  for (let turn = 0; turn < 400 && refused === undefined; turn++) {
    await commit().catch((error: unknown) => {
      refused = error;
    });
  }
  assert.ok(refused instanceof ThalwegError && refused.code === "store_unavailable", "the disk fills up");
  await run("rm", [join(mountPoint, "filler")]);
  const until = performance.now() + 10_000;
  let before = stored;
  while (stored === before && performance.now() < until) {
    before = stored;
    await commit().catch(() => new Promise((resolve) => setTimeout(resolve, 100)));
  }
  assert.ok(stored > before, "storing goes on within 10 s");
  assert.ok(store.stats().reopens >= 1);
  assert.deepEqual(await rowsOf(store, "SELECT count(*), count(DISTINCT span_id) FROM spans"), [
    [String(stored), String(stored)],
  ]);
});

test("after a failed fsync nothing is acknowledged that is not stored, and storing goes on by itself", async (t) => {
  const refusal = await refusalOf(TRACER, ["-f", "-e", "inject=fsync:error=EIO:when=1000", "true"]);
  if (!requireOrSkip(t, "servers", refusal && `faults cannot be injected: ${refusal}`)) return;
  const directory = await temporaryDirectory(t);
  // The day's file is there before: faults are counted by thread, and one that hits the first start ends it.
  const before = await openIn(t, directory, systemClock());
  await before.writer.commitSpans(batchOf([{ spanId: 1n }]));
  await before.close();
  const child = spawn(
    TRACER,
    [
      "-f",
      "-qq",
      "-o",
      "/dev/null",
      "-e",
      "trace=fsync,fdatasync",
      "-e",
      "inject=fsync,fdatasync:error=EIO:when=8+16",
      process.execPath,
      fileURLToPath(import.meta.resolve("./store-child.ts")),
      directory,
      "0",
      "10",
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const exited = once(child, "exit");
  let said = "";
  for await (const text of child.stdout) {
    said += String(text);
    // The traced process outlives its tracer: its own pid stands in the lock.
    if (said.split("\n").length > 400)
      process.kill(Number.parseInt(await readFile(join(directory, "lock"), "utf8"), 10), 9);
  }
  await exited;
  const lines = said.slice(0, said.lastIndexOf("\n")).split("\n");
  const refusals = lines.filter((line) => line === "refused");
  const acknowledged = lines.filter((line) => line !== "refused");
  assert.ok(refusals.length > 0, "some commits were refused");
  assert.ok(acknowledged.length > 50, `${acknowledged.length} were acknowledged`);
  const store = await openIn(t, directory);
  const rows = await rowsOf(store, "SELECT CAST(commit_sequence AS VARCHAR), count(*) FROM spans GROUP BY 1");
  const found = new Map(rows.map(([sequence, spans]) => [sequence, spans]));
  for (const line of acknowledged) assert.equal(found.get(line.split(" ")[0]), "10", `commit ${line}`);
});

test("a file that cannot be opened for want of file handles is left where it is", async (t) => {
  const refusal = await refusalOf(TRACER, ["-f", "-e", "inject=fsync:error=EIO:when=1000", "true"]);
  if (!requireOrSkip(t, "servers", refusal && `faults cannot be injected: ${refusal}`)) return;
  const directory = await temporaryDirectory(t);
  const store = await openIn(t, directory);
  await store.writer.commitSpans(batchOf([{ spanId: 1n }]));
  const [day = ""] = store.stats().days;
  await store.close();
  const file = join(directory, "db", `spans-${day}.duckdb`);
  const inject = ["-P", file, "-e", "trace=openat", "-e", "inject=openat:error=EMFILE"];
  const child = fileURLToPath(import.meta.resolve("./store-child.ts"));
  const words = ["-f", "-qq", "-o", "/dev/null", ...inject, process.execPath, child, directory, "1", "1"];
  const said = await refusalOf(TRACER, words);
  assert.match(said ?? "", /Too many open files/, "it does not start");
  const again = await openIn(t, directory);
  assert.deepEqual(await rowsOf(again, "SELECT span_id FROM spans"), [["0000000000000001"]]);
});
