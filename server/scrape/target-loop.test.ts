import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { SeriesToAppend } from "../model/series.ts";
import { BodyBlocks, type ByteRoom } from "../platform/body-blocks.ts";
import type { RemoteWrite } from "../wire/remote-write.ts";
import { TurnQueue } from "./read-answer.ts";
import { readScrapeConfig } from "./scrape-config.ts";
import type { ScrapeJob } from "./scrape-job.ts";
import { type TargetSpec, targetsOf } from "./target.ts";
import { TargetLoop } from "./target-loop.ts";

const ROOM: ByteRoom = { take: () => true, give: () => {} };
const INTERVAL_MS = 10_000;

function jobOf(more = ""): { job: ScrapeJob; target: TargetSpec } {
  const text = `scrape_configs:\n- job_name: a\n  scrape_interval: 10s\n  static_configs: [{targets: ["h:1"]}]\n${more}`;
  const outcome = readScrapeConfig("/a.yml", text);
  if (outcome.kind === "refused") throw new Error(outcome.reasons.join("\n"));
  const [job] = outcome.jobs;
  const [discovery] = job?.discovery ?? [];
  assert.ok(job !== undefined && discovery?.kind === "static");
  const [made] = targetsOf(job, discovery.group);
  assert.ok(made?.kind === "target");
  return { job, target: made.target };
}

/** A loop over answers of the test's, at times of the test's. */
function loopOf(answerOf: () => Promise<string>) {
  let nowMs = 1e12;
  let turnMs = 0;
  const clock = { nowMs: () => nowMs, nowUnixNano: () => BigInt(nowMs) * 1_000_000n, monotonicMs: () => nowMs };
  const writes: RemoteWrite[] = [];
  const { job, target } = jobOf();
  const loop = new TargetLoop(job, target, {
    clock,
    fetch: async () => {
      const body = new BodyBlocks();
      body.add(Buffer.from(await answerOf()));
      return { contentType: "text/plain", body };
    },
    // Each turn is as short as one may be.
    turns: new TurnQueue({ monotonicMs: () => (turnMs += 10) }),
    room: ROOM,
    store: async (write) => void writes.push(write),
    onScrape: () => {},
  });
  return { loop, target, writes, pass: (ms: number) => (nowMs += ms) };
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await setImmediate();
}

test("a target that comes back in the middle of its scrape is scraped once an interval, as before", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let fetches = 0;
  let answer = (_: string) => {};
  const { loop, writes, pass } = loopOf(() => {
    fetches++;
    return fetches > 1 ? Promise.resolve("a 1\n") : new Promise((resolve) => (answer = resolve));
  });
  const tick = async (ms: number) => {
    pass(ms);
    t.mock.timers.tick(ms);
    await settle();
  };
  loop.start();
  await tick(INTERVAL_MS);
  assert.equal(fetches, 1);
  loop.retire(() => assert.fail("it came back"));
  loop.start();
  answer("a 1\n");
  await settle();
  for (let scrape = 1; scrape <= 5; scrape++) {
    await tick(INTERVAL_MS);
    assert.equal(fetches, 1 + scrape);
  }
  assert.equal(writes.length, 6);
  await loop.stop();
});

test("rules that change while an answer is read hold for all of the next one", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const lines = Array.from({ length: 5_000 }, (_, at) => `a{b="${at}"} 1\n`).join("");
  const { loop, target, writes, pass } = loopOf(async () => lines);
  const rule = "  metric_relabel_configs: [{target_label: rule, replacement: new}]\n";
  const scrape = async (meanwhile: () => void) => {
    const before = writes.length;
    pass(INTERVAL_MS);
    t.mock.timers.tick(INTERVAL_MS);
    for (let turn = 0; writes.length === before; turn++) {
      await setImmediate();
      if (turn === 5) meanwhile();
    }
    await settle();
    return (writes.at(-1)?.series ?? []).filter(({ values }) => !Number.isNaN(values[0])).slice(0, 5_000);
  };
  const hasRule = ({ labels }: SeriesToAppend) => labels.some(([name]) => name === "rule");
  loop.start();
  assert.equal((await scrape(() => loop.update(jobOf(rule).job, target))).filter(hasRule).length, 0);
  assert.equal((await scrape(() => {})).filter(hasRule).length, 5_000);
  await loop.stop();
});
