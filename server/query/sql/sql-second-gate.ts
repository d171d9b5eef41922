/** Reads what DuckDB's parser made of a printed statement and refuses what should not be there. */

import { SAMPLES_SOURCE, SQL_TABLES } from "../../model/sql-tables.ts";
import { isAllowedFunction } from "./sql-functions.ts";

/** Why the engine's tree is not run. */
export interface ForeignRefusal {
  readonly code: string;
  readonly message: string;
  readonly httpStatus: number;
}

/** Names under which DuckDB's parser keeps operators and literals that our grammar has. */
const PARSER_FUNCTIONS: ReadonlySet<string> = new Set([
  ..."+ - * / // % || ~~ !~~ ~~* !~~* like_escape not_like_escape ilike_escape not_ilike_escape".split(" "),
  ..."count_star list_value trunc array_extract struct_extract map_extract_value date_part".split(" "),
  ..."to_microseconds to_milliseconds to_seconds to_minutes to_hours to_days to_weeks to_months to_quarters to_years".split(
    " ",
  ),
]);

/** Kinds of table references that our grammar can print. */
const TABLE_KINDS: ReadonlySet<string> = new Set(["BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY"]);

/**
 * Looks through the JSON of `json_serialize_sql`.
 *
 * @returns undefined where it is one SELECT over allowed tables and functions.
 */
export function refuseForeign(json: string): ForeignRefusal | undefined {
  const root: unknown = JSON.parse(json);
  if (!isObject(root)) return refusal("the engine's parser gave no tree");
  if (root["error"] === true) {
    const why = typeof root["error_message"] === "string" ? root["error_message"] : "unknown";
    return { code: "syntax", message: `The engine cannot read this statement: ${why}`, httpStatus: 400 };
  }
  const statements = root["statements"];
  if (!Array.isArray(statements) || statements.length !== 1) return refusal("it is not exactly one statement");
  const names = new Set(Object.keys(SQL_TABLES));
  collectCtes(statements, names);
  return lookThrough(statements, names);
}

function refusal(why: string): ForeignRefusal {
  return { code: "not_allowed", message: `The statement is not run: ${why}.`, httpStatus: 403 };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function children(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  return isObject(value) ? Object.values(value) : [];
}

/** A list in place of recursion: the tree is as deep as the statement. */
function* nodes(root: unknown): Generator<Readonly<Record<string, unknown>>> {
  const waiting: unknown[] = [root];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (isObject(value)) yield value;
    for (const child of children(value)) if (typeof child === "object" && child !== null) waiting.push(child);
  }
}

/** Names that WITH defines. */
function collectCtes(root: unknown, names: Set<string>): void {
  for (const node of nodes(root)) {
    const map = node["cte_map"];
    const entries = isObject(map) ? map["map"] : undefined;
    if (!Array.isArray(entries)) continue;
    for (const entry of entries)
      if (isObject(entry) && typeof entry["key"] === "string") names.add(entry["key"].toLowerCase());
  }
}

function lookThrough(root: unknown, tables: ReadonlySet<string>): ForeignRefusal | undefined {
  for (const node of nodes(root)) {
    const { type } = node;
    if ("table_name" in node && type === "BASE_TABLE") {
      const name = String(node["table_name"]).toLowerCase();
      const qualified = node["schema_name"] !== "" || node["catalog_name"] !== "";
      if (qualified || !tables.has(name)) return refusal("it reads a table that is not one of ours");
    } else if (type === "TABLE_FUNCTION") {
      const called = node["function"];
      if (!isObject(called) || called["function_name"] !== SAMPLES_SOURCE)
        return refusal("it reads from a table function");
    } else if ("sample" in node && "alias" in node && "query_location" in node && typeof type === "string") {
      if (!TABLE_KINDS.has(type) && !("class" in node)) return refusal(`it reads from a ${type.toLowerCase()}`);
    }
    const name = node["function_name"];
    if (typeof name !== "string") continue;
    const lower = name.toLowerCase();
    if (lower === SAMPLES_SOURCE) continue; // no function of that name gives a value
    const ours = (node["schema"] === "" || node["schema"] === "main") && node["catalog"] === ""; // the parser adds main
    if (!ours) return refusal("it calls a function by a qualified name");
    if (!isAllowedFunction(lower) && !PARSER_FUNCTIONS.has(lower)) return refusal(`it calls ${lower}()`);
  }
  return undefined;
}
