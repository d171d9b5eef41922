/**
 * kill −9 during load: every acknowledged span is there after the next start, once, and everything derived agrees, also
 * of calls whose two sides come far apart.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { oracleEncode } from "../../server/wire/trace-oracle.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { checkLateSides } from "./late-sides.ts";

const ROUNDS = 4;
const SENDERS = 4;
const SPANS_PER_REQUEST = 60;
/** A kill comes at another moment of the commits each round. */
const LOAD_MS = [700, 1_100, 1_900, 2_600];
const SPANS_PER_TRACE = 3;

/** What the senders know of. */
interface Ledger {
  readonly acknowledged: Set<string>;
  readonly sent: Set<string>;
}

/** The suite `crash`: kill -9 under load, then every acknowledged span is there once and all derived counts agree. */
export async function runCrash(): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  const ledger: Ledger = { acknowledged: new Set(), sent: new Set() };
  let program = await Program.start(["--capture", "off"]);
  const directory = program.dataDirectory;
  try {
    for (let round = 0; round < ROUNDS; round++) {
      await loadUntilKilled(program, ledger, round);
      program = await Program.start(["--capture", "off"], directory);
      const found = await storedIds(program);
      const lost = [...ledger.acknowledged].filter((id) => !found.has(id));
      const strange = [...found.keys()].filter((id) => !ledger.sent.has(id));
      const twice = [...found].filter(([, count]) => count !== 1);
      const what = `round ${round + 1}: ${ledger.acknowledged.size} acknowledged, ${found.size} found after kill -9`;
      report.add(
        `${what}, none lost`,
        lost.length === 0 ? "" : `${lost.length} acknowledged spans are gone, such as ${lost[0]}`,
      );
      report.add(
        `${what}, none invented or doubled`,
        strange.length + twice.length === 0 ? "" : `${strange.length} never sent, ${twice.length} twice`,
      );
      report.add(`round ${round + 1}: one truth after the crash`, await oneTruthFault(program));
    }
    report.add("stops cleanly", (await program.stop()) === 0 ? "" : "the exit status is not 0");
    const left = existsSync(join(directory, "addresses.json"));
    report.add("a stopped server leaves no addresses", left ? "addresses.json is still there" : "");
  } finally {
    await program.discard();
  }
  await checkLateSides(report);
  return report.outcome;
}

async function loadUntilKilled(program: Program, ledger: Ledger, round: number): Promise<void> {
  let running = true;
  const senders = Array.from({ length: SENDERS }, async (_, sender) => {
    for (let request = 0; running; request++) await send(program, ledger, `${round}.${sender}.${request}`);
  });
  await sleep(LOAD_MS[round] ?? 1_000);
  await program.kill();
  running = false;
  await Promise.all(senders);
}

async function send(program: Program, ledger: Ledger, name: string): Promise<void> {
  const ids: string[] = [];
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  const spans = Array.from({ length: SPANS_PER_REQUEST }, (_, index) => {
    const spanId = crypto.getRandomValues(Buffer.alloc(8));
    ids.push(spanId.toString("hex"));
    return { index, spanId };
  });
  const trace = (index: number) => Math.floor(index / SPANS_PER_TRACE);
  const traceIds = Array.from({ length: SPANS_PER_REQUEST / SPANS_PER_TRACE }, () =>
    crypto.getRandomValues(Buffer.alloc(16)),
  );
  const bySide = (side: "front" | "back") => ({
    resource: { attributes: [{ key: "service.name", value: { stringValue: `crash-${side}` } }] },
    scopeSpans: [
      {
        spans: spans
          .filter(({ index }) => (index % SPANS_PER_TRACE === 2) === (side === "back"))
          .map(({ index, spanId }) => ({
            traceId: traceIds[trace(index)],
            spanId,
            ...(index % SPANS_PER_TRACE === 0 ? {} : { parentSpanId: spans[index - 1]?.spanId }),
            name: ["POST /orders", "GET", "GET /stock"][index % SPANS_PER_TRACE],
            kind: [2, 3, 2][index % SPANS_PER_TRACE],
            startTimeUnixNano: String(nowNs + BigInt(index * 1000)),
            endTimeUnixNano: String(nowNs + BigInt(index * 1000 + 5_000_000)),
            attributes: [{ key: "request", value: { stringValue: name } }],
          })),
      },
    ],
  });
  for (const id of ids) ledger.sent.add(id);
  const body = Buffer.from(oracleEncode("TracesData", { resourceSpans: [bySide("front"), bySide("back")] }));
  try {
    const answer = await fetch(`${program.otlpHttp}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf" },
      body,
    });
    await answer.arrayBuffer();
    if (answer.ok) for (const id of ids) ledger.acknowledged.add(id);
    else await sleep(20);
  } catch {
    // The server was killed meanwhile: this request was never acknowledged.
    await sleep(5);
  }
}

async function storedIds(program: Program): Promise<Map<string, number>> {
  const rows = await program.sql("SELECT span_id, count(*) AS n FROM spans GROUP BY span_id");
  return new Map(rows.map(([id, count]) => [String(id), Number(count)]));
}
