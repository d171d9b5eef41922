import assert from "node:assert/strict";
import { test } from "node:test";
import { logBucketOf } from "./log-histogram.ts";

test("a duration is in the bucket whose bounds hold it", () => {
  const samples = [0, 1, 2, 3, 4, 5, 8, 9, 2 ** 52, 2 ** 53 - 1];
  for (let ns = 1; ns < 2 ** 53; ns = Math.ceil(ns * 1.0137)) samples.push(ns);
  for (let octave = 1; octave < 53; octave++) samples.push(2 ** octave - 1, 2 ** octave, 2 ** octave + 1);
  for (const ns of samples) {
    // Close to a bound that is a power of two the logarithm is rounded across it.
    const wanted = ns <= 1 ? 0 : Number.isInteger(Math.log2(ns)) && ns < 2 ** 49 ? 8 * Math.log2(ns) : undefined;
    const bucket = logBucketOf(ns);
    if (wanted !== undefined) assert.equal(bucket, wanted, String(ns));
    else assert.ok(ns <= 2 ** (bucket / 8) && ns > 2 ** ((bucket - 1) / 8) * (1 - 1e-15), `${ns}: ${bucket}`);
  }
});
