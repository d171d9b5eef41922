import assert from "node:assert/strict";
import { test } from "node:test";
import { DrainCadence } from "./drain-cadence.ts";

const RING_BYTES = 1 << 20;

function cadence() {
  const clock = { ms: 1_000 };
  return { clock, of: new DrainCadence(RING_BYTES, () => clock.ms) };
}

test("drains come every 10 ms, every 20 once nothing came or went, at once while the ring is an eighth full", () => {
  const { of } = cadence();
  assert.equal(of.nextMs, 10);
  for (let drain = 0; drain < 20; drain++) of.ended(false);
  assert.equal(of.nextMs, 10);
  of.ended(false);
  assert.equal(of.nextMs, 20);
  of.found(RING_BYTES / 8 + 1);
  assert.deepEqual([of.isBusy, of.nextMs], [true, 1]);
  of.found(RING_BYTES / 8);
  assert.deepEqual([of.isBusy, of.nextMs], [false, 20]);
  of.ended(true);
  assert.equal(of.nextMs, 10);
});

test("few calls wait until the next drain would make it more than 40 ms, many do not", () => {
  const { clock, of } = cadence();
  assert.equal(of.mayWait(1), false, "nothing was read yet");
  of.read();
  clock.ms += 34;
  assert.equal(of.mayWait(RING_BYTES / 16), true);
  assert.equal(of.mayWait(RING_BYTES / 16 + 1), false);
  clock.ms += 1;
  assert.equal(of.mayWait(1), false);
});
