/**
 * Samples as lines of Prometheus' text format, by their metric, each series once.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */

import { ThalwegError } from "../model/errors.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import type { Labels } from "../model/series.ts";
import { goFloat } from "../wire/exposition.ts";
import { renderSliced } from "./slices.ts";

/** What becomes of letters that older readers do not know in names: an underscore each, or nothing, in quotes. */
export type NameEscaping = "underscores" | "allow-utf-8";

/** Series of one answer. */
export const FEDERATED_SERIES_MAX = 200_000;
/** UTF-16 units of one answer. */
const ANSWER_UNITS_MAX = 64 * 2 ** 20;
const PLAIN_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const NO_PLAIN_LETTER = /^[^a-zA-Z_:]|(?<!^)[^a-zA-Z0-9_:]/gu;
const BETWEEN = "\u0000";

/** The lines of one answer. */
export class FederateLines {
  readonly #external: ReadonlyMap<string, string>;
  readonly #escaping: NameEscaping;
  /** Lines by the text of their series, by name and type. */
  readonly #families = new Map<string, Map<string, string>>();
  #count = 0;
  #units = 0;

  /** @param externalLabels Added to each series where it has no label of that name. */
  constructor(externalLabels: Labels, escaping: NameEscaping) {
    const external = new Map(externalLabels);
    if (!external.has("instance")) external.set("instance", "");
    this.#external = external;
    this.#escaping = escaping;
  }

  /** Adds a sample. @throws ThalwegError `query_series_max`, `query_answer_max` */
  addFloat(labels: Labels, value: number, timeMs: number): void {
    const { name, pairs } = this.#partsOf(labels);
    const series = seriesText(name, pairs);
    this.#add(this.#family(name, "untyped"), series, () => `${series} ${goFloat(value)} ${timeMs}\n`);
  }

  /** Adds a histogram of custom buckets as the classic one it stands for. @throws as `addFloat` */
  addHistogram(labels: Labels, histogram: NativeHistogram, timeMs: number): void {
    const { name, pairs } = this.#partsOf(labels);
    this.#add(this.#family(name, "histogram"), seriesText(name, pairs), () => {
      const line = (suffix: string, value: number, more: readonly string[] = []) =>
        `${seriesText(`${name}${suffix}`, [...pairs, ...more])} ${goFloat(value)} ${timeMs}\n`;
      const bucket = (bound: number, below: number) => line("_bucket", below, [`le="${goFloat(bound)}"`]);
      const buckets = cumulativeCounts(histogram).map((below, at) => bucket(histogram.customValues[at] ?? 0, below));
      const rest = [bucket(Infinity, histogram.count), line("_sum", histogram.sum), line("_count", histogram.count)];
      return [...buckets, ...rest].join("");
    });
  }

  text(): Promise<Buffer> {
    return renderSliced(this.#all(), (line) => line, { head: "", tail: "", separator: "" });
  }

  #add(family: Map<string, string>, series: string, render: () => string): void {
    if (family.has(series)) return;
    const lines = render();
    family.set(series, lines);
    this.#units += lines.length;
    if (++this.#count > FEDERATED_SERIES_MAX) throw new ThalwegError("query_series_max", { max: FEDERATED_SERIES_MAX });
    if (this.#units > ANSWER_UNITS_MAX) throw new ThalwegError("query_answer_max", { max: ANSWER_UNITS_MAX });
  }

  #family(name: string, type: "histogram" | "untyped"): Map<string, string> {
    const key = `${name}${BETWEEN}${type}`;
    const family = this.#families.get(key) ?? new Map<string, string>();
    this.#families.set(key, family);
    return family;
  }

  #partsOf(labels: Labels): { readonly name: string; readonly pairs: readonly string[] } {
    let name = "";
    const pairs: string[] = [];
    const names = new Set<string>();
    const add = (label: string, value: string) => {
      const escaped = this.#nameOf(label);
      pairs.push(`${PLAIN_NAME.test(escaped) ? escaped : quoted(escaped)}=${quoted(value)}`);
    };
    for (const [label, value] of labels) {
      names.add(label);
      if (label === "__name__") name = this.#nameOf(value);
      else add(label, value);
    }
    for (const [label, value] of this.#external) if (!names.has(label)) add(label, value);
    return { name, pairs };
  }

  #nameOf(name: string): string {
    return this.#escaping === "underscores" ? name.replace(NO_PLAIN_LETTER, "_") : name;
  }

  #all(): string[] {
    const all: string[] = [];
    for (const key of [...this.#families.keys()].sort()) {
      const [name = "", type = ""] = key.split(BETWEEN);
      all.push(`# TYPE ${PLAIN_NAME.test(name) ? name : quoted(name)} ${type}\n`);
      for (const lines of this.#families.get(key)?.values() ?? []) all.push(lines);
    }
    return all;
  }
}

/** Observations at or below each of the custom bounds. */
function cumulativeCounts({ customValues, positiveSpans, positiveCounts }: NativeHistogram): number[] {
  const counts = new Float64Array(customValues.length + 1);
  let index = 0;
  let at = 0;
  for (const { offset, length } of positiveSpans) {
    index += offset;
    for (const end = index + length; index < end; index++) counts[index] = positiveCounts[at++] ?? 0;
  }
  let below = 0;
  return Array.from(customValues, (_, bound) => {
    below += counts[bound] ?? 0;
    return below;
  });
}

function seriesText(name: string, pairs: readonly string[]): string {
  if (PLAIN_NAME.test(name)) return pairs.length === 0 ? name : `${name}{${pairs.join(",")}}`;
  return `{${[quoted(name), ...pairs].join(",")}}`;
}

function quoted(text: string): string {
  return `"${text.replace(/[\\"\n]/g, (each) => (each === "\n" ? "\\n" : `\\${each}`))}"`;
}
