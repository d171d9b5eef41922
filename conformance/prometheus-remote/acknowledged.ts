/** Remote writes that are interrupted by kill -9: every sample that was acknowledged is there after the next start. Then bombs. */

import { Program, sleep } from "../program.ts";
import { type SentSeries, sendWrite, type WriteVersion } from "../remote-write.ts";
import type { SuiteReport } from "../suite.ts";
import { checkBombs } from "./bombs.ts";

const ROUNDS = 3;
const SENDERS = 4;
const SERIES_PER_REQUEST = 50;
/** A kill comes at another moment each round. */
const LOAD_MS = [400, 900, 1_500];
const START_MS = Date.now() - 3_600_000;

/** Newest acknowledged sample by sender: a request brings one sample of each series of its sender, a second after the last. */
type Ledger = Map<number, { acknowledged: number; sent: number }>;

/** Adds a case a round to `report`. */
export async function checkAcknowledged(report: SuiteReport): Promise<void> {
  const ledger: Ledger = new Map(
    Array.from({ length: SENDERS }, (_, sender) => [sender, { acknowledged: 0, sent: 0 }]),
  );
  let program = await Program.start(["--capture", "off"]);
  const directory = program.dataDirectory;
  try {
    for (let round = 0; round < ROUNDS; round++) {
      await writeUntilKilled(program, ledger, LOAD_MS[round] ?? 1_000);
      program = await Program.start(["--capture", "off"], directory);
      const total = [...ledger.values()].reduce((sum, { acknowledged }) => sum + acknowledged, 0) * SERIES_PER_REQUEST;
      report.add(`kill -9 ${round + 1}: ${total} acknowledged samples are there`, await faultOf(program, ledger));
    }
    await checkBombs(report, program);
  } finally {
    await program.discard();
  }
}

async function writeUntilKilled(program: Program, ledger: Ledger, loadMs: number): Promise<void> {
  let running = true;
  const senders = [...ledger].map(async ([sender, state]) => {
    const version: WriteVersion = sender % 2 === 0 ? 1 : 2;
    // A request that was under way when the server was killed is sent again, as Prometheus does.
    for (state.sent = state.acknowledged; running; ) {
      try {
        const { status } = await sendWrite(program.http, seriesOf(sender, state.sent + 1), version);
        if (status === 204) state.acknowledged = ++state.sent;
        else await sleep(20);
      } catch {
        // The server was killed meanwhile: this request was never acknowledged.
        await sleep(5);
      }
    }
  });
  await sleep(loadMs);
  await program.kill();
  running = false;
  await Promise.all(senders);
}

function seriesOf(sender: number, step: number): SentSeries[] {
  return Array.from({ length: SERIES_PER_REQUEST }, (_, at) => ({
    labels: [
      ["__name__", "acknowledged"],
      ["sender", String(sender)],
      ["series", String(at)],
    ],
    samples: [{ timestampMs: START_MS + step * 1_000, startMs: 0, value: step * 100 + at }],
  }));
}

/** Each series has all samples that were acknowledged, with their values, and at most the one that was under way. */
async function faultOf(program: Program, ledger: Ledger): Promise<string> {
  for (const [sender, { acknowledged }] of ledger) {
    const counts = await program.promql(`count_over_time(acknowledged{sender="${sender}"}[2h])`, Date.now());
    const sums = await program.promql(`sum_over_time(acknowledged{sender="${sender}"}[2h])`, Date.now());
    if (counts.length !== SERIES_PER_REQUEST)
      return `sender ${sender}: ${counts.length} of ${SERIES_PER_REQUEST} series`;
    for (const { metric, value: count } of counts) {
      if (count < acknowledged || count > acknowledged + 1) {
        return `sender ${sender}, series ${metric["series"]}: ${count} samples, ${acknowledged} acknowledged`;
      }
      const expected = (100 * count * (count + 1)) / 2 + count * Number(metric["series"]);
      const sum = sums.find((each) => each.metric["series"] === metric["series"])?.value;
      if (sum !== expected) return `sender ${sender}, series ${metric["series"]}: the sum is ${sum}, not ${expected}`;
    }
  }
  return "";
}
