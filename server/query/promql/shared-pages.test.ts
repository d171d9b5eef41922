import assert from "node:assert/strict";
import { test } from "node:test";
import { SampleRoom } from "../../model/sample-room.ts";
import {
  EVERYTHING,
  labels,
  metricDirectory,
  openMetrics,
  random,
  START_MS,
  seriesOf,
} from "../../store/metric-fixture.ts";
import { ChunkStore, packChunks, unpackChunks } from "./chunked-series.ts";
import { KnownLabels, SentLabels } from "./packed-labels.ts";
import { KnownPages } from "./shared-pages.ts";

test("a series that takes more than a page of a room in a block is read by workers", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  const pick = random(3);
  for (const count of [300_000, 300_001, 300_002]) {
    const samples = Array.from({ length: count }, (_, i) => [START_MS + i * 10, Math.sqrt(pick(2 ** 30))] as const);
    await metrics.appendSeries([seriesOf(labels("m", { n: String(count) }), samples)]);
  }
  await metrics.sealAll();
  const room = new SampleRoom();
  const found = await metrics.reader.selectChunks(EVERYTHING, 0, 2 ** 50, { samplesMax: 1e7, seriesMax: 10, room });
  assert.equal(found.labels.length + found.others.length, 3);
  const packed = structuredClone(packChunks(found, 0, found.labels.length, new SentLabels()));
  const known = new KnownLabels();
  known.add(packed);
  assert.ok(packed.columns && packed.pages);
  const store = new ChunkStore(packed.columns, new KnownPages().take(packed.pages));
  for (const one of unpackChunks(packed, store, known)) assert.ok(one.values.length >= 300_000);
  await metrics.close();
});
