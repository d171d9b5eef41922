import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryShares } from "./memory-shares.ts";

const MIB = 2 ** 20;
const NODE_BYTES = 120 * MIB;

test("the shares of a GiB add up to less than a GiB", () => {
  const shares = memoryShares(1024 * MIB);
  const { duckdbBytes, answerBytes, headBytes, bodiesBytes, scrapeBytes, pendingBytes } = shares;
  const queryBytes = 16 * shares.querySamples + shares.queryHeapBytes + shares.queryAnswerBytes;
  const sum = duckdbBytes + 2 * answerBytes + headBytes + bodiesBytes + scrapeBytes + 1.5 * pendingBytes + queryBytes;
  assert.ok(sum + NODE_BYTES <= 1024 * MIB, `${sum / MIB} MiB`);
});

test("little memory leaves room for one of the largest bodies, much memory reaches the usual limits", () => {
  assert.equal(memoryShares(1).bodiesBytes, 80 * MIB);
  const { duckdbBytes, headBytes, bodiesBytes, pendingBytes, querySamples } = memoryShares(64 * 1024 * MIB);
  assert.deepEqual([duckdbBytes, headBytes, bodiesBytes, pendingBytes], [2048 * MIB, 2048 * MIB, 192 * MIB, 128 * MIB]);
  assert.ok(querySamples >= 50_000_000);
});
