/** Finding the logarithmic bucket of a whole number without a logarithm. */

/** Parts of an octave in the table; with at most eight buckets to an octave each part meets two of them. */
const PARTS_BITS = 6;
const MANTISSA_HIGH_BITS = 20;
const PART_SHIFT = MANTISSA_HIGH_BITS - PARTS_BITS;

/** A double and its halves: the high one has exponent and first bits of the mantissa. Every platform Node 24 runs on stores the low half first. */
const double = new Float64Array(1);
const halves = new Uint32Array(double.buffer);

/**
 * Makes a function that gives the bucket of a whole number from 1 to 2^53 - 1.
 *
 * @param largest By bucket, growing: the largest whole number in it, or below where it holds none; the last is 2^53 - 1 at least.
 */
export function bucketFinder(largest: Float64Array): (value: number) => number {
  const firstPart = partOf(1);
  const lastPart = partOf(Number.MAX_SAFE_INTEGER);
  const firstOfPart = Uint16Array.from({ length: lastPart - firstPart + 1 }, (_, part) => {
    const smallest = 2 ** Math.floor(part / 2 ** PARTS_BITS) * (1 + (part % 2 ** PARTS_BITS) / 2 ** PARTS_BITS);
    return largest.findIndex((each) => each >= Math.ceil(smallest));
  });
  return (value) => {
    double[0] = value;
    let bucket = firstOfPart[((halves[1] ?? 0) >>> PART_SHIFT) - firstPart] ?? 0;
    while (value > (largest[bucket] ?? value)) bucket++;
    return bucket;
  };
}

function partOf(value: number): number {
  double[0] = value;
  return (halves[1] ?? 0) >>> PART_SHIFT;
}
