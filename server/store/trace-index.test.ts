import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { openDatabase, readRows } from "./database.ts";
import { DayFiles } from "./day-files.ts";
import { temporaryDirectory } from "./store-fixture.ts";
import { TraceIndex } from "./trace-index.ts";

const TRACE = (number: number) => number.toString(16).padStart(32, "0");

test("ranges lead to every commit of a trace, whether indexed, in between or not yet", async (t) => {
  const directory = await temporaryDirectory(t);
  const instance = await openDatabase({
    filesDirectory: directory,
    spillDirectory: join(directory, "tmp"),
    memoryBytesMax: 256 * 2 ** 20,
  });
  t.after(() => instance.closeSync());
  const connection = await instance.connect();
  const files = new DayFiles(directory, join(directory, "quarantine"), connection, assert.fail);
  await files.attachAll();
  const file = await files.fileOf("2026-11-26", 0n, 1);
  const index = new TraceIndex(await instance.connect(), 1000);
  await index.resume(files.attached, "2026-11-26");
  const commits = new Map<string, Set<number>>();
  const commit = async (sequence: number) => {
    // Traces 0 and 1 come with every commit, trace 2 with some, others once.
    const traces = [0, 1, ...(sequence % 5 === 0 ? [2] : []), 1000 + sequence];
    const rows = traces.map((trace) => `(UUID '${TRACE(trace)}', ${sequence})`).join(", ");
    await connection.run(
      `INSERT INTO ${file.alias}.span BY NAME SELECT * FROM (VALUES ${rows}) v(trace_id, commit_sequence)`,
    );
    await connection.run(`INSERT INTO ${file.alias}.ledger VALUES (${sequence}, 0, 100)`);
    for (const trace of traces) commits.set(TRACE(trace), (commits.get(TRACE(trace)) ?? new Set()).add(sequence));
    const traceId = BigUint64Array.from(traces.flatMap((trace) => [0n, BigInt(`0x${TRACE(trace)}`)]));
    index.stored(file, [{ sequence, batch: { rows: 100, traceId } }]);
  };
  const check = async (from: TraceIndex) => {
    for (const [trace, sequences] of commits) {
      const ranges = await from.rangesOf(connection, files.attached, trace);
      for (const sequence of sequences) {
        const times = ranges.filter(({ first, last }) => first <= sequence && sequence <= last).length;
        assert.equal(times, 1, `commit ${sequence} of trace ${trace} is in one range`);
      }
    }
  };
  for (let sequence = 1; sequence <= 145; sequence++) {
    await commit(sequence);
    if (sequence % 7 === 0) await check(index);
  }
  await index.close();
  await check(index);
  const [[blocks]] = (await readRows(connection, `SELECT count(DISTINCT block) FROM ${file.alias}.trace_index`)) as [
    [bigint],
  ];
  assert.ok(blocks >= 10n && blocks <= 14n, `${blocks} blocks`);
  const once = await index.rangesOf(connection, files.attached, TRACE(1007));
  assert.deepEqual(once[0], { alias: file.alias, first: 7, last: 7 });
  assert.ok(once.length <= 2);

  // After the day the rest is indexed too, and nothing is read without need.
  const later = new TraceIndex(await instance.connect(), 1000);
  await later.resume(files.attached, "2026-11-27");
  await later.close();
  await check(later);
  assert.deepEqual(await later.rangesOf(connection, files.attached, TRACE(7)), []);
});
