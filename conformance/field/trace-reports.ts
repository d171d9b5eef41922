/** Reports about traces and the service graph: recorded OTLP bodies, sent to servers that capture nothing. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { oneTruthFault } from "../one-truth.ts";
import { Program, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

/** A graph is read after the pairing window, whose end a flush writes. */
const PAIRED_MS_MAX = 25_000;
const ANSWER_MS_MAX = 1_000;

interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
}

interface TracesData {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[] }[];
}

/** Plays the reports whose inputs lie under `dir`, each to a server of its own. */
export async function checkTraceReports(dir: string, report: SuiteReport): Promise<void> {
  const inputs: Readonly<Record<string, (program: Program, sent: TracesData) => Promise<string>>> = {
    "SG-01.otlp.json": messagingFault,
    "SG-01.reversed.otlp.json": messagingFault,
    "TA-07.otlp.json": loopsFault,
  };
  for (const [file, check] of Object.entries(inputs)) {
    const path = join(dir, "inputs", file);
    if (!existsSync(path)) continue;
    const body = readFileSync(path, "utf8");
    const program = await Program.start(["--capture", "off"]);
    try {
      const headers = { "content-type": "application/json" };
      const answer = await fetch(`${program.otlpHttp}/v1/traces`, { method: "POST", headers, body });
      // The inputs are OTLP JSON; the reports' README says so.
      const fault = answer.status === 200 ? await check(program, JSON.parse(body) as TracesData) : `${answer.status}`;
      report.add(file, fault);
      report.add(`${file}: one truth`, await oneTruthFault(program));
    } finally {
      await program.discard();
    }
  }
}

/** Both consumers have an edge from the producer, by link and by parent, once; nobody unknown is drawn. */
async function messagingFault(program: Program): Promise<string> {
  const wanted = JSON.stringify([
    ["shop", "audit", "messaging_system", 1],
    ["shop", "billing", "messaging_system", 1],
  ]);
  let found = "";
  await until(async () => {
    const samples = await program.promql("traces_service_graph_request_total");
    const edges = samples.map(({ metric, value }) => [
      metric["client"],
      metric["server"],
      metric["connection_type"] ?? "",
      value,
    ]);
    found = JSON.stringify(edges.sort((a, b) => (String(a) < String(b) ? -1 : 1)));
    return found === wanted ? true : undefined;
  }, PAIRED_MS_MAX);
  if (found !== wanted) return `the graph is ${found}`;
  const waits = await program.promql('traces_service_graph_request_client_seconds_sum{server="billing"} < bool 0.5');
  return waits[0]?.value === 1 ? "" : "the consumer's delay is in the latency of the producer's call";
}

/** Every span comes back once, within a second, by every face; assembled, no span's parents lead back to it. */
async function loopsFault(program: Program, sent: TracesData): Promise<string> {
  const wanted = spansOf(sent).map(({ spanId }) => spanId);
  const traces = new Set(spansOf(sent).map(({ traceId }) => traceId));
  for (const query of ["", "?assemble=1"]) {
    const found: OtlpSpan[] = [];
    for (const id of traces) {
      const url = `${program.http}/api/v1/traces/${id}${query}`;
      const answer = await fetch(url, { signal: AbortSignal.timeout(10 * ANSWER_MS_MAX) });
      if (answer.status !== 200) return `${url}: ${answer.status}`;
      found.push(...spansOf((await answer.json()) as TracesData));
    }
    const ids = found.map(({ spanId }) => spanId);
    if (String([...ids].sort()) !== String([...wanted].sort()))
      return `${ids.length} of ${wanted.length} spans: ${ids}`;
    if (query !== "" && hasLoop(found)) return "the assembled trace has a loop";
  }
  const from = performance.now();
  const rows = await program.sql("SELECT spans, root_name FROM traces");
  const tookMs = performance.now() - from;
  if (tookMs > 5 * ANSWER_MS_MAX) return `the summary took ${tookMs} ms`;
  const counted = rows.reduce((sum, [spans]) => sum + Number(spans), 0);
  if (counted !== wanted.length) return `the summary counts ${counted} spans`;
  return rows.every(([, name]) => name !== null && name !== "") ? "" : "a trace has no root name in the summary";
}

function spansOf({ resourceSpans }: TracesData): OtlpSpan[] {
  return resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans));
}

function hasLoop(spans: readonly OtlpSpan[]): boolean {
  const parents = new Map(spans.map(({ spanId, parentSpanId }) => [spanId, parentSpanId ?? ""]));
  return spans.some(({ spanId }) => {
    let at = spanId;
    for (let steps = 0; at !== "" && steps <= spans.length; steps++) at = parents.get(at) ?? "";
    return at !== "";
  });
}
