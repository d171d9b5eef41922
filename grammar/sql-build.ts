/** Makes the tree of a SELECT while the generated parser walks: `sql.peggy` calls these with token indexes. */

import { SqlTextError } from "./sql-error.ts";
import type { SqlToken } from "./sql-token.ts";
import type {
  SqlCall,
  SqlChain,
  SqlCompareOp,
  SqlCount,
  SqlDerivedTable,
  SqlExpression,
  SqlFrom,
  SqlItem,
  SqlOrder,
  SqlPostfixStep,
  SqlQuery,
  SqlSelect,
  SqlTableArgument,
  SqlTableName,
  SqlType,
} from "./sql-tree.ts";

/** What the generated parser hands to every function here. */
export interface SqlBuildOptions {
  readonly text: string;
  readonly tokens: readonly SqlToken[];
  /** Parameters written as `?` so far. */
  questionMarks: number;
  readonly questionMarkAt: Map<number, number>;
}

type CompareTail =
  | { readonly kind: "compare"; readonly op: string; readonly right: SqlExpression }
  | { readonly kind: "in"; readonly not: boolean; readonly list: readonly SqlExpression[] | SqlQuery }
  | { readonly kind: "between"; readonly not: boolean; readonly low: SqlExpression; readonly high: SqlExpression }
  | {
      readonly kind: "like";
      readonly not: boolean;
      readonly op: "LIKE" | "ILIKE";
      readonly pattern: SqlExpression;
      readonly escape: SqlExpression | null;
    };

interface IsTail {
  readonly not: boolean;
  readonly what: "NULL" | "TRUE" | "FALSE" | { readonly distinctFrom: SqlExpression };
}

interface CallParts {
  readonly distinct: boolean;
  readonly args: readonly SqlExpression[];
  readonly order: readonly SqlOrder[];
  readonly filter: SqlExpression | undefined;
}

type NamedRest =
  | { readonly kind: "typed"; readonly at: number }
  | { readonly kind: "call"; readonly call: CallParts }
  | { readonly kind: "column"; readonly parts: readonly number[] };

const COMPARE_OPS: Readonly<Record<string, SqlCompareOp>> = { "=": "=", x: "<>", "<": "<", ">": ">", l: "<=", g: ">=" };

function tokenAt(options: SqlBuildOptions, index: number): SqlToken {
  const token = options.tokens[index];
  if (token === undefined) throw new Error(`no token ${index}`);
  return token;
}

/** A query: SELECTs joined by UNION, with its WITH, ORDER BY and LIMIT. */
export function query(
  ctes: SqlQuery["with"] | null,
  first: SqlSelect | SqlQuery,
  unions: SqlQuery["unions"],
  order: readonly SqlOrder[] | null,
  bounds: { readonly limit: SqlCount | null; readonly offset: SqlCount | null } | null,
): SqlQuery {
  return {
    kind: "query",
    with: ctes ?? [],
    first,
    unions,
    orderBy: order ?? [],
    limit: bounds?.limit ?? undefined,
    offset: bounds?.offset ?? undefined,
  };
}

/** One SELECT. */
export function select(
  distinct: boolean,
  items: readonly SqlItem[],
  from: readonly SqlFrom[] | null,
  where: SqlExpression | null,
  group: readonly SqlExpression[] | null,
  having: SqlExpression | null,
): SqlSelect {
  return {
    kind: "select",
    distinct,
    items,
    from: from ?? [],
    where: where ?? undefined,
    groupBy: group ?? [],
    groupByAll: group !== null && group.length === 0,
    having: having ?? undefined,
  };
}

/** One entry of ORDER BY. */
export function order(expression: SqlExpression, direction: string | null, nulls: string | null): SqlOrder {
  return {
    expression,
    direction: direction === null ? undefined : direction === "y" ? "ASC" : "DESC",
    nulls: nulls === null ? undefined : nulls === "1" ? "FIRST" : "LAST",
  };
}

/** One entry of the SELECT list. */
export function item(
  options: SqlBuildOptions,
  from: number,
  end: number,
  expression: SqlExpression,
  alias: string | null,
): SqlItem {
  const text = options.text.slice(tokenAt(options, from).start, tokenAt(options, end - 1).end);
  return { expression, alias: alias ?? "", text };
}

/** A word in lower case, or a quoted name as written. */
export function name(options: SqlBuildOptions, index: number): string {
  const token = tokenAt(options, index);
  return token.kind === "q" ? token.value : token.text;
}

/** The value of a string. */
export function text(options: SqlBuildOptions, index: number): string {
  const { value, start } = tokenAt(options, index);
  if (value === "") throw new SqlTextError(options.text, start, "syntax", "An alias is empty.");
  return value;
}

/** A number literal, as written. */
export function number(options: SqlBuildOptions, index: number): SqlExpression & { readonly kind: "number" } {
  return { kind: "number", text: tokenAt(options, index).text };
}

/** A string literal. */
export function string(options: SqlBuildOptions, index: number): SqlExpression & { readonly kind: "string" } {
  return { kind: "string", value: tokenAt(options, index).value };
}

/** The parser may try a parameter twice, so the number of a `?` belongs to its token. */
export function parameter(options: SqlBuildOptions, index: number): SqlExpression & { readonly kind: "parameter" } {
  const { value, start } = tokenAt(options, index);
  if (value !== "") return { kind: "parameter", index: Number(value), at: start };
  let position = options.questionMarkAt.get(index);
  if (position === undefined) {
    position = ++options.questionMarks;
    options.questionMarkAt.set(index, position);
  }
  return { kind: "parameter", index: position, at: start };
}

/** `*` or `t.*`. */
export function star(options: SqlBuildOptions, index: number, qualifier: number | null): SqlExpression {
  const qualifierText = qualifier === null ? "" : name(options, qualifier);
  return { kind: "star", qualifier: qualifierText, at: tokenAt(options, qualifier ?? index).start };
}

/** A run of operators as a flat list; alone, an operand is itself. */
export function chain(first: SqlExpression, rest: SqlChain["rest"]): SqlExpression {
  return rest.length === 0 ? first : { kind: "chain", first, rest };
}

/** `NOT`, `count` times. */
export function not(count: number, operand: SqlExpression): SqlExpression {
  let node = operand;
  for (let i = 0; i < count; i++) node = { kind: "not", operand: node };
  return node;
}

/** Signs before an operand, the innermost last. */
export function sign(signs: readonly string[], operand: SqlExpression): SqlExpression {
  let node = operand;
  for (const one of signs.toReversed()) node = { kind: "sign", op: one === "-" ? "-" : "+", operand: node };
  return node;
}

/** A comparison, BETWEEN, IN or LIKE, and an IS after it. */
export function compare(left: SqlExpression, tail: CompareTail | null, is: IsTail | null): SqlExpression {
  const node = tail === null ? left : compareWith(left, tail);
  return is === null ? node : { kind: "is", operand: node, not: is.not, what: is.what };
}

function compareWith(operand: SqlExpression, tail: CompareTail): SqlExpression {
  switch (tail.kind) {
    case "compare":
      return { kind: "compare", op: COMPARE_OPS[tail.op] ?? "=", left: operand, right: tail.right };
    case "in":
      return { kind: "in", operand, not: tail.not, list: tail.list };
    case "between":
      return { kind: "between", operand, not: tail.not, low: tail.low, high: tail.high };
    case "like": {
      const { not: isNot, op, pattern } = tail;
      return { kind: "like", operand, not: isNot, op, pattern, escape: tail.escape ?? undefined };
    }
  }
}

/** Casts and subscripts after an operand. */
export function postfix(base: SqlExpression, steps: readonly SqlPostfixStep[]): SqlExpression {
  return steps.length === 0 ? base : { kind: "postfix", base, steps };
}

/** A type name in a cast. */
export function type(options: SqlBuildOptions, index: number, sizes: readonly number[] | null, lists: number): SqlType {
  return { name: name(options, index).toLowerCase(), sizes: sizes ?? [], lists, at: tokenAt(options, index).start };
}

/** A size of a type, as in `DECIMAL(18, 3)`. */
export function size(options: SqlBuildOptions, index: number): number {
  return Number(tokenAt(options, index).text);
}

/** CASE. */
export function cases(
  operand: SqlExpression | null,
  branches: readonly { readonly when: SqlExpression; readonly result: SqlExpression }[],
  otherwise: SqlExpression | null,
): SqlExpression {
  return { kind: "case", operand: operand ?? undefined, branches, otherwise: otherwise ?? undefined };
}

/** EXTRACT of a field. */
export function extract(options: SqlBuildOptions, field: number, operand: SqlExpression): SqlExpression {
  const token = tokenAt(options, field);
  return { kind: "extract", field: token.value.toLowerCase(), operand, at: token.start };
}

/** `unit` is null where the text holds amount and unit. */
export function interval(
  options: SqlBuildOptions,
  at: number,
  amount: SqlExpression,
  unit: number | null,
): SqlExpression {
  const unitText = unit === null ? "" : name(options, unit).toLowerCase();
  return { kind: "interval", amount, unit: unitText, at: tokenAt(options, unit ?? at).start };
}

/** A function call. */
export function call(options: SqlBuildOptions, at: number, parts: CallParts): SqlCall {
  const { args, distinct, order: orderBy, filter } = parts;
  const token = tokenAt(options, at);
  return { kind: "call", name: name(options, at).toLowerCase(), distinct, args, orderBy, filter, at: token.start };
}

/** What a name starts: a typed literal, a call, a column, `table.*`. */
export function named(options: SqlBuildOptions, head: number, rest: NamedRest): SqlExpression {
  const at = tokenAt(options, head).start;
  if (rest.kind === "typed")
    return { kind: "typed", type: type(options, head, null, 0), value: tokenAt(options, rest.at).value };
  if (rest.kind === "call") return call(options, head, rest.call);
  const [second, third] = rest.parts;
  if (second === undefined) return { kind: "column", qualifier: "", name: name(options, head), at };
  if (third !== undefined) {
    const hint = "Name a column as table.column.";
    throw new SqlTextError(options.text, at, "not_allowed", "A name with more than two parts is not allowed.", hint);
  }
  if (tokenAt(options, second).kind === "*") return star(options, second, head);
  return { kind: "column", qualifier: name(options, head), name: name(options, second), at };
}

/** An argument of a table that is written as a call. */
export function tableArgument(options: SqlBuildOptions, at: number, expression: SqlExpression): SqlTableArgument {
  return { expression, at: tokenAt(options, at).start };
}

/** A table by name. @param args Undefined where it is not written as a call. */
export function table(
  options: SqlBuildOptions,
  names: readonly number[],
  args: readonly SqlTableArgument[] | null,
  alias: string | null,
): SqlTableName {
  const parts = names.map((index) => name(options, index));
  const at = tokenAt(options, names[0] ?? 0).start;
  return { kind: "table", parts, form: args === null ? "name" : "call", args: args ?? [], alias: alias ?? "", at };
}

/** A table whose name is a string; the query room refuses it by name. */
export function stringTable(options: SqlBuildOptions, at: number, alias: string | null): SqlTableName {
  const token = tokenAt(options, at);
  return { kind: "table", parts: [token.value], form: "string", args: [], alias: alias ?? "", at: token.start };
}

/** A sub-query as a table. */
export function derived(options: SqlBuildOptions, at: number, inner: SqlQuery, alias: string | null): SqlDerivedTable {
  return { kind: "derived", query: inner, alias: alias ?? "", at: tokenAt(options, at).start };
}
