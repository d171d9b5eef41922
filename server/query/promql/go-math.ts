/**
 * Logarithms and powers of two in the steps in which Go computes them on amd64, so that answers agree to the last digit.
 *
 * `Math` has others, which differ in the last digit for one number in ten to two hundred.
 *
 * @see FreeBSD's msun, e_log.c and e_exp.c, where Go has them from.
 */

const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;

const bits = new DataView(new ArrayBuffer(8));

/** Any finite number as `fraction * 2 ** exponent`, the fraction with its sign and from 0.5 to below 1; 0 is 0. */
export function frexp(value: number): { readonly fraction: number; readonly exponent: number } {
  if (value === 0) return { fraction: value, exponent: 0 };
  const { fraction, exponent } = splitExponent(Math.abs(value));
  return { fraction: value < 0 ? -fraction : fraction, exponent };
}

/** A positive finite number as `fraction * 2 ** exponent` with the fraction in [0.5, 1). */
function splitExponent(value: number): { fraction: number; exponent: number } {
  const scale = value < 2 ** -1022 ? 54 : 0; // subnormal numbers have no leading bit
  bits.setFloat64(0, value * 2 ** scale);
  const high = bits.getUint32(0);
  const exponent = (high >>> 20) - 1022;
  bits.setUint32(0, (high & 0x000f_ffff) | (1022 << 20));
  return { fraction: bits.getFloat64(0), exponent: exponent - scale };
}

/** Go's logarithm on amd64 takes subnormal numbers for normal ones with the same bits. */
function asIfNormal(value: number): { fraction: number; exponent: number } {
  bits.setFloat64(0, value);
  bits.setUint32(0, bits.getUint32(0) | (1022 << 20));
  return { fraction: bits.getFloat64(0), exponent: -1022 };
}

/** Natural logarithm; NaN below zero. */
export function ln(value: number): number {
  if (!(value > 0) || value === Number.POSITIVE_INFINITY) return Math.log(value);
  let { fraction, exponent: k } = value < 2 ** -1022 ? asIfNormal(value) : splitExponent(value);
  if (fraction <= Math.SQRT1_2) {
    fraction *= 2;
    k--;
  }
  const f = fraction - 1;
  const s = f / (2 + f);
  const s2 = s * s;
  const s4 = s2 * s2;
  const odd =
    s2 * (0.6666666666666735 + s4 * (0.2857142874366239 + s4 * (0.1818357216161805 + s4 * 0.14798198605116586)));
  const even = s4 * (0.3999999999940942 + s4 * (0.22222198432149784 + s4 * 0.15313837699209373));
  const half = 0.5 * f * f;
  return k * LN2_HIGH - (half - (s * (half + (odd + even)) + k * LN2_LOW) - f);
}

/** Logarithm to base 2, exact for powers of two; NaN below zero. */
export function log2(value: number): number {
  if (!(value > 0) || value === Number.POSITIVE_INFINITY) return Math.log(value);
  const { fraction, exponent } = splitExponent(value);
  return fraction === 0.5 ? exponent - 1 : ln(fraction) * Math.LOG2E + exponent;
}

/** Logarithm to base 10; NaN below zero. */
export function log10(value: number): number {
  return ln(value) * Math.LOG10E;
}

/** `2 ** value`, exact for whole numbers. */
export function exp2(value: number): number {
  if (value > 1023.9999999999999) return Number.POSITIVE_INFINITY;
  if (value < -1074) return 0;
  const k = Math.trunc(value > 0 ? value + 0.5 : value - 0.5);
  const t = value - k;
  const high = t * LN2_HIGH;
  const low = -t * LN2_LOW;
  const r = high - low;
  const r2 = r * r;
  const deep = r2 * (6.613756321437934e-5 + r2 * (-1.6533902205465252e-6 + r2 * 4.1381367970572385e-8));
  const c = r - r2 * (0.16666666666666666 + r2 * (-0.0027777777777015593 + deep));
  const y = 1 - (low - (r * c) / (2 - c) - high);
  // A power above 2 ** 1023 is no double, its product with `y` may be.
  return k > 1023 ? y * 2 * 2 ** (k - 1) : y * 2 ** k;
}
