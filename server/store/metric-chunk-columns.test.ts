import assert from "node:assert/strict";
import { test } from "node:test";
import { SampleRoom } from "../model/sample-room.ts";
import {
  anyHistogram,
  EVERYTHING,
  labels,
  metricDirectory,
  openMetrics,
  random,
  START_MS,
  seriesOf,
} from "./metric-fixture.ts";

test("what a selection of histograms in blocks reads is bounded by its samples", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  const pick = random(3);
  for (let n = 0; n < 40; n++) {
    const samples = Array.from({ length: 2000 }, (_, i) => [START_MS + i * 1000, anyHistogram(pick)] as const);
    await metrics.appendSeries([seriesOf(labels("h", { n: String(n) }), samples)]);
  }
  await metrics.sealAll();
  let bytes = 0;
  class Counting extends SampleRoom {
    override takeBytes(length: number) {
      bytes += length;
      return super.takeBytes(length);
    }
  }
  const limits = { samplesMax: 100, seriesMax: 1000 };
  await assert.rejects(metrics.reader.select(EVERYTHING, 0, 2 ** 50, { ...limits, room: new Counting() }), {
    code: "query_samples_max",
  });
  await assert.rejects(metrics.reader.selectChunks(EVERYTHING, 0, 2 ** 50, { ...limits, room: new Counting() }), {
    code: "query_samples_max",
  });
  assert.ok(bytes < 3 * 2 ** 20, `${bytes} bytes were read`);
  await metrics.close();
});
