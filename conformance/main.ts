/**
 * `npm run -s conformance -- SUITE [--dir DIR]`: public suites and whole-program tests, run from outside.
 *
 * Every suite ends with `N passed, N failed`; where its files are absent it is skipped by name.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { SuiteOutcome } from "./suite.ts";

/** What a suite is called with. */
interface SuiteOptions {
  readonly dir: string;
  readonly rest: readonly string[];
  /** Everything behind the suite's name, for suites with options of their own. */
  readonly args: readonly string[];
}

const SUITES: Readonly<Record<string, () => Promise<(options: SuiteOptions) => Promise<SuiteOutcome>>>> = {
  protocols: async () => (await import("./protocols/suite.ts")).runProtocols,
  otlp: async () => (await import("./otlp/suite.ts")).runOtlp,
  "otlp-fuzz": async () => (await import("./otlp-fuzz/suite.ts")).runOtlpFuzz,
  "metric-fuzz": async () => (await import("./metric-fuzz/suite.ts")).runMetricFuzz,
  chain: async () => (await import("./chain/suite.ts")).runChain,
  hops: async () => (await import("./hops/suite.ts")).runHops,
  tls: async () => (await import("./tls/suite.ts")).runTls,
  kernels: async () => (await import("./kernels/suite.ts")).runKernels,
  loss: async () => {
    const { runLoss } = await import("./loss/suite.ts");
    return ({ args }) => runLoss(args);
  },
  databases: async () => (await import("./databases/suite.ts")).runDatabases,
  "unix-sockets": async () => {
    const { runUnixSockets } = await import("./unix-sockets/suite.ts");
    return ({ rest }) => runUnixSockets(rest);
  },
  secrets: async () => {
    const { runSecrets } = await import("./secrets/suite.ts");
    return ({ args }) => runSecrets(args);
  },
  parents: async () => {
    const { runParents } = await import("./parents/suite.ts");
    return ({ rest }) => runParents(rest);
  },
  crash: async () => (await import("./crash/suite.ts")).runCrash,
  damage: async () => (await import("./damage/suite.ts")).runDamage,
  limits: async () => (await import("./limits/suite.ts")).runLimits,
  ledger: async () => (await import("./ledger/suite.ts")).runLedger,
  field: async () => (await import("./field/suite.ts")).runField,
  promql: async () => (await import("./promql/suite.ts")).runPromql,
  "append-rules": async () => (await import("./append-rules/suite.ts")).runAppendRules,
  "promql-clients": async () => (await import("./promql-clients/suite.ts")).runPromqlClients,
  "promql-compliance": async () => (await import("./promql-compliance/suite.ts")).runPromqlCompliance,
  "promql-parser-fuzz": async () => (await import("./promql-parser/fuzz.ts")).runPromqlParserFuzz,
  "promql-parser": async () => (await import("./promql-parser/suite.ts")).runPromqlParser,
  "promql-fuzz": async () => (await import("./promql-fuzz/suite.ts")).runPromqlFuzz,
  "prometheus-remote": async () => (await import("./prometheus-remote/suite.ts")).runPrometheusRemote,
  "line-senders": async () => (await import("./line-senders/suite.ts")).runLineSenders,
  "remote-write-out": async () => (await import("./remote-write-out/suite.ts")).runRemoteWriteOut,
  downsampling: async () => (await import("./downsampling/suite.ts")).runDownsampling,
  admin: async () => (await import("./admin/suite.ts")).runAdmin,
  blocks: async () => (await import("./blocks/suite.ts")).runBlocks,
  scrape: async () => (await import("./scrape/suite.ts")).runScrape,
  "query-limits": async () => (await import("./query-limits/suite.ts")).runQueryLimits,
  twins: async () => (await import("./twins/suite.ts")).runTwins,
  "see-it": async () => (await import("./see-it/suite.ts")).runSeeIt,
};
/** Suites that make their own input and need no directory. */
const WITHOUT_FILES = new Set([
  "append-rules",
  "chain",
  "hops",
  "tls",
  "kernels",
  "loss",
  "parents",
  "crash",
  "damage",
  "databases",
  "secrets",
  "unix-sockets",
  "ledger",
  "limits",
  "otlp-fuzz",
  "metric-fuzz",
  "see-it",
  "twins",
  "promql-clients",
  "promql-fuzz",
  "prometheus-remote",
  "scrape",
  "remote-write-out",
  "downsampling",
  "admin",
  "blocks",
  "line-senders",
  "promql-parser-fuzz",
  "query-limits",
]);

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { dir: { type: "string" } },
    allowPositionals: true,
    strict: false,
  });
  const name = String(positionals[0] ?? "");
  // A folder NAME-3.16 holds what a later version adds to the suite NAME.
  const load = SUITES[name] ?? SUITES[name.replace(/-\d[\d.]*$/, "")];
  if (load === undefined) {
    process.stderr.write(`There is no suite '${name}'. Suites: ${Object.keys(SUITES).join(", ")}\n`);
    return 2;
  }
  const shared = join(import.meta.dirname, "..", "..", "shared");
  const fallback = name === "field" ? join(shared, "field") : join(shared, "conformance", name);
  const dir = typeof values.dir === "string" ? values.dir : fallback;
  if (!WITHOUT_FILES.has(name) && !existsSync(dir)) {
    process.stdout.write(`skipped: suite ${name}: ${dir} does not exist\n0 passed, 0 failed\n`);
    return 0;
  }
  const args = process.argv.slice(process.argv.indexOf(name) + 1);
  const outcome = await (await load())({ dir, rest: positionals.slice(1).map(String), args });
  for (const line of outcome.skipped) process.stdout.write(`skipped: ${line}\n`);
  process.stdout.write(`${outcome.passed} passed, ${outcome.failed} failed\n`);
  return outcome.failed === 0 ? 0 : 1;
}

process.exitCode = await main();
