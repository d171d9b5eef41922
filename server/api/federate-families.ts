/** Samples of one answer by their metric, each series once, in whichever format they are told. */

import { ThalwegError } from "../model/errors.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import type { Labels } from "../model/series.ts";
import type { EncodedFamilyType } from "../wire/exposition-protobuf-encode.ts";

/** What becomes of letters that older readers do not know in names: an underscore each, or nothing. */
export type NameEscaping = "underscores" | "allow-utf-8";

/** A series under the names that it is told by. */
export interface FederatedSeries {
  readonly name: string;
  /** Without the name. */
  readonly labels: Labels;
  /** The labels as the text format writes them, which tells series of one name apart. */
  readonly text: string;
}

/** A format of expositions, by what one of its calls gives: text or bytes. */
export interface FederateFormat<Told extends string | Uint8Array> {
  /** With its parameters, but for the escaping. */
  readonly contentType: (escaping: NameEscaping) => string;
  readonly float: (series: FederatedSeries, value: number, timeMs: number) => Told;
  /** Undefined where the format has none of its kind. */
  readonly histogram: (series: FederatedSeries, histogram: NativeHistogram, timeMs: number) => Told | undefined;
  /** What stands before the metrics of a family, whose length together is `length`. */
  readonly head: (name: string, type: EncodedFamilyType, length: number) => Told;
  readonly join: (all: readonly Told[]) => Promise<Buffer>;
}

/** Series of one answer. */
export const FEDERATED_SERIES_MAX = 200_000;
/** UTF-16 units or bytes of one answer. */
const ANSWER_LENGTH_MAX = 64 * 2 ** 20;
const PLAIN_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const NO_PLAIN_LETTER = /^[^a-zA-Z_:]|(?<!^)[^a-zA-Z0-9_:]/gu;

interface Family<Told> {
  readonly name: string;
  readonly type: EncodedFamilyType;
  readonly metrics: Map<string, Told>;
  length: number;
}

/** The families of one answer. */
export class FederateFamilies<Told extends string | Uint8Array> {
  readonly #format: FederateFormat<Told>;
  readonly #external: ReadonlyMap<string, string>;
  readonly #escaping: NameEscaping;
  /** By name and type. */
  readonly #families = new Map<string, Family<Told>>();
  #count = 0;
  #length = 0;

  /** @param externalLabels Added to each series where it has no label of that name. */
  constructor(format: FederateFormat<Told>, externalLabels: Labels, escaping: NameEscaping) {
    this.#format = format;
    const external = new Map([["instance", ""], ...externalLabels]);
    this.#external = new Map([...external].sort(([a], [b]) => (a < b ? -1 : 1)));
    this.#escaping = escaping;
  }

  /** Adds a sample; a series without a name is not told. @throws ThalwegError `query_series_max`, `query_answer_max` */
  addFloat(labels: Labels, value: number, timeMs: number): void {
    this.#add(labels, "untyped", (series) => this.#format.float(series, value, timeMs));
  }

  /** Adds a histogram where the format has such. @throws as `addFloat` */
  addHistogram(labels: Labels, histogram: NativeHistogram, timeMs: number): void {
    const type = histogram.resetHint === "gauge" ? "gaugehistogram" : "histogram";
    this.#add(labels, type, (series) => this.#format.histogram(series, histogram, timeMs));
  }

  /** All of them in order of name. */
  answer(): Promise<Buffer> {
    const all: Told[] = [];
    for (const key of [...this.#families.keys()].sort()) {
      const family = this.#families.get(key);
      if (family === undefined) continue;
      all.push(this.#format.head(family.name, family.type, family.length));
      for (const metric of family.metrics.values()) all.push(metric);
    }
    return this.#format.join(all);
  }

  #add(labels: Labels, type: EncodedFamilyType, tell: (series: FederatedSeries) => Told | undefined): void {
    const series = this.#seriesOf(labels);
    if (series.name === "") return;
    const family = this.#family(series.name, type);
    if (family?.metrics.has(series.text)) return;
    const told = tell(series);
    if (told === undefined) return;
    const into = family ?? this.#begin(series.name, type);
    into.metrics.set(series.text, told);
    into.length += told.length;
    this.#length += told.length;
    if (++this.#count > FEDERATED_SERIES_MAX) throw new ThalwegError("query_series_max", { max: FEDERATED_SERIES_MAX });
    if (this.#length > ANSWER_LENGTH_MAX) throw new ThalwegError("query_answer_max", { max: ANSWER_LENGTH_MAX });
  }

  #family(name: string, type: EncodedFamilyType): Family<Told> | undefined {
    return this.#families.get(familyKey(name, type));
  }

  #begin(name: string, type: EncodedFamilyType): Family<Told> {
    const family = { name, type, metrics: new Map<string, Told>(), length: 0 };
    this.#families.set(familyKey(name, type), family);
    return family;
  }

  #seriesOf(labels: Labels): FederatedSeries {
    let name = "";
    const told: [string, string][] = [];
    const names = new Set<string>();
    for (const [label, value] of labels) {
      names.add(label);
      if (label === "__name__") name = this.#nameOf(value);
      else told.push([this.#nameOf(label), value]);
    }
    for (const [label, value] of this.#external) if (!names.has(label)) told.push([this.#nameOf(label), value]);
    return { name, labels: told, text: told.map(pairText).join(",") };
  }

  #nameOf(name: string): string {
    return this.#escaping === "underscores" ? name.replace(NO_PLAIN_LETTER, "_") : name;
  }
}

/** A label as the text format writes it. */
function pairText([name, value]: readonly [string, string]): string {
  return `${isPlainName(name) ? name : quoted(name)}=${quoted(value)}`;
}

/** Whether a name needs no quotes. */
export function isPlainName(name: string): boolean {
  return PLAIN_NAME.test(name);
}

/** A text in quotes, as the text format writes it. */
export function quoted(text: string): string {
  return `"${text.replace(/[\\"\n]/g, (each) => (each === "\n" ? "\\n" : `\\${each}`))}"`;
}

/** No name has the letter between. */
function familyKey(name: string, type: EncodedFamilyType): string {
  return `${name}\u0000${type}`;
}
