/**
 * The one table of memory budgets: how the memory of the machine, or of its control group, is shared out.
 *
 * | what | share | bound where |
 * |---|---|---|
 * | DuckDB | a quarter of the memory, 128 MiB to 2 GiB | `openStore` |
 * | bodies of requests being read | 256 MiB at most | `api/request-body.ts` |
 * | capture ring, connections, open spans | 16 MiB ring, counts in `agent/*` | the agent's thread, 512 MiB heap |
 * | metric head | series in `store/metric-head.ts` | its own limit |
 * | a PromQL query | `--query-samples-max` samples | `query/promql` |
 * | Node itself, code and page | some 120 MiB | – |
 */

const MIB = 2 ** 20;
const DUCKDB_SHARE = 0.25;
const DUCKDB_BYTES_MIN = 128 * MIB;
const DUCKDB_BYTES_MAX = 2_048 * MIB;

/** Bytes of each part that takes a share. */
export function memoryShares(bytesAvailable: number): { readonly duckdbBytes: number } {
  const share = Math.floor(bytesAvailable * DUCKDB_SHARE);
  return { duckdbBytes: Math.min(DUCKDB_BYTES_MAX, Math.max(DUCKDB_BYTES_MIN, share)) };
}
