import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import type { Matcher, SeriesSamples } from "../model/series.ts";
import type { NumbersSelection, SelectLimits } from "../store/reader.ts";
import type { InstantRequest, PromqlDoor, RangeRequest, RenderedAnswer } from "./doors.ts";
import { openPromqlDoor, type PromqlDoorOptions, type QueryReport } from "./promql-door.ts";
import type { QueryReader } from "./query-feed.ts";

const TIME_MS = 1_700_000_000_000;

/** As many series of one float as there are, and none of anything else. */
class Floats implements QueryReader {
  count = 5;
  pad = "";
  error: Error | undefined;

  /** A sample each ten seconds. */
  async select(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<SeriesSamples[]> {
    if (matchers[0]?.value === "none") return [];
    const first = Math.ceil(minMs / 10_000);
    const length = Math.floor(maxMs / 10_000) - first + 1;
    const timestampsMs = Float64Array.from({ length }, (_, i) => 10_000 * (first + i));
    return this.#labels(matchers).map((labels, i) => {
      const values = timestampsMs.map((ms) => (ms / 10_000) * (i + 0.1));
      return { labels, timestampsMs, values, histograms: undefined, startsMs: undefined };
    });
  }

  async selectNewest(matchers: readonly Matcher[], _min: number, _max: number, limits?: Omit<SelectLimits, "source">) {
    const labels = this.#labels(matchers);
    limits?.signal?.throwIfAborted();
    const timestampsMs = new Float64Array(labels.length).fill(TIME_MS);
    return { labels, timestampsMs, values: timestampsMs.map((_, i) => i), others: [] };
  }

  async selectNumbers({ matchers, floats }: NumbersSelection) {
    const labels = this.#labels(matchers);
    assert.ok(floats.read(Float64Array.of(TIME_MS - 10_000, TIME_MS), Float64Array.of(1, 2), 0, 2));
    return {
      labels,
      values: new Float64Array(labels.length).fill(floats.result),
      made: [],
      samples: 2 * labels.length,
      others: [],
    };
  }

  #labels(matchers: readonly Matcher[]) {
    if (this.error !== undefined) throw this.error;
    const name = matchers[0]?.value ?? "";
    return Array.from({ length: this.count }, (_, i) => [
      ["__name__", name] as const,
      ["n", `${this.pad}${i}`] as const,
    ]);
  }
}

interface Asked {
  readonly door: PromqlDoor;
  readonly reader: Floats;
  /** Texts that went to a worker. */
  readonly begun: string[];
  readonly reports: QueryReport[];
}

async function withDoor(run: (asked: Asked) => Promise<void>, options: Partial<PromqlDoorOptions> = {}): Promise<void> {
  const reader = new Floats();
  const begun: string[] = [];
  const reports: QueryReport[] = [];
  const door = openPromqlDoor({
    reader,
    // However busy the machine is, nothing takes long.
    clock: { monotonicMs: () => 0 },
    onBegin: (_, text) => begun.push(text),
    onAnswer: (report) => reports.push(report),
    onWorkerFailure: () => {},
    ...options,
  });
  try {
    await run({ door, reader, begun, reports });
  } finally {
    await door.close();
  }
}

/** Asks until it is no longer for a worker. */
async function learn({ door, begun }: Asked, query: string, ask = instant): Promise<void> {
  for (let i = 0; i < 500; i++) {
    const before = begun.length;
    await ask(door, query);
    await sleep(10);
    if (begun.length === before) return;
  }
  throw new Error(`${query} still goes to a worker`);
}

function instant(door: PromqlDoor, query: string, more: Partial<InstantRequest> = {}): Promise<RenderedAnswer> {
  const shared = { timeoutMs: 60_000, seriesMax: 1e9, warnings: [], stats: "none", explain: false } as const;
  return door.instant({ query, timeMs: TIME_MS, ...shared, ...more });
}

/** Ten steps, unless more is asked for. */
function range(door: PromqlDoor, query: string, more: Partial<RangeRequest> = {}): Promise<RenderedAnswer> {
  const shared = { timeoutMs: 60_000, seriesMax: 1e9, warnings: [], stats: "none", explain: false } as const;
  return door.range({ query, startMs: TIME_MS - 540_000, endMs: TIME_MS, stepMs: 60_000, ...shared, ...more });
}

const text = ({ body }: RenderedAnswer) => new TextDecoder().decode(body);

test("a small query that came before is answered without a worker, and as a worker answers it", async () => {
  await withDoor(async (asked) => {
    const { door, begun, reports } = asked;
    for (const query of [
      "m",
      "sum by (n) (rate(m[5m])) / on (n) group_left m",
      "1 + 1",
      "histogram_quantile(0.5, m)",
      "absent(none > 100)",
      "m + on () group_left () m",
    ]) {
      const first = await instant(door, query, { warnings: ["careful"] });
      await learn(asked, query);
      const before = begun.length;
      const again = await instant(door, query, { warnings: ["careful"] });
      assert.equal(begun.length, before, query);
      assert.equal(text(again), text(first), query);
      assert.equal(again.status, first.status);
      assert.equal(reports.at(-1)?.query.text, query);
      assert.equal(reports.at(-1)?.answerBytes, first.body.length);
    }
    assert.match(text(await instant(door, "m", { seriesMax: 2 })), /"results truncated due to limit"/);
  });
});

test("a small range query is answered without a worker once one of its length and step came before", async () => {
  await withDoor(async (asked) => {
    const { door, begun } = asked;
    for (const query of [
      "m",
      "sum by (n) (rate(m[2m])) / on (n) group_left m @ end()",
      "vector(time())",
      "m offset 1m",
    ]) {
      const first = await range(door, query);
      assert.match(text(first), /"values":\[\[/);
      await learn(asked, query, range);
      begun.length = 0;
      assert.equal(text(await range(door, query)), text(first), query);
      assert.deepEqual(begun, []);
      await range(door, query, { stepMs: 30_000 });
      await range(door, query, { startMs: TIME_MS - 600_000 });
      await instant(door, query);
      assert.deepEqual(begun, [query, query, query]);
    }
  });
});

test("a range query of many values, or whose ranges look at many samples, is for a worker", async () => {
  await withDoor(async ({ door, begun }) => {
    for (const [query, stepMs] of [
      ["m", 100],
      ["sum_over_time(m[8h])", 1_000],
      ["max_over_time(m[5m:1m])", 60_000],
    ] as const) {
      for (let i = 0; i < 3; i++) await range(door, query, { stepMs });
      assert.equal(begun.filter((one) => one === query).length, 3, query);
    }
  });
});

test("a query that takes long to evaluate is given up, and evaluated by a worker", async () => {
  let nowMs = 0;
  let tickMs = 0;
  const clock = { monotonicMs: () => (nowMs += tickMs) };
  await withDoor(
    async (asked) => {
      const { door, begun } = asked;
      for (const ask of [instant, range]) {
        await learn(asked, "m", ask);
        const answer = text(await ask(door, "m"));
        await nextTurn();
        nowMs += 60_000;
        begun.length = 0;
        tickMs = 7;
        assert.equal(text(await ask(door, "m")), answer);
        assert.deepEqual(begun, ["m"]);
        tickMs = 0;
      }
    },
    { clock },
  );
});

test("a query is for a worker again where it is not small", async () => {
  await withDoor(async (asked) => {
    const { door, reader, begun } = asked;
    await learn(asked, "m");
    reader.count = 257;
    begun.length = 0;
    for (let i = 0; i < 2; i++) assert.equal(JSON.parse(text(await instant(door, "m"))).data.result.length, 257);
    assert.deepEqual(begun, ["m", "m"]);
    reader.count = 5;
    // Few series may have long labels.
    await learn(asked, "m + 1");
    begun.length = 0;
    reader.pad = "x".repeat(400_000);
    for (let i = 0; i < 2; i++) assert.ok((await instant(door, "m + 1")).body.length > 2_000_000);
    assert.deepEqual(begun, ["m + 1", "m + 1"]);
    reader.pad = "";
    for (const query of [
      "max_over_time(m[1h:1m])",
      'label_replace(m, "a", "$1", "n", "(.*)")',
      `m # ${"x".repeat(512)}`,
    ]) {
      for (let i = 0; i < 3; i++) await instant(door, query);
      assert.equal(begun.filter((one) => one === query).length, 3, query);
    }
    begun.length = 0;
    await learn(asked, "count(m)");
    await instant(door, "count(m)", { stats: "totals" });
    assert.equal(begun.at(-1), "count(m)");
  });
});

test("failures of small queries are told as a worker's are", async () => {
  await withDoor(async (asked) => {
    const { door, reader, begun, reports } = asked;
    await learn(asked, "m");
    begun.length = 0;
    const left = new AbortController();
    left.abort();
    assert.equal((await instant(door, "m", { signal: left.signal })).errorType, "canceled");
    reader.error = new TypeError("a bug");
    const answer = await instant(door, "m");
    assert.match(`${answer.status} ${text(answer)}`, /500 .*"the query failed; the log says why"/);
    assert.equal(reports.at(-1)?.outcome, "internal");
    assert.deepEqual(begun, []);
  });
});

test("small queries take a few milliseconds of a turn, and workers the others", async () => {
  let nowMs = 0;
  const clock = { monotonicMs: () => nowMs };
  await withDoor(
    async (asked) => {
      const { door, reader, begun } = asked;
      await learn(asked, "m");
      begun.length = 0;
      const { selectNewest } = reader;
      reader.selectNewest = (...args) => {
        nowMs += 5;
        return selectNewest.apply(reader, args);
      };
      await instant(door, "m");
      await instant(door, "m");
      assert.deepEqual(begun, ["m"]);
      await nextTurn();
      await instant(door, "m");
      assert.deepEqual(begun, ["m"]);
    },
    { clock },
  );
});

test("a text that turned out to be long rests four times as long each time, and briefly once it went well", async () => {
  let nowMs = 0;
  const clock = { monotonicMs: () => nowMs };
  await withDoor(
    async (asked) => {
      const { door, reader, begun } = asked;
      /** Whether it goes to a worker, so long after the time before. */
      const isForWorker = async (afterMs: number) => {
        nowMs += afterMs;
        begun.length = 0;
        await instant(door, "m");
        await nextTurn();
        await nextTurn();
        return begun.length > 0;
      };
      await learn(asked, "m");
      nowMs += 60_000;
      assert.equal(await isForWorker(0), false);
      reader.count = 257;
      assert.equal(await isForWorker(0), true);
      reader.count = 5;
      assert.equal(await isForWorker(15), true);
      assert.equal(await isForWorker(1), false);
      reader.count = 257;
      for (const restMs of [16, 64, 256, 1_024, 4_096, 16_384, 30_000, 30_000]) {
        assert.equal(await isForWorker(0), true);
        reader.count = 5;
        assert.equal(await isForWorker(restMs - 1), true, `${restMs}`);
        reader.count = 257;
        nowMs++;
      }
    },
    { clock },
  );
});

test("small queries that wait for their samples are few, end in time, and are for workers then", async () => {
  await withDoor(async (asked) => {
    const { door, reader, begun, reports } = asked;
    await learn(asked, "m");
    await learn(asked, "-m");
    begun.length = 0;
    const { selectNewest } = reader;
    let gathered = 0;
    const letGo: (() => void)[] = [];
    reader.selectNewest = async (...args) => {
      gathered++;
      await new Promise<void>((resolve) => letGo.push(resolve));
      return selectNewest.apply(reader, args);
    };
    const asks = Array.from({ length: 12 }, () => instant(door, "m", { timeoutMs: 1_000 }));
    await nextTurn();
    assert.equal(gathered, 4);
    for (const answer of await Promise.all(asks)) assert.equal(answer.errorType, "timeout");
    assert.equal(reports.filter(({ outcome }) => outcome === "timeout").length, 12);
    reader.selectNewest = selectNewest;
    for (const go of letGo) go();
    await nextTurn();
    begun.length = 0;
    assert.equal((await instant(door, "m")).status, 200);
    assert.equal((await instant(door, "-m")).status, 200);
    assert.deepEqual(begun, ["m"]);
  });
});
