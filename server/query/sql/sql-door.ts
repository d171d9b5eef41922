/** SQL for the faces: parse, bind, let the engine's own parser look, run read-only. */

import { SqlTextError } from "../../../grammar/sql-error.ts";
import { parseSql } from "../../../grammar/sql-parse.ts";
import { ThalwegError } from "../../model/errors.ts";
import type { CheckedSql, StoreReader } from "../../store/reader.ts";
import type { SqlDoor, SqlOutcome, SqlRefusal, SqlRequest } from "../doors.ts";
import { bindSql } from "./sql-bind.ts";
import { refuseForeign } from "./sql-second-gate.ts";

/** Bytes of one answer. */
const SQL_ANSWER_BYTES_MAX = 268_435_456;

/** Rows of one answer, whatever a request asks. */
const SQL_ROWS_MAX = 1_000_000;

/** Time that the engine's parser may take. */
const PARSE_TIMEOUT_MS = 5000;

const STATUS_OF: Readonly<Record<SqlTextError["code"], number>> = {
  syntax: 400,
  unknown_column: 400,
  ambiguous_column: 400,
  parameter: 400,
  not_allowed: 403,
  too_large: 413,
};

/** Opens the door on a store. */
export function openSqlDoor(options: { readonly reader: Pick<StoreReader, "sql"> }): SqlDoor {
  const { reader } = options;
  return { run: (request) => run(reader, request) };
}

/** Parses and binds a statement without running it; the text is DuckDB's. Throws SqlTextError. */
export function checkSql(request: Pick<SqlRequest, "query" | "params">): CheckedSql {
  return bindSql(request.query, parseSql(request.query), request.params);
}

async function run(reader: Pick<StoreReader, "sql">, request: SqlRequest): Promise<SqlOutcome> {
  try {
    const statement = checkSql(request);
    const { samples } = statement;
    const foreign =
      (await secondGate(reader, statement.text, request.timeoutMs)) ??
      (samples === undefined ? undefined : await secondGate(reader, samples.times.text, request.timeoutMs));
    if (foreign !== undefined) return { kind: "refused", refusal: foreign };
    const rowsMax = Math.min(request.rowsMax, SQL_ROWS_MAX);
    const limits = { rowsMax, bytesMax: SQL_ANSWER_BYTES_MAX, timeoutMs: request.timeoutMs };
    return { kind: "answer", answer: await reader.sql(statement, limits) };
  } catch (cause) {
    const refusal = refusalOf(cause);
    if (refusal === undefined) throw cause;
    return { kind: "refused", refusal };
  }
}

/** DuckDB's own parser must see nothing that our grammar did not let pass. */
async function secondGate(
  reader: Pick<StoreReader, "sql">,
  text: string,
  timeoutMs: number,
): Promise<SqlRefusal | undefined> {
  const limits = { rowsMax: 1, bytesMax: SQL_ANSWER_BYTES_MAX, timeoutMs: Math.min(timeoutMs, PARSE_TIMEOUT_MS) };
  const answer = await reader.sql({ text: "SELECT json_serialize_sql(CAST($1 AS VARCHAR))", params: [text] }, limits);
  const foreign = refuseForeign(String(answer.rows[0]?.[0] ?? ""));
  if (foreign === undefined) return undefined;
  return { code: foreign.code, message: foreign.message, line: 1, column: 1, hint: "", httpStatus: foreign.httpStatus };
}

/** What a failure says to the client; undefined where it is a bug of ours. */
function refusalOf(cause: unknown): SqlRefusal | undefined {
  if (cause instanceof SqlTextError) {
    const { code, message, line, column, hint } = cause;
    return { code, message, line, column, hint, httpStatus: STATUS_OF[code] };
  }
  if (!(cause instanceof ThalwegError)) return undefined;
  const aboutText = cause.code === "query_failed" && /(?:Binder|Parser|Catalog) Error/.test(cause.message);
  const httpStatus = aboutText ? 400 : cause.httpStatus;
  return { code: cause.code, message: cause.message, line: 1, column: 1, hint: "", httpStatus };
}
