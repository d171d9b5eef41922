import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { NativeHistogram } from "../model/histogram.ts";
import type { SeriesToAppend } from "../model/series.ts";
import { decodeMetricsJson } from "../wire/otlp-metrics-json.ts";
import { decodeMetrics } from "../wire/otlp-metrics-protobuf.ts";
import type { OtlpTranslation } from "../wire/otlp-translation.ts";
import { oracleEncode } from "../wire/trace-oracle.ts";
import { readScrapeConfig } from "./scrape-config.ts";

interface Metric {
  readonly name: string;
}

/** What a real Prometheus made of the same request. */
interface Golden {
  readonly few: readonly string[];
  readonly request: {
    readonly resourceMetrics: readonly { readonly scopeMetrics: readonly { metrics: Metric[] }[] }[];
  };
  readonly cases: readonly { readonly yaml: string; readonly few: boolean; readonly series: readonly string[] }[];
}

// A file of this repository in that form.
const golden = JSON.parse(readFileSync(join(import.meta.dirname, "testdata", "otlp.json"), "utf8")) as Golden;

function translationOf(yaml: string): OtlpTranslation {
  const outcome = readScrapeConfig("prometheus.yml", yaml);
  if (outcome.kind === "refused") assert.fail(outcome.reasons.join("\n"));
  assert.deepEqual(outcome.warnings, []);
  return outcome.translation;
}

/** The series of a request, alike in both encodings. */
function decoded(request: object, translation: OtlpTranslation) {
  const json = decodeMetricsJson(Buffer.from(JSON.stringify(request)), translation);
  if (json.kind === "malformed") assert.fail(json.reason);
  assert.deepEqual(decodeMetrics(oracleEncode("MetricsData", request), translation), json);
  return json;
}

/** As Prometheus' API tells it. */
function lineOf({ labels, values, histograms }: SeriesToAppend): string {
  const text = labels.map(([name, value]) => `${name}=${value}`).join(",");
  const histogram = histograms?.[0];
  return `${text} ${histogram === undefined ? values[0] : histogramText(histogram)}`;
}

function histogramText({ count, sum, positiveSpans, positiveCounts, customValues }: NativeHistogram): string {
  const buckets: string[] = [];
  let bucket = 0;
  let at = 0;
  for (const { offset, length } of positiveSpans) {
    bucket += offset;
    for (let left = length; left > 0; left--, bucket++) {
      const n = positiveCounts[at++] ?? 0;
      const upper = customValues[bucket] ?? "+Inf";
      if (n > 0) buckets.push(`[0, "${customValues[bucket - 1]}", "${upper}", "${n}"]`);
    }
  }
  return `{"count": "${count}", "sum": "${sum}", "buckets": [${buckets.join(", ")}]}`;
}

for (const { yaml, few, series } of golden.cases) {
  test(`series of hostile names and attributes are Prometheus' own with ${yaml.replace(/\s+/g, " ")}`, () => {
    const request = structuredClone(golden.request);
    const scopes = request.resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics);
    if (few) {
      for (const scope of scopes) {
        scope.metrics = scope.metrics.filter(({ name }) => golden.few.some((begin) => name.startsWith(begin)));
      }
    }
    const { series: ours, rejected } = decoded(request, translationOf(yaml));
    assert.equal(rejected.size, 0);
    // Two metrics of the request may become one series.
    assert.deepEqual([...new Set(ours.map(lineOf))].sort(), [...series].sort());
  });
}

test("without the section the defaults hold", () => {
  assert.deepEqual(translationOf("global: {}"), translationOf("otlp: {}"));
});

test("what is wrong in the section is told in Prometheus' words", () => {
  const bad = (section: string, what: RegExp) => {
    const outcome = readScrapeConfig("prometheus.yml", section);
    assert.ok(outcome.kind === "refused", section);
    assert.match(outcome.reasons.join("\n"), what);
  };
  bad("otlp: {bogus: 1}", /line 1: field bogus not found in otlp/);
  bad("otlp: {translation_strategy: Loud}", /unsupported OTLP translation strategy "Loud"/);
  bad("otlp: {promote_scope_metadata: maybe}", /cannot unmarshal "maybe" into bool/);
  bad("otlp: {promote_resource_attributes: a}", /it takes a list/);
  bad(
    "otlp: {promote_resource_attributes: ['']}",
    /invalid 'promote_resource_attributes': empty promoted OTel resource/,
  );
  bad(
    "otlp: {promote_resource_attributes: [a, ' a ']}",
    /invalid 'promote_resource_attributes': duplicated promoted OTel resource attribute "a"/,
  );
  bad(
    "otlp: {promote_all_resource_attributes: true, promote_resource_attributes: [a]}",
    /'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously/,
  );
  bad(
    "otlp: {ignore_resource_attributes: [a]}",
    /'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true/,
  );
  bad(
    "otlp: {promote_all_resource_attributes: true, ignore_resource_attributes: [a, a]}",
    /invalid 'ignore_resource_attributes': duplicated ignored OTel resource attribute "a"/,
  );
  bad(
    "global: {metric_name_validation_scheme: legacy}\notlp: {translation_strategy: NoTranslation}",
    /OTLP translation strategy "NoTranslation" is not allowed when UTF8 is disabled/,
  );
});
