/** Lower-case hex of trace and span ids. */

/** 16 digits. */
export function spanIdToHex(id: bigint): string {
  return id.toString(16).padStart(16, "0");
}

/** 32 digits of a trace id given as two 64-bit halves. */
export function traceIdToHex(high: bigint, low: bigint): string {
  return spanIdToHex(high) + spanIdToHex(low);
}
