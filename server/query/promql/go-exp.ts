/**
 * Exponentials, and what is made of them and of logarithms, in the steps in which Go computes them on amd64.
 *
 * @see Naoki Shibata, Efficient evaluation methods of elementary functions suitable for SIMD computation, 2010
 * @see The Cephes Mathematical Library; FreeBSD's msun; Hart and Cheney, Computer Approximations
 */

import { fusedMultiplyAdd } from "./fused-multiply-add.ts";
import { frexp, ln } from "./go-math.ts";

const EXP_OVERFLOW = 709.782712893384;
const LN2_UPPER = 0.693147180559663;
const LN2_LOWER = 2.8235290563031577e-13;

/** Coefficients of the exponential's series, from the highest power down. */
const EXP_SERIES = [
  0.0001984126984126984, 0.001388888888888889, 0.008333333333333333, 0.041666666666666664, 0.16666666666666666, 0.5, 1,
];

/** `e ** value`. */
export function exp(value: number): number {
  if (Number.isNaN(value)) return value;
  if (value > EXP_OVERFLOW) return Number.POSITIVE_INFINITY;
  if (value < -746) return 0;
  const k = roundEven(value * Math.LOG2E);
  // A sixteenth of what is left of the argument: the result is squared four times.
  const rest = fusedMultiplyAdd(-LN2_LOWER, k, fusedMultiplyAdd(-LN2_UPPER, k, value)) * 0.0625;
  let series = 0.0000248015873015873;
  for (const coefficient of EXP_SERIES) series = fusedMultiplyAdd(series, rest, coefficient);
  let power = rest * series;
  for (let i = 0; i < 3; i++) power *= power + 2;
  return scale(fusedMultiplyAdd(power, power + 2, 1), k);
}

/** Halves go to the even neighbour. */
function roundEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** `fraction * 2 ** exponent`, rounded once; what is far below the least number is 0. */
function scale(fraction: number, exponent: number): number {
  if (exponent + 1023 > 0) return exponent >= 1024 ? Number.POSITIVE_INFINITY : fraction * 2 ** exponent;
  return exponent + 1023 < -52 ? 0 : fraction * 2 ** (exponent + 1022) * 2 ** -1022;
}

/** `base ** exponent`: powers of the whole part by squaring. */
export function pow(base: number, exponent: number): number {
  if (exponent === 0 || base === 1) return 1;
  if (exponent === 1) return base;
  if (exponent === 0.5 && Number.isFinite(base) && base !== 0) return Math.sqrt(base);
  if (exponent === -0.5 && Number.isFinite(base) && base !== 0) return 1 / Math.sqrt(base);
  if (!Number.isFinite(base) || !Number.isFinite(exponent) || base === 0) return powOfExtremes(base, exponent);
  let whole = Math.trunc(Math.abs(exponent));
  let part = Math.abs(exponent) - whole;
  if (part !== 0 && base < 0) return Number.NaN;
  if (whole >= 2 ** 63) {
    if (base === -1) return 1;
    return Math.abs(base) < 1 === exponent > 0 ? 0 : Number.POSITIVE_INFINITY;
  }
  let result = 1;
  if (part !== 0) {
    if (part > 0.5) {
      part--;
      whole++;
    }
    result = exp(part * ln(base));
  }
  const power = wholePower(base, whole, result);
  if (exponent < 0) return ldexp(1 / power.fraction, -power.exponent);
  return ldexp(power.fraction, power.exponent);
}

/** Powers of which one side is 0, infinite or no number. */
function powOfExtremes(base: number, exponent: number): number {
  if (base === -1 && Math.abs(exponent) === Number.POSITIVE_INFINITY) return 1;
  return base ** exponent;
}

/** `start * base ** whole`, the powers of two apart. */
function wholePower(base: number, whole: number, start: number): { fraction: number; exponent: number } {
  let fraction = start;
  let exponent = 0;
  let { fraction: square, exponent: squareExponent } = frexp(base);
  for (let left = whole; left !== 0; left = Math.floor(left / 2)) {
    if (Math.abs(squareExponent) > 4096) return { fraction, exponent: exponent + squareExponent };
    if (left % 2 === 1) {
      fraction *= square;
      exponent += squareExponent;
    }
    square *= square;
    squareExponent *= 2;
    if (square < 0.5) {
      square += square;
      squareExponent--;
    }
  }
  return { fraction, exponent };
}

/** `fraction * 2 ** exponent`, rounded once. */
function ldexp(fraction: number, exponent: number): number {
  if (fraction === 0 || !Number.isFinite(fraction)) return fraction;
  const own = frexp(fraction);
  const total = own.exponent + exponent;
  if (total < -1074) return fraction < 0 ? -0 : 0;
  if (total > 1024) return fraction < 0 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (total >= -1021) return own.fraction * 2 * 2 ** (total - 1);
  return own.fraction * 2 * 2 ** (total - 1 + 53) * 2 ** -53;
}

/** Hyperbolic sine. */
export function sinh(value: number): number {
  if (value === 0) return value;
  const size = Math.abs(value);
  let result: number;
  if (size > 21) result = exp(size) * 0.5;
  else if (size > 0.5) {
    const power = exp(size);
    result = (power - 1 / power) * 0.5;
  } else {
    const square = size * size;
    const above =
      (((-26.30563213397497 * square - 2894.211355989564) * square - 89912.72022039509) * square - 630767.3640497717) *
      size;
    const below = ((square - 173.6789535582337) * square + 15215.17378790019) * square - 630767.3640497717;
    result = above / below;
  }
  return value < 0 ? -result : result;
}

/** Hyperbolic cosine. */
export function cosh(value: number): number {
  const power = exp(Math.abs(value));
  return Math.abs(value) > 21 ? power * 0.5 : (power + 1 / power) * 0.5;
}

/** Beyond half of it the hyperbolic tangent is 1. */
const TANH_MAX = 88.02969193111305;

/** Hyperbolic tangent. */
export function tanh(value: number): number {
  const size = Math.abs(value);
  if (size > 0.5 * TANH_MAX) return value < 0 ? -1 : 1;
  if (size >= 0.625) {
    const result = 1 - 2 / (exp(2 * size) + 1);
    return value < 0 ? -result : result;
  }
  if (value === 0) return value;
  const square = value * value;
  const above = (-0.9643991794250523 * square - 99.28772310019185) * square - 1614.6876844170845;
  const below = ((square + 112.81167849163293) * square + 2235.4883906010045) * square + 4844.063053251255;
  return value + (value * square * above) / below;
}

const NEAR_ZERO = 2 ** -28;
const LARGE = 2 ** 28;

/** Inverse hyperbolic sine. */
export function asinh(value: number): number {
  if (!Number.isFinite(value)) return value;
  const size = Math.abs(value);
  let result: number;
  if (size > LARGE) result = ln(size) + Math.LN2;
  else if (size > 2) result = ln(2 * size + 1 / (Math.sqrt(size * size + 1) + size));
  else if (size < NEAR_ZERO) result = size;
  else result = log1p(size + (size * size) / (1 + Math.sqrt(1 + size * size)));
  return value < 0 ? -result : value === 0 ? value : result;
}

/** Inverse hyperbolic cosine; NaN below 1. */
export function acosh(value: number): number {
  if (!(value >= 1)) return Number.NaN;
  if (value === 1) return 0;
  if (value >= LARGE) return ln(value) + Math.LN2;
  if (value > 2) return ln(2 * value - 1 / (value + Math.sqrt(value * value - 1)));
  const above = value - 1;
  return log1p(above + Math.sqrt(2 * above + above * above));
}

/** Inverse hyperbolic tangent; NaN beyond -1 and 1. */
export function atanh(value: number): number {
  const size = Math.abs(value);
  if (!(size < 1)) return Math.atanh(value);
  let result: number;
  if (size < NEAR_ZERO) result = size;
  else if (size < 0.5) {
    const twice = size + size;
    result = 0.5 * log1p(twice + (twice * size) / (1 - size));
  } else result = 0.5 * log1p((size + size) / (1 - size));
  return value < 0 ? -result : value === 0 ? value : result;
}

const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;
const SQRT2_LESS_1 = 0.41421356237309503;

/** `ln(1 + value)` for finite values that are not below 0: what the inverse functions above ask for. */
function log1p(value: number): number {
  if (value < SQRT2_LESS_1) {
    if (value < 2 ** -54) return value;
    if (value < 2 ** -29) return value - value * value * 0.5;
    return logOf(value, 0, 0, false);
  }
  let sum = value;
  let carried = 0;
  if (value < 2 ** 53) {
    sum = 1 + value;
    carried = (sum >= 2 ? 1 - (sum - value) : value - (sum - 1)) / sum;
  }
  // The sum is taken apart as `u * 2 ** k`, u from the root of 1/2 to the root of 2.
  const { fraction, exponent } = frexp(sum);
  const u = 2 * fraction;
  if (u < Math.SQRT2) return logOf(u - 1, exponent - 1, carried, u === 1);
  return logOf(fraction - 1, exponent, carried, 1 - fraction < 2 ** -51);
}

/** `ln((1 + f) * 2 ** k)` with what is to be added to `2 ** k`. */
function logOf(f: number, k: number, carried: number, isTiny: boolean): number {
  const half = 0.5 * f * f;
  if (isTiny) {
    if (f === 0) return k === 0 ? 0 : k * LN2_HIGH + (carried + k * LN2_LOW);
    const r = half * (1 - 0.6666666666666666 * f);
    return k === 0 ? f - r : k * LN2_HIGH - (r - (k * LN2_LOW + carried) - f);
  }
  const s = f / (2 + f);
  const z = s * s;
  const deep = 0.1818357216161805 + z * (0.15313837699209373 + z * 0.14798198605116586);
  const r =
    z *
    (0.6666666666666735 + z * (0.3999999999940942 + z * (0.2857142874366239 + z * (0.22222198432149784 + z * deep))));
  if (k === 0) return f - (half - s * (half + r));
  return k * LN2_HIGH - (half - (s * (half + r) + (k * LN2_LOW + carried)) - f);
}
