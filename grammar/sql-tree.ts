/**
 * The tree of a SELECT statement: plain data. `at` is the UTF-16 offset of a node in the text.
 *
 * Runs of operators and of postfixes are flat lists, so that no text makes a tree deeper than its brackets.
 */

/** `a + b - c` is one chain: `first` and what follows. Operators of one chain bind equally. */
export interface SqlChain {
  readonly kind: "chain";
  readonly first: SqlExpression;
  readonly rest: readonly { readonly op: SqlChainOp; readonly right: SqlExpression }[];
}

type SqlChainOp = "OR" | "AND" | "||" | "+" | "-" | "*" | "/" | "//" | "%";

/** Comparisons; `!=` is `<>`. */
export type SqlCompareOp = "=" | "<>" | "<" | ">" | "<=" | ">=";

/** A type name as it may stand in a cast, lower case; `lists` counts `[]`. */
export interface SqlType {
  readonly name: string;
  readonly sizes: readonly number[];
  readonly lists: number;
  readonly at: number;
}

/** What follows an operand: `x::BIGINT`, `x['key']`. */
export type SqlPostfixStep =
  | { readonly kind: "cast"; readonly type: SqlType }
  | { readonly kind: "subscript"; readonly index: SqlExpression };

/** A column. */
export interface SqlColumnName {
  readonly kind: "column";
  /** Table or alias; empty where none is written. */
  readonly qualifier: string;
  readonly name: string;
  readonly at: number;
}

/** A function call. */
export interface SqlCall {
  readonly kind: "call";
  /** Lower case. */
  readonly name: string;
  readonly distinct: boolean;
  readonly args: readonly SqlExpression[];
  readonly orderBy: readonly SqlOrder[];
  readonly filter: SqlExpression | undefined;
  readonly at: number;
}

/** Any expression; told apart by `kind`. */
export type SqlExpression =
  | SqlChain
  | SqlColumnName
  | SqlCall
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "constant"; readonly name: "NULL" | "TRUE" | "FALSE" }
  /** `TIMESTAMP '2026-11-26'`. */
  | { readonly kind: "typed"; readonly type: SqlType; readonly value: string }
  | { readonly kind: "interval"; readonly amount: SqlExpression; readonly unit: string; readonly at: number }
  /** Counts from 1. */
  | { readonly kind: "parameter"; readonly index: number; readonly at: number }
  | { readonly kind: "star"; readonly qualifier: string; readonly at: number }
  | { readonly kind: "not"; readonly operand: SqlExpression }
  | { readonly kind: "sign"; readonly op: "+" | "-"; readonly operand: SqlExpression }
  | { readonly kind: "paren"; readonly operand: SqlExpression }
  | { readonly kind: "postfix"; readonly base: SqlExpression; readonly steps: readonly SqlPostfixStep[] }
  | {
      readonly kind: "compare";
      readonly op: SqlCompareOp;
      readonly left: SqlExpression;
      readonly right: SqlExpression;
    }
  | {
      readonly kind: "is";
      readonly operand: SqlExpression;
      readonly not: boolean;
      readonly what: "NULL" | "TRUE" | "FALSE" | { readonly distinctFrom: SqlExpression };
    }
  | {
      readonly kind: "between";
      readonly operand: SqlExpression;
      readonly not: boolean;
      readonly low: SqlExpression;
      readonly high: SqlExpression;
    }
  | {
      readonly kind: "like";
      readonly operand: SqlExpression;
      readonly not: boolean;
      readonly op: "LIKE" | "ILIKE";
      readonly pattern: SqlExpression;
      readonly escape: SqlExpression | undefined;
    }
  | {
      readonly kind: "in";
      readonly operand: SqlExpression;
      readonly not: boolean;
      readonly list: readonly SqlExpression[] | SqlQuery;
    }
  | {
      readonly kind: "case";
      readonly operand: SqlExpression | undefined;
      readonly branches: readonly { readonly when: SqlExpression; readonly result: SqlExpression }[];
      readonly otherwise: SqlExpression | undefined;
    }
  | { readonly kind: "cast"; readonly lenient: boolean; readonly operand: SqlExpression; readonly type: SqlType }
  | { readonly kind: "extract"; readonly field: string; readonly operand: SqlExpression; readonly at: number }
  | { readonly kind: "list"; readonly values: readonly SqlExpression[] }
  | { readonly kind: "subquery"; readonly query: SqlQuery }
  /** The engine's own words: put in by the query room after the check, never by the parser. */
  | { readonly kind: "engine"; readonly text: string };

/** One entry of ORDER BY. */
export interface SqlOrder {
  readonly expression: SqlExpression;
  readonly direction: "ASC" | "DESC" | undefined;
  readonly nulls: "FIRST" | "LAST" | undefined;
}

/** One entry of the SELECT list. */
export interface SqlItem {
  readonly expression: SqlExpression;
  /** Empty where none is given. */
  readonly alias: string;
  /** The text of the expression, as written. */
  readonly text: string;
}

/** An argument of a table that is written as a call. */
export interface SqlTableArgument {
  readonly expression: SqlExpression;
  readonly at: number;
}

/** A table by name. */
export interface SqlTableName {
  readonly kind: "table";
  /** More than one part is a qualified name. */
  readonly parts: readonly string[];
  /** Written as a string or called like a function. */
  readonly form: "name" | "string" | "call";
  /** Of a call. */
  readonly args: readonly SqlTableArgument[];
  readonly alias: string;
  readonly at: number;
}

/** A sub-query as a table. */
export interface SqlDerivedTable {
  readonly kind: "derived";
  readonly query: SqlQuery;
  readonly alias: string;
  readonly at: number;
}

/** The engine's own words for a table: put in by the query room after the check, never by the parser. */
interface SqlEngineTable {
  readonly kind: "engine";
  readonly text: string;
  readonly alias: string;
  readonly at: number;
}

/** What FROM can name. */
export type SqlSource = SqlTableName | SqlDerivedTable | SqlEngineTable;

/** A source joined to those before it. */
export interface SqlJoin {
  readonly type: "INNER" | "LEFT" | "CROSS";
  readonly source: SqlSource;
  readonly on: SqlExpression | undefined;
  readonly using: readonly string[];
}

/** One entry of FROM with the tables joined to it. */
export interface SqlFrom {
  readonly source: SqlSource;
  readonly joins: readonly SqlJoin[];
}

/** One SELECT. */
export interface SqlSelect {
  readonly kind: "select";
  readonly distinct: boolean;
  readonly items: readonly SqlItem[];
  readonly from: readonly SqlFrom[];
  readonly where: SqlExpression | undefined;
  readonly groupBy: readonly SqlExpression[];
  /** `GROUP BY ALL`. */
  readonly groupByAll: boolean;
  readonly having: SqlExpression | undefined;
}

/** A bound of rows: a number or a parameter. */
export type SqlCount =
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "parameter"; readonly index: number; readonly at: number };

/** SELECTs joined by UNION, or one alone. */
export interface SqlQuery {
  readonly kind: "query";
  readonly with: readonly { readonly name: string; readonly query: SqlQuery }[];
  readonly first: SqlSelect | SqlQuery;
  readonly unions: readonly { readonly all: boolean; readonly operand: SqlSelect | SqlQuery }[];
  readonly orderBy: readonly SqlOrder[];
  readonly limit: SqlCount | undefined;
  readonly offset: SqlCount | undefined;
}
