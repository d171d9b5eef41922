/**
 * A PromQL tree as JSON text in the shape of Prometheus' `/api/v1/parse_query`.
 *
 * The text is written piece by piece and not by `JSON.stringify`, whose stack a long run of operators would overflow.
 *
 * @see prometheus web/api/v1/translate_ast.go
 */

import { isSetOperator, joinedType, promqlType } from "./promql-check.ts";
import { promqlFunction } from "./promql-function.ts";
import { printPlainNumber } from "./promql-number.ts";
import { leftSpine } from "./promql-print.ts";
import type {
  PromqlAt,
  PromqlBinary,
  PromqlCall,
  PromqlDuration,
  PromqlExpression,
  PromqlMatching,
  PromqlModifiers,
  PromqlSelector,
  PromqlType,
} from "./promql-tree.ts";

/** JSON text of a tree that passed the checks. */
export function promqlJson(node: PromqlExpression): string {
  const out: string[] = [];
  write(node, out);
  return out.join("");
}

function write(node: PromqlExpression, out: string[]): void {
  switch (node.kind) {
    case "number":
      out.push(`{"type":"numberLiteral","val":"${printPlainNumber(node.value)}"}`);
      return;
    case "string":
      out.push(`{"type":"stringLiteral","val":${JSON.stringify(node.value.toWellFormed())}}`);
      return;
    case "selector":
      out.push(`{"type":"vectorSelector",${selectorFields(node)}}`);
      return;
    case "range":
      out.push(`{"type":"matrixSelector",${durationFields("range", node.range)},${selectorFields(node.selector)}}`);
      return;
    case "subquery":
      out.push('{"type":"subquery","expr":');
      write(node.operand, out);
      out.push(`,${durationFields("range", node.range)},${durationFields("step", node.step)},${modifierFields(node)}}`);
      return;
    case "unary":
      out.push(`{"type":"unaryExpr","op":"${node.op}","expr":`);
      write(node.operand, out);
      out.push("}");
      return;
    case "paren":
      out.push('{"type":"parenExpr","expr":');
      write(node.operand, out);
      out.push("}");
      return;
    case "binary":
      writeSpine(node, out);
      return;
    case "aggregate":
      out.push('{"type":"aggregation","op":', JSON.stringify(node.op), ',"expr":');
      write(node.operand, out);
      out.push(',"param":');
      if (node.parameter === undefined) out.push("null");
      else write(node.parameter, out);
      out.push(`,"grouping":${JSON.stringify(node.grouping)},"without":${node.without}}`);
      return;
    case "call":
      writeCall(node, out);
      return;
  }
}

/** Opens every operation of a run, writes the leftmost operand, then closes them from the inside out. */
function writeSpine(node: PromqlBinary, out: string[]): void {
  const { base, spine } = leftSpine(node);
  for (let i = 0; i < spine.length; i++) out.push('{"type":"binaryExpr","lhs":');
  write(base, out);
  let type = promqlType(base);
  for (const binary of spine) {
    const right = promqlType(binary.right);
    const matching = type === "vector" && right === "vector" ? matchingJson(binary) : "null";
    out.push(`,"op":${JSON.stringify(binary.op)},"bool":${binary.bool},"matching":${matching},"rhs":`);
    write(binary.right, out);
    out.push("}");
    type = joinedType(type, right);
  }
}

function matchingJson({ op, matching }: PromqlBinary): string {
  return JSON.stringify({
    card: cardinality(op, matching),
    labels: matching.labels,
    on: matching.on,
    include: matching.include,
    fillValues: { lhs: matching.fillLeft ?? null, rhs: matching.fillRight ?? null },
  });
}

function cardinality(op: string, { group }: PromqlMatching): string {
  if (group !== undefined) return group === "left" ? "many-to-one" : "one-to-many";
  return isSetOperator(op) ? "many-to-many" : "one-to-one";
}

function writeCall(node: PromqlCall, out: string[]): void {
  const signature = promqlFunction(node.name);
  if (signature === undefined) throw new Error(`function ${node.name} was not refused`);
  const { args, optional, returns } = signature;
  const func = {
    name: node.name,
    argTypes: args,
    variadic: optional === "many" ? -1 : optional,
    returnType: returns satisfies PromqlType,
  };
  out.push(`{"type":"call","func":${JSON.stringify(func)},"args":[`);
  node.args.forEach((argument, index) => {
    if (index > 0) out.push(",");
    write(argument, out);
  });
  out.push("]}");
}

function selectorFields(node: PromqlSelector): string {
  const matchers = node.matchers.map(({ name, kind, value }) => ({
    name: name.toWellFormed(),
    value: value.toWellFormed(),
    type: kind,
  }));
  const fields = `"name":${JSON.stringify(node.metric)},"matchers":${JSON.stringify(matchers)}`;
  const modes = `"anchored":${node.mode === "anchored"},"smoothed":${node.mode === "smoothed"}`;
  return `${fields},${modifierFields(node)},${modes}`;
}

function modifierFields(node: PromqlModifiers): string {
  return `${durationFields("offset", node.offset)},${atFields(node.at)}`;
}

function atFields(at: PromqlAt | undefined): string {
  const timestamp = at?.kind === "time" ? String(BigInt(at.timestampMs)) : "null";
  const startOrEnd = at === undefined || at.kind === "time" ? "null" : `"${at.kind}"`;
  return `"timestamp":${timestamp},"startOrEnd":${startOrEnd}`;
}

/** Milliseconds of a literal and the tree of arithmetic: one of them says something. */
function durationFields(name: string, node: PromqlDuration | undefined): string {
  const literal = node?.kind === "seconds";
  const milliseconds = literal ? literalMilliseconds(node.seconds) : 0;
  const tree = node === undefined || literal ? null : durationTree(node, false);
  return `"${name}":${milliseconds},"${name}Expr":${JSON.stringify(tree)}`;
}

function literalMilliseconds(seconds: number): number {
  return Math.sign(seconds) * Math.trunc(Math.round(Math.abs(seconds) * 1e9) / 1e6) + 0;
}

/** Durations are short and nest at most as deep as brackets may, so plain objects will do. */
function durationTree(node: PromqlDuration, wrapped: boolean): unknown {
  switch (node.kind) {
    case "seconds": {
      const literal = { type: "numberLiteral", val: printPlainNumber(node.seconds), duration: node.isDuration };
      return wrapped ? { type: "durationExpr", op: "+", lhs: null, rhs: literal, wrapped } : literal;
    }
    case "step":
    case "range":
      return { type: "durationExpr", op: node.kind, lhs: null, rhs: null, wrapped };
    case "sign":
      return { type: "durationExpr", op: node.op, lhs: null, rhs: durationTree(node.operand, false), wrapped };
    case "paren":
      return durationTree(node.operand, true);
    case "arithmetic":
    case "extreme": {
      const op = node.kind === "extreme" ? node.name : node.op;
      const sides = { lhs: durationTree(node.left, false), rhs: durationTree(node.right, false) };
      return { type: "durationExpr", op, ...sides, wrapped };
    }
  }
}
