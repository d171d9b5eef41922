import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ByteWriter } from "../model/byte-writer.ts";
import { type BlockEntry, packDirectory, readEntry, writeEntry } from "./metric-block-format.ts";
import { allOf, labels, metricDirectory, openMetrics, START_MS, seriesOf } from "./metric-fixture.ts";

/** A block of version 1: `a{x="1"}` with three samples, `b` with one. */
const OLD_BLOCK =
  "VFdCSwEAAAABA4D4tpj4ZrHqAR8AgPi2mPhmz421mPhmAgwOYvA/YvR/CFVVVVVVVdF/AQGK+LaY+GYACgCK+LaY+GYEAA2+M5e0UfNYsrsV3s0135DEAA" +
  "AAAAAAIEArAAAAKL5msgAA4G0YvHlCABAzdRi8eUIDAAAAAQAAAFVVVVVVVdU/vwL5ld/r98SZVa9FxJ16eQAAAAAAgElAFAAAADY4pmYAUOBtGLx5QgBQ4G0Y" +
  "vHlCAQAAAAEAAAAAAAAAAAAcwGPliI/PS8xNjY9nTGSsYDRkTGJiYGRiZmRgAQABAQAAAAAAAPB/AAEAAOBtGLx5QgAQM3UYvHlCAgRHlFm5n8cBHBpVN89/KwAA" +
  "ACruj6JUV0JL";
/** The same of version 2. */
const OLD_BLOCK_2 =
  "VFdCSwIAAAABBoD4tpj4ZrHqASSAgPi2mPhmQbDqAQIOAAAAAAAA8D83AAAAAFVVVVUAAKiqqi4BAwmEivi2mPhmIA2+M5e0UfNYsrsV3s0135DECAAA" +
  "AAAAAAEwAAAAlSejzgAAAAAAAAAAVVVVVVVV1T+/AvmV3+v3xJlVr0XEnXp5OAAAAAAAAAEMAAAAWDYM4gUAAAAsdQAAAAAAAAAAHMBj5YiPz0vMTY2P" +
  "Z0xkrGA0ZExiYmBkYmZkYAEAAQEAAAAAAADwfwABAADgbRi8eUIAEDN1GLx5QgIERPIndZ2kARwaVTfPfzAsAAAAQDhm+lRXQks=";
const OLD_SAMPLES = [
  `[["__name__","a"],["x","1"]] ${START_MS}@0=3ff00000:0 ${START_MS + 15_000}@0=40040000:0 ${START_MS + 30_001}@0=3fd55555:55555555`,
  `[["__name__","b"]] ${START_MS + 5}@0=c01c0000:0`,
];

for (const [version, block] of [OLD_BLOCK, OLD_BLOCK_2].entries()) {
  test(`a block of version ${version + 1} is read, its newest samples are known, and it is joined with others`, (t) =>
    readOld(t, block));
}

async function readOld(t: TestContext, block: string): Promise<void> {
  const directory = await metricDirectory(t);
  await mkdir(join(directory, "blocks"));
  const name = join(directory, "blocks", "block-00000001-00000001.metrics");
  await writeFile(name, Buffer.from(block, "base64"));
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
}

test("a directory tells what was gathered, in each layout", () => {
  const minMs = START_MS;
  const entry = (offset: number, bytes: number, fromMs: number, toMs: number, kind: number) => ({
    offset,
    bytes,
    sum: 0xfedc_ba98,
    minMs: fromMs,
    maxMs: toMs,
    newest: { ms: toMs, kind, identity: -0.1 },
  });
  const ok = (entries: readonly BlockEntry[], entryBytes: number) => {
    const out = new ByteWriter();
    for (const one of entries) writeEntry(out, "0123456789abcdef", one);
    const maxMs = Math.max(...entries.map((one) => one.maxMs));
    const { directory, layout } = packDirectory(out.take(), { minMs, maxMs });
    assert.equal(layout.entryBytes, entryBytes);
    assert.deepEqual(
      entries.map((_, place) => readEntry(directory, place, layout)),
      entries,
    );
  };
  const spanMs = 2 ** 24 - 1;
  const first = entry(8, 2 ** 20 - 1, minMs, minMs + 7, 6);
  ok([first, entry(2 ** 32 - 1, 1, minMs + spanMs - 1, minMs + spanMs, 0)], 41);
  ok([first, entry(9, 1, minMs + spanMs, minMs + spanMs, 3)], 41);
  ok([first, entry(9, 1, minMs + 1, minMs + spanMs + 1, 1)], 48);
  ok([first, entry(2 ** 32, 1, minMs + 1, minMs + 2, 1)], 48);
  ok([first, entry(9, 2 ** 20, minMs + 1, minMs + 2, 1)], 48);
  ok([first, entry(9, 1, minMs + 1, minMs + 2 ** 32, 1)], 64);
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
