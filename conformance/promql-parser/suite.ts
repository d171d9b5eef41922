/**
 * The suite `promql-parser`: texts that Prometheus' own parser tests accept, refuse and print, through the grammar.
 *
 * A refusal counts where its first message and the place of it are the same. Series notation is the language of test
 * files; of its refusals only that they happen is compared.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { PromqlSyntaxError } from "../../grammar/promql-error.ts";
import { type ParseOptions, parsePromql } from "../../grammar/promql-parse.ts";
import { prettyPromql } from "../../grammar/promql-pretty.ts";
import { printPromql } from "../../grammar/promql-print.ts";
import type { PromqlExpression } from "../../grammar/promql-tree.ts";
import { regexMatchesEmpty } from "../../server/query/promql/regex.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { judgeSeries } from "./series-case.ts";

/** A line of any of the files; which fields it has depends on the file. */
interface ParserCase {
  readonly id: number | string;
  readonly input?: string;
  readonly input_base64?: string;
  readonly fail?: boolean;
  readonly root?: string;
  readonly errors?: readonly { readonly text?: string; readonly start: number }[];
  readonly output?: string;
  readonly max_characters_per_line?: number;
  readonly on?: "ok" | "refused";
  readonly off?: "ok" | "refused";
  readonly printed_on?: string;
  readonly printed_off?: string;
  readonly metric?: string;
}

/** Switches of the reference's own tests. */
const EXPRESSIONS = { regexMatchesEmpty, experimentalFunctions: true, fillModifiers: false, unquotedUtf8Names: false };
const PRINTED = { ...EXPRESSIONS, fillModifiers: true };

const ROOTS: Readonly<Record<PromqlExpression["kind"], string>> = {
  number: "NumberLiteral",
  string: "StringLiteral",
  selector: "VectorSelector",
  range: "MatrixSelector",
  subquery: "SubqueryExpr",
  unary: "UnaryExpr",
  paren: "ParenExpr",
  binary: "BinaryExpr",
  aggregate: "AggregateExpr",
  call: "Call",
};

const JUDGES: Readonly<Record<string, (one: ParserCase, text: string) => string>> = {
  "expressions.jsonl": judgeExpression,
  "printed.jsonl": judgePrinted,
  "pretty.jsonl": judgePretty,
  "unquoted_utf8.jsonl": judgeUnquoted,
  "series.jsonl": (one, text) => judgeSeries(one, text),
};

/** Runs every file of a folder that it knows. */
export async function runPromqlParser({ dir }: { readonly dir: string }): Promise<SuiteOutcome> {
  const report = new SuiteReport({ quiet: true });
  const superseded = supersededOf(dir);
  for (const file of readdirSync(dir).sort()) {
    const judge = JUDGES[file];
    if (judge === undefined) continue;
    for (const one of linesOf<ParserCase>(join(dir, file))) {
      const text = one.input ?? Buffer.from(one.input_base64 ?? "", "base64").toString("utf8");
      if (superseded.has(`${file}\n${text}`)) continue;
      report.add(`${file} ${one.id} ${JSON.stringify(text)}`, judge(one, text));
    }
  }
  return report.outcome;
}

/** Cases that a later version answers otherwise: listed in the folder of that version, beside this one. */
function supersededOf(dir: string): ReadonlySet<string> {
  const out = new Set<string>();
  const parent = join(dir, "..");
  for (const folder of existsSync(parent) ? readdirSync(parent) : []) {
    const file = join(parent, folder, "superseded.jsonl");
    if (folder.replace(/-\d[\d.]*$/, "") !== basename(dir) || folder === basename(dir) || !existsSync(file)) continue;
    for (const { file: of = "expressions.jsonl", input = "" } of linesOf<{ file?: string; input?: string }>(file)) {
      out.add(`${of}\n${input}`);
    }
  }
  return out;
}

/** The files are the suite's own format: every line is one object of the shape asked for. */
function linesOf<Line>(path: string): Line[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Line);
}

function parsed(text: string, options: ParseOptions): PromqlExpression | string {
  try {
    return parsePromql(text, options);
  } catch (error) {
    if (error instanceof PromqlSyntaxError) return error.message;
    throw error;
  }
}

function judgeExpression(one: ParserCase, text: string): string {
  const tree = parsed(text, EXPRESSIONS);
  if (one.fail !== true) {
    if (typeof tree === "string") return `refused: ${tree}`;
    return one.root === undefined ? "" : differs(ROOTS[tree.kind], one.root);
  }
  if (typeof tree !== "string") return "accepted, must be refused";
  const [first] = one.errors ?? [];
  return first?.text === undefined ? "" : differs(tree, `${placeOf(text, first.start)}: parse error: ${first.text}`);
}

/** Line and column of a byte offset. */
function placeOf(text: string, byte: number): string {
  if (text === "") return "unknown position";
  const before = Buffer.from(text).subarray(0, byte);
  const lines = before.toString("latin1").split("\n");
  return `${lines.length}:${(lines.at(-1) ?? "").length + 1}`;
}

function judgePrinted(one: ParserCase, text: string): string {
  const tree = parsed(text, PRINTED);
  if (typeof tree === "string") return `refused: ${tree}`;
  const printed = printPromql(tree, PRINTED);
  const again = parsed(printed, PRINTED);
  if (typeof again === "string") return `what is printed is refused: ${again}`;
  return differs(printed, one.output ?? text) || differs(printPromql(again, PRINTED), printed);
}

function judgePretty(one: ParserCase, text: string): string {
  const tree = parsed(text, PRINTED);
  if (typeof tree === "string") return `refused: ${tree}`;
  const lineBytes = one.max_characters_per_line ?? 100;
  return differs(prettyPromql(tree, { ...PRINTED, lineBytes }), one.output ?? text);
}

function judgeUnquoted(one: ParserCase, text: string): string {
  const judge = (unquotedUtf8Names: boolean, want: string | undefined, printed: string | undefined) => {
    const options = { ...PRINTED, unquotedUtf8Names };
    const tree = parsed(text, options);
    const got = typeof tree === "string" ? "refused" : "ok";
    if (want !== undefined && got !== want) return `switch ${unquotedUtf8Names}: ${String(tree)}, expected ${want}`;
    if (typeof tree === "string") return "";
    if (one.metric !== undefined && tree.kind === "selector" && tree.metric !== "") {
      if (tree.metric !== one.metric) return differs(tree.metric, one.metric);
    }
    return printed === undefined ? "" : differs(printPromql(tree, options), printed);
  };
  return judge(true, one.on, one.printed_on) || judge(false, one.off, one.printed_off);
}

function differs(got: string, want: string): string {
  return got === want ? "" : `got      ${JSON.stringify(got)}\nexpected ${JSON.stringify(want)}`;
}
