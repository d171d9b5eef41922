/** The section `otlp` of the configuration file, from outside: a request over HTTP is asked for in PromQL. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Program, until } from "../program.ts";

const RELOAD_MS_MAX = 10_000;
/** More than is decoded at once, so that the decoder's thread does it. */
const LARGE_METRICS = 400;

const attribute = (key: string, stringValue: string) => ({ key, value: { stringValue } });

/** Sends gauges `NAME`, `NAME.1`, … with equal attributes. @see post */
async function send(program: Program, name: string, metrics = 1): Promise<string> {
  const timeUnixNano = String(BigInt(Date.now()) * 1_000_000n);
  const attributes = [attribute("http.method", "GET"), attribute("http_method", "again")];
  const gauges = Array.from({ length: metrics }, (_, at) => ({
    name: at === 0 ? name : `${name}.${at}`,
    unit: "s",
    gauge: { dataPoints: [{ timeUnixNano, asInt: "1", attributes }] },
  }));
  return post(program, gauges);
}

/** Sends a histogram of four observations: one up to 1, two from 2 to 3, one above. */
async function sendHistogram(
  program: Program,
  name: string,
  aggregationTemporality: number,
  agoMs = 0,
): Promise<string> {
  const timeUnixNano = String(BigInt(Date.now() - agoMs) * 1_000_000n);
  const buckets = { bucketCounts: ["1", "0", "2", "1"], explicitBounds: [1, 2, 3] };
  const dataPoints = [{ timeUnixNano, count: "4", sum: 9, ...buckets }];
  return post(program, [{ name, histogram: { aggregationTemporality, dataPoints } }]);
}

/** @returns What the sender is told. */
async function post(program: Program, metrics: object[]): Promise<string> {
  const resource = { attributes: [attribute("service.name", "shop"), attribute("host.name", "box")] };
  const answer = await fetch(`${program.otlpHttp}/v1/metrics`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ resourceMetrics: [{ resource, scopeMetrics: [{ metrics }] }] }),
  });
  assert.equal(answer.status, 200);
  const { partialSuccess }: { partialSuccess?: { rejectedDataPoints?: string; errorMessage?: string } } = JSON.parse(
    await answer.text(),
  );
  assert.equal(Number(partialSuccess?.rejectedDataPoints ?? 0), 0);
  return partialSuccess?.errorMessage ?? "";
}

async function labelsOf(program: Program, selector: string) {
  const vector = await program.promql(selector);
  return vector.map(({ metric }) => metric);
}

test("the section otlp says how metrics become series, also after a reload", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-translation-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, "prometheus.yml");
  writeFileSync(file, "otlp: {promote_resource_attributes: [host.name]}\n");
  const program = await Program.start(["--capture", "off", "--scrape.config", file]);
  t.after(() => program.discard());
  const loadedTimes = () => program.output.split("the scrape configuration is loaded").length - 1;

  const escaped = { host_name: "box", http_method: "GET;again", job: "shop" };
  assert.match(
    await send(program, "page.load"),
    /attributes "http.method", "http_method" collide as label "http_method"/,
  );
  assert.deepEqual(await labelsOf(program, "page_load_seconds"), [{ __name__: "page_load_seconds", ...escaped }]);
  assert.equal(
    await program.counter("thalweg_ingest_mended_total", 'signal="metrics",what="label_collision"'),
    1,
    "told once a request",
  );
  await send(program, "large.load", LARGE_METRICS);
  assert.deepEqual(await labelsOf(program, "large_load_7_seconds"), [{ __name__: "large_load_7_seconds", ...escaped }]);

  writeFileSync(
    file,
    "otlp: {translation_strategy: NoTranslation, promote_all_resource_attributes: true, convert_histograms_to_nhcb: true}\n",
  );
  program.signal("SIGHUP");
  assert.ok(await until(async () => (loadedTimes() > 1 ? true : undefined), RELOAD_MS_MAX), program.output);
  const plain = { "host.name": "box", "service.name": "shop", "http.method": "GET", http_method: "again", job: "shop" };
  assert.equal(await send(program, "page.load"), "");
  assert.deepEqual(await labelsOf(program, '{"page.load"}'), [{ __name__: "page.load", ...plain }]);
  await send(program, "large.load", LARGE_METRICS);
  assert.deepEqual(await labelsOf(program, '{"large.load.7"}'), [{ __name__: "large.load.7", ...plain }]);
  await sendHistogram(program, "time.taken", 2);
  const quantile = await program.promql('histogram_quantile(0.5, {"time.taken"})');
  assert.deepEqual(
    quantile.map(({ value }) => value),
    [2.5],
  );
  await sendHistogram(program, "time.since", 1, 5_000);
  await sendHistogram(program, "time.since", 1);
  const counts = await program.promql('histogram_count({"time.since"})');
  assert.deepEqual(
    counts.map(({ value }) => value),
    [8],
    "deltas of custom buckets add up",
  );

  writeFileSync(file, "otlp: {translation_strategy: Loud}\n");
  program.signal("SIGHUP");
  const refused = async () => (program.output.includes("unsupported OTLP translation strategy") ? true : undefined);
  assert.ok(await until(refused, RELOAD_MS_MAX), program.output);
  await send(program, "still.plain");
  assert.deepEqual(await labelsOf(program, '{"still.plain"}'), [{ __name__: "still.plain", ...plain }]);
});

test("with the feature type-and-unit-labels metrics over OTLP tell their type and unit", async (t) => {
  const program = await Program.start(["--capture", "off", "--enable-feature", "type-and-unit-labels"]);
  t.after(() => program.discard());
  await send(program, "page.load");
  const told = { __type__: "gauge", __unit__: "seconds" };
  const labels = { __name__: "page_load_seconds", http_method: "GET;again", job: "shop" };
  assert.deepEqual(await labelsOf(program, "page_load_seconds"), [{ ...told, ...labels }]);
});
