import assert from "node:assert/strict";
import test from "node:test";
import { plainDecimal, prometheusLabelName, prometheusMetricName, prometheusUnit } from "./prometheus-names.ts";

test("metric names with units and suffixes", () => {
  const ok = (name: string, unit: string, kind: "gauge" | "counter" | "other", want: string) =>
    assert.equal(prometheusMetricName(name, unit, kind), want, `${name} ${unit} ${kind}`);
  ok("http.server.request.duration", "s", "other", "http_server_request_duration_seconds");
  ok("requests", "", "counter", "requests_total");
  ok("requests.total", "1", "counter", "requests_total");
  ok("total.requests", "", "counter", "requests_total");
  ok("cpu.utilization", "1", "gauge", "cpu_utilization_ratio");
  ok("cpu.utilization", "1", "other", "cpu_utilization");
  ok("memory", "By", "gauge", "memory_bytes");
  ok("memory.bytes", "By", "gauge", "memory_bytes");
  ok("network.io", "By/s", "gauge", "network_io_bytes_per_second");
  ok("queue", "{requests}", "gauge", "queue");
  ok("speed", "m/{s}", "gauge", "speed_meters");
  ok("rate", "1/s", "gauge", "rate_per_second");
  ok("odd", "foo bar__baz/x y", "gauge", "odd_foo_bar_baz_per_x_y");
  ok("a__b..c", "", "gauge", "a_b_c");
  ok("1st", "", "gauge", "_1st");
  ok("job:x:y", "", "gauge", "job:x:y");
  ok("größe", "", "gauge", "gr_e");
  for (const bad of ["", "..", "日本"]) assert.equal(prometheusMetricName(bad, "", "gauge"), undefined, bad);
  assert.equal(prometheusUnit("By/s"), "bytes_per_second");
  assert.equal(prometheusUnit("1"), "");
  assert.equal(prometheusUnit(" ms "), "milliseconds");
});

test("label names", () => {
  const ok = (key: string, want: string) => assert.equal(prometheusLabelName(key), want);
  ok("http.method", "http_method");
  ok("a..b", "a__b");
  ok("1st", "key_1st");
  ok("_x", "key_x");
  ok("__x", "__x");
  ok("😀a", "key_a");
  for (const bad of ["", "_", "..."]) assert.equal(prometheusLabelName(bad), bad === "_" ? "key_" : undefined, bad);
});

test("numbers without exponent", () => {
  const ok = (value: number, want: string) => assert.equal(plainDecimal(value), want);
  ok(0.005, "0.005");
  ok(10, "10");
  ok(1e22, "10000000000000000000000");
  ok(1.5e-7, "0.00000015");
  ok(-2.5e-10, "-0.00000000025");
  ok(1.2345e25, "12345000000000000000000000");
  ok(Number.POSITIVE_INFINITY, "+Inf");
  ok(-0, "-0");
});
