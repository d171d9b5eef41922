import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { DuckDBInstance } from "@duckdb/node-api";
import type { ThalwegError } from "../model/errors.ts";
import { addColumn, readShape } from "./late-columns.ts";
import { batchOf, DAY_MS, FakeClock, openIn, rowsOf, temporaryDirectory } from "./store-fixture.ts";
import { damagedWalSize } from "./wal-check.ts";

/** A store in a process of its own that commits `commits` batches of 50 spans, says so, and is killed with its WAL unmerged. */
async function killedAfter(directory: string, commits: number): Promise<void> {
  const child = spawn(
    process.execPath,
    [fileURLToPath(import.meta.resolve("./store-child.ts")), directory, String(commits), "50"],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  let said = "";
  for await (const text of child.stdout) {
    said += String(text);
    if (said.includes(`acknowledged ${commits}\n`)) child.kill("SIGKILL");
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

async function onlyFile(directory: string, ending: string): Promise<string> {
  const names = (await readdir(join(directory, "db"))).filter((name) => name.endsWith(ending));
  assert.equal(names.length, 1, `one ${ending} in ${names.join(", ")}`);
  return join(directory, "db", names[0] ?? "");
}

async function openDamaged(t: TestContext, directory: string) {
  const damages: ThalwegError[] = [];
  const store = await openIn(t, directory, new FakeClock(), (damage) => damages.push(damage));
  return { store, damages };
}

test("a span goes to the file of its arrival; midnight makes a new one", async (t) => {
  const directory = await temporaryDirectory(t);
  const clock = new FakeClock();
  const store = await openIn(t, directory, clock);
  await store.writer.commitSpans(batchOf([{ spanId: 1n }]));
  clock.ms = Date.parse("2026-11-26T23:59:59.999Z");
  await store.writer.commitSpans(batchOf([{ spanId: 2n }]));
  clock.ms += 1;
  await store.writer.commitSpans(batchOf([{ spanId: 3n }]));
  assert.deepEqual(store.stats().days, ["2026-11-26", "2026-11-27"]);
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM d20261126.span"), [["2"]]);
  assert.deepEqual(await rowsOf(store, "SELECT count(*), max(commit_sequence) FROM spans"), [["3", "3"]]);
  assert.equal((await store.reader.trace("00000000000000010000000000000002", 9)).length, 3);
  assert.deepEqual(
    (await readdir(join(directory, "db"))).filter((name) => name.endsWith(".duckdb")),
    ["spans-2026-11-26.duckdb", "spans-2026-11-27.duckdb"],
  );
});

test("the data directory is the owner's alone", async (t) => {
  const directory = await temporaryDirectory(t);
  await openIn(t, directory);
  for (const name of ["", "db", "wal", "tmp", "secret"]) {
    assert.equal((await stat(join(directory, name))).mode & 0o777, 0o700, name);
  }
});

test("retention deletes one day file a call, oldest first, and never today's", async (t) => {
  const directory = await temporaryDirectory(t);
  const clock = new FakeClock();
  const store = await openIn(t, directory, clock);
  for (let day = 0; day < 3; day++) {
    await store.writer.commitSpans(batchOf([{ spanId: BigInt(day + 1) }]));
    clock.ms += DAY_MS;
  }
  assert.equal(await store.enforceRetention(), undefined, "nothing is older than 15 days");
  clock.ms += 13 * DAY_MS;
  assert.equal(await store.enforceRetention(), "2026-11-26");
  assert.equal(await store.enforceRetention(), undefined);
  assert.deepEqual(await rowsOf(store, "SELECT span_id FROM spans ORDER BY 1"), [
    ["0000000000000002"],
    ["0000000000000003"],
  ]);
  clock.ms += 3650 * DAY_MS;
  await store.writer.commitSpans(batchOf([{ spanId: 9n }]));
  assert.equal(await store.enforceRetention(), "2026-11-27");
  assert.equal(await store.enforceRetention(), "2026-11-28");
  assert.equal(await store.enforceRetention(), undefined);
  assert.equal((await readdir(join(directory, "db"))).filter((name) => name.includes("2026")).length, 0);
  assert.equal((await store.writer.commitSpans(batchOf([{}]))).sequence, 5, "numbers go on without the old ledgers");
});

test("a file of the first layout is brought to the present one, with all that is in it", async (t) => {
  const directory = await temporaryDirectory(t);
  const first = await openIn(t, directory);
  await first.writer.commitSpans(batchOf([{ spanId: 1n }, { spanId: 2n }]));
  const rows = await rowsOf(first, "SELECT * FROM spans ORDER BY span_key");
  await first.close();
  await asFirstLayout(await onlyFile(directory, ".duckdb"));
  const store = await openIn(t, directory);
  assert.deepEqual(
    await rowsOf(store, "SELECT span_id, scope_rest, service, resource['host.cpus'] FROM spans ORDER BY 1"),
    [
      ["0000000000000001", null, "shop", "2"],
      ["0000000000000002", null, "shop", "2"],
    ],
  );
  assert.deepEqual(await rowsOf(store, "SELECT * FROM spans ORDER BY span_key"), rows);
  await store.writer.commitSpans(batchOf([{ spanId: 3n }], undefined, { name: "s", version: "", rest: "{}" }));
  assert.deepEqual(await rowsOf(store, "SELECT scope_rest FROM spans ORDER BY span_id"), [[null], [null], ["{}"]]);
  assert.equal((await store.reader.trace("00000000000000010000000000000002", 9)).length, 3);
});

/** Takes from a closed file what the first layout did not have, and gives it the columns that it always had. */
async function asFirstLayout(path: string): Promise<void> {
  const instance = await DuckDBInstance.create(":memory:");
  const connection = await instance.connect();
  await connection.run(`ATTACH '${path}' AS earlier`);
  await connection.run("USE earlier");
  const { lacked } = await readShape(connection, "earlier");
  const always = [...lacked].filter(([name]) => name !== "scope_rest");
  for (const statement of [
    ...always.map(([name, value]) => addColumn("earlier", name, value)),
    "DROP TABLE span_constant",
    "ALTER TABLE span ADD COLUMN tb UTINYINT",
    "ALTER TABLE resource DROP COLUMN rest",
    "DROP TABLE log",
    "DROP TABLE log_ledger",
    "DROP TABLE trace_alias",
    "DROP TABLE trace_key_index",
    "UPDATE file_meta SET schema_version = 1",
    "CHECKPOINT",
  ]) {
    await connection.run(statement);
  }
  connection.disconnectSync();
  instance.closeSync();
}

test("a file of a layout that is not known is set aside, not changed", async (t) => {
  const directory = await temporaryDirectory(t);
  await (await openIn(t, directory)).close();
  const path = await onlyFile(directory, ".duckdb");
  const instance = await DuckDBInstance.create(path);
  const connection = await instance.connect();
  await connection.run("UPDATE file_meta SET schema_version = 999");
  connection.disconnectSync();
  instance.closeSync();
  const { damages } = await openDamaged(t, directory);
  assert.match(String(damages[0]?.values["why"]), /version 999/);
});

test("a file left over from an interrupted start is removed", async (t) => {
  const directory = await temporaryDirectory(t);
  await (await openIn(t, directory)).close();
  await writeFile(join(directory, "db", "unfinished-2026-11-27.duckdb"), "half a header");
  await openIn(t, directory);
  assert.deepEqual(
    (await readdir(join(directory, "db"))).filter((name) => name.startsWith("unfinished")),
    [],
  );
});

test("a WAL torn at its end opens with what was committed before; where it ends is told, and the torn end kept", async (t) => {
  const directory = await temporaryDirectory(t);
  await killedAfter(directory, 5);
  const wal = await onlyFile(directory, ".wal");
  const { size } = await stat(wal);
  await truncate(wal, size - 10);
  const { store, damages } = await openDamaged(t, directory);
  assert.equal(damages.length, 1);
  const { offset, why, quarantine } = damages[0]?.values ?? {};
  assert.equal(why, "its last write did not end");
  assert.equal((await stat(String(quarantine))).size, size - 10 - Number(offset));
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans"), [["200"]]);
  assert.equal((await store.writer.commitSpans(batchOf([{}]))).sequence, 5);
});

test("zeros after the WAL's end are cut off and reported; nothing is lost", async (t) => {
  const directory = await temporaryDirectory(t);
  await killedAfter(directory, 5);
  await appendFile(await onlyFile(directory, ".wal"), new Uint8Array(65_536));
  const { store, damages } = await openDamaged(t, directory);
  assert.deepEqual(
    damages.map(({ code }) => code),
    ["data_damaged"],
  );
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans"), [["250"]]);
});

test("a byte flipped in the WAL costs the commits after it, is reported with its place, and the WAL is kept", async (t) => {
  for (const where of [0.2, 0.55, 0.95]) {
    const directory = await temporaryDirectory(t);
    await killedAfter(directory, 20);
    const wal = await onlyFile(directory, ".wal");
    const bytes = await readFile(wal);
    const flipped = Math.floor(bytes.length * where);
    bytes[flipped] = (bytes[flipped] ?? 0) ^ 0x10;
    await writeFile(wal, bytes);
    const { store, damages } = await openDamaged(t, directory);
    assert.equal(damages.length, 1, `at ${where}`);
    const [damage] = damages;
    assert.equal(damage?.values["file"], wal);
    const offset = Number(damage?.values["offset"]);
    assert.ok(offset <= flipped && offset > flipped - 40_000, `${offset} names ${flipped}`);
    const kept = await readFile(String(damage?.values["quarantine"]));
    assert.ok(kept.equals(bytes));
    const [[count]] = (await rowsOf(store, "SELECT count(*) FROM spans")) as [[string]];
    assert.ok(
      Number(count) % 50 === 0 && Number(count) < 1000 && Number(count) >= Math.floor(20 * where - 2) * 50,
      count,
    );
    assert.equal((await store.writer.commitSpans(batchOf([{}]))).spans, 1);
    await store.close();
  }
});

test("a size flipped in the WAL is told from a torn end, at every entry", async (t) => {
  const directory = await temporaryDirectory(t);
  await killedAfter(directory, 8);
  const wal = await readFile(await onlyFile(directory, ".wal"));
  assert.equal(damagedWalSize(wal), undefined, "a whole WAL");
  for (let cut = 1; cut < 3000; cut += 7)
    assert.equal(damagedWalSize(wal.subarray(0, -cut)), undefined, `torn by ${cut}`);
  // The head is an object that ends with ff ff; sizes are found by following the entries.
  let at = wal.indexOf(Buffer.from("ffff", "hex")) + 2;
  let flips = 0;
  for (; at < wal.length - 40_000; at += 16 + wal.readUInt32LE(at)) {
    for (const bit of [1 << 6, 1 << 20]) {
      const flipped = Buffer.from(wal);
      flipped.writeUInt32LE((flipped.readUInt32LE(at) ^ bit) >>> 0, at);
      assert.equal(damagedWalSize(flipped) === undefined, false, `bit ${bit} at ${at}`);
      flips++;
    }
  }
  assert.ok(flips > 20, `${flips} flips`);
});

test("a size flipped in the WAL is reported, and the store starts", async (t) => {
  const directory = await temporaryDirectory(t);
  await killedAfter(directory, 8);
  const path = await onlyFile(directory, ".wal");
  const wal = await readFile(path);
  const first = wal.indexOf(Buffer.from("ffff", "hex")) + 2;
  wal[first + 3] = 1;
  await writeFile(path, wal);
  const { store, damages } = await openDamaged(t, directory);
  assert.deepEqual(
    damages.map(({ values }) => [values["file"], values["offset"]]),
    [[path, first]],
  );
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans"), [["0"]]);
  assert.equal((await store.writer.commitSpans(batchOf([{}]))).spans, 1);
});

test("a damaged day file is set aside; the store starts with the others", async (t) => {
  const directory = await temporaryDirectory(t);
  const clock = new FakeClock();
  clock.ms -= DAY_MS;
  const store = await openIn(t, directory, clock);
  await store.writer.commitSpans(batchOf([{}]));
  clock.ms += DAY_MS;
  await store.writer.commitSpans(batchOf([{ spanId: 77n }]));
  await store.close();
  const path = join(directory, "db", "spans-2026-11-25.duckdb");
  const bytes = await readFile(path);
  for (const at of [4100, 8200]) bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
  const { store: again, damages } = await openDamaged(t, directory);
  assert.equal(damages.length, 1);
  assert.equal(damages[0]?.values["file"], path);
  assert.ok((await readFile(String(damages[0]?.values["quarantine"]))).equals(bytes));
  assert.deepEqual(again.stats().days, ["2026-11-26"]);
  assert.equal(again.stats().damages, 1);
  assert.deepEqual(await rowsOf(again, "SELECT span_id FROM spans"), [["000000000000004d"]]);
});

test("a block that goes bad while the store runs takes its file out, and only that", async (t) => {
  const directory = await temporaryDirectory(t);
  const clock = new FakeClock();
  clock.ms -= DAY_MS;
  const first = await openIn(t, directory, clock);
  await first.writer.commitSpans(
    batchOf(
      Array.from({ length: 30_000 }, (_, row) => ({
        spanId: (BigInt(row + 1) * 0x9e37_79b9_7f4a_7c15n) & 0xffff_ffff_ffff_ffffn,
      })),
    ),
  );
  await first.close();
  const path = join(directory, "db", "spans-2026-11-25.duckdb");
  const bytes = await readFile(path);
  // The fifth block of 64 KiB after the three heads holds rows; what is read at the start lies elsewhere.
  const at = 3 * 4096 + 262_144 + 1000;
  assert.ok(at < bytes.length);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
  clock.ms += DAY_MS;
  const damages: ThalwegError[] = [];
  const store = await openIn(t, directory, clock, (damage) => damages.push(damage));
  await store.writer.commitSpans(batchOf([{ spanId: 77n }]));
  if (damages.length === 0) {
    await assert.rejects(
      rowsOf(store, "SELECT max(span_id), max(name), max(start_ns) FROM spans"),
      /query_failed|Corrupt|failed/,
    );
  }
  const until = performance.now() + 10_000;
  while (damages.length === 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(
    damages.map(({ values }) => values["file"]),
    [path],
  );
  assert.deepEqual(await rowsOf(store, "SELECT span_id FROM spans"), [["000000000000004d"]]);
  assert.equal((await store.writer.commitSpans(batchOf([{}]))).spans, 1);
});
