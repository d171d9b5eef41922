import assert from "node:assert/strict";
import { test } from "node:test";
import { SeenSpans, type SpanIdentities } from "./seen-spans.ts";

function spans(ids: readonly number[], kind = 2, start = 1n): SpanIdentities {
  return {
    source: new Uint8Array(ids.length).fill(2),
    rows: ids.length,
    traceId: BigUint64Array.from(ids.flatMap((id) => [7n, BigInt(id)])),
    spanId: BigUint64Array.from(ids, (id) => BigInt(id) + 1n),
    kind: Uint8Array.from(ids, () => kind),
    startNs: BigInt64Array.from(ids, () => start),
    endNs: BigInt64Array.from(ids, () => start + 5n),
  };
}

function claimed(seen: SeenSpans, batch: SpanIdentities) {
  const claim = seen.claim(batch);
  assert.equal(claim.kind, "claimed");
  if (claim.kind !== "claimed") throw new Error("undecided");
  return claim;
}

test("what was stored is known again, also within one request", () => {
  const seen = new SeenSpans();
  const first = claimed(seen, spans([1, 2, 2, 3]));
  assert.deepEqual([...first.fresh], [0, 1, 3]);
  first.settle(true);
  assert.deepEqual([...claimed(seen, spans([3, 4, 1])).fresh], [1]);
});

test("the other side of a call may share the id, and a span may start again", () => {
  const seen = new SeenSpans();
  claimed(seen, spans([1], 2)).settle(true);
  assert.equal(claimed(seen, spans([1], 3)).fresh.length, 1);
  assert.equal(claimed(seen, spans([1], 2, 9n)).fresh.length, 1);
});

test("a repeat of spans under way waits for their commit, and takes them where it failed", async () => {
  for (const stored of [true, false]) {
    const seen = new SeenSpans();
    const first = claimed(seen, spans([1, 2]));
    const again = seen.claim(spans([2, 3]));
    assert.equal(again.kind, "undecided");
    if (again.kind !== "undecided") return;
    first.settle(stored);
    await again.decided;
    assert.deepEqual([...claimed(seen, spans([2, 3])).fresh], stored ? [1] : [0, 1]);
  }
});

test("no span is taken for another, over many generations", () => {
  const seen = new SeenSpans(5_000);
  for (let from = 0; from < 60_000; from += 500) {
    const ids = Array.from({ length: 500 }, (_, at) => from + at);
    const claim = claimed(seen, spans(ids));
    assert.equal(claim.fresh.length, 500);
    claim.settle(true);
    if (from >= 4_000) assert.equal(claimed(seen, spans(ids.map((id) => id - 4_000))).fresh.length, 0);
  }
  assert.equal(claimed(seen, spans([1])).fresh.length, 1, "what is long past is forgotten");
});
