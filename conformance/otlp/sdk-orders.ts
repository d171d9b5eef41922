/** What the program on the SDK does for each order, so that what must be found can be told from it. */

/** Every fifth order fails. */
export const FAILS_EVERY = 5;
/** Things that are ordered, in turn. */
export const ITEMS = 4;
/** Seconds. */
export const LATENCY_BOUNDS: readonly number[] = [0.125, 0.25, 0.5, 1];

/** `service.name` of a part of the program. */
export function serviceOf(part: "front" | "stock", transport: string): string {
  return `${part}-${transport.replace("/", "-")}`;
}

/** Seconds, in binary fractions whose sums are exact. */
export function latencyOf(order: number): number {
  return (1 + (order % 10)) / 8;
}

/** Bytes: powers of two, of which an exponential histogram holds each in a bucket of its own. */
export function sizeOf(order: number): number {
  return 2 ** (order % 8);
}
