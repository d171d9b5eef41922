/** Prints a PromQL tree on one line, in Prometheus' canonical form: parsing it gives the same tree. */

import { printDuration } from "./promql-duration.ts";
import { printSeconds } from "./promql-duration-tree.ts";
import { quoteGo } from "./promql-error.ts";
import type {
  PromqlAggregate,
  PromqlBinary,
  PromqlDuration,
  PromqlExpression,
  PromqlModifiers,
  PromqlSelector,
} from "./promql-tree.ts";

const SIMPLE_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const SIMPLE_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** Words that cannot stand as a metric name. */
const RESERVED_METRICS = /^(?:atan2|bool|on|ignoring|group_left|group_right|inf|nan)$/i;

/** Words that cannot stand bare in a grouping list. */
const RESERVED_LABELS = /^(?:without|inf|nan)$/i;

/** One line of text. */
export function printPromql(node: PromqlExpression): string {
  switch (node.kind) {
    case "number":
      return node.isDuration ? printDurationNumber(node.value) : printNumber(node.value);
    case "string":
      return quoteGo(node.value);
    case "selector":
      return printSelector(node, "");
    case "range":
      return printSelector(node.selector, `[${printDurationTree(node.range)}]`);
    case "subquery": {
      const step = node.step === undefined ? "" : printDurationTree(node.step);
      return `${printPromql(node.operand)}[${printDurationTree(node.range)}:${step}]${printModifiers(node)}`;
    }
    case "unary":
      return `${node.op}${printPromql(node.operand)}`;
    case "paren":
      return `(${printPromql(node.operand)})`;
    case "binary":
      return printSpine(node);
    case "aggregate":
      return printAggregate(node);
    case "call":
      return `${node.name}(${node.args.map(printPromql).join(", ")})`;
  }
}

function printSpine(node: PromqlBinary): string {
  const spine: PromqlBinary[] = [];
  let base: PromqlExpression = node;
  while (base.kind === "binary") {
    spine.push(base);
    base = base.left;
  }
  const parts = [printPromql(base)];
  for (const binary of spine.toReversed()) parts.push(` ${printOperator(binary)} ${printPromql(binary.right)}`);
  return parts.join("");
}

function printOperator(node: PromqlBinary): string {
  const { matching } = node;
  let out: string = node.op;
  if (node.bool) out += " bool";
  if (matching.on) out += ` on (${printLabels(matching.labels)})`;
  else if (matching.labels.length > 0 || matching.group !== undefined) {
    out += ` ignoring (${printLabels(matching.labels)})`;
  }
  if (matching.group !== undefined) out += ` group_${matching.group} (${printLabels(matching.include)})`;
  const { fillLeft, fillRight } = matching;
  if (fillLeft !== undefined && Object.is(fillLeft, fillRight)) return `${out} fill (${printNumber(fillLeft)})`;
  if (fillLeft !== undefined) out += ` fill_left (${printNumber(fillLeft)})`;
  if (fillRight !== undefined) out += ` fill_right (${printNumber(fillRight)})`;
  return out;
}

function printAggregate(node: PromqlAggregate): string {
  let out = node.op;
  if (node.without) out += ` without (${printLabels(node.grouping)}) `;
  else if (node.grouping.length > 0) out += ` by (${printLabels(node.grouping)}) `;
  const parameter = node.parameter === undefined ? "" : `${printPromql(node.parameter)}, `;
  return `${out}(${parameter}${printPromql(node.operand)})`;
}

function printLabels(labels: readonly string[]): string {
  return labels
    .map((label) => (SIMPLE_LABEL.test(label) && !RESERVED_LABELS.test(label) ? label : quoteGo(label)))
    .join(", ");
}

function printSelector(node: PromqlSelector, bracket: string): string {
  const named = node.matchers.slice(0, -1).some((matcher) => matcher.name === "__name__" && matcher.kind === "=");
  const bare = SIMPLE_METRIC.test(node.metric) && !RESERVED_METRICS.test(node.metric) && !named;
  const inside: string[] = [];
  if (node.metric !== "" && !bare) inside.push(quoteGo(node.metric));
  const matchers = node.metric === "" ? node.matchers : node.matchers.slice(0, -1);
  for (const { name, kind, value } of matchers) {
    inside.push(`${SIMPLE_LABEL.test(name) ? name : quoteGo(name)}${kind}${quoteGo(value)}`);
  }
  const braces = inside.length > 0 ? `{${inside.join(",")}}` : "";
  const mode = node.mode === undefined ? "" : ` ${node.mode}`;
  return `${bare ? node.metric : ""}${braces}${bracket}${mode}${printModifiers(node)}`;
}

function printModifiers(node: PromqlModifiers): string {
  let out = "";
  if (node.at?.kind === "time") out += ` @ ${printAt(node.at.timestampMs)}`;
  else if (node.at !== undefined) out += ` @ ${node.at.kind}()`;
  if (node.offset !== undefined) out += ` offset ${printDurationTree(node.offset)}`;
  return out;
}

/** Seconds with three decimals. */
function printAt(timestampMs: number): string {
  const whole = Math.trunc(Math.abs(timestampMs) / 1000);
  const rest = Math.abs(timestampMs) - whole * 1000;
  return `${timestampMs < 0 ? "-" : ""}${BigInt(whole)}.${String(rest).padStart(3, "0")}`;
}

function printDurationTree(node: PromqlDuration): string {
  switch (node.kind) {
    case "seconds":
      return node.isDuration ? printSeconds(node.seconds) : printNumber(node.seconds);
    case "step":
    case "range":
      return `${node.kind}()`;
    case "sign":
      return `${node.op}${printDurationTree(node.operand)}`;
    case "paren":
      return `(${printDurationTree(node.operand)})`;
    case "arithmetic": {
      const parts: string[] = [];
      let base: PromqlDuration = node;
      for (; base.kind === "arithmetic"; base = base.left) parts.push(` ${base.op} ${printDurationTree(base.right)}`);
      return printDurationTree(base) + parts.reverse().join("");
    }
    case "extreme":
      return `${node.name}(${printDurationTree(node.left)}, ${printDurationTree(node.right)})`;
  }
}

function printDurationNumber(seconds: number): string {
  return printDuration(Math.round(seconds * 1000));
}

/** A number as Prometheus prints a literal: shortest digits, `+Inf`, `-Inf`, `NaN`. */
function printNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return Object.is(value, -0) ? "-0" : String(value).replace(/e([+-])(\d)$/, "e$10$2");
}
