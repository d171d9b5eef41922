/** Quantiles of plain values. */

/**
 * Sorts `values` in place (NaN first) and interpolates between neighbours.
 *
 * @returns -Inf below 0, +Inf above 1, NaN for NaN or no values.
 */
export function quantileOf(values: Float64Array, quantile: number): number {
  sortNanFirst(values);
  return interpolated(values, values.length, quantile);
}

/** As `quantileOf` for the first `length` values, which are in order. */
export function interpolated(values: Float64Array, length: number, quantile: number): number {
  if (length === 0 || Number.isNaN(quantile)) return Number.NaN;
  if (quantile < 0) return Number.NEGATIVE_INFINITY;
  if (quantile > 1) return Number.POSITIVE_INFINITY;
  const rank = quantile * (length - 1);
  const low = Math.max(0, Math.floor(rank));
  const high = Math.min(length - 1, low + 1);
  const weight = rank - Math.floor(rank);
  if (weight === 0) return values[low] ?? Number.NaN; // a neighbour may be infinite
  return (values[low] ?? Number.NaN) * (1 - weight) + (values[high] ?? Number.NaN) * weight;
}

function sortNanFirst(values: Float64Array): void {
  const zeros = values.some(isNegativeZero) ? values.filter((value) => value === 0) : undefined;
  values.sort(); // typed arrays sort by number, NaN last
  if (zeros !== undefined) values.set(zeros, values.indexOf(0)); // both zeros are equal, and stay as they came
  let nans = 0;
  while (nans < values.length && Number.isNaN(values[values.length - 1 - nans])) nans++;
  if (nans > 0) {
    values.copyWithin(nans, 0, values.length - nans);
    values.fill(Number.NaN, 0, nans);
  }
}

function isNegativeZero(value: number): boolean {
  return Object.is(value, -0);
}
