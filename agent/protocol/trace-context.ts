/**
 * The trace context that a request carries in its headers.
 *
 * @see https://www.w3.org/TR/trace-context/ sections 3.2 and 3.3
 */

import type { CarriedContext } from "./exchange.ts";

/** Longest `tracestate` that is kept; a longer one is dropped whole, as section 3.3.1.5 allows. */
export const TRACE_STATE_CHARS_MAX = 512;

const TRACE_ID_AT = 3;
const SPAN_ID_AT = 36;
const FLAGS_AT = 53;
const LENGTH = 55;

/**
 * Parses a `traceparent` value.
 *
 * @param traceparent Value without surrounding white space.
 * @param traceState Value of `tracestate`, list members of several headers joined by commas; empty where none.
 * @returns undefined where the value is not valid: then a trace begins here.
 */
export function parseTraceparent(traceparent: string, traceState: string): CarriedContext | undefined {
  if (traceparent.length < LENGTH) return undefined;
  if (!isLowerHex(traceparent, 0, 2) || traceparent.startsWith("ff")) return undefined;
  // Version 00 has exactly this length; a later one may go on after a dash.
  if (traceparent.length > LENGTH && (traceparent.startsWith("00") || traceparent[LENGTH] !== "-")) return undefined;
  if (traceparent[2] !== "-" || traceparent[35] !== "-" || traceparent[52] !== "-") return undefined;
  if (!isLowerHex(traceparent, TRACE_ID_AT, 35) || !isLowerHex(traceparent, SPAN_ID_AT, 52)) return undefined;
  if (!isLowerHex(traceparent, FLAGS_AT, LENGTH)) return undefined;
  const traceId = traceparent.slice(TRACE_ID_AT, 35);
  const spanId = traceparent.slice(SPAN_ID_AT, 52);
  if (isZero(traceId) || isZero(spanId)) return undefined;
  return {
    kind: "traceparent",
    traceId,
    spanId,
    flags: Number.parseInt(traceparent.slice(FLAGS_AT, LENGTH), 16),
    traceState: isTraceState(traceState) ? traceState : "",
  };
}

/** Prints a context as version 00; the inverse of `parseTraceparent`. */
export function printTraceparent(context: CarriedContext): string {
  return `00-${context.traceId}-${context.spanId}-${context.flags.toString(16).padStart(2, "0")}`;
}

function isLowerHex(text: string, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const code = text.charCodeAt(at);
    if (!((code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66))) return false;
  }
  return true;
}

function isZero(hex: string): boolean {
  for (let at = 0; at < hex.length; at++) if (hex.charCodeAt(at) !== 0x30) return false;
  return true;
}

function isTraceState(text: string): boolean {
  if (text.length > TRACE_STATE_CHARS_MAX) return false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code !== 0x09 && (code < 0x20 || code > 0x7e)) return false;
  }
  return true;
}
