import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { SpanToAppend } from "../model/span-batch-builder.ts";
import { TYPED_ATTRIBUTES } from "../model/sql-tables.ts";
import { batchOf, openIn, rowsOf, SHOP, temporaryDirectory } from "./store-fixture.ts";

const BATCHES = 60;
const ROWS = 40;
/** Columns that a batch has in some of its rows, in all of them, or in none. */
const OPTIONAL: readonly ((at: number) => Partial<SpanToAppend>)[] = [
  (at) => ({ parentSpanId: BigInt(at + 1) << 33n }),
  (at) => ({ duplicateOf: BigInt(at + 1) << 40n }),
  (at) => ({ statusMessage: `message ${at}` }),
  () => ({ linkReason: "one-sight", source: 0 }),
  () => ({ protocol: "http1" }),
  (at) => ({ clientAddr: `10.0.0.${at}`, clientPort: 1 + at }),
  (at) => ({ serverAddr: `a server with a long name ${at}`, serverPort: 65_535 }),
  () => ({ pid: 4_000_000_000 }),
  (at) => ({ weight: 2 + at }),
  () => ({ flags: 0xffff_ffff }),
  (at) => ({ traceState: `a=${at}` }),
  (at) => ({ events: Uint8Array.from({ length: at + 1 }, () => at) }),
  () => ({ links: Uint8Array.of(1, 2, 3) }),
  (at) => ({ attributes: TYPED_ATTRIBUTES.map(({ key, kind }) => ({ key, kind, value: String(at) })) }),
  () => ({
    attributes: [{ key: "repeated", kind: "s", value: "a" } as const, { key: "repeated", kind: "i", value: "1" }],
  }),
];

/** Every column has a value, so that none of its batch stands as a literal. */
const FULL: Partial<SpanToAppend> = { name: "full", ...Object.assign({}, ...OPTIONAL.map((of) => of(7))), weight: 9 };

/** Numbers from 0 to 1, the same in every run. */
function sameRandom(): () => number {
  let state = 5;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** The same batches each time; with `full`, each has one more row. */
async function rowsStored(t: TestContext, full: boolean): Promise<readonly (readonly unknown[])[]> {
  const random = sameRandom();
  const store = await openIn(t, await temporaryDirectory(t));
  const rest = '{"droppedAttributesCount":2}';
  const commits = Array.from({ length: BATCHES }, (_, batch) => {
    const chances = OPTIONAL.map(() => (random() < 0.6 ? 0 : random() < 0.5 ? 1 : random()));
    const spans = Array.from({ length: ROWS }, (_, row) => {
      const own = OPTIONAL.filter((_, at) => random() < (chances[at] ?? 0)).map((of) => of(row));
      return { ...Object.assign({}, ...own), spanId: BigInt(1_000 * batch + row + 1) } satisfies Partial<SpanToAppend>;
    });
    const scope = { name: batch % 2 === 0 ? "scope" : "", version: "", ...(batch % 3 === 0 ? { rest } : {}) };
    const resource = { ...SHOP, instance: batch % 4 === 0 ? "" : "shop-1" };
    return store.writer.commitSpans(
      batchOf(full ? [{ ...FULL, spanId: 1n << 60n }, ...spans] : spans, resource, scope),
    );
  });
  await Promise.all(commits);
  const rows = await rowsOf(store, "SELECT * FROM spans WHERE name <> 'full' ORDER BY span_id");
  assert.equal(rows.length, BATCHES * ROWS);
  return rows;
}

test("columns that stand as one literal in an INSERT are stored as those that are copied", async (t) => {
  const copied = await rowsStored(t, true);
  // One by one: of all together the difference would take minutes to print.
  for (const [at, row] of (await rowsStored(t, false)).entries()) assert.deepEqual(row, copied[at]);
});
