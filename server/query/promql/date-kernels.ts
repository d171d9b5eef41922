/** Parts of dates in UTC, as Go computes them: also of seconds that no date of JavaScript reaches. */

const DAY_SECONDS = 86_400n;

/** Beyond so many seconds from 1970 JavaScript has no dates. */
const JS_SECONDS_MAX = 8_640_000_000_000;

/** Days of 400 years. */
const ERA_DAYS = 146_097n;

/** Go counts from 1 March of this year on, in 64 bits without sign: seconds before that come again after the last. */
const FIRST_YEAR = 292_277_022_400n;

/** Days from that day to 1 January of the year 1, and from there to 1970. */
const DAYS_TO_YEAR_1 = (FIRST_YEAR / 400n) * ERA_DAYS + 306n;
const DAYS_TO_1970 = 719_162n;

/** Parts of a date and time. */
interface DateParts {
  readonly year: number;
  /** From 1. */
  readonly month: number;
  readonly day: number;
  /** Sunday is 0. */
  readonly weekday: number;
  readonly hour: number;
  readonly minute: number;
}

/** A float as Go's conversion to 64 bits has it on most machines: what does not fit is the least number. */
function toInt64(value: number): bigint {
  return value >= -(2 ** 63) && value < 2 ** 63 ? BigInt(Math.trunc(value)) : -(2n ** 63n);
}

function partsOf(seconds: number): DateParts {
  if (!(Math.abs(seconds) <= JS_SECONDS_MAX)) return farParts(toInt64(seconds));
  const date = new Date(Math.trunc(seconds) * 1000);
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    weekday: date.getUTCDay(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
  };
}

function farParts(seconds: bigint): DateParts {
  const since = BigInt.asUintN(64, seconds + (DAYS_TO_YEAR_1 + DAYS_TO_1970) * DAY_SECONDS);
  const days = since / DAY_SECONDS;
  const secondOfDay = Number(since % DAY_SECONDS);
  const dayOfEra = Number(days % ERA_DAYS);
  // Years begin in March, so that a leap day is the last day of its year.
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const isNextYear = monthFromMarch >= 10;
  return {
    year: Number((days / ERA_DAYS) * 400n - FIRST_YEAR) + yearOfEra + (isNextYear ? 1 : 0),
    month: isNextYear ? monthFromMarch - 9 : monthFromMarch + 3,
    day: dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1,
    weekday: Number((days + 3n) % 7n),
    hour: Math.floor(secondOfDay / 3600),
    minute: Math.floor((secondOfDay % 3600) / 60),
  };
}

const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

function daysInMonth({ year, month }: DateParts): number {
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  return month === 2 && isLeap ? 29 : (MONTH_DAYS[month - 1] ?? 0);
}

function dayOfYear(parts: DateParts): number {
  let days = parts.day;
  for (let month = 1; month < parts.month; month++) days += daysInMonth({ ...parts, month });
  return days;
}

function ofDate(read: (parts: DateParts) => number): (seconds: number) => number {
  return (seconds) => read(partsOf(seconds));
}

/** Unix seconds in, a part of the date out. */
export const DATE_KERNELS: ReadonlyMap<string, (value: number) => number> = new Map<string, (value: number) => number>([
  ["minute", ofDate(({ minute }) => minute)],
  ["hour", ofDate(({ hour }) => hour)],
  ["day_of_week", ofDate(({ weekday }) => weekday)],
  ["day_of_month", ofDate(({ day }) => day)],
  ["day_of_year", ofDate(dayOfYear)],
  ["days_in_month", ofDate(daysInMonth)],
  ["month", ofDate(({ month }) => month)],
  ["year", ofDate(({ year }) => year)],
]);
