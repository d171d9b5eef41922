/**
 * A directory that version 4 of the layout wrote, and whose program was killed, is read and written on.
 *
 * `testdata/layout-4` holds its day files: of the first day commits 0 to 5 of `commitOf`, with the block of their traces;
 * of the second commits 6 to 11 in the file, and 12 to 17 in the WAL only.
 */

import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { zstdDecompressSync } from "node:zlib";
import { traceIdToHex } from "../model/hex.ts";
import type { Store } from "./store.ts";
import { batchOf, DAY_MS, FakeClock, openIn, rowsOf, temporaryDirectory } from "./store-fixture.ts";

const WRITTEN = fileURLToPath(import.meta.resolve("./testdata/layout-4"));
const EVERYWHERE = traceIdToHex(1n, 2n);
/** What a start draws anew is left out. */
const ALL_COLUMNS = "SELECT * EXCLUDE (host_id, boot_id) FROM spans ORDER BY span_key";

/** A number as good as drawn, of 64 bits. */
function mixed(number: number): bigint {
  return BigInt.asUintN(64, BigInt(number + 1) * 0x9e37_79b9_7f4a_7c15n);
}

function traceOf(commit: number): [high: bigint, low: bigint] {
  return [mixed(commit), mixed(1000 + commit)];
}

/** Four spans of two traces, of which one comes with every commit. */
async function commitOf(store: Store, commit: number): Promise<void> {
  const spans = [0, 1, 2, 3].map((row) => {
    const [traceIdHigh, traceIdLow] = row % 2 === 0 ? traceOf(commit) : [1n, 2n];
    return {
      traceIdHigh,
      traceIdLow,
      spanId: BigInt(10 * commit + row + 1),
      parentSpanId: row === 0 ? 0n : BigInt(10 * commit + 1),
      attributes: [
        { key: "a.key", kind: "s" as const, value: `value ${commit}` },
        { key: "url.path", kind: "s" as const, value: `/of/${row}` },
      ],
    };
  });
  await store.writer.commitSpans(batchOf(spans));
}

/** A store of the present layout that holds `commits` commits, made on the same days as those of the earlier one. */
async function presentStore(t: TestContext, commits: number): Promise<Store> {
  const clock = new FakeClock();
  const store = await openIn(t, await temporaryDirectory(t), clock);
  for (let commit = 0; commit < commits; commit++) {
    if (commit === 6) clock.ms += DAY_MS;
    await commitOf(store, commit);
  }
  return store;
}

async function assertSame(store: Store, commits: number, present: Store): Promise<void> {
  assert.deepEqual(await rowsOf(store, ALL_COLUMNS), await rowsOf(present, ALL_COLUMNS));
  for (const trace of [EVERYWHERE, ...Array.from({ length: commits }, (_, at) => traceIdToHex(...traceOf(at)))]) {
    const spans = await store.reader.trace(trace, 1000);
    assert.equal(spans.length, trace === EVERYWHERE ? 2 * commits : 2, trace);
    assert.deepEqual(spans, await present.reader.trace(trace, 1000));
  }
}

async function earlierDirectory(t: TestContext): Promise<string> {
  const directory = await temporaryDirectory(t);
  await mkdir(join(directory, "db"), { mode: 0o700 });
  for (const name of await readdir(WRITTEN)) {
    const bytes = zstdDecompressSync(await readFile(join(WRITTEN, name)));
    await writeFile(join(directory, "db", name.replace(/\.zst$/, "")), bytes, { mode: 0o600 });
  }
  return directory;
}

test("a directory of layout 4 with rows in its WAL answers as one of the present layout, and is written on", async (t) => {
  const directory = await earlierDirectory(t);
  const clock = new FakeClock();
  clock.ms += DAY_MS;
  const first = await openIn(t, directory, clock);
  await assertSame(first, 18, await presentStore(t, 18));
  // On the same day rows go on in the file that the earlier version began.
  for (let commit = 18; commit < 24; commit++) await commitOf(first, commit);
  const present = await presentStore(t, 24);
  await assertSame(first, 24, present);
  await first.close();
  const again = await openIn(t, directory, clock);
  await assertSame(again, 24, present);
  await again.close();
  // The last block of the day is one of keys, beside that of whole ids of the day before.
  clock.ms += DAY_MS;
  const later = await openIn(t, directory, clock);
  await assertSame(later, 24, present);
  await later.close();
  const indexed = await openIn(t, directory, clock);
  const blocks = "SELECT count(DISTINCT block), count(*) FROM";
  assert.deepEqual(await rowsOf(indexed, `${blocks} d20261126.trace_index`), [["1", "7"]]);
  assert.deepEqual(await rowsOf(indexed, `${blocks} d20261126.trace_key_index`), [["0", "0"]]);
  assert.deepEqual(await rowsOf(indexed, `${blocks} d20261127.trace_key_index`), [["1", "19"]]);
  await assertSame(indexed, 24, present);
  assert.equal(await indexed.compactNext(), "2026-11-26");
  assert.equal(await indexed.compactNext(), "2026-11-27");
  await assertSame(indexed, 24, present);
  const stored = (file: string) =>
    `SELECT count(*) FROM duckdb_columns() WHERE database_name = '${file}' AND column_name = 'tb'`;
  assert.deepEqual(await rowsOf(indexed, stored("d20261127c")), [["0"]]);
});
