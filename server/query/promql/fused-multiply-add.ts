/**
 * A product and a sum with one rounding, as processors have it and JavaScript has not.
 *
 * @see Sylvie Boldo and Guillaume Melquiond, Emulation of a FMA and correctly-rounded sums, 2008
 */

const SPLITTER = 2 ** 27 + 1;

const words = new Uint32Array(2);
const value = new Float64Array(words.buffer);

/** `a * b + c`, rounded once. For numbers whose product neither overflows nor is below 2^-969. */
export function fusedMultiplyAdd(a: number, b: number, c: number): number {
  const product = a * b;
  const productLow = productError(a, b, product);
  const sum = c + productLow;
  const sumLow = sumError(c, productLow, sum);
  const high = product + sum;
  const highLow = sumError(product, sum, high);
  return high + roundToOdd(sumLow, highLow);
}

/** What rounding took from `a * b`. */
function productError(a: number, b: number, product: number): number {
  const aHigh = upperHalf(a);
  const bHigh = upperHalf(b);
  const aLow = a - aHigh;
  const bLow = b - bHigh;
  return aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow);
}

function upperHalf(number: number): number {
  const scaled = SPLITTER * number;
  return scaled - (scaled - number);
}

/** What rounding took from `a + b`. */
function sumError(a: number, b: number, sum: number): number {
  const bRead = sum - a;
  return a - (sum - bRead) + (b - bRead);
}

/** A sum that, where it is not exact, has an odd last bit: rounding it again then rounds once. */
function roundToOdd(a: number, b: number): number {
  const sum = a + b;
  const error = sumError(a, b, sum);
  if (error === 0) return sum;
  value[0] = sum;
  const low = words[0] ?? 0;
  if (low % 2 === 1) return sum;
  // One step away from zero or towards it, in the direction of what is missing.
  const isAway = error > 0 === sum > 0;
  if (isAway) words[0] = low + 1;
  else if (low > 0) words[0] = low - 1;
  else {
    words[0] = 0xffff_ffff;
    words[1] = (words[1] ?? 0) - 1;
  }
  return value[0] ?? sum;
}
