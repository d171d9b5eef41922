/** Predicates on hex ids and attributes, in terms of the columns that the store really keeps: these prune. */

import { quoteIdentifier, quoteString } from "../../../grammar/sql-print.ts";
import type { SqlColumnName, SqlExpression } from "../../../grammar/sql-tree.ts";
import { attributeExpression, HEX_COLUMNS, type HexColumn, hexLiteral } from "../../model/sql-tables.ts";

/** What is known of names and texts at a place of a statement. */
export interface IdLookup {
  /** Table of the store that alone gives a column; throws where the column is not known. */
  readonly tableOf: (node: SqlColumnName) => string | undefined;
  /** Text of a literal or parameter. */
  readonly textOf: (node: SqlExpression) => string | undefined;
}

/** `attributes['key']` of `spans`. */
export function storedAttribute(node: SqlColumnName, key: string): SqlExpression {
  return { kind: "engine", text: `(${attributeExpression(qualifierText(node), key, quoteString(key))})` };
}

/** The stored column behind a hex id. */
export function storedId(
  node: SqlExpression,
  lookup: IdLookup,
): { readonly hex: HexColumn; readonly node: SqlExpression } | undefined {
  if (node.kind === "paren") return storedId(node.operand, lookup);
  if (node.kind !== "column") return undefined;
  const table = lookup.tableOf(node);
  const name = node.name.toLowerCase();
  const hex = HEX_COLUMNS.find((column) => column.table === table && column.column === name);
  if (hex === undefined) return undefined;
  return { hex, node: { kind: "engine", text: qualifierText(node) + quoteIdentifier(hex.stored) } };
}

/** `id = 'text'`, `id <> ?`, `id = id`; undefined where the comparison stays one of texts. */
export function compareStoredIds(
  node: SqlExpression & { readonly kind: "compare" },
  lookup: IdLookup,
): SqlExpression | undefined {
  if (node.op !== "=" && node.op !== "<>") return undefined;
  const left = storedId(node.left, lookup);
  const right = storedId(node.right, lookup);
  if (left !== undefined && right !== undefined) {
    return left.hex.digits === right.hex.digits ? { ...node, left: left.node, right: right.node } : undefined;
  }
  const id = left ?? right;
  if (id === undefined) return undefined;
  const text = lookup.textOf(left === undefined ? node.left : node.right);
  const literal = text === undefined ? undefined : hexLiteral(id.hex, text);
  if (literal === undefined) return undefined;
  return { ...node, left: id.node, right: { kind: "engine", text: literal } };
}

/** `id IN ('text', ?)`, where every text is an id. */
export function storedIdList(
  operand: SqlExpression,
  list: readonly SqlExpression[],
  lookup: IdLookup,
): { readonly operand: SqlExpression; readonly list: readonly SqlExpression[] } | undefined {
  const id = storedId(operand, lookup);
  if (id === undefined) return undefined;
  const known = list.flatMap((entry): SqlExpression[] => {
    const text = lookup.textOf(entry);
    const literal = text === undefined ? undefined : hexLiteral(id.hex, text);
    return literal === undefined ? [] : [{ kind: "engine", text: literal }];
  });
  return known.length === list.length ? { operand: id.node, list: known } : undefined;
}

function qualifierText(node: SqlColumnName): string {
  return node.qualifier === "" ? "" : `${quoteIdentifier(node.qualifier)}.`;
}
