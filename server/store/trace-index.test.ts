import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openDatabase, readRows } from "./database.ts";
import { DayFiles } from "./day-files.ts";
import { temporaryDirectory } from "./store-fixture.ts";
import { TraceIndex } from "./trace-index.ts";

const TRACE = (number: number) => number.toString(16).padStart(32, "0");

/** Another trace that the index keeps under the same 32 bits. */
function twinOf(trace: string): string {
  const last = Number.parseInt(trace.slice(-8), 16) ^ 0x7000_0001;
  return `70000001${trace.slice(8, 24)}${last.toString(16).padStart(8, "0")}`;
}

/** Room for the traces of all blocks, of some, of none. */
for (const knownMax of [10_000, 200, 0]) {
  test(`ranges lead to every commit of a trace, indexed or not, ${knownMax} known`, (t) => rangesLead(t, knownMax));
}

/** A day file, and an index that takes up what is in it: nothing. */
async function emptyIndex(t: TestContext, knownMax?: number) {
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
  const index = new TraceIndex(await instance.connect(), 1000, knownMax);
  await index.resume(files.attached, "2026-11-26");
  return { instance, connection, files, file, index };
}

async function rangesLead(t: TestContext, knownMax: number): Promise<void> {
  const { instance, connection, files, file, index } = await emptyIndex(t, knownMax);
  const commits = new Map<string, Set<number>>();
  const commit = async (sequence: number) => {
    // Traces 0 and 1 come with every commit, trace 2 with some, others once; some have the key of an earlier one.
    const numbers = [0, 1, ...(sequence % 5 === 0 ? [2] : []), 1000 + sequence];
    const traces = [...numbers.map(TRACE), ...(sequence % 4 === 0 ? [twinOf(TRACE(1000 + sequence - 2))] : [])];
    const rows = traces.map((trace) => `(UUID '${trace}', ${sequence})`).join(", ");
    await connection.run(
      `INSERT INTO ${file.alias}.span BY NAME SELECT * FROM (VALUES ${rows}) v(trace_id, commit_sequence)`,
    );
    await connection.run(`INSERT INTO ${file.alias}.ledger VALUES (${sequence}, 0, 100)`);
    for (const trace of traces) commits.set(trace, (commits.get(trace) ?? new Set()).add(sequence));
    const traceId = BigUint64Array.from(
      traces.flatMap((trace) => [BigInt(`0x${trace.slice(0, 16)}`), BigInt(`0x${trace.slice(16)}`)]),
    );
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
  const [[blocks]] = (await readRows(
    connection,
    `SELECT count(DISTINCT block) FROM ${file.alias}.trace_key_index`,
  )) as [[bigint]];
  assert.ok(blocks >= 10n && blocks <= 14n, `${blocks} blocks`);
  const once = await index.rangesOf(connection, files.attached, TRACE(1007));
  assert.deepEqual(once[0], { alias: file.alias, first: 7, last: 7 });
  assert.ok(once.length <= 2);

  // On the same day another start knows the newest blocks, and asks for none of them.
  const again = new TraceIndex(await instance.connect(), 1000, knownMax);
  await again.resume(files.attached, "2026-11-26");
  await check(again);
  await again.close();
  await check(again);
  const closed = await instance.connect();
  closed.disconnectSync();
  const unasked = again.rangesOf(closed, files.attached, TRACE(1007));
  if (knownMax === 10_000) assert.deepEqual(await unasked, [{ alias: file.alias, first: 7, last: 7 }]);
  else await assert.rejects(unasked);

  // After the day the rest is indexed too, and nothing is read without need.
  const later = new TraceIndex(await instance.connect(), 1000, knownMax);
  await later.resume(files.attached, "2026-11-27");
  await later.close();
  await check(later);
  assert.deepEqual(await later.rangesOf(connection, files.attached, TRACE(7)), []);
}

test("a trace of many commits is read from few ranges, apart where the most lies between them", async (t) => {
  const { connection, files, file, index } = await emptyIndex(t);
  const traceId = BigUint64Array.of(0n, 5n);
  const sequences = [0, 1000, 2000, 3000].flatMap((from) => [1, 3, 5, 7].map((at) => from + at));
  for (const sequence of sequences) index.stored(file, [{ sequence, batch: { rows: 1, traceId } }]);
  const ranges = await index.rangesOf(connection, files.attached, TRACE(5));
  assert.ok(ranges.length <= 8, `${ranges.length} ranges`);
  for (const sequence of sequences)
    assert.equal(ranges.filter(({ first, last }) => first <= sequence && sequence <= last).length, 1);
  for (const { first, last } of ranges) assert.ok(last - first < 10, `${first} to ${last}`);
  await index.close();
});
