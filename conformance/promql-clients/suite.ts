/** The suite `promql-clients`: promtool and Grafana's requests get from us what they get from a Prometheus. */

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Program } from "../program.ts";
import { PROMQL_FEATURES, Prometheus } from "../prometheus.ts";
import { sendWrite } from "../remote-write.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { type GrafanaRequest, grafanaRequests, type ToolCall, toolCalls } from "./client-requests.ts";
import { clientSeries } from "./client-series.ts";

const RECORDING = join(import.meta.dirname, "recorded.json");
const TOOL_MS_MAX = 20_000;

/** What one call gave. */
interface Said {
  /** Exit status of a tool, or HTTP status. */
  readonly status: number | null;
  readonly text: string;
}

/** Everything a server said, by name of the call. */
type Sayings = Readonly<Record<string, Said>>;

/**
 * Options behind the suite's name: `--promtool PATH` in place of Debian's, `--prometheus PATH` asks that Prometheus in
 * place of the recording, `--record` writes down what it says.
 */
export async function runPromqlClients({ args = [] }: { args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      promtool: { type: "string", default: "promtool" },
      prometheus: { type: "string" },
      record: { type: "boolean", default: false },
      dir: { type: "string" },
    },
    allowPositionals: true,
  });
  const report = new SuiteReport({ quiet: true });
  const hasTool = spawnSync(values.promtool, ["--version"]).status === 0;
  if (!hasTool) report.skip("promtool", `${values.promtool} is not there`, "servers");
  const tool = hasTool ? values.promtool : undefined;
  const wanted = values.prometheus === undefined ? recorded() : await saidByPrometheus(values.prometheus, tool);
  if (values.record) writeFileSync(RECORDING, `${JSON.stringify(wanted, null, 1)}\n`);
  const program = await Program.start(["--capture", "off", `--enable-feature=${PROMQL_FEATURES}`]);
  try {
    await load(program.http);
    const got = await askAll(program.http, tool);
    for (const [name, said] of Object.entries(got)) {
      const expected = wanted[name];
      report.add(name, expected === undefined ? "nothing was recorded" : differenceOf(name, expected, said));
    }
    if (tool !== undefined) report.add("promtool check metrics", await checkMetrics(program, tool));
  } finally {
    await program.discard();
  }
  return report.outcome;
}

function recorded(): Sayings {
  return existsSync(RECORDING) ? JSON.parse(readFileSync(RECORDING, "utf8")) : {};
}

async function saidByPrometheus(binary: string, tool: string | undefined): Promise<Sayings> {
  const prometheus = await Prometheus.start(binary, { features: PROMQL_FEATURES });
  try {
    await load(prometheus.http);
    return await askAll(prometheus.http, tool);
  } finally {
    await prometheus.discard();
  }
}

async function load(base: string): Promise<void> {
  const { status, text } = await sendWrite(base, clientSeries(), 1);
  if (status >= 300) throw new Error(`${base} refused samples with ${status}: ${text}`);
}

async function askAll(base: string, tool: string | undefined): Promise<Sayings> {
  const said: Record<string, Said> = {};
  if (tool !== undefined) for (const call of toolCalls()) said[`promtool ${call.name}`] = runTool(tool, base, call);
  for (const request of grafanaRequests()) said[`grafana ${request.name}`] = await send(base, request);
  return said;
}

function runTool(tool: string, base: string, { args }: ToolCall): Said {
  const words = args.map((word) => (word === "SERVER" ? base : word));
  const ran = spawnSync(tool, words, { encoding: "utf8", timeout: TOOL_MS_MAX });
  return { status: ran.status, text: `${ran.stdout}${ran.stderr}` };
}

/** Grafana sends its requests through a Go client that asks for gzip. */
async function send(base: string, { method, path, params, compare }: GrafanaRequest): Promise<Said> {
  const form = new URLSearchParams(params.map(([name, value]): [string, string] => [name, value]));
  const url = method === "GET" && params.length > 0 ? `${base}${path}?${form}` : `${base}${path}`;
  const headers = { "accept-encoding": "gzip", "user-agent": "Grafana/13.0.0" };
  const answer = await fetch(url, { method, headers, ...(method === "POST" ? { body: form } : {}) });
  const text = await answer.text();
  if (compare === "status") return { status: answer.status, text: "" };
  if (!(answer.headers.get("content-type") ?? "").startsWith("application/json"))
    return { status: answer.status, text: `${answer.headers.get("content-type")}` };
  const body: unknown = JSON.parse(text);
  const levels = compare === "fields" ? 2 : 1;
  return { status: answer.status, text: JSON.stringify(compare === "whole" ? sortKeys(body) : shapeOf(body, levels)) };
}

/** The same with the names of each object in order: JSON's objects have none. */
function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, inner]) => [name, sortKeys(inner)]));
}

/** Names and types down to a level; what lies deeper depends on what a server holds. */
function shapeOf(value: unknown, levels: number): unknown {
  if (Array.isArray(value)) return "array";
  if (typeof value !== "object" || value === null) return typeof value;
  if (levels === 0) return "object";
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, shapeOf(inner, levels - 1)]),
  );
}

function differenceOf(name: string, wanted: Said, got: Said): string {
  if (wanted.status !== got.status) return `status ${got.status}, wanted ${wanted.status}\n${got.text}\n${wanted.text}`;
  const [left, right] = name.startsWith("promtool")
    ? [sortLines(wanted.text), sortLines(got.text)]
    : [wanted.text, got.text];
  return left === right ? "" : `got\n${right}\nwanted\n${left}`;
}

/** An instant vector comes in no order, and promtool prints it as it comes. */
function sortLines(text: string): string {
  return text.split("\n").sort().join("\n");
}

async function checkMetrics(program: Program, tool: string): Promise<string> {
  const metrics = await (await fetch(`${program.http}/metrics`)).text();
  const ran = spawnSync(tool, ["check", "metrics"], { encoding: "utf8", input: metrics, timeout: TOOL_MS_MAX });
  const said = `${ran.stdout}${ran.stderr}`.trim();
  return ran.status === 0 && said === "" ? "" : `status ${ran.status}: ${said}`;
}
