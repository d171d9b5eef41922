/** Numbers for tests. */

/** Whole numbers from 0 to `max - 1`, the same for the same seed. */
export function randomOf(seed: number): (max: number) => number {
  let x = Math.imul(seed + 1, 0x9e37_79b1) | 1;
  return (max) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % max;
  };
}
