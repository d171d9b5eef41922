/** A ring of one page whose consumer does not run: what passes is seen, and either delivered or lost, to the call. */

import { Program, sleep, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { askFor, startTarget, TARGET } from "./target.ts";

const RING = "4KiB";
const LOAD_MS = 1500;
const SETTLE_MS_MAX = 10_000;
/** Each request is two calls at each end; the client's process is captured too. */
const CALLS_PER_REQUEST = 4;

interface CaptureAnswer {
  readonly seen: number;
  readonly delivered: number;
  readonly lost: Readonly<Record<string, number>>;
}

/** Holds the program by a signal while a server is asked, and compares its counters with the requests. */
export async function stoppedConsumer(report: SuiteReport): Promise<void> {
  const flags = ["--capture", "socket", "--capture-ring", RING, "--capture-cpu", "none"];
  const program = await Program.start(flags);
  const target = await startTarget();
  try {
    const before = await program.json<CaptureAnswer>("/api/v1/capture");
    report.add("ring: the sums hold before", faultOf(before));
    const requests = await load(target.port, LOAD_MS / 3);
    program.signal("SIGSTOP");
    const stopped = await load(target.port, LOAD_MS);
    program.signal("SIGCONT");
    // A page holds some tens of calls: nearly all of a stopped consumer's are lost.
    const wanted = stopped * CALLS_PER_REQUEST * 0.9;
    let after = before;
    await until(async () => {
      after = await program.json<CaptureAnswer>("/api/v1/capture");
      return (after.lost["ring_full"] ?? 0) >= wanted ? true : undefined;
    }, SETTLE_MS_MAX);
    const lost = after.lost["ring_full"] ?? 0;
    report.add(
      `ring: of ${stopped} requests while the consumer stood, ${lost} calls are lost with the ring full`,
      lost >= wanted ? "" : `at least ${wanted} were to be lost: ${JSON.stringify(after)}`,
    );
    report.add("ring: seen = delivered + lost", faultOf(after));
    const made = (requests + stopped) * CALLS_PER_REQUEST;
    const seen = after.seen - before.seen;
    report.add(
      `ring: ${made} calls were made, ${seen} seen`,
      seen >= made ? "" : "there are calls that nobody counted",
    );
    const metrics = ["seen", "delivered", "lost"].map((what) => `thalweg_capture_${what}_total`);
    const [all = 0, delivered = 0, lostInAll = 0] = await program.counters(metrics);
    report.add(
      "ring: the metrics say the same",
      all > 0 && all === delivered + lostInAll ? "" : `${all} seen, ${delivered} delivered, ${lostInAll} lost`,
    );
    await marksIncomplete(program, report, target.port);
  } finally {
    program.signal("SIGCONT");
    target.stop();
    await program.discard();
  }
}

async function load(port: number, ms: number): Promise<number> {
  const end = performance.now() + ms;
  const ledger = await askFor(port, { connections: 8, isOver: () => performance.now() > end });
  let sum = 0;
  for (const count of ledger.values()) sum += count;
  return sum;
}

/** Requests that were open while events were lost say that their traces may lack spans, and why. */
async function marksIncomplete(program: Program, report: SuiteReport, port: number): Promise<void> {
  let traceId = "";
  // Loads of which a page takes some calls and not all.
  for (let turn = 0; turn < 16 && traceId === ""; turn++) {
    const end = performance.now() + 300;
    await askFor(port, { connections: 1 + (turn % 8), pauseMs: 2, isOver: () => performance.now() > end });
    await sleep(500);
    const rows = await program.sql(
      "SELECT trace_id FROM spans WHERE service = $1 AND attributes['thalweg.incomplete'] LIKE '%events_lost%' LIMIT 1",
      [TARGET],
    );
    traceId = String(rows[0]?.[0] ?? "");
  }
  report.add("ring: a span that was open meanwhile is marked", traceId === "" ? "none is" : "");
  if (traceId === "") return;
  const trace = JSON.stringify(await program.json(`/api/v1/traces/${traceId}?explain=1`));
  report.add("ring: explain=1 says why", /thalweg\.incomplete_why/.test(trace) ? "" : trace.slice(0, 2000));
}

function faultOf({ seen, delivered, lost }: CaptureAnswer): string {
  const sum = Object.values(lost).reduce((all, count) => all + count, 0);
  return seen === delivered + sum ? "" : `${seen} ≠ ${delivered} + ${sum}: ${JSON.stringify(lost)}`;
}
