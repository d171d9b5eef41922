import assert from "node:assert/strict";
import { test } from "node:test";
import type { Labels } from "../model/series.ts";
import { OutgoingLabels } from "./outgoing-series.ts";
import { plainTarget } from "./remote-write-config.ts";
import { requestsOf } from "./write-batch.ts";

test("exemplars go with samples of their series, however many requests there are", async () => {
  const plain = plainTarget("http://host/write", 2, []);
  const target = { ...plain, sendExemplars: true, queue: { ...plain.queue, samplesPerSend: 4 } };
  const named = (name: string): Labels => [["__name__", name]];
  const [a, b, alone] = [named("a"), named("b"), named("alone")];
  const at = (timestampMs: number) => ({ timestampMs, value: 1, histogram: undefined, startMs: 0 });
  const samples = [1, 2, 3, 4].flatMap((timeMs) => [a, b].map((labels) => ({ labels, sample: at(timeMs) })));
  const exemplars = [b, a, alone, b].map((labels, timestampMs) => ({
    labels,
    exemplar: { labels: [], value: 1, timestampMs },
  }));
  const [requests = []] = await requestsOf(samples, exemplars, {
    target,
    outgoing: new OutgoingLabels(target),
    shards: 1,
    nowMs: 5,
    metadataOf: () => undefined,
    onDrop: () => assert.fail(),
  });
  const shown = requests.map(({ series }) =>
    series.map(({ labels, values, exemplars: own }) => `${labels[0]?.[1]} ${values.length}+${own?.length}`),
  );
  assert.deepEqual(shown, [
    ["a 1+1", "b 1+2"],
    ["a 2+0", "b 2+0"],
    ["a 1+0", "b 1+0", "alone 0+1"],
  ]);
  assert.equal(
    requests.reduce((sum, request) => sum + request.exemplars, 0),
    4,
  );
});
