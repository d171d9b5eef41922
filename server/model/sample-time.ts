/** Times as SQL's `samples()` takes them. */

const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;
const DATE_TIME = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?$/i;

/** Numbers from these on are Unix milliseconds, microseconds and nanoseconds; those below the first are seconds. */
const MILLISECONDS_MIN = 1e11;
const MICROSECONDS_MIN = 1e14;
const NANOSECONDS_MIN = 1e17;

/**
 * Reads a time: a Unix time in the unit that its size tells (as VictoriaMetrics does), or a date of ISO 8601 in UTC unless
 * it says otherwise.
 *
 * @returns Unix milliseconds, not rounded; undefined where it is none.
 */
export function parseSampleTimeMs(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? millisecondsOf(value) : undefined;
  if (typeof value !== "string") return undefined;
  const text = value.trim();
  if (NUMBER.test(text)) return millisecondsOf(Number(text));
  const match = DATE_TIME.exec(text);
  if (match === null) return undefined;
  const isDay = text.length === "2026-11-26".length;
  const ms = Date.parse(match[1] === undefined && !isDay ? `${text.replace(" ", "T")}Z` : text.replace(" ", "T"));
  return Number.isNaN(ms) ? undefined : ms;
}

function millisecondsOf(number: number): number {
  const size = Math.abs(number);
  if (size < MILLISECONDS_MIN) return number * 1e3;
  if (size < MICROSECONDS_MIN) return number;
  return number / (size < NANOSECONDS_MIN ? 1e3 : 1e6);
}
