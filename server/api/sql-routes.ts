/**
 * SQL over HTTP: `/api/v1/sql`, answers as JSON, NDJSON or CSV.
 */

import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ThalwegError } from "../model/errors.ts";
import type { SqlRequest } from "../query/doors.ts";
import type { SqlAnswer, SqlValue } from "../store/reader.ts";
import type { ApiDeps } from "./api-deps.ts";
import { hasMorePairs } from "./form-values.ts";
import { sendOwnError } from "./own-errors.ts";
import { parseSecondsOrDurationMs } from "./prometheus-parameters.ts";
import type { BodyLimits } from "./request-body.ts";
import { readBody } from "./request-body.ts";
import { searchParameters } from "./search-parameters.ts";

const TEXT_BYTES_MAX = 2 ** 20;
const ROWS_MAX = 1_000_000;
const TIMEOUT_MS = 30_000;
const TIMEOUT_MS_MAX = 300_000;
const PARAMETERS_MAX = 1000;
/** Levels of a JSON body: parameters are a list in an object, what else stands there is not looked at. */
const JSON_LEVELS_MAX = 16;
/** Rows rendered before other work gets a turn. */
const ROWS_PER_CHUNK = 500;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const FORMATS = ["json", "ndjson", "csv"] as const;
type Format = (typeof FORMATS)[number];
const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  json: "application/json",
  ndjson: "application/x-ndjson",
  csv: "text/csv; charset=utf-8",
};

/** A statement with its options, or what is wrong with them. */
type Asked =
  | { readonly kind: "asked"; readonly request: SqlRequest; readonly format: Format }
  | { readonly kind: "refused"; readonly status: number; readonly message: string };

/** Adds `/api/v1/sql`, GET and POST. */
export function addSqlRoutes(app: FastifyInstance, deps: ApiDeps, limits: BodyLimits): void {
  const textLimits = { ...limits, bytesMax: TEXT_BYTES_MAX };
  app.get("/api/v1/sql", async (request, reply) => {
    return run(deps, reply, askedBy(Object.fromEntries(searchParameters(request))));
  });
  app.post("/api/v1/sql", async (request, reply) => {
    return run(deps, reply, await askedByBody(request, textLimits));
  });
}

async function run(deps: ApiDeps, reply: FastifyReply, asked: Asked): Promise<FastifyReply> {
  if (asked.kind === "refused") {
    const hint =
      'Send {"query": "SELECT …", "params": [], "timeout": "30s", "limit": 1000, "format": "json"} or plain text.';
    return sendOwnError(reply, { status: asked.status, code: "bad_request", message: asked.message, hint });
  }
  const outcome = await deps.sql.run(asked.request).catch((error: unknown) => {
    if (error instanceof ThalwegError) return error;
    throw error;
  });
  if (outcome instanceof ThalwegError) {
    return sendOwnError(reply, { status: outcome.httpStatus, code: outcome.code, message: outcome.message, hint: "" });
  }
  if (outcome.kind === "refused") {
    const { httpStatus: status, code, message, line, column, hint } = outcome.refusal;
    return sendOwnError(reply, { status, code, message, line, column, hint });
  }
  reply.type(CONTENT_TYPES[asked.format]).header("x-thalweg-truncated", String(outcome.answer.truncated));
  return reply.send(Readable.from(render(outcome.answer, asked.format), { objectMode: false }));
}

async function askedByBody(request: FastifyRequest, limits: BodyLimits): Promise<Asked> {
  const body = await readBody(request.raw, limits);
  if (body.kind === "refused") {
    return { kind: "refused", status: body.status, message: `The body was not read: ${body.reason}.` };
  }
  const text = body.bytes.toString("utf8");
  body.release();
  const options = Object.fromEntries(searchParameters(request));
  const type = (request.headers["content-type"] ?? "").toLowerCase();
  if (type.startsWith("application/x-www-form-urlencoded") && !/^\s*(?:select|with)\b/i.test(text)) {
    if (hasMorePairs(text)) return { kind: "refused", status: 400, message: "The form has too many parameters." };
    return askedBy({ ...options, ...Object.fromEntries(new URLSearchParams(text)) });
  }
  if (!type.startsWith("application/json")) return askedBy({ ...options, query: text });
  if (isNestedDeeper(text, JSON_LEVELS_MAX)) {
    const message = `The body has more than ${JSON_LEVELS_MAX} levels of lists and objects.`;
    return { kind: "refused", status: 400, message };
  }
  const parsed = parseObject(text);
  if (parsed === undefined) return { kind: "refused", status: 400, message: "The body is not a JSON object." };
  return askedBy({ ...options, ...parsed });
}

/** Looks at brackets outside of texts alone: it costs a tenth of what `JSON.parse` takes for as many. */
function isNestedDeeper(text: string, levelsMax: number): boolean {
  let levels = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = quoteAfter(text, at + 1);
    } else if (code === OPEN_LIST || code === OPEN_OBJECT) {
      if (++levels > levelsMax) return true;
    } else if (code === CLOSE_LIST || code === CLOSE_OBJECT) levels--;
  }
  return false;
}

/** Where a text of JSON ends whose first letter is at `from`. */
function quoteAfter(text: string, from: number): number {
  let at = from;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) break;
    if (code === BACKSLASH) at++;
  }
  return at;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return undefined;
    return { ...parsed };
  } catch {
    // JSON.parse says what it found, which may be a secret: the caller words the refusal.
    return undefined;
  }
}

/** Reads the members of the body, or the parameters of the same names. */
function askedBy(options: Readonly<Record<string, unknown>>): Asked {
  const refused = (message: string): Asked => ({ kind: "refused", status: 400, message });
  const { query, params = [], timeout = TIMEOUT_MS / 1000, limit = ROWS_MAX, format = "json" } = options;
  if (typeof query !== "string" || query.trim() === "") return refused('"query" is missing.');
  const values = typeof params === "string" ? parseList(params) : params;
  if (!isParameterList(values)) return refused('"params" must be a list of strings, numbers, booleans and nulls.');
  const timeoutMs = parseSecondsOrDurationMs(String(timeout));
  if (timeoutMs === undefined || timeoutMs <= 0) return refused('"timeout" must be a duration such as "30s".');
  const rowsMax = Number(limit);
  if (!Number.isInteger(rowsMax) || rowsMax < 0) return refused('"limit" must be a count of rows.');
  const known = FORMATS.find((each) => each === format);
  if (known === undefined) return refused(`"format" must be one of ${FORMATS.join(", ")}.`);
  return {
    kind: "asked",
    request: {
      query,
      params: values,
      timeoutMs: Math.min(timeoutMs, TIMEOUT_MS_MAX),
      rowsMax: Math.min(rowsMax, ROWS_MAX),
    },
    format: known,
  };
}

function parseList(text: string): unknown {
  const parsed = parseObject(`{"list":${text}}`);
  return parsed?.["list"];
}

function isParameterList(values: unknown): values is readonly (string | number | boolean | null)[] {
  if (!Array.isArray(values) || values.length > PARAMETERS_MAX) return false;
  return values.every((value) => value === null || ["string", "number", "boolean"].includes(typeof value));
}

function render(answer: SqlAnswer, format: Format): AsyncIterable<string> {
  switch (format) {
    case "json":
      return renderJson(answer);
    case "ndjson":
      return renderNdjson(answer);
    case "csv":
      return renderCsv(answer);
  }
}

async function* renderJson(answer: SqlAnswer): AsyncIterable<string> {
  yield `{"columns":${JSON.stringify(answer.columns)},"rows":[`;
  for (let start = 0; start < answer.rows.length; start += ROWS_PER_CHUNK) {
    const rows = answer.rows.slice(start, start + ROWS_PER_CHUNK);
    yield (start === 0 ? "" : ",") + rows.map((row) => JSON.stringify(row)).join(",");
    await turn();
  }
  const { rowsRead: rows_read, elapsedMs: elapsed_ms, truncated } = answer;
  yield `],${JSON.stringify({ rows_read, elapsed_ms, truncated }).slice(1)}\n`;
}

async function* renderNdjson(answer: SqlAnswer): AsyncIterable<string> {
  const names = answer.columns.map((column) => JSON.stringify(column.name));
  const line = (row: readonly SqlValue[]) =>
    `{${row.map((value, index) => `${names[index]}:${JSON.stringify(value)}`).join(",")}}\n`;
  for (let start = 0; start < answer.rows.length; start += ROWS_PER_CHUNK) {
    yield answer.rows
      .slice(start, start + ROWS_PER_CHUNK)
      .map(line)
      .join("");
    await turn();
  }
}

async function* renderCsv(answer: SqlAnswer): AsyncIterable<string> {
  yield `${answer.columns.map((column) => csvCell(column.name)).join(",")}\r\n`;
  for (let start = 0; start < answer.rows.length; start += ROWS_PER_CHUNK) {
    const rows = answer.rows.slice(start, start + ROWS_PER_CHUNK);
    yield rows.map((row) => `${row.map(csvCell).join(",")}\r\n`).join("");
    await turn();
  }
}

/** One cell as RFC 4180 has it; NULL is empty, an empty string is `""`. */
function csvCell(value: SqlValue): string {
  if (value === null) return "";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return text === "" || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
