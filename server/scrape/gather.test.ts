import assert from "node:assert/strict";
import { test } from "node:test";
import { BodyBlocks, type ByteRoom } from "../platform/body-blocks.ts";
import { Gatherer } from "./gather.ts";
import { TurnQueue } from "./read-answer.ts";
import { readScrapeConfig } from "./scrape-config.ts";

const MIB = 2 ** 20;
const CLOCK = { monotonicMs: () => performance.now() };

class Room implements ByteRoom {
  used = 0;

  take(bytes: number): boolean {
    if (this.used + bytes > 32 * MIB) return false;
    this.used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.used -= bytes;
  }
}

function gathering(config = "") {
  const outcome = readScrapeConfig("/a.yml", `scrape_configs:\n- job_name: a\n${config}`);
  if (outcome.kind === "refused") throw new Error(outcome.reasons.join("\n"));
  const [job] = outcome.jobs;
  assert.ok(job !== undefined);
  const room = new Room();
  const gatherer = new Gatherer(new TurnQueue(CLOCK), room);
  const gather = async (bytes: Buffer | string, contentType = "text/plain") => {
    const body = new BodyBlocks(room);
    for (let at = 0, all = Buffer.from(bytes); at < all.length; at += 50_000) body.add(all.subarray(at, at + 50_000));
    const found = await gatherer.gather({ contentType, body }, job, {
      labels: [["job", "a"]],
      timeMs: 7,
      histograms: job.histograms,
    });
    body.release();
    return found;
  };
  return { gather, room };
}

test("an answer over many blocks is gathered whole, and its series are known the next time", async () => {
  const { gather, room } = gathering();
  const lines = Array.from({ length: 20_000 }, (_, at) => `a{b="über ${at}"} ${at}\n`).join("");
  for (const added of [20_000, 0]) {
    const outcome = await gather(lines);
    assert.ok(outcome.kind === "gathered");
    const { series, heldBytes } = outcome.gathered;
    assert.equal(outcome.gathered.added, added);
    assert.equal(series.length, 20_000);
    assert.deepEqual(series[12_345]?.labels, [
      ["__name__", "a"],
      ["b", "über 12345"],
      ["job", "a"],
    ]);
    assert.deepEqual([series[12_345]?.values[0], series[12_345]?.timestampsMs[0]], [12_345, 7]);
    assert.ok(heldBytes > 2 * MIB && room.used === heldBytes, "its samples hold room until they are stored");
    room.give(heldBytes);
  }
});

test("samples without end fail the scrape before they fill the memory, and give back their room", async () => {
  const { gather, room } = gathering();
  const outcome = await gather("a 1 1\n".repeat(MIB));
  assert.ok(outcome.kind === "failed");
  assert.match(outcome.reason, /no room for the samples/);
  assert.ok(outcome.kept < 65_536);
  assert.equal(room.used, 0);
  const wrong = await gather("a 1\nb\n");
  assert.equal(wrong.kind, "failed");
  assert.equal(room.used, 0);
});

test("no bomb holds the loop up for long", async () => {
  const { gather, room } = gathering();
  const PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
  const family = (part: readonly number[], times: number) => {
    const metrics = Buffer.alloc(part.length * times, Buffer.from(part));
    const length = metrics.length + 3;
    const head = [(length & 127) | 128, ((length >> 7) & 127) | 128, ((length >> 14) & 127) | 128, length >> 21];
    return Buffer.concat([Buffer.from([...head, 10, 1, 97]), metrics]);
  };
  const bombs: [string, Buffer | string][] = [
    ["text/plain", `a{${'b="c",'.repeat(MIB)}} 1\n`],
    ["text/plain", `a{b="${"c".repeat(20 * MIB)}"} 1\n`],
    ["text/plain", `a ${"1".repeat(MIB / 2)}! 1\n`],
    ["text/plain", `a{b="${'c\n\\"'.repeat(4 * MIB)}`],
    ["text/plain", "a 1\n".repeat(MIB)],
    ["application/openmetrics-text", "# HELP a b\n".repeat(MIB / 4)],
    [PROTOBUF, family([34, 0], 200_000)],
    [PROTOBUF, Buffer.alloc(MIB)],
  ];
  for (const [at, [contentType, bytes]] of bombs.entries()) {
    let worstUs = 0;
    let before = process.threadCpuUsage();
    const timer = setInterval(() => {
      const { user, system } = process.threadCpuUsage(before);
      worstUs = Math.max(worstUs, user + system);
      before = process.threadCpuUsage();
    }, 0);
    const outcome = await gather(bytes, contentType);
    clearInterval(timer);
    if (outcome.kind === "gathered") room.give(outcome.gathered.heldBytes);
    assert.equal(room.used, 0, String(at));
    // Some milliseconds; what is read in one go takes hundreds.
    assert.ok(worstUs < 150_000, `bomb ${at} held the loop up for ${worstUs / 1_000} ms`);
  }
});

test("an exemplar without a time is told once, one with a time always", async () => {
  const { gather, room } = gathering();
  const counts: (number | undefined)[] = [];
  for (const id of ["x", "x", "y"]) {
    const text = `# TYPE a counter\na_total 1 # {id="${id}"} 2\n# TYPE b counter\nb_total 1 # {id="x"} 2 3\n# EOF\n`;
    const outcome = await gather(text, "application/openmetrics-text");
    assert.ok(outcome.kind === "gathered");
    counts.push(...outcome.gathered.series.map(({ exemplars }) => exemplars?.length));
    room.give(outcome.gathered.heldBytes);
  }
  assert.deepEqual(counts, [1, 1, undefined, 1, 1, 1]);
});

test("native histograms are made as coarse as the limits of the job ask", async () => {
  const PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
  // Schema 3, eight buckets of one observation each from index 1 on: (1, 2] in one bucket of schema 0.
  const histogram = Buffer.from([8, 8, 40, 6, 98, 4, 8, 2, 16, 8, 106, 8, 2, 0, 0, 0, 0, 0, 0, 0]);
  const metric = Buffer.concat([Buffer.from([58, histogram.length]), histogram]);
  const family = Buffer.concat([Buffer.from([10, 1, 97, 24, 4, 34, metric.length]), metric]);
  const answer = Buffer.concat([Buffer.from([family.length]), family]);
  const schemaOf = async (config: string) => {
    const { gather } = gathering(`  scrape_native_histograms: true\n${config}`);
    const outcome = await gather(answer, PROTOBUF);
    if (outcome.kind === "failed") return outcome.reason;
    const [found] = outcome.gathered.series[0]?.histograms ?? [];
    return `${found?.schema} ${found?.positiveCounts} ${found?.count}`;
  };
  assert.equal(await schemaOf(""), "3 1,1,1,1,1,1,1,1 8");
  assert.equal(await schemaOf("  native_histogram_bucket_limit: 8\n"), "3 1,1,1,1,1,1,1,1 8");
  assert.equal(await schemaOf("  native_histogram_bucket_limit: 3\n"), "1 4,4 8");
  assert.equal(await schemaOf("  native_histogram_min_bucket_factor: 1.4\n"), "1 4,4 8");
  assert.equal(
    await schemaOf("  native_histogram_min_bucket_factor: 1.9\n  native_histogram_bucket_limit: 1\n"),
    "0 8 8",
  );
  // From index -1 on: what is below 1 and what is above are never in one bucket.
  answer[answer.indexOf(Buffer.from([98, 4, 8])) + 3] = 1;
  assert.equal(await schemaOf("  native_histogram_bucket_limit: 1\n"), "histogram bucket limit exceeded");
});
