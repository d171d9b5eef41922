/** Makes what starts with a name or braces: selectors, calls, aggregations. `promql.peggy` calls these with token indexes. */

import { quoteGo } from "./promql-error.ts";
import { promqlFunction } from "./promql-function.ts";
import { nameNeedsQuotes } from "./promql-name.ts";
import { type BuildOptions, between, refuse, refuseWaiting, tokenAt } from "./promql-refusal.ts";
import type {
  PromqlAggregate,
  PromqlExpression,
  PromqlMatcher,
  PromqlMatcherKind,
  PromqlSelector,
  TextRange,
} from "./promql-tree.ts";

type NamedRest =
  | { readonly kind: "selector"; readonly matchers: readonly PromqlMatcher[] }
  | { readonly kind: "call"; readonly args: readonly PromqlExpression[] }
  | AggregateRest;

interface AggregateRest {
  readonly kind: "aggregate";
  readonly args: readonly PromqlExpression[];
  readonly by: { readonly without: boolean; readonly labels: readonly string[] } | null;
  /** Whether `by` or `without` could have followed. */
  readonly waits: boolean;
}

/** Aggregations that take a parameter in front of the vector. */
const PARAMETER_AGGREGATIONS: ReadonlySet<string> = new Set([
  "topk",
  "bottomk",
  "quantile",
  "count_values",
  "limitk",
  "limit_ratio",
]);

const EXPERIMENTAL_AGGREGATIONS: ReadonlySet<string> = new Set(["limitk", "limit_ratio"]);

/** A label in a grouping or matching list: a word or a quoted name. */
export function label(options: BuildOptions, index: number): string {
  const token = tokenAt(options, index);
  const quoted = token.kind === "s";
  const name = quoted ? token.value : token.text;
  // A word with a colon is let through as long as names are quoted; the printer quotes it.
  const valid = name !== "" && name.isWellFormed();
  if (!valid || (!quoted && options.unquotedUtf8Names && nameNeedsQuotes(name, true))) {
    refuse(options, token, `invalid label name for grouping: ${quoteGo(name)}`, index);
  }
  return name;
}

/** `op` is null where a quoted metric name stands alone. */
export function matcher(options: BuildOptions, index: number, op: string | null): PromqlMatcher {
  const token = tokenAt(options, index);
  const name = token.kind === "s" ? token.value : token.text;
  if (op === null) return { name: "__name__", kind: "=", value: name };
  const kind: PromqlMatcherKind = op === "=" ? "=" : op === "x" ? "!=" : op === "~" ? "=~" : "!~";
  const { value } = tokenAt(options, index + 2);
  if (op === "~" || op === "!") {
    try {
      options.checkRegex(value);
    } catch (cause) {
      refuse(options, token, cause instanceof Error ? cause.message : String(cause), index + 2);
    }
  }
  return { name, kind, value };
}

/** Makes a selector; `name` is what stands before the braces. */
export function selector(
  options: BuildOptions,
  from: number,
  to: number,
  name: string | undefined,
  inBraces: readonly PromqlMatcher[],
): PromqlSelector {
  const matchers: readonly PromqlMatcher[] =
    name === undefined ? inBraces : [...inBraces, { name: "__name__", kind: "=", value: name }];
  return {
    kind: "selector",
    metric: name ?? "",
    matchers,
    offset: undefined,
    at: undefined,
    mode: undefined,
    position: between(options, from, to),
  };
}

/** What a word starts: a selector, a call or an aggregation. */
export function named(options: BuildOptions, from: number, to: number, rest: NamedRest): PromqlExpression {
  const token = tokenAt(options, from);
  if (rest.kind === "selector") return selector(options, from, to, token.text, rest.matchers);
  const position = between(options, from, to);
  if (rest.kind === "aggregate") return aggregate(options, token.text.toLowerCase(), position, to, rest);
  const signature = promqlFunction(token.text);
  if (signature === undefined) {
    refuse(options, token, `unknown function with name ${quoteGo(token.text)}`, to - 1);
  } else if (signature.experimental && !options.experimentalFunctions) {
    refuse(options, token, `function ${quoteGo(token.text)} is not enabled`, to - 1);
  }
  return { kind: "call", name: token.text, args: rest.args, position };
}

function aggregate(
  options: BuildOptions,
  op: string,
  position: TextRange,
  to: number,
  rest: AggregateRest,
): PromqlAggregate {
  const [first, second] = rest.args;
  const wanted = PARAMETER_AGGREGATIONS.has(op) ? 2 : 1;
  const reason = aggregateRefusal(options, op, rest.args.length, wanted);
  if (reason !== undefined) (rest.waits ? refuseWaiting : refuse)(options, position, reason, to - 1);
  return {
    kind: "aggregate",
    op,
    parameter: wanted === 2 ? first : undefined,
    operand: (wanted === 2 ? second : first) ?? { kind: "string", value: "", position }, // refused above
    without: rest.by?.without ?? false,
    grouping: rest.by?.labels ?? [],
    position,
  };
}

function aggregateRefusal(options: BuildOptions, op: string, got: number, wanted: number): string | undefined {
  if (got === 0) return "no arguments for aggregate expression provided";
  if (EXPERIMENTAL_AGGREGATIONS.has(op) && !options.experimentalFunctions) {
    return `${op}() is experimental and must be enabled with --enable-feature=promql-experimental-functions`;
  }
  if (got === wanted) return undefined;
  return `wrong number of arguments for aggregate expression provided, expected ${wanted}, got ${got}`;
}

/** Refuses a comma in a list of arguments that nothing follows. */
export function refuseTrailingComma(options: BuildOptions, index: number): void {
  refuseWaiting(options, tokenAt(options, index), "trailing commas not allowed in function call args", index);
}
