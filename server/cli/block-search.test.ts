import assert from "node:assert/strict";
import { test } from "node:test";
import { BLOCK_MS, nextBlock } from "./block-search.ts";

/** Starts of all blocks with samples, and how often was asked for them. */
async function found(timesMs: readonly number[], fromMs: number, toMs: number): Promise<[number[], number]> {
  let asked = 0;
  const holds = async (minMs: number, maxMs: number) => {
    asked++;
    assert.ok(minMs <= maxMs && maxMs <= toMs, `${minMs} to ${maxMs}`);
    return timesMs.some((ms) => ms >= minMs && ms <= maxMs);
  };
  const starts: number[] = [];
  for (let ms = await nextBlock(holds, fromMs, toMs); ms !== undefined; ) {
    starts.push(ms);
    ms = await nextBlock(holds, ms + BLOCK_MS, toMs);
  }
  return [starts, asked];
}

test("every block with samples is found, and none without", async () => {
  for (let round = 0; round < 300; round++) {
    const blocks = Array.from({ length: 1 + (round % 40) }, (_, at) => at - 5);
    const full = blocks.filter((block) => (Math.imul(block + 7, round * 2_654_435_761) >>> 28) % 4 === 0);
    const timesMs = full.map((block) => block * BLOCK_MS + (round % 3) * (BLOCK_MS / 2 - 1));
    const toMs = Math.max(...blocks) * BLOCK_MS + (round % 2 === 0 ? BLOCK_MS - 1 : BLOCK_MS - 2);
    const within = full.filter((block, at) => (timesMs[at] ?? 0) <= toMs && block * BLOCK_MS <= toMs);
    const [starts] = await found(timesMs, -5 * BLOCK_MS, toMs);
    assert.deepEqual(
      starts,
      within.map((block) => block * BLOCK_MS),
      `round ${round}`,
    );
  }
});

test("half a century without samples takes tens of questions", async () => {
  const nowMs = 1_795_780_000_000;
  const [starts, asked] = await found([0, nowMs - BLOCK_MS, nowMs], 0, nowMs);
  const last = Math.floor(nowMs / BLOCK_MS) * BLOCK_MS;
  assert.deepEqual(starts, [0, last - BLOCK_MS, last]);
  assert.ok(asked < 50, `${asked} questions`);
});
