import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { allOf, labels, metricDirectory, openMetrics, START_MS, seriesOf } from "./metric-fixture.ts";

/** A block of version 1: `a{x="1"}` with three samples, `b` with one. */
const OLD_BLOCK =
  "VFdCSwEAAAABA4D4tpj4ZrHqAR8AgPi2mPhmz421mPhmAgwOYvA/YvR/CFVVVVVVVdF/AQGK+LaY+GYACgCK+LaY+GYEAA2+M5e0UfNYsrsV3s0135DEAA" +
  "AAAAAAIEArAAAAKL5msgAA4G0YvHlCABAzdRi8eUIDAAAAAQAAAFVVVVVVVdU/vwL5ld/r98SZVa9FxJ16eQAAAAAAgElAFAAAADY4pmYAUOBtGLx5QgBQ4G0Y" +
  "vHlCAQAAAAEAAAAAAAAAAAAcwGPliI/PS8xNjY9nTGSsYDRkTGJiYGRiZmRgAQABAQAAAAAAAPB/AAEAAOBtGLx5QgAQM3UYvHlCAgRHlFm5n8cBHBpVN89/KwAA" +
  "ACruj6JUV0JL";
const OLD_SAMPLES = [
  `[["__name__","a"],["x","1"]] ${START_MS}@0=3ff00000:0 ${START_MS + 15_000}@0=40040000:0 ${START_MS + 30_001}@0=3fd55555:55555555`,
  `[["__name__","b"]] ${START_MS + 5}@0=c01c0000:0`,
];

test("a block of version 1 is read, its newest samples are known, and it is joined with others", async (t) => {
  const directory = await metricDirectory(t);
  await mkdir(join(directory, "blocks"));
  const name = join(directory, "blocks", "block-00000001-00000001.metrics");
  await writeFile(name, Buffer.from(OLD_BLOCK, "base64"));
  const metrics = await openMetrics(directory);
  assert.deepEqual(await allOf(metrics), OLD_SAMPLES);
  const refused = await metrics.appendSeries([seriesOf(labels("b"), [[START_MS + 5, 8]])]);
  assert.deepEqual([...refused.refused], [["duplicate", 1]]);
  for (let i = 1; i <= 8; i++) {
    await metrics.appendSeries([seriesOf(labels("b"), [[START_MS + 15_000 * i, i]])]);
    await metrics.sealAll();
  }
  // Blocks are joined in the background, and a store that closes does not wait for it.
  while (metrics.stats().joins === 0) await sleep(5);
  await metrics.close();
  const reopened = await openMetrics(directory);
  assert.equal((await allOf(reopened))[0], OLD_SAMPLES[0]);
  await reopened.close();
});

test("a block whose samples lie years apart keeps their times", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { retentionMs: 1e12 });
  await metrics.appendSeries([seriesOf(labels("a"), [[1, 1]]), seriesOf(labels("b"), [[START_MS, 2]])]);
  const before = await allOf(metrics);
  await metrics.sealAll();
  await metrics.close();
  const reopened = await openMetrics(directory, { retentionMs: 1e12 });
  assert.deepEqual(await allOf(reopened), before);
  await reopened.close();
});
