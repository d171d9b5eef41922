/**
 * Parameters of Prometheus' HTTP API, read and refused as Prometheus does it.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/api/
 */

import { parseDurationMs } from "../model/duration.ts";
import type { QueryOptions, RangeTimes } from "../query/doors.ts";
import { rangeRefusal } from "../query/promql-door.ts";
import { quoteText } from "../query/promql-texts.ts";
import type { FormValues } from "./form-values.ts";
import { parseBoolGo, parseFloatGo, parseIntGo, printDurationGo } from "./go-values.ts";

/** Prometheus' kinds of errors. */
export type PrometheusErrorType =
  | "bad_data"
  | "execution"
  | "cost_limit"
  | "canceled"
  | "timeout"
  | "internal"
  | "unavailable"
  | "not_found";

/** Status of each kind; `unavailable` has none of its own there and falls to 500. */
export const ERROR_STATUS: Readonly<Record<PrometheusErrorType, number>> = {
  bad_data: 400,
  execution: 422,
  cost_limit: 422,
  canceled: 499,
  timeout: 503,
  internal: 500,
  unavailable: 500,
  not_found: 404,
};

/** A request is answered with an error; `message` is what Prometheus answers. */
export class PrometheusError extends Error {
  readonly errorType: PrometheusErrorType;

  constructor(errorType: PrometheusErrorType, message: string) {
    super(message);
    this.errorType = errorType;
  }
}

/** What Go's smallest and largest time print as; promtool sends them for "all time". */
const TIME_MIN_TEXT = "-292273086-05-16T16:47:06Z";
const TIME_MAX_TEXT = "292277025-08-18T07:12:54.999999999Z";
/** The earliest time a query may name: that of a JavaScript date. */
const TIME_MIN_MS = -8.64e15;
/** The latest one. */
const TIME_MAX_MS = 8.64e15;
/** Go's durations are 64-bit nanoseconds. */
const DURATION_NS_MAX = 2 ** 63;
const NS_PER_MS = 1e6;

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)$/;

/** Reads an optional time given as Unix seconds or RFC 3339, in Unix milliseconds. */
export function readTimeMs(form: FormValues, name: string, fallbackMs: number): number {
  const text = form.get(name);
  if (text === "") return fallbackMs;
  const timeMs = parseTimeMs(text);
  if (timeMs !== undefined) return timeMs;
  throw invalid(name, `invalid time value for '${name}': ${noTimestamp(text)}`);
}

/** Reads `start` and `end`; all time where they are not given. */
export function readTimes(form: FormValues): { readonly startMs: number; readonly endMs: number } {
  return { startMs: readTimeMs(form, "start", TIME_MIN_MS), endMs: readTimeMs(form, "end", TIME_MAX_MS) };
}

function noTimestamp(text: string): string {
  return `cannot parse ${quoteText(text)} to a valid timestamp`;
}

/**
 * Unix milliseconds of Unix seconds or RFC 3339 text; undefined where it is neither.
 *
 * Seconds keep three decimals. What lies beyond the dates that can be named is moved to their end.
 */
export function parseTimeMs(text: string): number | undefined {
  const seconds = parseFloatGo(text);
  if (seconds !== undefined) return Number.isNaN(seconds) ? undefined : secondsToMs(seconds);
  if (text === TIME_MIN_TEXT) return TIME_MIN_MS;
  if (text === TIME_MAX_TEXT) return TIME_MAX_MS;
  const match = RFC3339.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction = "", zone] = match;
  if (Number(hour) > 23 || Number(day) > daysInMonth(Number(year), Number(month))) return undefined;
  const milliseconds = fraction.slice(0, 3).padEnd(3, "0");
  const timeMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${milliseconds}${zone}`);
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

/** The same roundings as Go's: decimals to thousandths, those to nanoseconds downwards, and milliseconds of these. */
function secondsToMs(seconds: number): number {
  if (Math.abs(seconds) >= TIME_MAX_MS / 1000) return Math.sign(seconds) * TIME_MAX_MS;
  const whole = Math.trunc(seconds);
  const thousandths = Math.abs(seconds - whole) * 1000;
  const fraction = (Math.sign(seconds) * Math.round(thousandths)) / 1000;
  return whole * 1000 + Math.floor(Math.trunc(fraction * 1e9) / NS_PER_MS);
}

function daysInMonth(year: number, month: number): number {
  return new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate();
}

/** Milliseconds of a duration given as seconds or as `1h30m`, cut to nanoseconds; the reason where it is neither. */
function parseDuration(text: string): number | { readonly refused: string } {
  const seconds = parseFloatGo(text);
  if (seconds === undefined) return parseDurationMs(text) ?? { refused: noDuration(text) };
  const ns = seconds * 1e9;
  if (!(ns >= -DURATION_NS_MAX && ns < DURATION_NS_MAX)) return { refused: `${noDuration(text)}. It overflows int64` };
  return Math.trunc(ns) / NS_PER_MS;
}

function noDuration(text: string): string {
  return `cannot parse ${quoteText(text)} to a valid duration`;
}

/** The same without a reason. */
export function parseSecondsOrDurationMs(text: string): number | undefined {
  const durationMs = parseDuration(text);
  return typeof durationMs === "number" ? durationMs : undefined;
}

/** Reads a query's timeout, which must be positive; the server's own is the most it can be. */
export function readTimeoutMs(form: FormValues, timeoutMsMax: number): number {
  const text = form.get("timeout");
  if (text === "") return timeoutMsMax;
  const timeoutMs = parseDuration(text);
  if (typeof timeoutMs !== "number") throw invalid("timeout", timeoutMs.refused);
  if (timeoutMs <= 0) throw invalid("timeout", `timeout must be positive, got ${printDurationGo(timeoutMs)}`);
  return Math.min(timeoutMs, timeoutMsMax);
}

/** Reads `start`, `end` and `step`, all of which a range query needs. */
export function readRange(form: FormValues): RangeTimes {
  const startMs = neededTimeMs(form, "start");
  const endMs = neededTimeMs(form, "end");
  // Its order is told before the step is read.
  const disorder = rangeRefusal({ startMs, endMs, stepMs: Number.POSITIVE_INFINITY });
  if (disorder !== undefined) throw new PrometheusError("bad_data", disorder);
  const stepMs = parseDuration(form.get("step"));
  if (typeof stepMs !== "number") throw invalid("step", stepMs.refused);
  const refused = rangeRefusal({ startMs, endMs, stepMs });
  if (refused !== undefined) throw new PrometheusError("bad_data", refused);
  return { startMs, endMs, stepMs };
}

function neededTimeMs(form: FormValues, name: string): number {
  const timeMs = parseTimeMs(form.get(name));
  if (timeMs === undefined) throw invalid(name, noTimestamp(form.get(name)));
  return timeMs;
}

/** Reads `limit`: a count of at least 0, where 0 and absence mean no limit. */
export function readLimit(form: FormValues, name = "limit"): number {
  const text = form.get(name);
  if (text === "") return Number.POSITIVE_INFINITY;
  const limit = parseIntGo(text);
  if (limit.kind === "refused") throw invalid(name, limit.reason);
  if (limit.value < 0) throw invalid(name, "limit must be non-negative");
  return limit.value === 0 ? Number.POSITIVE_INFINITY : limit.value;
}

/** Reads a limit of the metadata routes: any whole number; undefined where it is not given. */
export function readPlainLimit(form: FormValues, name: string): number | undefined {
  const text = form.get(name);
  if (text === "") return undefined;
  const limit = parseIntGo(text);
  if (limit.kind === "refused") throw new PrometheusError("bad_data", `${name} must be a number`);
  return limit.value;
}

/** Reads what both kinds of queries take beside their times. */
export function readQueryOptions(
  form: FormValues,
  useStartTimestamps: string | string[] | undefined,
  { timeoutMsMax, stepMs }: { readonly timeoutMsMax: number; readonly stepMs: number },
): QueryOptions {
  const timeoutMs = readTimeoutMs(form, timeoutMsMax);
  const stats = form.get("stats");
  return {
    timeoutMs,
    lookbackMs: readLookbackMs(form),
    sourceResolutionMs: readSourceResolutionMs(form, stepMs),
    useStartTimestamps: readUseStartTimestamps(useStartTimestamps),
    stats: stats === "" ? "none" : stats === "all" ? "per_step" : "totals",
    explain: form.get("explain") !== "" && form.get("explain") !== "0" && form.get("explain") !== "false",
  };
}

/** Of a step so many windows are read at least where the resolution is left to the server, as in Thanos. */
const AUTO_WINDOWS = 5;

/** Thanos' `max_source_resolution`: the longest windows to read in place of samples, or `auto`. */
function readSourceResolutionMs(form: FormValues, stepMs: number): number | undefined {
  const text = form.get("max_source_resolution");
  if (text === "") return undefined;
  if (text === "auto") return stepMs / AUTO_WINDOWS;
  const resolutionMs = parseDuration(text);
  if (typeof resolutionMs !== "number") throw invalid("max_source_resolution", resolutionMs.refused);
  if (resolutionMs < 0) {
    const reason = "negative 'max_source_resolution' is not accepted. Try a positive integer";
    throw new PrometheusError("bad_data", reason);
  }
  return resolutionMs;
}

/** Undefined, 0 and less mean the server's own. */
function readLookbackMs(form: FormValues): number | undefined {
  const text = form.get("lookback_delta");
  if (text === "") return undefined;
  const lookbackMs = parseDuration(text);
  if (typeof lookbackMs !== "number") {
    throw new PrometheusError("bad_data", `error parsing lookback delta duration: ${lookbackMs.refused}`);
  }
  return lookbackMs > 0 ? Math.floor(lookbackMs) : undefined;
}

function readUseStartTimestamps(header: string | string[] | undefined): boolean | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined || text === "") return undefined;
  const outcome = parseBoolGo(text);
  if (outcome.kind === "value") return outcome.value;
  const reason = `error parsing X-Prometheus-Use-Start-Timestamps header: ${outcome.reason}`;
  throw new PrometheusError("bad_data", reason);
}

/** The warning that Prometheus gives for values of `stats` other than its two. */
export function statsWarning(form: FormValues): string | undefined {
  const text = form.get("stats");
  if (text === "" || text === "true" || text === "all") return undefined;
  return (
    `value ${quoteText(text)} for parameter "stats" is deprecated and will be rejected in the next major release, ` +
    'use "true" or "all"'
  );
}

/** An error in Prometheus' words. */
export function invalid(name: string, reason: string): PrometheusError {
  return new PrometheusError("bad_data", `invalid parameter "${name}": ${reason}`);
}
