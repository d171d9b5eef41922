/**
 * Binds a parsed statement: every table, function, type and column must be known and allowed, no value may grow without
 * bound, and predicates on hex ids and attributes are put in the store's own terms.
 */

import { SqlTextError } from "../../../grammar/sql-error.ts";
import { printSql } from "../../../grammar/sql-print.ts";
import type {
  SqlCount,
  SqlExpression,
  SqlFrom,
  SqlItem,
  SqlQuery,
  SqlSelect,
  SqlSource,
  SqlTableName,
} from "../../../grammar/sql-tree.ts";
import type { Matcher } from "../../model/series.ts";
import { SQL_TABLES, samplesSource } from "../../model/sql-tables.ts";
import type { CheckedSql } from "../../store/reader.ts";
import { printHistogramJson } from "../promql/histogram-json.ts";
import {
  type BindQuery,
  type BoundQuery,
  type Ctes,
  ExpressionBinder,
  type SqlParameter,
} from "./sql-bind-expression.ts";
import { checkSampleTime, SAMPLES_HINT, selectorMatchers } from "./sql-samples.ts";
import { type BoundColumn, type BoundSource, type Scope, samplesColumns, storedColumns } from "./sql-scope.ts";

/** Tables and sub-queries of one statement. */
const SOURCES_MAX = 16;
/** Columns that all SELECTs of a statement have together, those of `*` among them: the engine plans each. */
const COLUMNS_MAX = 1_000;

/** Characters of a column's name that is made from its expression. */
const NAME_LENGTH_MAX = 100;

/**
 * Checks and prints a statement.
 *
 * @throws SqlTextError for what is not known or not allowed.
 */
export function bindSql(text: string, query: SqlQuery, params: readonly SqlParameter[]): CheckedSql {
  const binder = new SqlBinder(text, params);
  const { query: bound } = binder.query(query, undefined, new Map());
  const { calls, times } = binder.samples;
  const checked = printChecked(bound, params);
  if (calls.length === 0) return checked;
  const items = times.map((expression) => ({ expression, alias: "", text: "" }));
  const asked = printChecked(selectOf(items), params);
  return { ...checked, samples: { calls, times: asked, printHistogram: printHistogramJson } };
}

/** SELECT without a table. */
function selectOf(items: readonly SqlItem[]): SqlQuery {
  const first: SqlSelect = {
    kind: "select",
    distinct: false,
    items,
    from: [],
    where: undefined,
    groupBy: [],
    groupByAll: false,
    having: undefined,
  };
  return { kind: "query", with: [], first, unions: [], orderBy: [], limit: undefined, offset: undefined };
}

function printChecked(bound: SqlQuery, params: readonly SqlParameter[]): CheckedSql {
  const used: SqlParameter[] = [];
  const places = new Map<number, string>();
  const text = printSql(bound, {
    explicit: true,
    parameter: (index) => {
      const known = places.get(index);
      if (known !== undefined) return known;
      const value = params[index - 1] ?? null;
      used.push(value);
      const place = Number.isSafeInteger(value) ? `CAST($${used.length} AS BIGINT)` : `$${used.length}`;
      places.set(index, place);
      return place;
    },
  });
  return { text, params: used };
}

/** Calls of `samples()` that were met, and from and to of each. */
interface BoundSamples {
  readonly calls: { readonly token: number; readonly matchers: readonly Matcher[] }[];
  readonly times: SqlExpression[];
}

/** Where no column can be named. */
const NO_SCOPE: Scope = { sources: [], merged: new Set(), aliases: new Map(), outer: undefined };

/** Of the next call of `samples()`, in whatever statement. */
let nextToken = 1;

/** The scope of a FROM clause while it grows. */
interface FromScope extends Scope {
  readonly sources: BoundSource[];
  readonly merged: Set<string>;
}

/** Holds text, parameters and the count of sources while it walks. */
class SqlBinder {
  readonly #text: string;
  readonly #expressions: ExpressionBinder;
  #sources = 0;
  #columns = 0;
  readonly samples: BoundSamples = { calls: [], times: [] };

  constructor(text: string, params: readonly SqlParameter[]) {
    this.#text = text;
    const query: BindQuery = (inner, outer, ctes) => this.query(inner, outer, ctes);
    this.#expressions = new ExpressionBinder({ text, params, query });
  }

  #refuse(at: number, message: string, hint: string): never {
    throw new SqlTextError(this.#text, at, "not_allowed", message, hint);
  }

  query(query: SqlQuery, outer: Scope | undefined, outerCtes: Ctes): BoundQuery {
    const ctes = new Map(outerCtes);
    const bound: { name: string; query: SqlQuery }[] = [];
    for (const one of query.with) {
      const inner = this.query(one.query, outer, ctes);
      ctes.set(one.name.toLowerCase(), inner.columns);
      bound.push({ name: one.name, query: inner.query });
    }
    const first = this.#term(query.first, outer, ctes);
    let columns = first.columns;
    const unions = query.unions.map(({ all, operand }) => {
      const other = this.#term(operand, outer, ctes);
      columns = columns.map(({ name, bytes }, i) => ({ name, bytes: Math.max(bytes, other.columns[i]?.bytes ?? 0) }));
      return { all, operand: other.term };
    });
    const aliases = new Map(columns.map((column) => [column.name.toLowerCase(), column.bytes]));
    const visible = unions.length === 0 ? first.scope : { sources: [], merged: new Set<string>() };
    const scope: Scope = { sources: visible.sources, merged: visible.merged, aliases, outer };
    return {
      query: {
        kind: "query",
        with: bound,
        first: first.term,
        unions,
        orderBy: query.orderBy.map((order) => this.#expressions.order(order, scope, ctes)),
        limit: this.#count(query.limit),
        offset: this.#count(query.offset),
      },
      columns,
    };
  }

  #count(count: SqlCount | undefined): SqlCount | undefined {
    if (count?.kind !== "parameter") return count;
    const value = this.#expressions.parameter(count.index, count.at);
    if (typeof value === "number" && Number.isInteger(value) && value >= 0)
      return { kind: "number", text: String(value) };
    throw new SqlTextError(this.#text, count.at, "parameter", "LIMIT and OFFSET take whole numbers.");
  }

  #term(
    term: SqlSelect | SqlQuery,
    outer: Scope | undefined,
    ctes: Ctes,
  ): { term: SqlSelect | SqlQuery; columns: readonly BoundColumn[]; scope: Scope } {
    if (term.kind === "select") return this.#select(term, outer, ctes);
    const { query, columns } = this.query(term, outer, ctes);
    return { term: query, columns, scope: { sources: [], merged: new Set(), aliases: new Map(), outer } };
  }

  #select(
    select: SqlSelect,
    outer: Scope | undefined,
    ctes: Ctes,
  ): { term: SqlSelect; columns: readonly BoundColumn[]; scope: Scope } {
    const sources: BoundSource[] = [];
    const merged = new Set<string>();
    const from = select.from.map((entry) => this.#from(entry, { sources, merged, aliases: new Map(), outer }, ctes));
    const aliases = new Map<string, number>();
    const scope: Scope = { sources, merged, aliases, outer };
    const columns: BoundColumn[] = [];
    const items = select.items.map((item) => {
      const before = columns.length;
      const bound = this.#item(item, scope, ctes, aliases, columns);
      this.#countColumns(columns.length - before);
      return bound;
    });
    const one = (expression: SqlExpression) => this.#expressions.expression(expression, scope, ctes).node;
    const term: SqlSelect = {
      ...select,
      items,
      from,
      where: select.where === undefined ? undefined : one(select.where),
      groupBy: select.groupBy.map(one),
      having: select.having === undefined ? undefined : one(select.having),
    };
    return { term, columns, scope };
  }

  #countColumns(more: number): void {
    this.#columns += more;
    if (this.#columns <= COLUMNS_MAX) return;
    const message = `The statement has more than ${COLUMNS_MAX} columns in its SELECTs.`;
    throw new SqlTextError(
      this.#text,
      0,
      "too_large",
      message,
      "Name the columns you need, or ask in several statements.",
    );
  }

  #item(item: SqlItem, scope: Scope, ctes: Ctes, aliases: Map<string, number>, columns: BoundColumn[]): SqlItem {
    const { expression } = item;
    if (expression.kind === "star") {
      const wanted = expression.qualifier.toLowerCase();
      const sources = scope.sources.filter((source) => wanted === "" || source.name === wanted);
      if (sources.length === 0) {
        throw new SqlTextError(
          this.#text,
          expression.at,
          "unknown_column",
          `There is no table ${expression.qualifier || "to take * from"} in FROM.`,
        );
      }
      for (const source of sources) columns.push(...source.columns);
      return item;
    }
    const bound = this.#expressions.expression(expression, scope, ctes);
    const plain =
      expression.kind === "column" ? expression.name : item.text.replace(/\s+/g, " ").slice(0, NAME_LENGTH_MAX);
    const name = item.alias === "" ? plain : item.alias;
    if (item.alias !== "") aliases.set(item.alias.toLowerCase(), bound.bytes);
    columns.push({ name, bytes: bound.bytes });
    const keepsName = item.alias === "" && expression.kind === "column";
    return { ...item, expression: bound.node, alias: keepsName ? "" : name };
  }

  /** `scope` grows with every source that is met. */
  #from(entry: SqlFrom, scope: FromScope, ctes: Ctes): SqlFrom {
    const { sources, merged, outer } = scope;
    const source = this.#source(entry.source, sources, outer, ctes);
    const joins = entry.joins.map((join) => {
      const joined = this.#source(join.source, sources, outer, ctes);
      for (const name of join.using) merged.add(name.toLowerCase());
      const on = join.on === undefined ? undefined : this.#expressions.expression(join.on, scope, ctes).node;
      return { ...join, source: joined, on };
    });
    return { source, joins };
  }

  #source(source: SqlSource, sources: BoundSource[], outer: Scope | undefined, ctes: Ctes): SqlSource {
    this.#sources++;
    if (this.#sources > SOURCES_MAX) {
      this.#refuse(
        source.at,
        `More than ${SOURCES_MAX} tables and sub-queries are not allowed.`,
        "Ask in several statements.",
      );
    }
    if (source.kind === "derived") {
      const { query, columns } = this.query(source.query, outer, ctes);
      sources.push({ name: source.alias.toLowerCase(), table: undefined, columns });
      return { ...source, query };
    }
    if (source.kind === "engine") throw new Error("the parser makes no engine tables");
    const [name = ""] = source.parts;
    const lower = name.toLowerCase();
    const named = (source.alias === "" ? name : source.alias).toLowerCase();
    const cte = source.parts.length === 1 && source.form === "name" ? ctes.get(lower) : undefined;
    if (cte !== undefined) {
      sources.push({ name: named, table: undefined, columns: cte });
      return source;
    }
    if (lower === "samples" && source.parts.length === 1 && source.form === "call") {
      sources.push({ name: named, table: undefined, columns: samplesColumns() });
      return this.#samples(source, named);
    }
    const columns = storedColumns(lower);
    if (columns === undefined || source.parts.length > 1 || source.form !== "name") this.#refuseTable(source);
    sources.push({ name: named, table: lower, columns });
    return { ...source, parts: [lower] };
  }

  #samples(source: SqlTableName, alias: string): SqlSource {
    const [selector, ...range] = source.args;
    const [from, to, more] = range;
    if (selector === undefined || from === undefined || to === undefined || more !== undefined) {
      const message = `samples() takes 3 arguments: a selector, from and to; ${source.args.length} are given.`;
      this.#refuse(source.at, message, SAMPLES_HINT);
    }
    const text = this.#text;
    const constants = { text, textOf: (node: SqlExpression) => this.#expressions.textOf(node) };
    const matchers = selectorMatchers(constants, selector);
    for (const time of [from, to]) {
      checkSampleTime(constants, time);
      this.samples.times.push(this.#expressions.expression(time.expression, NO_SCOPE, new Map()).node);
    }
    const token = nextToken++;
    this.samples.calls.push({ token, matchers });
    return { kind: "engine", text: samplesSource(token), alias, at: source.at };
  }

  #refuseTable(source: SqlTableName): never {
    const name = source.parts.join(".").slice(0, 60);
    const hint = `Tables: ${Object.keys(SQL_TABLES).join(", ")}.`;
    if (source.form === "call")
      this.#refuse(source.at, `Table function ${name}() is not allowed.`, `${hint} ${SAMPLES_HINT}`);
    if (name.toLowerCase() === "samples") this.#refuse(source.at, "samples is a function.", SAMPLES_HINT);
    if (source.form === "string") this.#refuse(source.at, "Reading a file is not allowed.", hint);
    this.#refuse(source.at, `Table ${name} is not known here.`, hint);
  }
}
