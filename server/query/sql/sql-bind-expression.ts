/** Binds expressions: names, functions and types must be known and allowed, and no value may grow without bound. */

import { SqlTextError } from "../../../grammar/sql-error.ts";
import type { SqlColumnName, SqlExpression, SqlOrder, SqlQuery, SqlType } from "../../../grammar/sql-tree.ts";
import { ALLOWED_TYPES, SMALL_BYTES, sizeRuleOf, TEXT_TYPES, TIME_UNITS } from "./sql-functions.ts";
import {
  linearLike,
  NEEDLE_BYTES_MAX,
  PATTERN_FUNCTIONS,
  PATTERN_LENGTH_MAX,
  SEARCH_FUNCTIONS,
} from "./sql-patterns.ts";
import { type BoundColumn, findColumn, type Scope, similarColumns } from "./sql-scope.ts";
import { compareStoredIds, type IdLookup, storedAttribute, storedId, storedIdList } from "./sql-stored.ts";

/** A value for `$1`, `$2`, … */
export type SqlParameter = string | number | boolean | null;

/**
 * Bytes that one value of an answer or in between may take.
 *
 * The engine looks at the clock once for 2048 rows, and its scalar functions take time with the length of their values.
 */
const VALUE_BYTES_MAX = 131_072;

/** The engine's `now()` has a time zone and compares with no stored time; this is a TIMESTAMP in UTC. */
const NOW = "make_timestamp(epoch_us(now()))";

/** The time of the statement, and words of the SQL standard for it that are calls without parentheses. */
const TIME_WORDS: ReadonlyMap<string, string> = new Map([
  ["now", NOW],
  ["today", `CAST(${NOW} AS DATE)`],
  ["current_timestamp", NOW],
  ["current_date", `CAST(${NOW} AS DATE)`],
]);

/** An expression ready to print, and the bytes one value of it may take. */
interface Bound {
  readonly node: SqlExpression;
  readonly bytes: number;
}

/** A sub-query with the columns it gives. */
export interface BoundQuery {
  readonly query: SqlQuery;
  readonly columns: readonly BoundColumn[];
}

/** Columns of the queries that WITH names. */
export type Ctes = ReadonlyMap<string, readonly BoundColumn[]>;

/** Binds a sub-query; `outer` is the scope around it. */
export type BindQuery = (query: SqlQuery, outer: Scope, ctes: Ctes) => BoundQuery;

/** What an expression binder works on. */
export interface ExpressionBinderOptions {
  readonly text: string;
  readonly params: readonly SqlParameter[];
  readonly query: BindQuery;
}

/** Holds text and parameters while it walks. */
export class ExpressionBinder {
  readonly #text: string;
  readonly #params: readonly SqlParameter[];
  readonly #query: BindQuery;

  constructor(options: ExpressionBinderOptions) {
    this.#text = options.text;
    this.#params = options.params;
    this.#query = options.query;
  }

  #refuse(at: number, message: string, hint: string): never {
    throw new SqlTextError(this.#text, at, "not_allowed", message, hint);
  }

  /** Value of a parameter; refused where none was given. */
  parameter(index: number, at: number): SqlParameter {
    if (index >= 1 && index <= this.#params.length) return this.#params[index - 1] ?? null;
    const given = `${this.#params.length} parameter${this.#params.length === 1 ? " is" : "s are"} given`;
    throw new SqlTextError(
      this.#text,
      at,
      "parameter",
      `Parameter $${index} has no value: ${given}.`,
      'Add it to "params".',
    );
  }

  /** An entry of ORDER BY. */
  order(order: SqlOrder, scope: Scope, ctes: Ctes): SqlOrder {
    return { ...order, expression: this.expression(order.expression, scope, ctes).node };
  }

  /** Checks an expression and puts it in the store's terms. */
  expression(node: SqlExpression, scope: Scope, ctes: Ctes): Bound {
    const bound = this.#bind(node, scope, ctes);
    if (bound.bytes > VALUE_BYTES_MAX) {
      const at = "at" in node ? node.at : 0;
      const hint = `One value may take ${VALUE_BYTES_MAX} bytes.`;
      this.#refuse(at, `A text or list here could grow to ${Math.ceil(bound.bytes)} bytes.`, hint);
    }
    return bound;
  }

  #bind(node: SqlExpression, scope: Scope, ctes: Ctes): Bound {
    const one = (inner: SqlExpression) => this.expression(inner, scope, ctes);
    const small = (bound: SqlExpression): Bound => ({ node: bound, bytes: SMALL_BYTES });
    switch (node.kind) {
      case "number":
      case "constant":
        return small(node);
      case "engine":
        throw new Error("the parser makes no engine nodes");
      case "string":
        return { node, bytes: node.value.length };
      case "typed":
        this.#type(node.type);
        return { node, bytes: node.value.length + SMALL_BYTES };
      case "parameter": {
        const value = this.parameter(node.index, node.at);
        return { node, bytes: typeof value === "string" ? value.length : SMALL_BYTES };
      }
      case "star":
        return this.#refuse(node.at, "* may stand only in SELECT and count(*).", "Name the column.");
      case "column": {
        const time =
          node.qualifier === "" && /^current_/i.test(node.name) ? TIME_WORDS.get(node.name.toLowerCase()) : undefined;
        if (time !== undefined && findColumn(scope, "", node.name) === undefined)
          return small({ kind: "engine", text: time });
        return { node, bytes: this.#column(node, scope).bytes };
      }
      case "call":
        return this.#call(node, scope, ctes);
      case "paren": {
        const { node: operand, bytes } = one(node.operand);
        return { node: { ...node, operand }, bytes };
      }
      case "chain": {
        const first = one(node.first);
        const rest = node.rest.map(({ op, right }) => ({ op, right: one(right) }));
        const sum = rest.reduce((bytes, { op, right }) => bytes + (op === "||" ? right.bytes : 0), first.bytes);
        const bound = rest.map(({ op, right }) => ({ op, right: right.node }));
        return { node: { ...node, first: first.node, rest: bound }, bytes: rest[0]?.op === "||" ? sum : SMALL_BYTES };
      }
      case "not":
      case "sign":
        return small({ ...node, operand: one(node.operand).node });
      case "cast": {
        this.#type(node.type);
        const { node: operand, bytes } = one(node.operand);
        return { node: { ...node, operand }, bytes: bytesOfCast(node.type, bytes) };
      }
      case "list": {
        const values = node.values.map(one);
        const bytes = values.reduce((sum, value) => sum + value.bytes + SMALL_BYTES, SMALL_BYTES);
        return { node: { ...node, values: values.map((value) => value.node) }, bytes };
      }
      case "postfix":
        return this.#postfix(node, scope, ctes);
      case "subquery": {
        const { query, columns } = this.#query(node.query, scope, ctes);
        return { node: { ...node, query }, bytes: columns[0]?.bytes ?? SMALL_BYTES };
      }
      default:
        return this.#predicate(node, scope, ctes);
    }
  }

  #predicate(node: PredicateNode, scope: Scope, ctes: Ctes): Bound {
    const one = (inner: SqlExpression) => this.expression(inner, scope, ctes);
    const small = (bound: SqlExpression): Bound => ({ node: bound, bytes: SMALL_BYTES });
    switch (node.kind) {
      case "compare":
        return small(
          compareStoredIds(node, this.#lookup(scope)) ?? {
            ...node,
            left: one(node.left).node,
            right: one(node.right).node,
          },
        );
      case "is": {
        const stored = node.what === "NULL" ? storedId(node.operand, this.#lookup(scope))?.node : undefined;
        const what = typeof node.what === "string" ? node.what : { distinctFrom: one(node.what.distinctFrom).node };
        return small({ ...node, operand: stored ?? one(node.operand).node, what });
      }
      case "between":
        return small({ ...node, operand: one(node.operand).node, low: one(node.low).node, high: one(node.high).node });
      case "like":
        return small(this.#like(node, one));
      case "in": {
        if ("kind" in node.list) {
          const list = this.#query(node.list, scope, ctes).query;
          return small({ ...node, operand: one(node.operand).node, list });
        }
        const ids = storedIdList(node.operand, node.list, this.#lookup(scope));
        if (ids !== undefined) return small({ ...node, ...ids });
        return small({ ...node, operand: one(node.operand).node, list: node.list.map((entry) => one(entry).node) });
      }
      case "interval": {
        if (node.unit !== "" && !TIME_UNITS.has(node.unit))
          this.#refuse(node.at, `Unit ${node.unit} is not known.`, "Try MINUTE.");
        return small({ ...node, amount: one(node.amount).node });
      }
      case "extract":
        if (!TIME_UNITS.has(node.field)) this.#refuse(node.at, `Field ${node.field} is not known.`, "Try HOUR.");
        return small({ ...node, operand: one(node.operand).node });
      case "case": {
        const operand = node.operand === undefined ? undefined : one(node.operand).node;
        const branches = node.branches.map((branch) => ({ when: one(branch.when).node, result: one(branch.result) }));
        const otherwise = node.otherwise === undefined ? undefined : one(node.otherwise);
        const bytes = Math.max(otherwise?.bytes ?? SMALL_BYTES, ...branches.map(({ result }) => result.bytes));
        const bound = branches.map(({ when, result }) => ({ when, result: result.node }));
        return { node: { ...node, operand, branches: bound, otherwise: otherwise?.node }, bytes };
      }
    }
  }

  /** See `linearLike`. */
  #like(node: SqlExpression & { readonly kind: "like" }, one: (inner: SqlExpression) => Bound): SqlExpression {
    const operand = one(node.operand).node;
    const at = "at" in node.pattern ? node.pattern.at : 0;
    if (
      isNull(node.pattern) ||
      (node.pattern.kind === "parameter" && this.parameter(node.pattern.index, at) === null)
    ) {
      return { kind: "constant", name: "NULL" };
    }
    const pattern = this.#pattern(node.pattern, at, node.op);
    const escapeText = node.escape === undefined ? "" : this.textOf(node.escape);
    if (escapeText === undefined || escapeText.length > 1) {
      throw new SqlTextError(this.#text, at, "not_allowed", "ESCAPE takes one character.", "Write it as ESCAPE '!'.");
    }
    const linear = linearLike({ ...node, operand }, pattern, escapeText);
    if (linear !== undefined) return linear;
    throw new SqlTextError(this.#text, at, "syntax", "The LIKE pattern ends in its escape character.");
  }

  /** A pattern must be known before the statement runs: so its length is bounded, and it is read once. */
  #pattern(node: SqlExpression, at: number, what: string): string {
    const pattern = this.textOf(node);
    if (pattern === undefined) {
      const hint = "Write it as a text or a parameter.";
      throw new SqlTextError(this.#text, at, "not_allowed", `The pattern of ${what} must be a constant.`, hint);
    }
    if (pattern.length > PATTERN_LENGTH_MAX) {
      const message = `The pattern of ${what} has ${pattern.length} characters; the limit is ${PATTERN_LENGTH_MAX}.`;
      throw new SqlTextError(this.#text, at, "not_allowed", message);
    }
    return pattern;
  }

  #column(node: SqlColumnName, scope: Scope): { bytes: number; table: string | undefined } {
    const found = findColumn(scope, node.qualifier, node.name);
    const full = node.qualifier === "" ? node.name : `${node.qualifier}.${node.name}`;
    if (found !== undefined) {
      const [one] = found.ambiguous;
      if (one === undefined) return found;
      const message = `Column ${full.slice(0, 60)} is in ${found.ambiguous.join(" and in ")}.`;
      throw new SqlTextError(
        this.#text,
        node.at,
        "ambiguous_column",
        message,
        `Write ${one}.${node.name}, or another.`,
      );
    }
    const names = similarColumns(scope, node.name);
    const hint = names.length === 0 ? "There is no table in FROM." : `Columns: ${names.join(", ")}, ….`;
    throw new SqlTextError(
      this.#text,
      node.at,
      "unknown_column",
      `Column ${full.slice(0, 60)} is not known here.`,
      hint,
    );
  }

  #type(type: SqlType): void {
    if (!ALLOWED_TYPES.has(type.name)) {
      this.#refuse(
        type.at,
        `Type ${type.name.slice(0, 60)} is not allowed.`,
        "Try VARCHAR, BIGINT, DOUBLE or TIMESTAMP.",
      );
    }
  }

  #call(node: SqlExpression & { readonly kind: "call" }, scope: Scope, ctes: Ctes): Bound {
    const rule = sizeRuleOf(node.name);
    if (rule === undefined) {
      this.#refuse(
        node.at,
        `Function ${node.name.slice(0, 60)}() is not allowed.`,
        "The documentation lists the functions that are.",
      );
    }
    const time = node.args.length === 0 ? TIME_WORDS.get(node.name) : undefined;
    if (time !== undefined) return { node: { kind: "engine", text: time }, bytes: SMALL_BYTES };
    const [, second] = node.args;
    if (PATTERN_FUNCTIONS.has(node.name) && second !== undefined) this.#pattern(second, node.at, `${node.name}()`);
    const countsAll = node.name === "count" && node.args.length === 1 && node.args[0]?.kind === "star";
    const args = countsAll
      ? node.args.map((argument): Bound => ({ node: argument, bytes: 0 }))
      : node.args.map((argument) => this.expression(argument, scope, ctes));
    const bound: SqlExpression = {
      ...node,
      args: args.map((argument) => argument.node),
      orderBy: node.orderBy.map((order) => this.order(order, scope, ctes)),
      filter: node.filter === undefined ? undefined : this.expression(node.filter, scope, ctes).node,
    };
    const needle = args[1]?.bytes ?? 0;
    if (SEARCH_FUNCTIONS.has(node.name) && needle > NEEDLE_BYTES_MAX) {
      const message = `The text that ${node.name}() searches for could have ${needle} bytes; the limit is ${NEEDLE_BYTES_MAX}.`;
      this.#refuse(node.at, message, "");
    }
    return { node: bound, bytes: rule(args.map((argument) => argument.bytes)) };
  }

  /** `attributes['key']` on `spans` reads the column that holds it. */
  #postfix(node: SqlExpression & { readonly kind: "postfix" }, scope: Scope, ctes: Ctes): Bound {
    const { base: written } = node;
    let steps = node.steps;
    let base = this.expression(written, scope, ctes);
    const [first] = steps;
    if (first?.kind === "subscript" && written.kind === "column" && written.name.toLowerCase() === "attributes") {
      const key = this.textOf(first.index);
      if (key !== undefined && this.#column(written, scope).table === "spans") {
        base = { node: storedAttribute(written, key), bytes: base.bytes };
        steps = steps.slice(1);
      }
    }
    let bytes = base.bytes;
    const bound = steps.map((step) => {
      if (step.kind === "subscript") return { ...step, index: this.expression(step.index, scope, ctes).node };
      this.#type(step.type);
      bytes = bytesOfCast(step.type, bytes);
      return step;
    });
    return { node: bound.length === 0 ? base.node : { ...node, base: base.node, steps: bound }, bytes };
  }

  #lookup(scope: Scope): IdLookup {
    return {
      tableOf: (node) => this.#column(node, scope).table,
      textOf: (node) => this.textOf(node),
    };
  }

  /** A text known before the statement runs. */
  textOf(node: SqlExpression): string | undefined {
    if (node.kind === "paren") return this.textOf(node.operand);
    if (node.kind === "string") return node.value;
    if (node.kind === "chain" && node.rest.every(({ op }) => op === "||")) {
      const parts = [node.first, ...node.rest.map(({ right }) => right)].map((part) => this.textOf(part));
      return parts.includes(undefined) ? undefined : parts.join("");
    }
    if (node.kind !== "parameter") return undefined;
    const value = this.parameter(node.index, node.at);
    return typeof value === "string" ? value : undefined;
  }
}

type PredicateNode = SqlExpression & {
  readonly kind: "compare" | "is" | "between" | "like" | "in" | "interval" | "extract" | "case";
};

function isNull(node: SqlExpression): boolean {
  return node.kind === "constant" && node.name === "NULL";
}

/** A list made from text has a place for every character at worst. */
function bytesOfCast(type: SqlType, bytes: number): number {
  if (type.lists > 0) return bytes * 20 + SMALL_BYTES;
  return TEXT_TYPES.has(type.name) ? bytes * 2 + SMALL_BYTES : SMALL_BYTES;
}
