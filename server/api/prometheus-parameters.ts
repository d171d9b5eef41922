/**
 * Parameters of Prometheus' HTTP API, read and refused as Prometheus does it.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/api/
 */

import { DURATION_MS_MAX, parseDurationMs } from "../model/duration.ts";
import { RANGE_STEPS_MAX } from "../query/promql-door.ts";

/** A parameter is wrong; `message` is what Prometheus answers under `bad_data`. */
export class ParameterError extends Error {}

/** What Go's smallest and largest time print as; promtool sends them for "all time". */
const TIME_MIN_TEXT = "-292273086-05-16T16:47:06Z";
const TIME_MAX_TEXT = "292277025-08-18T07:12:54.999999999Z";
/** The earliest time a query may name: that of a JavaScript date. */
export const TIME_MIN_MS = -8.64e15;
/** The latest one. */
export const TIME_MAX_MS = 8.64e15;

const FLOAT = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const RFC3339 = /^(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)$/;

/** Reads a time given as Unix seconds or RFC 3339, in Unix milliseconds; `fallbackMs` where it is not given. */
export function readTimeMs(parameters: URLSearchParams, name: string, fallbackMs: number): number {
  const text = parameters.get(name) ?? "";
  if (text === "") return fallbackMs;
  const timeMs = parseTimeMs(text);
  if (timeMs === undefined) throw invalid(name, `cannot parse ${JSON.stringify(text)} to a valid timestamp`);
  return timeMs;
}

/** Unix milliseconds of Unix seconds or RFC 3339 text; undefined where it is neither. */
export function parseTimeMs(text: string): number | undefined {
  if (FLOAT.test(text)) {
    const timeMs = Math.round(Number(text) * 1000);
    return Math.abs(timeMs) <= TIME_MAX_MS ? timeMs : undefined;
  }
  if (text === TIME_MIN_TEXT) return TIME_MIN_MS;
  if (text === TIME_MAX_TEXT) return TIME_MAX_MS;
  const match = RFC3339.exec(text);
  if (match === null) return undefined;
  const [, date, time, fraction = "", zone] = match;
  const timeMs = Date.parse(`${date}T${time}.${fraction.slice(0, 3).padEnd(3, "0")}${zone}`);
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

/** Milliseconds of a duration given as seconds or as `1h30m`; undefined where it is neither. */
export function parseSecondsOrDurationMs(text: string): number | undefined {
  if (!FLOAT.test(text)) return parseDurationMs(text);
  const durationMs = Number(text) * 1000;
  return Math.abs(durationMs) <= DURATION_MS_MAX ? durationMs : undefined;
}

/** Reads a query's timeout; the server's own is the most it can be. */
export function readTimeoutMs(parameters: URLSearchParams, timeoutMsMax: number): number {
  const text = parameters.get("timeout") ?? "";
  if (text === "") return timeoutMsMax;
  const timeoutMs = parseSecondsOrDurationMs(text);
  if (timeoutMs === undefined) throw invalid("timeout", `cannot parse ${JSON.stringify(text)} to a valid duration`);
  return Math.min(timeoutMs, timeoutMsMax);
}

/** Start, end and step of a range query, in milliseconds. */
export interface QueryRange {
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
}

/** Reads `start`, `end` and `step`, all of which a range query needs. */
export function readRange(parameters: URLSearchParams): QueryRange {
  const startMs = readTimeMs(parameters, "start", Number.NaN);
  if (Number.isNaN(startMs)) throw invalid("start", 'cannot parse "" to a valid timestamp');
  const endMs = readTimeMs(parameters, "end", Number.NaN);
  if (Number.isNaN(endMs)) throw invalid("end", 'cannot parse "" to a valid timestamp');
  if (endMs < startMs) throw invalid("end", "end timestamp must not be before start time");
  const stepText = parameters.get("step") ?? "";
  const stepMs = parseSecondsOrDurationMs(stepText);
  if (stepMs === undefined) throw invalid("step", `cannot parse ${JSON.stringify(stepText)} to a valid duration`);
  if (stepMs <= 0) {
    const reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
    throw invalid("step", reason);
  }
  if ((endMs - startMs) / stepMs > RANGE_STEPS_MAX) {
    const reason =
      "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
    throw new ParameterError(reason);
  }
  return { startMs, endMs, stepMs: Math.max(1, Math.round(stepMs)) };
}

/** Reads `limit`: a count of at least 0, where 0 and absence mean no limit. */
export function readLimit(parameters: URLSearchParams, name = "limit"): number {
  const text = parameters.get(name) ?? "";
  if (text === "") return Number.POSITIVE_INFINITY;
  if (!/^\d{1,9}$/.test(text)) throw invalid(name, `cannot parse ${JSON.stringify(text)} to a valid limit`);
  return Number(text) === 0 ? Number.POSITIVE_INFINITY : Number(text);
}

/** An error in Prometheus' words. */
export function invalid(name: string, reason: string): ParameterError {
  return new ParameterError(`invalid parameter "${name}": ${reason}`);
}
