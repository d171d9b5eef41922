/** Looks in the store for the other sides of calls that came late, a few at a time and one look at a time. */

import type { DerivedStreams } from "../derive/derived-streams.ts";
import type { LateCall } from "../derive/late-halves.ts";
import { spanIdToHex, traceIdToHex } from "../model/hex.ts";
import type { CallKey } from "../store/writer.ts";
import type { FlushDeps } from "./flush-deps.ts";

/** Calls of one look: some ten milliseconds of reading. */
const CALLS_MAX = 32;
/** A call has two spans; one that was sent around the world has a few more. */
const SPANS_MAX = 4_096;

/**
 * Starts a look for late calls when asked, unless one is under way.
 *
 * @returns Asks for a look; resolves with whether a series appeared. A look that failed is counted, and its halves are
 * given up in time.
 */
export function lateCalls(
  streams: DerivedStreams,
  { writer, clock, telemetry, log }: FlushDeps,
): () => Promise<boolean> {
  let running = false;
  return async () => {
    if (running) return false;
    const calls = streams.takeLate(CALLS_MAX);
    if (calls.length === 0) return false;
    running = true;
    try {
      const stored = await writer.spansOfCalls(calls.map(keyOf), SPANS_MAX);
      return streams.settleLate(calls, stored, clock.nowMs());
    } catch (error) {
      telemetry.count("thalweg_graph_backfill_failures_total", {});
      log.warn({ error }, "the other sides of late calls could not be looked for");
      return false;
    } finally {
      running = false;
    }
  };
}

function keyOf({ trace: [trace0, trace1, trace2, trace3], key: [key0, key1] }: LateCall): CallKey {
  return {
    traceId: traceIdToHex(wide(trace1, trace0), wide(trace3, trace2)),
    spanId: spanIdToHex(wide(key1, key0)),
  };
}

function wide(high: number, low: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
