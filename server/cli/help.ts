/** The verb `help`. */

import { AGENT_SETTINGS } from "../config/agent-settings.ts";
import { environmentName, SETTINGS, type SettingEntry } from "../config/settings.ts";

/** Where the text beside a flag begins. */
const HELP_COLUMN = 32;

const VERBS_TEXT = `Usage: thalweg [VERB] [FLAGS]

  (none), start        start, show one call of its own as a tree, keep running
  serve                start without that; what services and scripts use
  agent --to URL       capture here, send the spans over OTLP to another Thalweg: http://host:4318
  doctor [--json]      try each ability this machine could give
  sql 'SELECT …'       ask a running server; all of these take --url U and --format table|json|ndjson|csv
  query 'PROMQL'       the same in PromQL
  trace ID, services   one trace as a tree; the services seen
  record --out FILE    raw capture events to FILE (--pid N, --seconds S)
  dissect FILE         exchanges of a .pcap, .pcapng, .segments.jsonl or .twcap
  check rules FILE…    judge files of recording and alerting rules as the server would
  import PATH…         Prometheus' blocks or OpenMetrics text into a running server
  export DIRECTORY     samples of a running server to blocks that Prometheus opens
  check config FILE…   judge files of scrape jobs as the server would
  version, help

Exit status: 0 ok, 1 start failed, 2 usage, 3 unclean stop, 4 damage beyond salvage, 5 port or directory taken.
In a clone, 'npm run -s thalweg --' stands for 'thalweg'.

Examples
  thalweg --listen 127.0.0.1:9000
  thalweg sql "SELECT service, count(*) FROM spans GROUP BY service"
  thalweg query 'sum by (client, server) (traces_service_graph_request_total)'
`;

/** Prints verbs and flags to standard output. */
export async function printHelp(): Promise<number> {
  process.stdout.write(
    `${VERBS_TEXT}\nFlags of start and serve (each also as ${environmentName("--listen")} and so on)\n${linesOf(SETTINGS)}\n` +
      `\nFlags of agent\n${linesOf(AGENT_SETTINGS)}\n`,
  );
  return 0;
}

function linesOf(table: readonly SettingEntry[]): string {
  const lines = table.map((entry) => {
    const flag = `${entry.flag} ${entry.takes}`.trimEnd();
    const fallback = entry.fallback === "" ? "" : ` [${entry.fallback}]`;
    // A longer flag stands on a line of its own.
    const head = flag.length < HELP_COLUMN ? flag.padEnd(HELP_COLUMN) : `${flag}\n  ${"".padEnd(HELP_COLUMN)}`;
    return `  ${head}${entry.help}${fallback}`;
  });
  return lines.join("\n");
}
