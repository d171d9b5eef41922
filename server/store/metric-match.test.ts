import assert from "node:assert/strict";
import { test } from "node:test";
import type { Matcher } from "../model/series.ts";
import { labels, metricDirectory, openMetrics, START_MS, seriesOf } from "./metric-fixture.ts";

const matcher = (name: string, kind: Matcher["kind"], value: string): Matcher => ({ name, kind, value });

test("matchers: absent labels are empty texts, lists and gaps and automata agree", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  const make = (name: string, more: Record<string, string>) => seriesOf(labels(name, more), [[START_MS, 1]]);
  await metrics.appendSeries([
    make("a", { job: "api-1", zone: "x" }),
    make("a", { job: "api-2" }),
    make("b", { job: "web\n1", zone: "y" }),
    make("b", {}),
  ]);
  const found = async (...matchers: Matcher[]) => {
    const series = await metrics.reader.finder.series(matchers, 0, 2 ** 52);
    return series.map((one) => one.map(([, value]) => value).join(" "));
  };
  assert.deepEqual(await found(), ["a api-1 x", "a api-2", "b web\n1 y", "b"]);
  assert.deepEqual(await found(matcher("job", "=", "api-2")), ["a api-2"]);
  assert.deepEqual(await found(matcher("zone", "=", "")), ["a api-2", "b"]);
  assert.deepEqual(await found(matcher("zone", "!=", "")), ["a api-1 x", "b web\n1 y"]);
  assert.deepEqual(await found(matcher("job", "=~", "api-2|api-1|none")), ["a api-1 x", "a api-2"]);
  assert.deepEqual(await found(matcher("job", "=~", "api-1|")), ["a api-1 x", "b"]);
  assert.deepEqual(await found(matcher("job", "=~", "api-.+"), matcher("zone", "!~", ".+")), ["a api-2"]);
  assert.deepEqual(await found(matcher("job", "=~", "web.1")), ["b web\n1 y"]);
  assert.deepEqual(await found(matcher("job", "!~", "(api|web).[12]")), ["b"]);
  assert.deepEqual(await found(matcher("zone", "=~", "x|y"), matcher("__name__", "=", "b")), ["b web\n1 y"]);
  assert.deepEqual(await found(matcher("nothing", "=~", ".+")), []);
  assert.deepEqual(await found(matcher("nothing", "=~", ".*"), matcher("job", "!=", "api-1")), [
    "a api-2",
    "b web\n1 y",
    "b",
  ]);
  await metrics.close();
});

test("a regular expression that is too large or too costly is refused with the figures", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  await metrics.appendSeries([seriesOf(labels("m", { text: "x".repeat(40_000) }), [[START_MS, 1]])]);
  const found = (pattern: string) => metrics.reader.finder.series([matcher("text", "=~", pattern)], 0, 2 ** 52);
  await assert.rejects(found("a{1000}".repeat(10)), { code: "query_regex_size" });
  await assert.rejects(found("(.*a){20}(x|y)"), { code: "query_regex_cost" });
  assert.equal((await found("x+")).length, 1);
  assert.equal((await found(".*x")).length, 1);
  await metrics.close();
});

test("matching many series lets the loop turn, and stops when nobody waits", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  const series = Array.from({ length: 20_000 }, (_, i) =>
    seriesOf(labels("m", { pod: `pod-${i}-${(i * 7919) % 20_011}` }), [[START_MS, 1]]),
  );
  for (let from = 0; from < series.length; from += 1000) await metrics.appendSeries(series.slice(from, from + 1000));
  const costly = Array.from({ length: 20 }, (_, i) => matcher("pod", "!~", `(.*${i}.*7.*){3}z`));
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  assert.equal((await metrics.reader.finder.series(costly, 0, 2 ** 52)).length, 20_000);
  clearInterval(timer);
  assert.ok(turns > 20, `${turns} turns`);
  const left = AbortSignal.timeout(20);
  await assert.rejects(metrics.reader.finder.series(costly, 0, 2 ** 52, left), { name: "TimeoutError" });
  const limits = { samplesMax: 1e9, seriesMax: 1e9, signal: AbortSignal.abort() };
  await assert.rejects(metrics.reader.select(costly, 0, 2 ** 52, limits), { name: "AbortError" });
  await metrics.close();
});
