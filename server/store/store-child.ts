/**
 * A store that tests kill: `store-child.ts DIR COMMITS ROWS` commits batches one after the other and prints
 * `acknowledged N` after each. Where COMMITS is 0, four lanes commit for ever and print sequence number and commit, or
 * `refused`.
 */

import { ThalwegError } from "../model/errors.ts";
import { systemClock } from "../platform/system-clock.ts";
import { openStore } from "./store.ts";
import { batchOf, DAY_MS, FakeClock } from "./store-fixture.ts";

const [directory = "", commits = "0", rows = "1"] = process.argv.slice(2);
const store = await openStore({
  directory,
  clock: Number(commits) > 0 ? new FakeClock() : systemClock(),
  retentionMs: 15 * DAY_MS,
  memoryLimitBytes: 256 * 2 ** 20,
});
let acknowledged = 0;
const { sequence } = store.stats().spans;

/** Commits one batch after another; span ids say which commit they belong to. */
async function commitInTurn(lane: number): Promise<void> {
  for (let turn = 0; Number(commits) === 0 || turn < Number(commits); turn++) {
    const commit = BigInt(sequence) * 1_000_000n + BigInt(lane) * 100_000n + BigInt(turn);
    const batch = batchOf(
      Array.from({ length: Number(rows) }, (_, row) => ({
        traceIdLow: commit,
        spanId: BigInt(row + 1),
        attributes: [{ key: "a.key", kind: "s", value: `a value of row ${row}` }],
      })),
    );
    try {
      const receipt = await store.writer.commitSpans(batch);
      process.stdout.write(
        Number(commits) > 0 ? `acknowledged ${++acknowledged}\n` : `${receipt.sequence} ${commit}\n`,
      );
    } catch (error) {
      if (!(error instanceof ThalwegError)) throw error;
      process.stdout.write("refused\n");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

await Promise.all(Array.from({ length: Number(commits) > 0 ? 1 : 4 }, (_, lane) => commitInTurn(lane)));
if (Number(commits) > 0) await new Promise((resolve) => setTimeout(resolve, 60_000));
