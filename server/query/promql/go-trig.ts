/**
 * Sines and their kin in the steps in which Go computes them.
 *
 * @see The Cephes Mathematical Library
 * @see K. C. Ng et al., Argument reduction for huge arguments: good to the last bit, 1992
 */

/** Pi/4 in three parts, the first two with so few digits that products with whole numbers are exact. */
const QUARTER_PI = [0.7853981256484985, 3.774894707930798e-8, 2.6951514290790595e-15] as const;

/** From here on the three parts are not enough. */
const REDUCE_FROM = 2 ** 29;

/** Which eighth of a turn an angle lies in, and where from its middle or edge. */
interface Octant {
  /** Even. */
  readonly octant: number;
  readonly rest: number;
}

/** @param angle Not negative, not infinite. */
function octantOf(angle: number): Octant {
  if (angle >= REDUCE_FROM) return hugeOctant(angle);
  let eighths = Math.trunc(angle * (4 / Math.PI));
  if (eighths % 2 === 1) eighths++;
  const [a, b, c] = QUARTER_PI;
  return { octant: eighths % 8, rest: angle - eighths * a - eighths * b - eighths * c };
}

/** Bits of 4/pi after the point, as far as the largest double needs them. */
const FOUR_OVER_PI = BigInt(
  "0x145f306dc9c882a53f84eafa3ea69bb81b6c52b3278872083fca2c757bd778ac36e48dc74849ba5c00c925dd413a32439" +
    "fc3bd63962534e7dd1046bea5d768909d338e04d68befc827323ac7306a673e93908bf177bf250763ff12fffbc0b301f" +
    "de5e2316b414da3eda6cfd9e4f96136e9e8c7ecd3cbfd45aea4f758fd7cbe2f67a0e73ef14a525d4d7f6bf623f1aba10" +
    "ac06608df8f6d757",
);
const FOUR_OVER_PI_BITS = 1216n;

const view = new DataView(new ArrayBuffer(8));

/** The angle times 4/pi, from which 192 bits of 4/pi are enough: what is above 8 does not count. */
function hugeOctant(angle: number): Octant {
  view.setFloat64(0, angle);
  const bits = view.getBigUint64(0);
  const exponent = Number(bits >> 52n) - 1023 - 52;
  const mantissa = (bits & 0xf_ffff_ffff_ffffn) | 0x10_0000_0000_0000n;
  const digits = BigInt.asUintN(192, FOUR_OVER_PI >> (FOUR_OVER_PI_BITS - BigInt(exponent + 61) - 128n));
  const middle = BigInt.asUintN(64, digits >> 64n) * mantissa;
  const tail = BigInt.asUintN(64, middle) + ((BigInt.asUintN(64, digits) * mantissa) >> 64n);
  const sum = BigInt.asUintN(64, (digits >> 128n) * mantissa + (middle >> 64n) + (tail >> 64n));
  const octant = Number(sum >> 61n);
  const rest = fractionOf(BigInt.asUintN(64, sum << 3n), BigInt.asUintN(64, tail));
  if (octant % 2 === 0) return { octant, rest: rest * (Math.PI / 4) };
  return { octant: (octant + 1) % 8, rest: (rest - 1) * (Math.PI / 4) };
}

/** A fraction of 61 bits and those below, cut to a double; the bits below follow as Go takes them, three too early. */
function fractionOf(upper: bigint, below: bigint): number {
  const high = upper | (below >> 61n);
  const shift = BigInt(65 - high.toString(2).length);
  const cut = BigInt.asUintN(64, (high << shift) | (below >> (64n - shift))) >> 12n;
  view.setBigUint64(0, ((1023n - shift) << 52n) | cut);
  return view.getFloat64(0);
}

function sineSeries(z: number): number {
  const zz = z * z;
  const s = 1.5896230157654656e-10 * zz - 2.5050747762857807e-8;
  const series =
    (((s * zz + 0.0000027557313621385722) * zz - 0.0001984126982958954) * zz + 0.008333333333322118) * zz -
    0.1666666666666663;
  return z + z * zz * series;
}

function cosineSeries(z: number): number {
  const zz = z * z;
  const s = -1.1358536521387682e-11 * zz + 2.087570084197473e-9;
  const series =
    (((s * zz - 2.755731417929674e-7) * zz + 0.000024801587288851704) * zz - 0.0013888888888873056) * zz +
    0.041666666666666595;
  return 1 - 0.5 * zz + zz * zz * series;
}

/** Sine; NaN for infinities. */
export function sin(angle: number): number {
  if (angle === 0 || !Number.isFinite(angle)) return angle === 0 ? angle : Number.NaN;
  const { octant, rest } = octantOf(Math.abs(angle));
  const result = octant % 4 === 2 ? cosineSeries(rest) : sineSeries(rest);
  return angle < 0 !== octant > 3 ? -result : result;
}

/** Cosine; NaN for infinities. */
export function cos(angle: number): number {
  if (!Number.isFinite(angle)) return Number.NaN;
  const { octant, rest } = octantOf(Math.abs(angle));
  const result = octant % 4 === 2 ? sineSeries(rest) : cosineSeries(rest);
  return octant === 2 || octant === 4 ? -result : result;
}

/** Tangent; NaN for infinities. */
export function tan(angle: number): number {
  if (angle === 0 || !Number.isFinite(angle)) return angle === 0 ? angle : Number.NaN;
  const { octant, rest: z } = octantOf(Math.abs(angle));
  const zz = z * z;
  let result = z;
  if (zz > 1e-14) {
    const above = (-13093.693918138379 * zz + 1153516.6483858742) * zz - 17956525.197648488;
    const below =
      (((zz + 13681.296347069296) * zz - 1320892.3444021097) * zz + 25008380.18233579) * zz - 53869575.592945464;
    result = z + z * ((zz * above) / below);
  }
  if (octant % 4 === 2) result = -1 / result;
  return angle < 0 ? -result : result;
}

/** Arc tangent of numbers from 0 to 0.66. */
function smallArcTangent(x: number): number {
  const z = x * x;
  const above =
    (((-0.8750608600031904 * z - 16.157537187333652) * z - 75.00855792314705) * z - 122.88666844901361) * z -
    64.85021904942025;
  const below =
    ((((z + 24.858464901423062) * z + 165.02700983169885) * z + 432.88106049129027) * z + 485.3903996359137) * z +
    194.5506571482614;
  return x * ((z * above) / below) + x;
}

/** What pi/2 has beyond its double. */
const MORE_BITS = 6.123233995736766e-17;
/** Tangent of three eighths of pi. */
const TAN_3_PI_8 = 2.414213562373095;

/** Arc tangent of numbers that are not negative. */
function arcTangent(x: number): number {
  if (x <= 0.66) return smallArcTangent(x);
  if (x > TAN_3_PI_8) return Math.PI / 2 - smallArcTangent(1 / x) + MORE_BITS;
  return Math.PI / 4 + smallArcTangent((x - 1) / (x + 1)) + 0.5 * MORE_BITS;
}

/** Arc tangent. */
export function atan(value: number): number {
  if (value === 0) return value;
  return value > 0 ? arcTangent(value) : -arcTangent(-value);
}

/** Arc sine; NaN beyond -1 and 1. */
export function asin(value: number): number {
  if (value === 0) return value;
  const size = Math.abs(value);
  if (!(size <= 1)) return Number.NaN;
  const other = Math.sqrt(1 - size * size);
  const result = size > 0.7 ? Math.PI / 2 - arcTangent(other / size) : arcTangent(size / other);
  return value < 0 ? -result : result;
}

/** Arc cosine; NaN beyond -1 and 1. */
export function acos(value: number): number {
  return Math.PI / 2 - asin(value);
}

/** Angle of the point (x, y). */
export function atan2(y: number, x: number): number {
  if (!Number.isFinite(y) || !Number.isFinite(x) || y === 0 || x === 0) return Math.atan2(y, x);
  const angle = atan(y / x);
  if (x > 0) return angle;
  return angle <= 0 ? angle + Math.PI : angle - Math.PI;
}
