import assert from "node:assert/strict";
import { test } from "node:test";
import { layoutGraph } from "./graph-layout.ts";

test("layoutGraph: callers stand left of what they call", () => {
  const places = layoutGraph(
    ["web", "cart", "catalog", "nginx"],
    [
      { from: "nginx", to: "web" },
      { from: "web", to: "cart" },
      { from: "web", to: "catalog" },
    ],
  );
  assert.equal(places.get("nginx")?.column, 0);
  assert.equal(places.get("web")?.column, 1);
  assert.deepEqual([places.get("cart")?.column, places.get("catalog")?.column], [2, 2]);
  assert.notEqual(places.get("cart")?.row, places.get("catalog")?.row);
});

test("layoutGraph: loops, self-calls and unknown names end", () => {
  const places = layoutGraph(
    ["a", "b", "c"],
    [
      { from: "a", to: "b" },
      { from: "b", to: "c" },
      { from: "c", to: "a" },
      { from: "b", to: "b" },
      { from: "b", to: "gone" },
    ],
  );
  assert.deepEqual(
    ["a", "b", "c"].map((name) => places.get(name)?.column),
    [0, 1, 2],
  );
});

test("layoutGraph: 300 nodes and 1,500 links are placed without overlap", () => {
  const names = Array.from({ length: 300 }, (_, at) => `s${at}`);
  const links = Array.from({ length: 1500 }, (_, at) => ({
    from: `s${(at * 7) % 300}`,
    to: `s${(at * 13 + 5) % 300}`,
  }));
  const places = layoutGraph(names, links);
  assert.equal(new Set([...places.values()].map((place) => `${place.column}:${place.row}`)).size, 300);
});
