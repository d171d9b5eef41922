import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, NOON_MS, openIn, temporaryDirectory } from "../store/store-fixture.ts";
import { Telemetry } from "../telemetry/telemetry.ts";
import { decodeMetricsJson } from "../wire/otlp-metrics-json.ts";
import { acceptMetrics } from "./accept-metrics.ts";

test("acceptMetrics: points that the store refuses are told by number and reason", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const deps = { writer: store.writer, telemetry: new Telemetry(), clock: new FakeClock() };
  const point = (name: string, timeMs: number, asInt: string) => ({
    name,
    gauge: { dataPoints: [{ timeUnixNano: String(BigInt(timeMs) * 1_000_000n), asInt }] },
  });
  const metrics = [
    point("again", NOON_MS, "1"),
    point("again", NOON_MS, "2"),
    point("back", NOON_MS, "1"),
    point("back", NOON_MS - 1_000, "1"),
    point("ahead", NOON_MS + 700_000, "1"),
  ];
  const request = { resourceMetrics: [{ scopeMetrics: [{ metrics }] }] };
  const decoded = decodeMetricsJson(Buffer.from(JSON.stringify(request)));
  assert.ok(decoded.kind === "decoded");
  const outcome = await acceptMetrics(deps, { decoded, transport: "http" });
  assert.ok(outcome.kind === "stored");
  assert.equal(outcome.refusedPoints, 3);
  assert.deepEqual([...outcome.refusedFor].sort(), ["duplicate", "out_of_order", "timestamp"]);
});

test("acceptMetrics: nobody is told that target_info came late, for no point is left out", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const deps = { writer: store.writer, telemetry: new Telemetry(), clock: new FakeClock() };
  const attributes = [
    { key: "service.name", value: { stringValue: "shop" } },
    { key: "zone", value: { stringValue: "a" } },
  ];
  const accept = async (name: string, timeMs: number) => {
    const gauge = { dataPoints: [{ timeUnixNano: String(BigInt(timeMs) * 1_000_000n), asInt: "1" }] };
    const scopeMetrics = [{ metrics: [{ name, gauge }] }];
    const request = { resourceMetrics: [{ resource: { attributes }, scopeMetrics }] };
    const decoded = decodeMetricsJson(Buffer.from(JSON.stringify(request)));
    assert.ok(decoded.kind === "decoded");
    const outcome = await acceptMetrics(deps, { decoded, transport: "http" });
    assert.ok(outcome.kind === "stored");
    return { points: outcome.refusedPoints, faults: outcome.faults };
  };
  assert.deepEqual(await accept("one", NOON_MS), { points: 0, faults: [] });
  assert.deepEqual(await accept("two", NOON_MS - 1_000), { points: 0, faults: [] });
  assert.deepEqual(await accept("one", NOON_MS - 1_000), {
    points: 1,
    faults: ['out of order sample for series {__name__="one", job="shop"}'],
  });
});
