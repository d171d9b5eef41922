/** The verb `start`, which `npm start` runs: the server, and one call of its own shown as a tree. */

import { SPAN_KINDS, SPAN_STATUSES } from "../model/span-batch.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import { openSqlDoor } from "../query/sql/sql-door.ts";
import { readTrace } from "../query/trace.ts";
import { type AskStore, showFirstCall } from "./first-call.ts";
import { programFiles } from "./program-files.ts";
import { runUntilStopped } from "./serve.ts";
import type { RunningServer } from "./server.ts";
import { renderSpanTree, type TreeSpan } from "./span-tree.ts";

const QUERY_MS_MAX = 5_000;
const ROWS_MAX = 10_000;
const REPLAY_MS_MAX = 15_000;
const POLL_MS = 200;
/** A recorded trace worth showing has at least so many spans. */
const REPLAY_SPANS_MIN = 3;

/** `npm start -- FLAGS`. */
export async function start(args: readonly string[]): Promise<number> {
  return runUntilStopped(args, true, showItWorking);
}

async function showItWorking(server: RunningServer): Promise<void> {
  const ask = askStoreOf(server);
  const { tier, why, fix } = server.capture();
  if (tier === "off")
    print(`No call is shown: ${why}.${fix === "" ? "" : ` ${fix}.`} Spans sent over OTLP are kept and shown.`);
  else if (tier === "replay") await showRecorded(server, ask);
  else {
    const outcome = await showFirstCall(programFiles().self, ask);
    if (outcome.kind === "missing") print(`No call is shown: ${outcome.why}`);
    else {
      print(
        `This call was just made by two processes that know nothing of Thalweg, and read back from the store (${outcome.tookMs.toFixed(0)} ms):`,
      );
      print(outcome.tree);
    }
  }
  print(nextStep(server));
}

async function showRecorded(server: RunningServer, ask: AskStore): Promise<void> {
  const deadline = performance.now() + REPLAY_MS_MAX;
  while (performance.now() < deadline) {
    const found = await ask(
      "SELECT trace_id, count(*) AS n FROM spans WHERE source = 'replay' GROUP BY trace_id ORDER BY n DESC LIMIT 1",
      [],
    );
    const [traceId, count] = found[0] ?? [];
    if (typeof traceId === "string" && Number(count) >= REPLAY_SPANS_MIN) {
      const spans = await readTrace(server.store.reader, traceId);
      const what =
        server.settings.capture.kind === "replay" ? `Recording ${server.settings.capture.file}` : "Recorded shop";
      print(`${what}: this trace was recorded elsewhere and is played here through the same code:`);
      print(renderSpanTree((spans ?? []).map(treeSpanOf)));
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  print(`No call is shown: the recording gave no trace within ${REPLAY_MS_MAX / 1000} s`);
}

function askStoreOf(server: RunningServer): AskStore {
  const door = openSqlDoor({ reader: server.store.reader });
  return async (query, params) => {
    const outcome = await door.run({ query, params, timeoutMs: QUERY_MS_MAX, rowsMax: ROWS_MAX });
    if (outcome.kind === "refused") throw new Error(`our own query was refused: ${outcome.refusal.message}`);
    return outcome.answer.rows.map((row) => row.map((cell) => (cell === null ? null : String(cell))));
  };
}

function treeSpanOf(span: StoredSpan): TreeSpan {
  return {
    id: span.spanId,
    parentId: span.parentSpanId,
    service: span.service,
    name: span.name,
    kind: SPAN_KINDS[span.kind] ?? "unspecified",
    startNs: span.startNs,
    durationNs: span.endNs - span.startNs,
    error: SPAN_STATUSES[span.status] === "error",
    linkReason: span.linkReason,
  };
}

function nextStep(server: RunningServer): string {
  const page = `http://${server.addresses.http}/`;
  const { tier } = server.capture();
  if (tier === "replay")
    return `Next: look at ${page} while it plays. It stops by itself when a span arrives over OTLP. Ctrl-C stops.`;
  if (tier === "off")
    return `Next: send spans over OTLP to http://${server.addresses.otlpHttp}/v1/traces and look at ${page}  Ctrl-C stops.`;
  return `Next: send a request to any HTTP service here, or run 'npm run demo', and look at ${page}  Ctrl-C stops.`;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
