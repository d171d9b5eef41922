import assert from "node:assert/strict";
import { test } from "node:test";
import { SampleRoom } from "../model/sample-room.ts";
import {
  EVERYTHING,
  labels,
  linesOf,
  metricDirectory,
  openMetrics,
  random,
  START_MS,
  seriesOf,
  type TestSample,
} from "./metric-fixture.ts";

const STEP_MS = 15_000;
const SCRAPES = 300;
const FROM_MS = START_MS - SCRAPES * STEP_MS;

test("series that share their times are read as those are that do not, from memory and blocks", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  t.after(() => metrics.close());
  const pick = random(4_711);
  const timesOf = (series: number, i: number): number => {
    const scrapeMs = FROM_MS + i * STEP_MS + 7 * Math.floor(series / 20);
    // Most are of the scrape of their neighbours, some are late now and then, one misses a scrape, one ends early.
    return series % 20 === 13 && i % 50 === 17 ? scrapeMs + 3 : scrapeMs;
  };
  const isMissing = (series: number, i: number) =>
    (series % 20 === 5 && i === 140) || (series % 20 === 8 && i > SCRAPES - 9) || (series % 20 === 15 && i < 20);
  const write = async (from: number, to: number) => {
    for (let series = 0; series < 300; series++) {
      const samples: TestSample[] = [];
      for (let i = from; i < to; i++) {
        if (isMissing(series, i)) continue;
        const ms = timesOf(series, i);
        samples.push(series % 20 === 10 ? [ms, pick(1000), FROM_MS - 1] : [ms, pick(1000) / (1 + (series % 3))]);
      }
      await metrics.appendSeries([seriesOf(labels("m", { series: String(series) }), samples)]);
    }
  };
  const compare = async (what: string) => {
    for (let round = 0; round < 12; round++) {
      const minMs = FROM_MS + pick(SCRAPES) * STEP_MS + pick(20);
      const maxMs = round % 3 === 0 ? START_MS : minMs + pick(200) * STEP_MS;
      const room = new SampleRoom();
      const limits = { samplesMax: 1e9, seriesMax: 1e9, room };
      const shared = await metrics.reader.select(EVERYTHING, minMs, maxMs, limits);
      const own = await metrics.reader.select(EVERYTHING, minMs, maxMs);
      assert.deepEqual(linesOf(shared), linesOf(own), `${what}, round ${round}`);
      // Those of one scrape, or it was not looked at.
      const times = new Set(shared.map(({ timestampsMs }) => `${timestampsMs.byteOffset} of ${timestampsMs.length}`));
      assert.ok(times.size < shared.length / 2 || shared.length < 20, `${times.size} of ${shared.length}`);
      room.release();
    }
  };
  await write(0, 220);
  await compare("memory");
  await metrics.sealAll();
  await compare("blocks");
  await write(220, SCRAPES);
  await compare("both");
});
