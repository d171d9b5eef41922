/**
 * The one table of memory budgets: how the memory of the machine, or of its control group, is shared out.
 *
 * | what | share | bound where |
 * |---|---|---|
 * | DuckDB | a quarter of the memory, 128 MiB to 2 GiB | `openStore` |
 * | rows of two SQL answers | a 16th each, 32 MiB to 1 GiB | `openStore` |
 * | metric head | an eighth, 48 to 384 MiB | `openStore` |
 * | values of PromQL queries | an eighth, 32 MiB to what `--query-samples-max` says | `openPromqlDoor` |
 * | bodies of requests being read | an eighth, 64 to 256 MiB | `startApi` |
 * | spans that wait for their commit | a 16th, 32 to 128 MiB | `openIngest` |
 * | Node itself, code and page | some 120 MiB | – |
 * | capture ring, connections, open spans | 16 MiB ring, counts in `agent/*` | the agent's thread, 512 MiB heap |
 *
 * Without the last line together 95 % of a GiB and less where there is more. Below some 600 MiB the least of each add up
 * to more than there is, and so may the agent's heap, which usually takes a tenth of its limit.
 */

const MIB = 2 ** 20;
const SAMPLE_BYTES = 8;

/** Bytes of each part that takes a share. */
export interface MemoryShares {
  readonly duckdbBytes: number;
  readonly answerBytes: number;
  readonly headBytes: number;
  readonly bodiesBytes: number;
  readonly pendingBytes: number;
  /** Values that PromQL may hold at a time. */
  readonly querySamples: number;
}

/** @param bytesAvailable Of the machine or control group. */
export function memoryShares(bytesAvailable: number): MemoryShares {
  const share = (part: number, minMib: number, maxMib: number) =>
    Math.min(maxMib * MIB, Math.max(minMib * MIB, Math.floor(bytesAvailable / part)));
  return {
    duckdbBytes: share(4, 128, 2_048),
    answerBytes: share(16, 32, 1_024),
    headBytes: share(8, 48, 384),
    bodiesBytes: share(8, 64, 256),
    pendingBytes: share(16, 32, 128),
    querySamples: Math.floor(share(8, 32, 1_048_576) / SAMPLE_BYTES),
  };
}
