import assert from "node:assert/strict";
import { test } from "node:test";
import { temporaryDirectory } from "../store/store-fixture.ts";
import { ruleBench } from "./rules-fixture.test.ts";

const MINUTE = 60_000;

function requests(path: string): (readonly [string, string])[] {
  return [
    ["__name__", "requests"],
    ["path", path],
  ];
}

test("a recording rule writes what its expression gives, and marks what is gone", async (t) => {
  const bench = await ruleBench(t);
  const group = bench.group(`
groups:
- name: a
  rules:
  - record: path:requests:double
    expr: requests * 2
    labels: {kind: double, path: ""}
  - record: all
    expr: sum(requests)
  - record: two
    expr: vector(2)
`);
  await bench.put([requests("/a"), 3]);
  await group.evaluate(bench.clock.ms);
  assert.deepEqual(await bench.ask('{__name__=~"path:.*|all|two"}'), {
    "__name__=path:requests:double,kind=double": 6,
    "__name__=all": 3,
    "__name__=two": 2,
  });
  bench.clock.ms += MINUTE;
  // With two paths the label that is taken away no longer tells them apart.
  await bench.put([requests("/a"), 3], [requests("/b"), 4]);
  await group.evaluate(bench.clock.ms);
  const [first] = group.state().rules;
  assert.equal(first?.health, "err");
  assert.equal(first?.lastError, "vector contains metrics with the same labelset after applying rule labels");
  bench.clock.ms += 6 * MINUTE;
  await group.evaluate(bench.clock.ms);
  assert.deepEqual(await bench.ask("all"), {}, "a series that is no longer given is stale at once");
  assert.equal(group.state().rules[1]?.health, "ok");
  await group.stop();
});

test("an alert goes through its states, and its series and messages with it", async (t) => {
  const bench = await ruleBench(t);
  const group = bench.group(`
groups:
- name: a
  rules:
  - alert: Busy
    expr: requests > 10
    for: 2m
    labels: {severity: page, where: "{{ $labels.path }}"}
    annotations:
      text: "{{ $labels.path }} has {{ $value }} of {{ with query \\"sum(requests)\\" }}{{ . | first | value }}{{ end }} in {{ $externalLabels.region }}"
`);
  const step = async (value: number) => {
    await bench.put([requests("/a"), value]);
    await group.evaluate(bench.clock.ms);
    const rule = group.state().rules[0];
    bench.clock.ms += MINUTE;
    return rule?.kind === "alerting" ? rule : assert.fail();
  };
  assert.equal(group.state().rules[0]?.health, "unknown");
  assert.equal((await step(5)).state, "inactive");
  const pending = await step(12);
  assert.equal(pending.state, "pending");
  assert.deepEqual(pending.alerts[0]?.labels, [
    ["alertname", "Busy"],
    ["path", "/a"],
    ["severity", "page"],
    ["where", "/a"],
  ]);
  assert.deepEqual(pending.alerts[0]?.annotations, [["text", "/a has 12 of 12 in eu"]]);
  const series = "alertname=Busy,path=/a,severity=page,where=/a";
  bench.clock.ms -= MINUTE;
  const activeSeconds = bench.clock.ms / 1000;
  assert.deepEqual(await bench.ask('{alertname="Busy"}'), {
    [`__name__=ALERTS,alertname=Busy,alertstate=pending,${series.slice("alertname=Busy,".length)}`]: 1,
    [`__name__=ALERTS_FOR_STATE,${series}`]: activeSeconds,
  });
  bench.clock.ms += MINUTE;
  assert.equal((await step(13)).state, "pending");
  assert.equal(bench.notified.length, 0);
  const firing = await step(14);
  assert.equal(firing.state, "firing");
  assert.equal(firing.alerts[0]?.value, 14);
  bench.clock.ms -= MINUTE;
  assert.deepEqual(Object.keys(await bench.ask("ALERTS")), [
    `__name__=ALERTS,alertname=Busy,alertstate=firing,${series.slice("alertname=Busy,".length)}`,
  ]);
  assert.deepEqual(await bench.ask("ALERTS_FOR_STATE"), { [`__name__=ALERTS_FOR_STATE,${series}`]: activeSeconds });
  bench.clock.ms += MINUTE;
  assert.equal(bench.notified.length, 1);
  assert.equal(bench.notified[0]?.expression, "requests > 10");
  const ended = await step(1);
  assert.equal(ended.state, "inactive");
  assert.deepEqual(ended.alerts, []);
  assert.deepEqual(await bench.ask("ALERTS"), {});
  assert.equal(bench.notified.at(-1)?.alerts[0]?.resolvedAtMs, bench.clock.ms - MINUTE);
  await group.stop();
});

test("query_offset looks back and writes there", async (t) => {
  const bench = await ruleBench(t);
  const group = bench.group("groups:\n- name: a\n  query_offset: 1m\n  rules:\n  - {record: late, expr: requests}\n");
  await bench.put([requests("/a"), 1]);
  bench.clock.ms += MINUTE;
  await bench.put([requests("/a"), 2]);
  await group.evaluate(bench.clock.ms);
  assert.deepEqual(await bench.ask("late"), { "__name__=late,path=/a": 1 });
  assert.deepEqual(await bench.ask("timestamp(late)"), { "path=/a": (bench.clock.ms - MINUTE) / 1000 });
  await group.stop();
});

test("limits and failing expressions are told of", async (t) => {
  const bench = await ruleBench(t);
  const group = bench.group(`
groups:
- name: a
  limit: 1
  rules:
  - {record: many, expr: requests}
  - {alert: Many, expr: requests}
  - {record: bad, expr: 'label_replace(requests, "path", "x", "path", ".*")'}
  - {alert: Odd, expr: "sum(requests)", annotations: {a: "{{ .Nope }}"}}
`);
  await bench.put([requests("/a"), 1], [requests("/b"), 1]);
  await group.evaluate(bench.clock.ms);
  assert.deepEqual(
    group.state().rules.map((rule) => rule.lastError),
    [
      "exceeded limit of 1 with 2 series",
      "exceeded limit of 1 with 2 alerts",
      "vector cannot contain metrics with the same labelset",
      "",
    ],
  );
  const odd = group.state().rules[3];
  assert.match(
    odd?.kind === "alerting" ? (odd.alerts[0]?.annotations[0]?.[1] ?? "") : "",
    /^<error expanding template: .*can't evaluate field Nope/,
  );
  assert.ok(bench.logged.some((line) => line.startsWith("Odd: ")));
  await group.stop();
});

test("native histograms are recorded as they are", async (t) => {
  const bench = await ruleBench(t);
  const group = bench.group("groups:\n- name: a\n  rules:\n  - {record: sum:h, expr: sum(h)}\n");
  const histogram = {
    schema: 0,
    zeroThreshold: 0,
    zeroCount: 0,
    count: 3,
    sum: 4.5,
    positiveSpans: [{ offset: 0, length: 2 }],
    positiveCounts: Float64Array.of(1, 2),
    negativeSpans: [],
    negativeCounts: new Float64Array(),
    customValues: new Float64Array(),
    resetHint: "gauge",
    integer: false,
  } as const;
  await bench.store.writer.appendSeries([
    {
      labels: [["__name__", "h"]],
      timestampsMs: Float64Array.of(bench.clock.ms),
      values: Float64Array.of(Number.NaN),
      histograms: [histogram],
    },
  ]);
  await group.evaluate(bench.clock.ms);
  assert.equal(group.state().rules[0]?.lastError, "");
  const [series] = await bench.store.reader.select(
    [{ name: "__name__", kind: "=", value: "sum:h" }],
    0,
    bench.clock.ms,
  );
  assert.deepEqual(series?.histograms?.[0]?.positiveCounts, histogram.positiveCounts);
  assert.deepEqual(await bench.ask("histogram_sum(sum:h)"), { "": 4.5 });
  await group.stop();
});

test("after a restart `for` goes on where it was", async (t) => {
  const text = "groups:\n- name: a\n  rules:\n  - {alert: Busy, expr: requests > 10, for: 1h}\n";
  const directory = await temporaryDirectory(t);
  const before = await ruleBench(t, directory);
  const first = before.group(text);
  const startMs = before.clock.ms;
  for (let minute = 0; minute <= 30; minute++) {
    before.clock.ms = startMs + minute * MINUTE;
    await before.put([requests("/a"), 11]);
    await first.evaluate(before.clock.ms);
  }
  await first.stop();
  await before.store.close();
  const after = await ruleBench(t, directory);
  after.clock.ms = startMs + 40 * MINUTE;
  const second = after.group(text, true);
  const step = async () => {
    await after.put([requests("/a"), 11]);
    await second.evaluate(after.clock.ms);
    after.clock.ms += MINUTE;
    const rule = second.state().rules[0];
    return rule?.kind === "alerting" ? rule.alerts[0] : undefined;
  };
  assert.equal((await step())?.activeAtMs, startMs + 40 * MINUTE);
  assert.deepEqual(
    await after.ask(`ALERTS{alertstate="pending"} @ ${startMs / 1000 + 2400}`),
    {},
    "nothing is written before",
  );
  // It was pending for 30 minutes; the 11 minutes of the outage do not count.
  assert.equal((await step())?.activeAtMs, startMs + 11 * MINUTE);
  assert.equal((await step())?.state, "pending");
  assert.equal(Object.keys(await after.ask("ALERTS_FOR_STATE")).length, 1);
  await second.stop();
});

test("a group that is loaded again keeps what it knew, and marks what its rules no longer give", async (t) => {
  const bench = await ruleBench(t);
  const alert = "  - {alert: Busy, expr: requests > 10, for: 1h}\n";
  const before = bench.group(`groups:\n- name: a\n  rules:\n  - {record: gone, expr: requests}\n${alert}`);
  await bench.put([requests("/a"), 11]);
  await before.evaluate(bench.clock.ms);
  const startMs = bench.clock.ms;
  await before.stop();
  const group = bench.group(`groups:\n- name: a\n  interval: 30s\n  rules:\n${alert}`);
  group.copyFrom(before);
  bench.clock.ms += MINUTE;
  await bench.put([requests("/a"), 11]);
  await group.evaluate(bench.clock.ms);
  const rule = group.state().rules[0];
  assert.equal(rule?.kind === "alerting" ? rule.alerts[0]?.activeAtMs : undefined, startMs);
  assert.deepEqual(await bench.ask("gone"), {});
  await group.stop();
  bench.clock.ms += 1;
  await group.markStale(bench.clock.ms);
  assert.deepEqual(await bench.ask("ALERTS"), {});
});
