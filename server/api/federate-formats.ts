/**
 * The formats of `/federate`: Prometheus' text, and its delimited protobuf.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */

import { CUSTOM_BUCKETS_SCHEMA, cumulativeCustomCounts } from "../model/histogram.ts";
import { goFloat } from "../wire/exposition.ts";
import { FamilyEncoder } from "../wire/exposition-protobuf-encode.ts";
import { type FederateFormat, isPlainName, quoted } from "./federate-families.ts";
import { concatSliced, renderSliced } from "./slices.ts";

/** Text has no exponential histograms, and those of custom buckets as the classic ones they stand for. */
export function textFormat(): FederateFormat<string> {
  return {
    // Readers that do not ask for names in UTF-8 would fail at the quotes around them.
    contentType: (escaping) =>
      `text/plain; version=${escaping === "allow-utf-8" ? "1.0.0" : "0.0.4"}; charset=utf-8; escaping=${escaping}`,
    float: ({ name, text }, value, timeMs) => `${seriesText(name, text)} ${goFloat(value)} ${timeMs}\n`,
    histogram: ({ name, text }, histogram, timeMs) => {
      if (histogram.schema !== CUSTOM_BUCKETS_SCHEMA) return undefined;
      const line = (suffix: string, value: number, pairs = text) =>
        `${seriesText(`${name}${suffix}`, pairs)} ${goFloat(value)} ${timeMs}\n`;
      const bucket = (bound: number, below: number) => line("_bucket", below, `${text},le="${goFloat(bound)}"`);
      const buckets = cumulativeCustomCounts(histogram).map((below, at) =>
        bucket(histogram.customValues[at] ?? 0, below),
      );
      const rest = [bucket(Infinity, histogram.count), line("_sum", histogram.sum), line("_count", histogram.count)];
      return [...buckets, ...rest].join("");
    },
    head: (name, type) =>
      `# TYPE ${isPlainName(name) ? name : quoted(name)} ${type === "untyped" ? type : "histogram"}\n`,
    join: (all) => renderSliced(all, (line) => line, { head: "", tail: "", separator: "" }),
  };
}

/** Protobuf has exponential histograms too. */
export function protobufFormat(): FederateFormat<Uint8Array> {
  const encoder = new FamilyEncoder();
  return {
    contentType: (escaping) =>
      `application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=${escaping}`,
    float: ({ labels }, value, timeMs) => encoder.metric({ labels, timeMs }, value),
    histogram: ({ labels }, histogram, timeMs) => encoder.metric({ labels, timeMs }, histogram),
    head: (name, type, length) => encoder.head(name, type, length),
    join: concatSliced,
  };
}

/** @param pairs At least one: every series has the label `instance`. */
function seriesText(name: string, pairs: string): string {
  return isPlainName(name) ? `${name}{${pairs}}` : `{${quoted(name)},${pairs}}`;
}
