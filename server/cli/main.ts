/**
 * The program's verbs. Each lives in a file of its own that is read only when its verb is asked for.
 *
 * Exit status: 0 ok, 1 start failed, 2 usage, 3 unclean stop, 4 data that cannot be salvaged, 5 port or lock taken.
 */

import { ThalwegError } from "../model/errors.ts";
import { exitStatusOf } from "./exit-status.ts";
import { holdLifeline } from "./lifeline.ts";

type Verb = (args: readonly string[]) => Promise<number>;

const VERBS: Readonly<Record<string, () => Promise<Verb>>> = {
  serve: async () => (await import("./serve.ts")).serve,
  start: async () => (await import("./start.ts")).start,
  agent: async () => (await import("./agent.ts")).runAgent,
  doctor: async () => (await import("./doctor.ts")).doctor,
  record: async () => (await import("./record.ts")).record,
  dissect: async () => {
    const { runDissect } = await import("./dissect.ts");
    return (args) => runDissect([...args], process.stdout, process.stderr);
  },
  sql: async () => (await import("./ask.ts")).askSql,
  query: async () => (await import("./ask.ts")).askPromql,
  trace: async () => (await import("./ask.ts")).askTrace,
  services: async () => (await import("./ask.ts")).askServices,
  import: async () => (await import("./import.ts")).runImport,
  export: async () => (await import("./export.ts")).runExport,
  check: async () => (await import("./check.ts")).check,
  version: async () => (await import("./version.ts")).printVersion,
  help: async () => (await import("./help.ts")).printHelp,
  "first-call": async () => (await import("./first-call-process.ts")).runFirstCallProcess,
};

async function main(words: readonly string[]): Promise<number> {
  const [first, ...rest] = words;
  if (first === undefined || (first.startsWith("--") && first !== "--help" && first !== "--version")) {
    return (await loadVerb("start"))(words);
  }
  if (first === "--help" || first === "-h" || rest.includes("--help")) return (await loadVerb("help"))(rest);
  if (first === "--version") return (await loadVerb("version"))(rest);
  if (!(first in VERBS)) {
    process.stderr.write(`thalweg: there is no verb '${first}'. Run 'thalweg help' for the list.\n`);
    return 2;
  }
  return (await loadVerb(first))(rest);
}

async function loadVerb(name: string): Promise<Verb> {
  const load = VERBS[name];
  if (load === undefined) throw new Error(`verb ${name} is not in the table`);
  return load();
}

holdLifeline();
// A reader such as `head` that has seen enough is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});
main(process.argv.slice(2)).then(
  (status) => {
    process.exitCode = status;
  },
  (error: unknown) => {
    if (error instanceof ThalwegError) {
      process.stderr.write(`thalweg: ${error.message}\n`);
      process.exitCode = exitStatusOf(error);
    } else if (error instanceof Error && "syscall" in error) {
      // The system refused: its words say what and where, a stack would not say more.
      process.stderr.write(`thalweg: ${error.message}\n`);
      process.exitCode = 1;
    } else throw error;
  },
);
