/** Traces that are one: told by links of spans that the agent made. */

import type { SpanBatch } from "../model/span-batch.ts";
import { readLinks } from "../model/span-links.ts";
import { type BatchHalves, isKernelSource } from "./batch-rows.ts";

/** Pairs that wait to be stored; more are left out, and counted. */
const PAIRS_MAX = 4_096;

/** A trace whose id was computed, and the one it turned out to be; ids as in `SpanBatch.traceId`. */
export interface TracePair {
  readonly alias: readonly [high: bigint, low: bigint];
  readonly trace: readonly [high: bigint, low: bigint];
}

/** Collects pairs until they are stored; what is not stored after a crash is collected again with its commit. */
export class TracePairs {
  #pairs = new Map<string, TracePair>();
  leftOut = 0;

  /**
   * Looks at a batch. The agent links a server span only to a call that the same request made under an id of the
   * program's own: an id that was carried wins over the computed one.
   */
  observe(batch: SpanBatch, { traceId }: BatchHalves): void {
    const { linksBlob, linksEnd, source } = batch;
    if (linksBlob.length === 0) return;
    for (let row = 0; row < batch.rows; row++) {
      const from = row === 0 ? 0 : (linksEnd[row - 1] ?? 0);
      const to = linksEnd[row] ?? 0;
      if (to === from || !isKernelSource(source[row] ?? 0)) continue;
      for (const { trace } of readLinks(linksBlob, from, to)) {
        if (trace.every((word, at) => word === traceId[4 * row + at])) continue;
        const alias = [batch.traceId[2 * row] ?? 0n, batch.traceId[2 * row + 1] ?? 0n] as const;
        this.#add({ alias, trace: [wide(trace[1], trace[0]), wide(trace[3], trace[2])] });
      }
    }
  }

  /** Pairs since the last time. The caller stores them, or gives them back. */
  take(): TracePair[] {
    const pairs = [...this.#pairs.values()];
    this.#pairs = new Map();
    return pairs;
  }

  giveBack(pairs: readonly TracePair[]): void {
    for (const pair of pairs) this.#add(pair);
  }

  #add(pair: TracePair): void {
    const key = `${pair.alias.join()},${pair.trace.join()}`;
    if (this.#pairs.size >= PAIRS_MAX && !this.#pairs.has(key)) this.leftOut++;
    else this.#pairs.set(key, pair);
  }
}

function wide(high: number, low: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
