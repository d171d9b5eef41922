import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import type { Matcher, SeriesSamples } from "../model/series.ts";
import type { SelectLimits } from "../store/reader.ts";
import type { InstantRequest, PromqlDoor, RenderedAnswer } from "./doors.ts";
import { openPromqlDoor, type PromqlDoorOptions, type QueryReport } from "./promql-door.ts";

const clock = { monotonicMs: () => performance.now() };
const START_MS = 1_700_000_000_000;

/** 60 samples of four counters, 15 s apart; only the name is matched, which is all these tests ask for. */
const reader = {
  async select(matchers: readonly Matcher[], minMs: number, maxMs: number): Promise<SeriesSamples[]> {
    const name = matchers.find((matcher) => matcher.name === "__name__")?.value ?? "";
    if (name !== "requests_total") return [];
    return ["a", "b", "c", "d"].map((service, index) => {
      const times: number[] = [];
      for (let k = 0; k < 60; k++) {
        const timeMs = START_MS + k * 15_000;
        if (timeMs >= minMs && timeMs <= maxMs) times.push(timeMs);
      }
      const values = times.map((timeMs) => ((timeMs - START_MS) / 1000) * (index + 1));
      return {
        labels: [
          ["__name__", name],
          ["service", service],
        ],
        timestampsMs: Float64Array.from(times),
        values: Float64Array.from(values),
      };
    });
  },
};

async function withDoor(
  use: (door: PromqlDoor) => Promise<void>,
  more: Partial<PromqlDoorOptions> = {},
): Promise<void> {
  const door = openPromqlDoor({ reader, clock, ...more });
  try {
    await use(door);
  } finally {
    await door.close();
  }
}

function text(answer: RenderedAnswer): string {
  return new TextDecoder().decode(answer.body);
}

const PLAIN = { stats: "none", explain: false, seriesMax: Number.POSITIVE_INFINITY, warnings: [] } as const;

function instant(
  door: PromqlDoor,
  query: string,
  timeoutMs = 10_000,
  more: Partial<InstantRequest> = {},
): Promise<RenderedAnswer> {
  return door.instant({ query, timeMs: START_MS + 600_500, timeoutMs, ...PLAIN, ...more });
}

test("an instant query gives values to who wants no answer", async () => {
  await withDoor(async (door) => {
    const ask = (query: string) => door.evaluate({ query, timeMs: START_MS + 600_500, timeoutMs: 10_000 });
    assert.deepEqual(await ask("sum(requests_total)"), {
      kind: "samples",
      samples: [{ labels: [], value: 6000, histogram: undefined }],
      warnings: [],
    });
    const odd = await ask("vector(NaN)");
    assert.ok(odd.kind === "samples" && Number.isNaN(odd.samples[0]?.value));
    assert.deepEqual(await ask("1 + 1"), {
      kind: "samples",
      samples: [{ labels: [], value: 2, histogram: undefined }],
      warnings: [],
    });
    const failed = (errorType: string, message: string) => ({ kind: "failed", errorType, message });
    assert.deepEqual(await ask("'a'"), failed("execution", "rule result is not a vector or scalar"));
    const bad = 'invalid parameter "query": 1:5: parse error: unclosed left parenthesis';
    assert.deepEqual(await ask("sum("), failed("bad_data", bad));
  });
});

test("an instant query answers in Prometheus' shape", async () => {
  await withDoor(async (door) => {
    const answer = await instant(door, "sum by (service) (max_over_time(requests_total[5m])) > 1200");
    assert.equal(answer.status, 200);
    assert.equal(
      text(answer),
      '{"status":"success","data":{"resultType":"vector","result":[' +
        '{"metric":{"service":"c"},"value":[1700000600.500,"1800"]},{"metric":{"service":"d"},"value":[1700000600.500,"2400"]}]}}',
    );
    assert.equal(
      text(await instant(door, "1e-7")),
      '{"status":"success","data":{"resultType":"scalar","result":[1700000600.5,"0.0000001"]}}',
    );
    assert.equal(
      text(await instant(door, "'a\"b'")),
      '{"status":"success","data":{"resultType":"string","result":[1700000600.5,"a\\"b"]}}',
    );
    const raw = JSON.parse(text(await instant(door, "requests_total[31s]")));
    assert.deepEqual(raw.data.result[0], {
      metric: { __name__: "requests_total", service: "a" },
      values: [
        [1_700_000_570, "570"],
        [1_700_000_585, "585"],
        [1_700_000_600, "600"],
      ],
    });
  });
});

test("a range query answers with points, sorted by labels, and says what it wonders about", async () => {
  await withDoor(async (door) => {
    const range = { startMs: START_MS, endMs: START_MS + 120_000, stepMs: 60_000, timeoutMs: 10_000, ...PLAIN };
    const answer = JSON.parse(text(await door.range({ query: "-requests_total or vector(1e-7)", ...range })));
    assert.equal(answer.data.resultType, "matrix");
    assert.deepEqual(answer.data.result[0], {
      metric: {},
      values: [
        [1_700_000_000, "1e-07"],
        [1_700_000_060, "1e-07"],
        [1_700_000_120, "1e-07"],
      ],
    });
    assert.deepEqual(answer.data.result[2], {
      metric: { service: "b" },
      values: [
        [1_700_000_000, "-0"],
        [1_700_000_060, "-120"],
        [1_700_000_120, "-240"],
      ],
    });
    const warned = JSON.parse(text(await door.range({ query: "sort(requests_total)", ...range })));
    assert.match(warned.warnings[0], /^PromQL warning: sort is ineffective.*\(1:1\)$/);
  });
});

test("an answer is cut to its limit of series with a warning; warnings of the caller stand beside", async () => {
  await withDoor(async (door) => {
    const seriesOf = async (query: string, seriesMax: number) => {
      const answer = JSON.parse(text(await instant(door, query, 10_000, { seriesMax, warnings: ["mind the step"] })));
      return [answer.data.result.length, answer.warnings];
    };
    const cut = "results truncated due to limit";
    assert.deepEqual(await seriesOf("requests_total", 4), [4, ["mind the step"]]);
    assert.deepEqual(await seriesOf("requests_total", 3), [3, [cut, "mind the step"]]);
    assert.deepEqual(await seriesOf("requests_total[1m]", 1), [1, [cut, "mind the step"]]);
  });
});

test("a query may have its own lookback", async () => {
  await withDoor(async (door) => {
    const late = { timeMs: START_MS + 59 * 15_000 + 60_000 };
    const count = async (more: Partial<InstantRequest>) =>
      JSON.parse(text(await instant(door, "requests_total", 10_000, { ...late, ...more }))).data.result.length;
    assert.equal(await count({}), 4);
    assert.equal(await count({ lookbackMs: 60_000 }), 0);
    assert.equal(await count({ lookbackMs: 60_001 }), 4);
  });
});

test("steps are counted before they are cut to whole milliseconds", async () => {
  await withDoor(async (door) => {
    const range = { query: "vector(1)", startMs: 0, timeoutMs: 10_000, ...PLAIN };
    const points = async (endMs: number, stepMs: number) =>
      JSON.parse(text(await door.range({ ...range, endMs, stepMs }))).data.result[0].values.length;
    assert.equal(await points(6, 1.5), 7);
    assert.equal(await points(11_000_999, 1000), 11_001);
    assert.equal(await points(0, 0.1), 1);
  });
});

test("explain tells of each part: series, samples, time", async () => {
  await withDoor(async (door) => {
    const explained = async (query: string) =>
      JSON.parse(text(await instant(door, query, 10_000, { explain: true }))).data.explain;
    const { plan, ...phases } = await explained(
      "sum by (service) (rate(requests_total[5m])) + on (service) requests_total",
    );
    assert.deepEqual(Object.keys(phases), ["queue_ms", "plan_ms", "select_ms", "evaluate_ms"]);
    const shape = (node: { node: string; series: number; samples: number; calls: number; children: [] }): unknown => [
      [node.node, node.series, node.samples, node.calls].join(" | "),
      ...node.children.map(shape),
    ];
    assert.deepEqual(shape(plan), [
      "sum by (service) (rate(requests_total[5m])) + on (service) requests_total | 4 | 4 | 1",
      [
        "sum by (service) (rate(requests_total[5m])) | 4 | 4 | 1",
        ["rate(requests_total[5m]) | 4 | 4 | 1", ["requests_total[5m] | 4 | 80 | 0"]],
      ],
      ["requests_total | 4 | 80 | 1"],
    ]);
    assert.ok(plan.ms > 0 && plan.ms <= phases.evaluate_ms);
    assert.equal((await explained("1 + 1")).plan.samples, 1);
    assert.equal(JSON.parse(text(await instant(door, "1"))).data.explain, undefined);
  });
});

test("refusals have Prometheus' status, kind and text", async () => {
  await withDoor(async (door) => {
    const bad = async (answer: Promise<RenderedAnswer>, status: number, errorType: string, error: string) => {
      const { status: got, body } = await answer;
      assert.deepEqual(
        [got, JSON.parse(new TextDecoder().decode(body))],
        [status, { status: "error", errorType, error }],
      );
    };
    await bad(
      instant(door, "sum("),
      400,
      "bad_data",
      'invalid parameter "query": 1:5: parse error: unclosed left parenthesis',
    );
    await bad(
      instant(door, "requests_total * on () requests_total"),
      422,
      "execution",
      "found duplicate series for the match group {} on the right hand-side of the operation: " +
        '[{__name__="requests_total", service="a"}, {__name__="requests_total", service="b"}]' +
        ";many-to-many matching not allowed: matching labels must be unique on one side",
    );
    const range = { query: "up", startMs: 0, endMs: 1000, stepMs: 1000, timeoutMs: 1000, ...PLAIN };
    await bad(
      door.range({ ...range, endMs: -1 }),
      400,
      "bad_data",
      'invalid parameter "end": end timestamp must not be before start time',
    );
    await bad(
      door.range({ ...range, endMs: 11_001_000 }),
      400,
      "bad_data",
      "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
    );
    await bad(
      door.range({ ...range, query: "up[5m]" }),
      400,
      "bad_data",
      'invalid parameter "query": invalid expression type "range vector" for range query, must be Scalar or instant Vector',
    );
  });
  await withDoor(
    async (door) => {
      const answer = await instant(door, "requests_total");
      assert.equal(answer.status, 422);
      assert.match(text(answer), /Query needs \d+ samples; the limit is 50/);
    },
    { settings: { samplesMax: 50 } },
  );
});

test("a query past its time answers 503 timeout, and the next one is answered", async () => {
  await withDoor(async (door) => {
    const slow = "sum_over_time(sum_over_time(vector(1)[1h:1s])[20h:1s])";
    const answer = await instant(door, slow, 60);
    assert.deepEqual([answer.status, JSON.parse(text(answer)).errorType], [503, "timeout"]);
    assert.equal((await instant(door, "vector(1)")).status, 200);
  });
});

test("a worker that dies is replaced; its query answers 503 and the ones that wait are answered", async () => {
  const folder = await mkdtemp(join(tmpdir(), "thalweg-worker-"));
  const file = join(folder, "dying-worker.ts");
  const real = new URL("./promql-worker.ts", import.meta.url);
  writeFileSync(
    file,
    `import { parentPort } from "node:worker_threads";
     parentPort.on("message", (request) => { if (request.query.text === "vector(13)") process.exit(3); });
     await import(${JSON.stringify(real.href)});`,
  );
  try {
    await withDoor(
      async (door) => {
        const [dead, alive] = await Promise.all([instant(door, "vector(13)"), instant(door, "vector(2)")]);
        assert.deepEqual([dead.status, JSON.parse(text(dead)).errorType], [503, "unavailable"]);
        assert.equal(alive.status, 200);
      },
      { workerUrl: pathToFileURL(file) },
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("more queries than may wait are refused at once", async () => {
  await withDoor(async (door) => {
    const answers = await Promise.all(Array.from({ length: 261 }, () => instant(door, "requests_total")));
    const statuses = answers.map((answer) => answer.status);
    assert.equal(statuses.filter((status) => status === 200).length, 256);
    assert.equal(statuses.filter((status) => status === 503).length, 5);
  });
});

const SLOW = "sum_over_time(stddev_over_time((time() + vector(1))[30000s:1s])[30000s:1s])";

test("a client that leaves is answered at once, wherever its query is, and the next query runs", async () => {
  const reports: QueryReport[] = [];
  const gathering = Promise.withResolvers<void>();
  const stuck = {
    select: async (matchers: readonly Matcher[], minMs: number, maxMs: number, limits?: SelectLimits) => {
      if (matchers[0]?.value !== "never") return reader.select(matchers, minMs, maxMs);
      gathering.resolve();
      return new Promise<SeriesSamples[]>((_, reject) => {
        limits?.signal?.addEventListener("abort", () => reject(new Error("aborted")));
      });
    },
  };
  await withDoor(
    async (door) => {
      const leave = async (query: string, when: Promise<unknown>) => {
        const client = new AbortController();
        const asked = instant(door, query, 60_000, { signal: client.signal });
        await when;
        client.abort();
        const sinceMs = performance.now();
        const { status, errorType, body } = await asked;
        // Far below the timeout of the query, however slow the machine.
        assert.ok(performance.now() - sinceMs < 10_000);
        assert.deepEqual([status, errorType], [499, "canceled"]);
        return JSON.parse(new TextDecoder().decode(body)).error;
      };
      assert.equal(await leave("never", gathering.promise), "query was canceled in expression evaluation");
      const pause = new Promise((resolve) => setTimeout(resolve, 300));
      assert.equal(await leave(SLOW, pause), "query was canceled in expression evaluation");
      const busy = instant(door, SLOW, 200);
      assert.equal(await leave("vector(1)", Promise.resolve()), "query was canceled in query queue");
      assert.equal((await busy).errorType, "timeout");
      assert.equal((await instant(door, "requests_total")).status, 200);
    },
    { reader: stuck, onAnswer: (report) => reports.push(report) },
  );
  assert.deepEqual(
    reports.map(({ outcome }) => outcome),
    ["canceled", "canceled", "canceled", "timeout", "ok"],
  );
  assert.ok((reports[4]?.samplesPeak ?? 0) > 0 && (reports[4]?.answerBytes ?? 0) > 0);
});

test("a query that waits too long says where; queries at once run in places of their own", async () => {
  const places: string[] = [];
  await withDoor(
    async (door) => {
      const slow = [instant(door, SLOW, 400), instant(door, SLOW, 400)];
      const waited = await instant(door, "vector(1)", 100);
      assert.deepEqual(JSON.parse(text(waited)), {
        status: "error",
        errorType: "timeout",
        error: "query timed out in query queue",
      });
      for (const answer of await Promise.all(slow)) assert.equal(answer.errorType, "timeout");
      assert.equal((await instant(door, "vector(2)")).status, 200);
      // A worker that is stopped leaves its place some time after the answer.
      const ended = () => places.filter((line) => line.endsWith("ends")).length;
      for (let turn = 0; ended() < 3 && turn < 500; turn++) await sleep(10);
    },
    {
      workers: 2,
      onBegin: (place, query) => places.push(`${place} begins ${query === SLOW ? "slow" : query}`),
      onEnd: (place) => places.push(`${place} ends`),
    },
  );
  assert.deepEqual(places.slice(0, 2), ["0 begins slow", "1 begins slow"]);
  assert.equal(places.filter((line) => line.endsWith("ends")).length, 3);
  assert.ok(places.some((line) => line.endsWith("begins vector(2)")));
  assert.ok(!places.some((line) => line.endsWith("begins vector(1)")));
});

test("what all queries may take: values, heap, series, bytes of an answer", async () => {
  const refused = async (limits: PromqlDoorOptions["limits"], query: string) => {
    let told = "";
    await withDoor(
      async (door) => {
        const { status, errorType, body } = await instant(door, query);
        told = `${status} ${errorType} ${JSON.parse(new TextDecoder().decode(body)).error}`;
        assert.equal((await instant(door, "vector(1)")).status, 200);
      },
      { limits },
    );
    return told;
  };
  const tooMany = "422 execution query processing would load too many samples into memory in query execution: ";
  const values = await refused({ valuesMax: 100 }, "sum_over_time((time() + vector(1))[1h:1s])");
  assert.ok(values.startsWith(`${tooMany}Query needs `), values);
  const selected = await refused({ valuesMax: 50 }, "requests_total[10m]");
  assert.ok(selected.startsWith(`${tooMany}Query needs `), selected);
  const bytes = await refused({ answerBytesMax: 100_000 }, "(time() + vector(1))[10h:1s]");
  assert.ok(bytes.startsWith(`${tooMany}The answer has more than 100000 bytes`), bytes);
  const series = await refused({ seriesMax: 3 }, "requests_total");
  assert.match(series, /^422 cost_limit query would load too many series into memory in query execution: .* 3 series/);
  const labels = `label_replace(count_values("v", vector(time())), "w", "${"w".repeat(5000)}$1", "v", "(.*)")`;
  const heap = await refused({ valuesMax: 1e9, heapBytesMax: 8 * 2 ** 20 }, `count_over_time(${labels}[1h:1s])`);
  assert.match(heap, /^422 execution query processing would load too many samples .* bytes for labels and texts/);
});

test("texts are read in the worker: canonical form, tree, selectors", async () => {
  await withDoor(async (door) => {
    assert.equal(text(await door.format("sum(a)by(b)")), '{"status":"success","data":"sum by (b) (a)"}');
    assert.deepEqual(JSON.parse(text(await door.tree("1"))).data, { type: "numberLiteral", val: "1" });
    assert.equal((await door.format("(")).errorType, "bad_data");
    const found = await door.selectors("a / b{c='d'}");
    assert.ok(found.kind === "selectors" && found.selectors.length === 2);
    assert.deepEqual(await door.selectors("a +"), {
      kind: "refused",
      message: "1:4: parse error: unexpected end of input",
    });
  });
});

test("queries before and after one of more series than a worker keeps have their labels", async () => {
  const many = Array.from({ length: 40_000 }, (_, i) => String(i));
  const labelsOf = new Map(
    ["few", "many"].map((name) => {
      const zones = name === "few" ? many.slice(0, 3) : many;
      return [name, zones.map((zone) => [["__name__", name] as const, ["zone", zone] as const])] as const;
    }),
  );
  const selectNewest = async (matchers: readonly Matcher[]) => {
    const labels = labelsOf.get(matchers[0]?.value ?? "") ?? [];
    const timestampsMs = new Float64Array(labels.length).fill(START_MS + 600_000);
    return { labels, timestampsMs, values: new Float64Array(labels.length).fill(1), others: [] };
  };
  await withDoor(
    async (door) => {
      for (let round = 0; round < 2; round++) {
        assert.match(text(await instant(door, "count(few)")), /"3"/);
        assert.match(text(await instant(door, "count by (zone) (few)")), /"zone":"2"/);
        assert.match(text(await instant(door, "count(many)")), /"40000"/);
        assert.match(
          text(await instant(door, 'label_replace(max by (zone) (many) == 1, "a", "$1", "zone", "(.*)")')),
          /"a":"39999"/,
        );
      }
    },
    { reader: { ...reader, selectNewest } },
  );
});
