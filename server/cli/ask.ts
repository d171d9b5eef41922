/**
 * The verbs that ask a running server: `sql`, `query`, `trace`, `services`.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { caretFrame } from "../../grammar/promql-error.ts";
import { durationText, renderSpanTree, type TreeSpan } from "./span-tree.ts";
import { defaultDataDirectory, runsFromClone } from "./surroundings.ts";
import { renderTable } from "./text-table.ts";

const URL_DEFAULT = "http://127.0.0.1:8425";
const FORMATS = ["table", "json", "ndjson", "csv"];

interface Question {
  readonly text: string;
  readonly url: string;
  readonly format: string;
}

/** `thalweg sql 'SELECT …' [--format F] [--url U]`. */
export async function askSql(args: readonly string[]): Promise<number> {
  const question = readQuestion(args, "sql 'SELECT …'");
  return question === undefined ? 2 : printSql(question);
}

/** `thalweg services`. */
export async function askServices(args: readonly string[]): Promise<number> {
  const query =
    "SELECT service, language, sources, instances, make_timestamp_ns(last_seen_ns) AS last_seen FROM services ORDER BY service";
  const question = readQuestion([query, ...args], "services");
  return question === undefined ? 2 : printSql(question);
}

/** `thalweg query 'PROMQL'`: an instant query. */
export async function askPromql(args: readonly string[]): Promise<number> {
  const question = readQuestion(args, "query 'PROMQL'");
  if (question === undefined) return 2;
  const answer = await fetchAnswer(question, `/api/v1/query?query=${encodeURIComponent(question.text)}`);
  if (answer === undefined) return 1;
  const body = JSON.parse(answer.text);
  if (body.status !== "success") {
    const frame = caretFrame(question.text, String(body.error));
    return refuse(`${body.errorType}: ${body.error}${frame === undefined ? "" : `\n${frame}`}`);
  }
  if (question.format !== "table") {
    process.stdout.write(`${JSON.stringify(body.data)}\n`);
    return 0;
  }
  const rows: string[][] = [];
  if (body.data.resultType === "scalar" || body.data.resultType === "string")
    rows.push(["", String(body.data.result[1])]);
  else {
    for (const series of body.data.result) {
      rows.push([metricText(series.metric), String(series.value?.[1] ?? series.values?.at(-1)?.[1] ?? "")]);
    }
  }
  process.stdout.write(renderTable(["series", "value"], rows));
  return 0;
}

/** `thalweg trace ID`: the tree of one trace. */
export async function askTrace(args: readonly string[]): Promise<number> {
  const question = readQuestion(args, "trace ID");
  if (question === undefined) return 2;
  if (!/^[0-9a-fA-F]{1,32}$/.test(question.text.trim()))
    return refuse(`'${question.text}' is not a trace id: it takes up to 32 hex digits`, 2);
  const id = question.text.trim().toLowerCase().padStart(32, "0");
  const answer = await fetchAnswer(question, "/api/v1/sql", {
    query:
      "SELECT span_id, parent_span_id, service, name, kind, status, start_ns, duration_ns, link_reason FROM spans WHERE trace_id = $1 ORDER BY start_ns",
    params: [id],
  });
  if (answer === undefined) return 1;
  const body = JSON.parse(answer.text);
  if (body.error !== undefined) return refuse(body.error.message);
  if (body.rows.length === 0) return refuse(`no spans of trace ${id}`);
  const spans = body.rows.map(treeSpanOf);
  process.stdout.write(question.format === "table" ? `${renderSpanTree(spans)}\n` : `${JSON.stringify(body.rows)}\n`);
  return 0;
}

/** A row of the query above as the tree takes it. */
export function treeSpanOf(row: readonly (string | null)[]): TreeSpan {
  const at = (index: number) => row[index] ?? "";
  return {
    id: at(0),
    parentId: at(1),
    service: at(2),
    name: at(3),
    kind: at(4),
    error: at(5) === "error",
    startNs: BigInt(at(6) || "0"),
    durationNs: BigInt(at(7) || "0"),
    linkReason: at(8),
  };
}

async function printSql(question: Question): Promise<number> {
  const format = question.format === "table" ? "json" : question.format;
  const answer = await fetchAnswer(question, "/api/v1/sql", { query: question.text, format });
  if (answer === undefined) return 1;
  if (!answer.ok) {
    const error = JSON.parse(answer.text).error;
    const place = error.line > 0 ? ` (line ${error.line}, column ${error.column})` : "";
    return refuse(`${error.message}${place}${error.hint ? `\n${error.hint}` : ""}`);
  }
  if (question.format !== "table") {
    process.stdout.write(answer.text.endsWith("\n") ? answer.text : `${answer.text}\n`);
    return 0;
  }
  const body = JSON.parse(answer.text);
  const names: string[] = body.columns.map((column: { name: string }) => column.name);
  const cells = body.rows.map((row: unknown[]) => row.map((value, index) => cellText(names[index] ?? "", value)));
  process.stdout.write(renderTable(names, cells));
  process.stdout.write(
    `${body.rows.length} rows${body.truncated ? ", cut short" : ""} (${Number(body.elapsed_ms).toFixed(1)} ms)\n`,
  );
  return 0;
}

function cellText(column: string, value: unknown): string {
  if (value === null) return "";
  if (column === "duration_ns" && typeof value === "string") return durationText(BigInt(value));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function metricText(metric: Readonly<Record<string, string>>): string {
  const { __name__: name, ...labels } = metric;
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return `${name ?? ""}${pairs.length > 0 || name === undefined ? `{${pairs.join(", ")}}` : ""}`;
}

function readQuestion(args: readonly string[], usage: string): Question | undefined {
  let text: string | undefined;
  let url = process.env["THALWEG_URL"] ?? runningServerUrl() ?? URL_DEFAULT;
  let format = "table";
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? "";
    if (word === "--url" || word === "--format") {
      const value = args[++at] ?? "";
      if (word === "--url") url = value;
      else format = value;
    } else if (text === undefined) text = word;
    else text = undefined;
  }
  if (text === undefined || !FORMATS.includes(format) || !URL.canParse(url)) {
    if (!FORMATS.includes(format)) process.stderr.write(`thalweg: there is no format '${format}'\n`);
    if (!URL.canParse(url)) process.stderr.write(`thalweg: '${url}' is not an address such as ${URL_DEFAULT}\n`);
    process.stderr.write(`Usage: thalweg ${usage} [--url ${URL_DEFAULT}] [--format ${FORMATS.join("|")}]\n`);
    return undefined;
  }
  return { text, url: url.replace(/\/+$/, ""), format };
}

/** Words, values of flags, and the address of the server to ask. */
export interface ServerArgs {
  readonly words: readonly string[];
  readonly values: ReadonlyMap<string, string>;
  readonly url: string;
}

/** Reads the arguments of a verb that works with a running server; undefined after it said what is wrong with them. */
export function readServerArgs(
  args: readonly string[],
  usage: string,
  flags: readonly string[],
): ServerArgs | undefined {
  const words: string[] = [];
  const values = new Map<string, string>();
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? "";
    if (!word.startsWith("--")) words.push(word);
    else if (word === "--url" || flags.includes(word)) values.set(word, args[++at] ?? "");
    else {
      process.stderr.write(`thalweg: there is no flag ${word}\nUsage: thalweg ${usage} [--url ${URL_DEFAULT}]\n`);
      return undefined;
    }
  }
  const url = values.get("--url") ?? process.env["THALWEG_URL"] ?? runningServerUrl() ?? URL_DEFAULT;
  if (URL.canParse(url)) return { words, values, url: url.replace(/\/+$/, "") };
  process.stderr.write(`thalweg: '${url}' is not an address such as ${URL_DEFAULT}\n`);
  return undefined;
}

/** The server that runs on the default data directory, as it says itself. */
function runningServerUrl(): string | undefined {
  try {
    // Written by the server.
    const { http } = JSON.parse(readFileSync(join(defaultDataDirectory(), "addresses.json"), "utf8")) as {
      http: string;
    };
    return `http://${http}`;
  } catch {
    // No server runs there, or it is not ours to read: the default address is tried.
    return undefined;
  }
}

async function fetchAnswer(
  question: Question,
  path: string,
  body?: object,
): Promise<{ ok: boolean; text: string } | undefined> {
  const init = { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  try {
    const answer = await fetchFrom(question.url, path, body === undefined ? {} : init);
    return { ok: answer.ok, text: await answer.text() };
  } catch (error) {
    refuse(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** Asks a server. @throws Error that names the server that does not answer, and the way out. */
export async function fetchFrom(url: string, path: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(`${url}${path}`, init);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new Error(
      `no server answers at ${url} (${cause}). Start one with '${runsFromClone() ? "npm start" : "thalweg"}', or name it with --url`,
      { cause: error },
    );
  }
}

/** What is wrong with what the user named is told in one line; faults of our own keep their stack. */
export async function orRefuse(run: () => Promise<number>): Promise<number> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof Error) || error.constructor !== Error) throw error;
    return refuse(error.message);
  }
}

function refuse(message: string, status = 1): number {
  process.stderr.write(`thalweg: ${message}\n`);
  return status;
}
