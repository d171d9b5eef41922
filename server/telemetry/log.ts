/**
 * The program's log: JSON lines, or one plain line each on a terminal.
 *
 * Values are cut short and never hold payload: callers pass names, counts and errors. One message that comes again
 * and again is written a few times, then counted, and the count stands on the next line that is written.
 */

import { type Level, pino } from "pino";

const REPEATS_MAX = 5;
const REPEAT_WINDOW_MS = 10_000;
const MESSAGES_REMEMBERED_MAX = 1_000;
const VALUE_UNITS_MAX = 300;
const CAUSE_DEPTH_MAX = 4;

type LogLevel = "debug" | "info" | "warn" | "error";

/** What rooms log with. `message` is one of a fixed set of sentences; what varies goes into `values`. */
export type Log = Readonly<Record<LogLevel, (values: object, message: string) => void>>;

/** Where lines go and how many. */
export interface LogOptions {
  readonly level: LogLevel;
  /** Plain lines for a person instead of JSON. */
  readonly terminal: boolean;
  /** Takes whole lines, line feed included. */
  readonly write: (line: string) => void;
  /** Milliseconds that never step back. */
  readonly monotonicMs: () => number;
  /** Told of every line left out. */
  readonly onSuppressed?: () => void;
}

/** Makes the log. */
export function createLog(options: LogOptions): Log {
  const write = options.terminal ? (line: string) => options.write(plainLine(line)) : options.write;
  const settings = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    messageKey: "message",
  };
  const logger = pino(settings, { write });
  const repeats = new Map<string, { sinceMs: number; count: number }>();
  const log = (level: LogLevel) => (values: object, message: string) => {
    if (!logger.isLevelEnabled(level satisfies Level)) return;
    const suppressed = suppressedBefore(repeats, `${level} ${message}`, options.monotonicMs());
    if (suppressed === undefined) return options.onSuppressed?.();
    const shown = Object.fromEntries(Object.entries(values).map(([key, value]) => [key, plainValue(value, 0)]));
    logger[level]({ ...shown, ...(suppressed > 0 ? { suppressed } : {}) }, message);
  };
  return { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") };
}

/** How many lines were left out before this one; undefined where this one is left out too. */
function suppressedBefore(
  repeats: Map<string, { sinceMs: number; count: number }>,
  key: string,
  nowMs: number,
): number | undefined {
  const known = repeats.get(key);
  if (known === undefined || nowMs - known.sinceMs >= REPEAT_WINDOW_MS) {
    if (repeats.size >= MESSAGES_REMEMBERED_MAX) repeats.clear();
    repeats.set(key, { sinceMs: nowMs, count: 1 });
    return Math.max(0, (known?.count ?? 0) - REPEATS_MAX);
  }
  known.count++;
  return known.count > REPEATS_MAX ? undefined : 0;
}

/** Numbers, booleans and short text as they are; errors as code and message with their causes; the rest by type. */
function plainValue(value: unknown, depth: number): unknown {
  if (typeof value === "number" || typeof value === "boolean" || value === null) return value;
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "string") return cut(value);
  if (value instanceof Error) {
    const code = "code" in value && typeof value.code === "string" ? `${value.code}: ` : "";
    const cause =
      value.cause === undefined || depth >= CAUSE_DEPTH_MAX ? "" : ` (${plainValue(value.cause, depth + 1)})`;
    return cut(`${code}${value.message}${cause}`);
  }
  if (Array.isArray(value)) return `${value.length} values`;
  return typeof value;
}

function cut(text: string): string {
  if (text.length <= VALUE_UNITS_MAX) return text;
  return `${text.slice(0, VALUE_UNITS_MAX).toWellFormed()}… (${text.length} characters)`;
}

/** Turns pino's JSON line into one for a terminal: time, level, message, then `key=value` pairs. */
function plainLine(line: string): string {
  // pino wrote the line, so it is an object with these members.
  const { time, level, message, ...values } = JSON.parse(line) as Record<string, unknown>;
  const pairs = Object.entries(values).map(([key, value]) => ` ${key}=${quoted(String(value))}`);
  return `${String(time).slice(11, 23)} ${String(level).toUpperCase().padEnd(5)} ${String(message)}${pairs.join("")}\n`;
}

function quoted(text: string): string {
  return /^[^\s"=\p{Cc}]+$/u.test(text) ? text : JSON.stringify(text);
}
