/** Agents come and go while servers of each runtime are asked: no request fails for it. */

import { startAgent } from "../../agent/agent.ts";
import type { SuiteReport } from "../suite.ts";
import { type Runtime, startRuntimes } from "./runtimes.ts";

const ASKERS = 3;
const PAUSE_MS = 2;
/** Time of an agent to learn what runs and to set what it sets. */
const ATTACHED_MS = 150;
const DETACHED_MS = 50;

/** Starts and stops `rounds` agents while each runtime that is installed is asked. */
export async function attachUnderLoad(report: SuiteReport, rounds: number): Promise<void> {
  const runtimes = await startRuntimes();
  for (const name of runtimes.missing) report.skip(`rounds: ${name}`, `this machine has no ${name}`, "servers");
  let isOver = false;
  try {
    const loads = runtimes.all.map((runtime) => load(runtime, () => isOver));
    let spans = 0;
    for (let round = 0; round < rounds; round++) {
      const agent = await startAgent({
        mode: "socket",
        excludePids: [process.pid],
        excludePorts: [],
        tls: { kind: "auto" },
        redaction: true,
        fallbackReplay: undefined,
        nativeDirectory: undefined,
        version: "0.0.0",
        onSpans: (batch) => {
          spans += batch.rows;
        },
        onFailure: (error) => report.add(`rounds: the agent of round ${round + 1}`, String(error)),
      });
      await sleep(ATTACHED_MS);
      await agent.stop();
      await sleep(DETACHED_MS);
    }
    isOver = true;
    for (const { name, asked, failures } of await Promise.all(loads)) {
      const fault = asked < rounds ? `only ${asked} requests were made` : failures.slice(0, 5).join("\n");
      report.add(`rounds: ${name}: ${asked} requests while agents came and went ${rounds} times`, fault);
    }
    report.add("rounds: the agents captured the load", spans >= rounds ? "" : `${spans} spans`);
  } finally {
    isOver = true;
    await runtimes.stop();
  }
}

interface LoadOutcome {
  readonly name: string;
  readonly asked: number;
  readonly failures: readonly string[];
}

async function load(runtime: Runtime, isOver: () => boolean): Promise<LoadOutcome> {
  let asked = 0;
  const failures: string[] = [];
  const asker = async () => {
    while (!isOver()) {
      const fault = await runtime.ask();
      asked += 1;
      if (fault !== "" && failures.length < 100) failures.push(fault);
      await sleep(PAUSE_MS);
    }
  };
  await Promise.all(Array.from({ length: ASKERS }, asker));
  return { name: runtime.name, asked, failures };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
