import assert from "node:assert/strict";
import test from "node:test";
import { BodyCollector } from "./body-collector.ts";
import { BodyRoom, ByteBudget } from "./byte-budget.ts";

test("bodies that drip in chunks take memory by what came of them", () => {
  const drips = Array.from({ length: 100 }, () => new BodyCollector(2 ** 26, new BodyRoom(new ByteBudget(2 ** 27))));
  const before = process.memoryUsage().arrayBuffers;
  for (const drip of drips) for (let at = 0; at < 100; at++) drip.add(Buffer.from([at]));
  assert.ok(process.memoryUsage().arrayBuffers - before < 10 * 2 ** 20);
  for (const drip of drips) assert.deepEqual([...drip.take()], [...Array(100).keys()]);
});

test("a body in many chunks comes whole, whatever took them in between", () => {
  const collector = new BodyCollector(2 ** 26, new BodyRoom(new ByteBudget(2 ** 27)));
  const chunks = Array.from({ length: 3_000 }, (_, at) => Buffer.alloc(1_000, at));
  for (const chunk of chunks) assert.equal(collector.add(chunk), undefined);
  assert.ok(collector.take().equals(Buffer.concat(chunks)));
});
