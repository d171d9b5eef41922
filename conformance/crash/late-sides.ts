/**
 * A call whose client span comes after its server span was given up, with kill -9 between the two and after them: the
 * store's edge is that of the call, once.
 */

import { oneTruthFault } from "../one-truth.ts";
import { Program, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

/** A server span waits 10 s for its client, then a flush writes the edge. */
const GIVEN_UP_MS_MAX = 25_000;
/** A half is looked for once it was given up, or has waited as long after a start. */
const FOUND_MS_MAX = 35_000;
const CALLS = 5;

/** Sends servers, kills, sends their clients, kills, and holds the edges to the calls. */
export async function checkLateSides(report: SuiteReport): Promise<void> {
  let program = await Program.start(["--capture", "off"]);
  const directory = program.dataDirectory;
  const startNs = BigInt(Date.now()) * 1_000_000n;
  try {
    await send(program, "late-back", 2, startNs);
    let found = await edgesUntil(program, `unknown>late-back=${CALLS}`, GIVEN_UP_MS_MAX);
    report.add("late sides: servers without clients have an unknown caller", found);
    await program.kill();
    program = await Program.start(["--capture", "off"], directory);
    await send(program, "late-front", 3, startNs);
    const wanted = `late-front>late-back=${CALLS}`;
    found = await edgesUntil(program, wanted, FOUND_MS_MAX);
    report.add("late sides: clients that come after kill -9 find their servers in the store", found);
    await program.kill();
    program = await Program.start(["--capture", "off"], directory);
    report.add("late sides: the edges are the same after kill -9", await edgesUntil(program, wanted, FOUND_MS_MAX));
    report.add("late sides: one truth", await oneTruthFault(program, { withOrphans: true }));
  } finally {
    await program.discard();
  }
}

async function send(program: Program, service: string, kind: 2 | 3, startNs: bigint): Promise<void> {
  const spans = Array.from({ length: CALLS }, (_, call) => {
    const client = hex(call + 1, 16);
    return {
      traceId: hex(call + 1, 32),
      ...(kind === 3 ? { spanId: client } : { spanId: hex(call + 101, 16), parentSpanId: client }),
      name: "GET /late",
      kind,
      startTimeUnixNano: String(startNs),
      endTimeUnixNano: String(startNs + 7_000_000n),
    };
  });
  const resource = { attributes: [{ key: "service.name", value: { stringValue: service } }] };
  const answer = await fetch(`${program.otlpHttp}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }),
  });
  if (answer.status !== 200) throw new Error(`spans were answered ${answer.status}: ${await answer.text()}`);
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

/** Waits until the store's edges are these and no others. Returns what they are instead; empty where they are. */
async function edgesUntil(program: Program, wanted: string, msMax: number): Promise<string> {
  let found = "";
  const ask = async () => {
    const rows = await program.sql(
      "SELECT client, server, sum(requests) FROM edges GROUP BY client, server ORDER BY client, server",
    );
    found = rows.map(([client, server, requests]) => `${client}>${server}=${requests}`).join(" ");
    return found === wanted ? true : undefined;
  };
  return (await until(ask, msMax)) === undefined ? `edges are "${found}", not "${wanted}"` : "";
}
