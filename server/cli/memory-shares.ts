/**
 * The one table of memory budgets: how the memory of the machine, or of its control group, is shared out.
 *
 * | what | share | bound where |
 * |---|---|---|
 * | DuckDB | a quarter of the memory, 128 MiB to 2 GiB | `openStore` |
 * | rows of two SQL answers, and what their `samples()` read | a 16th each, 32 MiB to 1 GiB | `openStore` |
 * | series, and samples that are in no block yet | an eighth, 48 MiB to 2 GiB | `openStore` |
 * | values of all PromQL queries, 16 bytes each | a 16th, from 32 MiB on | `openPromqlDoor` |
 * | labels and texts of all PromQL queries, half of it for a million series | a 16th, 32 MiB to 2 GiB | `openPromqlDoor` |
 * | one PromQL answer | a 32nd, 16 to 256 MiB | `openPromqlDoor` |
 * | room that a PromQL worker keeps for its next large answers | 48 MiB after some of 16 MiB | `JsonBytes`, `takeSharedBytes` |
 * | labels that a PromQL worker knows from earlier queries, their order and JSON | 32,768 sets and as many pairs, 131,072 places, 8 MiB | `KnownLabels`, `inOrderOfLabels`, `resultInOrder`, `keepJson` |
 * | one large body, or a few | 64 MiB | `startApi` |
 * | labels of remote write's series, as bytes to know them again: 192 a series of 1.0, 96 of 2.0 | one series for 16 KiB, 262,144 to 1,114,112, when so many are stored | `addRemoteWriteRoute` |
 * | bodies of requests that are not answered | a 48th, 16 to 128 MiB | `startApi` |
 * | what those become: columns, spans that wait for their commit | a 16th, 32 to 128 MiB | `openIngest`, `openStore` |
 * | log records that wait for their commit | half of that | `openStore` |
 * | columns of log records, when a body of more than a MiB is to be decoded | 16 MiB | `openOtlpDecoder` |
 * | answers of scraped targets being read, their samples until they are stored | a 24th, 32 to 512 MiB | `prepareScrapes` |
 * | spans of an `agent --to URL` that wait for their receiver | `--queue`, 32 MiB | `SpanSender` |
 * | spans of agents on several hosts that wait for each other; ids of their calls | 65,536 spans; some 50 MiB | `HostJoins`, `HostTraces` |
 * | samples on their way to a target of remote write | shards by samples of a request, some 200 bytes each | `RemoteQueue` |
 * | samples that windows are made of | 32 MiB while a range is written | `Downsampler` |
 * | Node itself, code and page | some 120 MiB | – |
 * | capture rings, connections, open spans | 16 MiB of calls, 4 MiB of openings and ends, counts in `agent/*` | the agent's thread, 512 MiB heap |
 *
 * Without the last line, and what workers keep, together 99 % of a GiB and less where there is more. Below some 600 MiB the least of each add up
 * to more than there is, and so may the agent's heap, which usually takes a tenth of its limit.
 */

const MIB = 2 ** 20;
/** The largest body. */
const LARGE_BODY_BYTES = 64 * MIB;
/** A value and its time. */
const SAMPLE_BYTES = 16;
/** A series on its way to a worker, without its samples. */
const SERIES_BYTES = 1024;
const SERIES_MAX = 1_000_000;

/** Bytes of each part that takes a share. */
export interface MemoryShares {
  readonly duckdbBytes: number;
  readonly answerBytes: number;
  readonly headBytes: number;
  readonly bodiesBytes: number;
  readonly scrapeBytes: number;
  readonly pendingBytes: number;
  /** Values that all PromQL queries together may hold at a time. */
  readonly querySamples: number;
  /** JavaScript's heap of all PromQL workers together. */
  readonly queryHeapBytes: number;
  readonly queryAnswerBytes: number;
  /** Series that one PromQL query may select. */
  readonly querySeries: number;
}

/** @param bytesAvailable Of the machine or control group. */
export function memoryShares(bytesAvailable: number): MemoryShares {
  const share = (part: number, minMib: number, maxMib: number) =>
    Math.min(maxMib * MIB, Math.max(minMib * MIB, Math.floor(bytesAvailable / part)));
  const queryHeapBytes = share(16, 32, 2_048);
  return {
    duckdbBytes: share(4, 128, 2_048),
    answerBytes: share(16, 32, 1_024),
    headBytes: share(8, 48, 2_048),
    bodiesBytes: LARGE_BODY_BYTES + share(48, 16, 128),
    scrapeBytes: share(24, 32, 512),
    pendingBytes: share(16, 32, 128),
    querySamples: Math.floor(share(16, 32, 1_048_576) / SAMPLE_BYTES),
    queryHeapBytes,
    queryAnswerBytes: share(32, 16, 256),
    querySeries: Math.min(SERIES_MAX, Math.floor(queryHeapBytes / SERIES_BYTES)),
  };
}
