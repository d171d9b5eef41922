import assert from "node:assert/strict";
import { test } from "node:test";
import { promqlJson } from "./promql-json.ts";
import { parsePromql } from "./promql-parse.ts";
import { prettyPromql } from "./promql-pretty.ts";
import { printPromql } from "./promql-print.ts";
import { RandomTree, randomFrom } from "./test-trees.ts";

/** Every number by its bits, positions left out. */
function shape(node: unknown): unknown {
  return JSON.parse(
    JSON.stringify(node, (key, value) => {
      if (key === "position" || key === "opPosition") return undefined;
      return typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0)) ? `number ${value}` : value;
    }),
  );
}

for (const unquotedUtf8Names of [false, true]) {
  test(`parse(print(x)) is x over random trees, ${unquotedUtf8Names ? "names unquoted" : "names quoted"}`, () => {
    const options = {
      regexMatchesEmpty: (pattern: string) => new RegExp(`^(?:${pattern})$`, "s").test(""),
      experimentalFunctions: true,
      fillModifiers: true,
      unquotedUtf8Names,
    };
    const trees = new RandomTree(randomFrom(20_261), unquotedUtf8Names);
    const kinds = new Map<string, number>();
    for (let round = 0; round < 3000; round++) {
      const tree = trees.expression(4);
      kinds.set(tree.kind, (kinds.get(tree.kind) ?? 0) + 1);
      const printed = printPromql(tree, options);
      const again = parsePromql(printed, options);
      // Conditions are printed in the order of their bytes, so the first printing may sort them.
      const sorted = printPromql(again, options);
      assert.equal(sorted, printed);
      assert.deepEqual(shape(parsePromql(sorted, options)), shape(again));
      assert.deepEqual(withoutOrder(shape(tree)), withoutOrder(shape(again)), printed);
      const pretty = prettyPromql(tree, { ...options, lineBytes: 20 });
      assert.deepEqual(shape(parsePromql(pretty, options)), shape(again), pretty);
      JSON.parse(promqlJson(again));
    }
    for (const kind of [
      "number",
      "string",
      "selector",
      "range",
      "subquery",
      "unary",
      "paren",
      "binary",
      "aggregate",
      "call",
    ]) {
      assert.ok((kinds.get(kind) ?? 0) > 5, `${kind} was made ${kinds.get(kind)} times`);
    }
  });
}

function withoutOrder(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(withoutOrder);
  if (typeof node !== "object" || node === null) return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => [
      key,
      key === "matchers" && Array.isArray(value)
        ? value.map((matcher) => JSON.stringify(matcher)).sort()
        : withoutOrder(value),
    ]),
  );
}
