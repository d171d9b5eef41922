import assert from "node:assert/strict";
import { test } from "node:test";
import { BodyBlocks } from "../platform/body-blocks.ts";
import type { ExposedSample, ExpositionSink } from "../wire/exposition.ts";
import { readText, TurnQueue } from "./read-answer.ts";

const MIB = 2 ** 20;

test("a line over many blocks is put together once, and one that is too long not at all", async (context) => {
  const concat = context.mock.method(Buffer, "concat");
  const samples: string[] = [];
  const sink: ExpositionSink = { describe: () => {}, sample: (sample: ExposedSample) => samples.push(sample.key) };
  const read = async (text: string) => {
    const body = new BodyBlocks();
    body.add(Buffer.from(text));
    concat.mock.resetCalls();
    const turns = new TurnQueue({ monotonicMs: () => performance.now() });
    await readText(body, { openMetrics: false, sink, turns }).finally(() => body.release());
    return concat.mock.calls.reduce((sum, { result }) => sum + (result?.length ?? 0), 0);
  };
  const line = `a{b="${"c".repeat(MIB - 100)}"} 1\n`;
  assert.ok((await read(`${line}b 1\n`)) < 1.1 * MIB);
  assert.equal(samples.length, 2);
  await assert.rejects(read(`a{b="${"c".repeat(20 * MIB)}"} 1\n`), /a line has more than 1048576 characters/);
  assert.equal(concat.mock.callCount(), 0);
});
