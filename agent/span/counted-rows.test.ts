import assert from "node:assert/strict";
import { test } from "node:test";
import type { CountedCalls } from "../../server/model/capture-event.ts";
import { CountedHops, countedRow } from "./counted-rows.ts";

function calls(role: "client" | "server", pid: number, count: number, more: Partial<CountedCalls> = {}): CountedCalls {
  const server = { addr: role === "client" ? "::ffff:10.0.0.1" : "10.0.0.1", port: 80 };
  return { pid, role, method: "GET", status: 200, server, calls: count, meanNs: 1e6, ...more };
}

/** Hops as `client>server×weight`. */
function take(hops: CountedHops, counted: readonly CountedCalls[], isLast = false): string[] {
  return hops
    .take(counted, isLast)
    .map(({ client, server, weight }) => `${client?.pid ?? ""}>${server?.pid ?? ""}×${weight}`);
}

test("the two ends of the same calls are laid beside each other, across cells of latency", () => {
  const hops = new CountedHops();
  const counted = [calls("server", 9, 70), calls("client", 1, 60), calls("client", 2, 40), calls("server", 9, 30)];
  assert.deepEqual(take(hops, counted), ["1>9×60", "2>9×10", "2>9×30"]);
  assert.deepEqual(take(hops, []), []);
});

test("what the other end counts later is waited for, and then stands alone", () => {
  const hops = new CountedHops();
  assert.deepEqual(take(hops, [calls("server", 9, 10), calls("client", 1, 8)]), ["1>9×8"]);
  assert.deepEqual(take(hops, [calls("client", 1, 1)]), ["1>9×1"]);
  assert.deepEqual(take(hops, []), [">9×1"]);
});

test("other servers, methods and statuses are other calls", () => {
  const hops = new CountedHops();
  const counted = [
    calls("client", 1, 1),
    calls("server", 9, 1, { status: 500 }),
    calls("server", 9, 1, { method: "PUT" }),
    calls("server", 9, 1, { server: { addr: "10.0.0.1", port: 81 } }),
  ];
  assert.deepEqual(take(hops, counted, true), ["1>×1", ">9×1", ">9×1", ">9×1"]);
});

test("the rows of a hop", () => {
  const hop = { client: calls("client", 1, 5), server: calls("server", 9, 5, { meanNs: 2e6 }), weight: 5 };
  const setting = { nowUnixNano: 1_000_000_000n, number: 7, salt: "host" };
  const client = countedRow(hop, "client", setting);
  const server = countedRow(hop, "server", setting);
  assert.equal(server.parentSpanId, client.spanId);
  assert.equal(server.traceIdLow, client.traceIdLow);
  assert.deepEqual([client.weight, server.weight, server.linkReason, server.name], [5, 5, "counted", "GET"]);
  assert.equal(server.endNs - server.startNs, 2_000_000n);
  const next = countedRow(hop, "client", { ...setting, number: 8 });
  assert.notEqual(next.spanId, client.spanId);
  const statusOf = (kind: "client" | "server", status: number) => {
    const end = calls(kind, 1, 1, { status });
    const one = { client: kind === "client" ? end : undefined, server: kind === "server" ? end : undefined, weight: 1 };
    return countedRow(one, kind, setting).status;
  };
  assert.equal(statusOf("server", 404), statusOf("server", 200));
  assert.equal(statusOf("client", 404), statusOf("server", 500));
  assert.equal(statusOf("server", 0), statusOf("server", 500));
  assert.notEqual(statusOf("client", 404), statusOf("client", 200));
});
