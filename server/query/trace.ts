/** Whole traces by id. */

import type { StoredSpan } from "../model/stored-span.ts";
import type { StoreReader } from "../store/reader.ts";

/** Spans of one trace that are read; later ones are left out. */
export const TRACE_SPANS_MAX = 100_000;

const DIGITS = 32;

/**
 * A trace id in the form the store knows: 32 lower-case digits.
 *
 * Shorter ids are padded with zeros on the left, since search results elsewhere strip them.
 *
 * @returns undefined where the text is no id: not hexadecimal, too long, or zero.
 */
export function normalizeTraceId(text: string): string | undefined {
  if (!/^[0-9a-fA-F]{1,32}$/.test(text)) return undefined;
  const id = text.toLowerCase().padStart(DIGITS, "0");
  return /^0+$/.test(id) ? undefined : id;
}

/** Spans of a trace in order of start, at most `TRACE_SPANS_MAX`; undefined where the id is unknown or none. */
export async function readTrace(
  reader: Pick<StoreReader, "trace">,
  traceIdHex: string,
): Promise<StoredSpan[] | undefined> {
  const id = normalizeTraceId(traceIdHex);
  if (id === undefined) return undefined;
  const spans = await reader.trace(id, TRACE_SPANS_MAX);
  return spans.length === 0 ? undefined : spans;
}
