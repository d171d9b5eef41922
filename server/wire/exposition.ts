/**
 * What targets of a scrape answer: formats, and the samples and metadata that every format is read to.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */

import type { NativeHistogram } from "../model/histogram.ts";
import type { MetricType } from "../model/series.ts";

/** Formats that can be read. */
export type ExpositionFormat = "text" | "openmetrics" | "protobuf";

/** Labels as they were written, in any order, the metric's name among them as `__name__`. */
export type ExposedLabels = [name: string, value: string][];

/** An example of what a sample counts. */
export interface ExposedExemplar {
  readonly labels: ExposedLabels;
  readonly value: number;
  /** Undefined where the target gives no time. */
  readonly timestampMs: number | undefined;
}

/** One sample of an answer. */
export interface ExposedSample {
  /** Name and labels as they were written: samples of equal keys belong to the same series. */
  readonly key: string;
  /** Reads name and labels; only to be called before the next sample is read. @throws ExpositionError */
  readonly labels: () => ExposedLabels;
  readonly value: number;
  readonly histogram: NativeHistogram | undefined;
  /** Undefined where the target leaves the time to who scrapes. */
  readonly timestampMs: number | undefined;
  readonly exemplars: readonly ExposedExemplar[];
}

/** What an answer says of a metric; each of its lines tells one of the three. */
export interface ExposedMetadata {
  readonly name: string;
  readonly type?: MetricType;
  readonly help?: string;
  readonly unit?: string;
}

/** Takes what an answer holds, in its order. */
export interface ExpositionSink {
  describe(metadata: ExposedMetadata): void;
  sample(sample: ExposedSample): void;
}

/** UTF-16 units of a message, which may hold words of the answer. */
const MESSAGE_UNITS_MAX = 1_000;

/** An answer that is not in its format; the message is for the person who wrote the target. */
export class ExpositionError extends Error {
  constructor(message: string) {
    super(message.length > MESSAGE_UNITS_MAX ? `${message.slice(0, MESSAGE_UNITS_MAX)}…` : message);
  }
}

const MEDIA_TYPES: ReadonlyMap<string, ExpositionFormat> = new Map([
  ["text/plain", "text"],
  ["application/openmetrics-text", "openmetrics"],
  ["application/vnd.google.protobuf", "protobuf"],
]);

/**
 * The format of an answer.
 *
 * @param contentType The header's value; empty where there is none.
 * @param fallback Taken where the header is missing or names no format that can be read.
 * @throws ExpositionError where neither tells a format.
 */
export function formatOf(contentType: string, fallback: ExpositionFormat | undefined): ExpositionFormat {
  const [mediaType = "", ...parameters] = contentType.split(";").map((part) => part.trim().toLowerCase());
  const found = MEDIA_TYPES.get(mediaType);
  if (found === "protobuf" && !isMetricFamily(parameters)) {
    if (fallback !== undefined) return fallback;
    throw new ExpositionError(
      `received unsupported Content-Type "${contentType}": protobuf is read as delimited io.prometheus.client.MetricFamily only`,
    );
  }
  const format = found ?? fallback;
  if (format !== undefined) return format;
  throw new ExpositionError(
    contentType === ""
      ? "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
      : `received unsupported Content-Type "${contentType}" and no fallback_scrape_protocol specified for target`,
  );
}

function isMetricFamily(parameters: readonly string[]): boolean {
  const values = new Map(parameters.map((each) => [each.split("=", 1)[0] ?? "", each.replace(/^[^=]*=/, "")]));
  const encoding = values.get("encoding");
  return (
    values.get("proto") === "io.prometheus.client.metricfamily" && (encoding === undefined || encoding === "delimited")
  );
}

/** A number as Go's `ParseFloat` reads it, without hexadecimal forms. @throws ExpositionError */
export function floatOf(text: string): number {
  if (DECIMAL.test(text)) {
    const value = Number(text);
    if (Number.isFinite(value)) return value;
    throw new ExpositionError(`strconv.ParseFloat: parsing "${text}": value out of range`);
  }
  if (/^[+-]?inf(inity)?$/i.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
  if (/^nan$/i.test(text)) return NaN;
  throw new ExpositionError(`strconv.ParseFloat: parsing "${text}": invalid syntax`);
}

const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;

/** The value of `le` or `quantile` in one spelling for all formats: `1.0`, `0.5`, `+Inf`. */
export function openMetricsFloat(value: number): string {
  const text = goFloat(value === 0 ? 0 : value);
  return /[.eIN]/.test(text) ? text : `${text}.0`;
}

/** Go's format `g` with the fewest digits: exponents from 6 on and below -4. */
export function goFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [digits = "", exponentText = "0"] = value.toExponential().split("e");
  const exponent = Number(exponentText);
  if (exponent >= -4 && exponent < 6) return String(value);
  return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** Whether labels of this name on this type hold a number that is spelled alike everywhere. */
export function isBoundLabel(type: MetricType, label: string): boolean {
  return (type === "histogram" && label === "le") || (type === "summary" && label === "quantile");
}
