/**
 * What capture loses, and what it leaves behind: each loss is counted to the call, a killed agent leaves nothing in the
 * kernel, attaching and detaching costs nobody a request, and a budget changes no count.
 *
 * `--kills N`, `--rounds N` and `--budget on|off`; without them 20, 100 and on. The short form, that of `npm test`, is
 * `--kills 3 --rounds 5 --budget off`; CI takes `--kills 5 --rounds 20`.
 */

import { parseArgs } from "node:util";
import { trySocketRung } from "../../agent/capture/socket-rung.ts";
import { loadNative } from "../../bpf/native.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { attachUnderLoad } from "./attach-under-load.ts";
import { keepsBudget } from "./budget.ts";
import { killedAgents } from "./killed-agents.ts";
import { stoppedConsumer } from "./stopped-consumer.ts";

/** The suite `loss`. */
export async function runLoss(words: readonly string[] = []): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...words],
    options: {
      kills: { type: "string", default: "20" },
      rounds: { type: "string", default: "100" },
      budget: { type: "string", default: "on" },
      only: { type: "string", default: "" },
    },
  });
  const report = new SuiteReport();
  const tried = trySocketRung();
  const loaded = loadNative();
  if (!tried.ok || !loaded.ok) {
    report.skip("loss", tried.ok ? "no addon" : tried.why, "capture");
    return report.outcome;
  }
  const parts: Record<string, () => Promise<void>> = {
    ring: () => stoppedConsumer(report),
    kills: () => killedAgents(report, loaded.native, Number(values.kills)),
    rounds: () => attachUnderLoad(report, Number(values.rounds)),
    budget: async () => (values.budget === "on" ? keepsBudget(report) : undefined),
  };
  for (const [name, part] of Object.entries(parts)) if (values.only === "" || values.only === name) await part();
  return report.outcome;
}
