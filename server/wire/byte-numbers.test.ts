import assert from "node:assert/strict";
import test from "node:test";
import { ByteNumbers } from "./byte-numbers.ts";

const ROUNDS = 40;
const TRIES = 5;

/** Milliseconds that finding all of these names takes, at best. */
function findingTakes(names: readonly string[]): number {
  const bytes = new Uint8Array(Buffer.from(names.join("")));
  const view = new DataView(bytes.buffer);
  const numbers = new ByteNumbers();
  const findAll = () => {
    let start = 0;
    for (const { length } of names) {
      numbers.find(bytes, view, start, start + length);
      start += length;
    }
  };
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const startMs = performance.now();
    for (let round = 0; round < ROUNDS; round++) findAll();
    best = Math.min(best, performance.now() - startMs);
  }
  assert.equal(numbers.count, names.length);
  return best;
}

/** `start` followed by 0 to `count` less one, all of one length. */
function numbered(start: string, count: number): string[] {
  const digits = String(count - 1).length;
  return Array.from({ length: count }, (_, at) => start + String(at).padStart(digits, "0"));
}

test("numbered names are found as fast whatever their length", () => {
  const usual = findingTakes(numbered("GET /api/items/", 1_000));
  for (const start of ["GET /api/item/1", "GET /api/item", "GET /api/it", "GET /api/orders"]) {
    const took = findingTakes(numbered(start, 1_000));
    assert.ok(took < 3 * usual, `${start}: ${took.toFixed(1)} ms, ${usual.toFixed(1)} ms for others`);
  }
});
