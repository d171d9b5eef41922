/**
 * The shortest decimal that reads back as the same double, written digit by digit where it stays.
 *
 * A double below 10^15 times a power of ten up to 10^22 is told exactly by two doubles, the product and what rounding took
 * of it (Dekker, 1971), so all seventeen digits and their rest are there at once. Zeros are then made from the right for as
 * long as what comes of it lies nearer to the double than half of its distance to the next one. Where two decimals are
 * as near, or one lies on the edge, nothing is written: the runtime knows which is right.
 */

/** Whole numbers below this have at most fifteen digits. */
export const DECIMAL_BELOW = 1e15;
/** The least power of two for which ten to the power of 22 is enough: only up to there is it a double itself. */
const LEAST_EXPONENT = -19;
/** The least number above zero that is written. */
export const DECIMAL_FROM = 2 ** LEAST_EXPONENT;
const MOST_EXPONENT = 49;
/** Bits of a double's digits with the one that is not stored. */
const DIGIT_BITS = 53;
const EXPONENT_BIAS = 1023;
const EXPONENT_SHIFT = 20;
const FRACTION_MASK = 0xf_ffff;
/** Splits a double into halves whose products are exact. */
const SPLITTER = 2 ** 27 + 1;

const DIGITS = 17;
const LOWER_DIGITS = 8;
const LOWER_LIMIT = 1e8;
const UPPER_LIMIT = 1e9;
/** Distances that differ by less are taken for equal: far more than rounding takes of them. */
const TOO_NEAR = 1e-9;

const POINT = 0x2e;
const ZERO = 0x30;
const FOUR_ZEROS = 0x3030_3030;

const POWERS = Float64Array.from({ length: 23 }, (_, power) => 10 ** power);
const UPPER_HALVES = POWERS.map(upperHalf);
/** For each power of two, the power of ten that gives it seventeen digits, and half of the distance between doubles. */
const POWER_OF = Int32Array.from({ length: MOST_EXPONENT - LEAST_EXPONENT + 1 }, (_, i) => {
  return DIGITS - 1 - Math.floor(Math.log10(2 ** (i + LEAST_EXPONENT)));
});
const HALF_OF = Float64Array.from(POWER_OF, (_, i) => 2 ** (i + LEAST_EXPONENT - DIGIT_BITS));

const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);

/**
 * Writes a number that is not whole.
 *
 * @param size From `DECIMAL_FROM` on, below `DECIMAL_BELOW`.
 * @param view Has room for 26 bytes at `at`; what it holds beyond the digits is then anything.
 * @returns Where the digits end; -1 where none are written.
 */
export function writeFraction(size: number, view: DataView, at: number): number {
  double[0] = size;
  const high = words[1] as number; // in range, as are all indexes of the tables below
  const exponent = (high >>> EXPONENT_SHIFT) - EXPONENT_BIAS - LEAST_EXPONENT;
  // Below a power of two doubles lie closer.
  if ((high & FRACTION_MASK) === 0 && words[0] === 0) return -1;
  let power = POWER_OF[exponent] as number;
  let ten = POWERS[power] as number;
  let product = size * ten;
  if (product >= 1e17) {
    power--;
    ten = POWERS[power] as number;
    product = size * ten;
  }
  const half = (HALF_OF[exponent] as number) * ten;
  const sizeUpper = upperHalf(size);
  const sizeLower = size - sizeUpper;
  const tenUpper = UPPER_HALVES[power] as number;
  const tenLower = ten - tenUpper;
  const lost = sizeUpper * tenUpper - product + sizeUpper * tenLower + sizeLower * tenUpper + sizeLower * tenLower;
  const whole = Math.round(lost);
  const rest = lost - whole;
  let upper = Math.floor(product * 1e-8);
  let lower = product - upper * LOWER_LIMIT + whole;
  if (lower < 0) {
    lower += LOWER_LIMIT;
    upper--;
  } else if (lower >= LOWER_LIMIT) {
    lower -= LOWER_LIMIT;
    upper++;
  }
  upper |= 0;
  lower |= 0;
  let rounded = lower;
  let zeros = 0;
  if (0.5 - Math.abs(rest) < TOO_NEAR) return -1;
  for (let unit = 10; zeros < LOWER_DIGITS; unit *= 10) {
    const over = lower % unit;
    const down = over + rest;
    const up = unit - over - rest;
    const nearest = Math.min(down, up);
    const margin = half - nearest;
    if (margin < TOO_NEAR) {
      if (margin > -TOO_NEAR) return -1;
      break;
    }
    if (Math.abs(down - up) < TOO_NEAR) return -1;
    rounded = down < up ? lower - over : lower - over + unit;
    zeros++;
  }
  if (rounded >= LOWER_LIMIT) {
    rounded -= LOWER_LIMIT;
    upper++;
  }
  if (upper < UPPER_LIMIT / 10 || upper >= UPPER_LIMIT) return -1;
  if (zeros === LOWER_DIGITS) for (let left = upper; left % 10 === 0; left = (left / 10) | 0) zeros++;
  const before = DIGITS - power;
  if (before <= 0) {
    const from = at + 2 - before;
    for (let i = at; i < from; i++) view.setUint8(i, ZERO);
    view.setUint8(at + 1, POINT);
    writeDigits(view, from, upper, rounded);
    return from + DIGITS - zeros;
  }
  writeDigits(view, at + 1, upper, rounded);
  for (let i = at; i < at + before; i++) view.setUint8(i, view.getUint8(i + 1));
  view.setUint8(at + before, POINT);
  return at + 1 + DIGITS - zeros;
}

/** Nine digits of `upper`, eight of `lower`. */
function writeDigits(view: DataView, at: number, upper: number, lower: number): void {
  const first = (upper / LOWER_LIMIT) | 0;
  const rest = upper - first * LOWER_LIMIT;
  view.setUint8(at, ZERO + first);
  const second = (rest / 10_000) | 0;
  view.setUint32(at + 1, fourDigits(second), true);
  view.setUint32(at + 5, fourDigits(rest - second * 10_000), true);
  const third = (lower / 10_000) | 0;
  view.setUint32(at + 9, fourDigits(third), true);
  view.setUint32(at + 13, fourDigits(lower - third * 10_000), true);
}

/** A whole number below 10,000 as four characters, the first in the lowest byte: all digits are divided off at once. */
export function fourDigits(whole: number): number {
  const hundreds = (whole * 5243) >>> 19;
  const pairs = hundreds | ((whole - hundreds * 100) << 16);
  const tens = ((pairs * 103) >>> 10) & 0x000f_000f;
  return (tens | ((pairs - tens * 10) << 8)) + FOUR_ZEROS;
}

/** The upper 26 bits of a double's digits. */
function upperHalf(value: number): number {
  const scaled = value * SPLITTER;
  return scaled - (scaled - value);
}
