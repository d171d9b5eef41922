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

test("label names with other escaping", () => {
  const ok = (key: string, prefixUnderscore: boolean, keepUnderscores: boolean, want: string | undefined) =>
    assert.equal(prometheusLabelName(key, { prefixUnderscore, keepUnderscores }), want, key);
  ok("_x", false, true, "_x");
  ok("1st", false, false, "key_1st");
  ok("a..b__c", true, false, "a_b_c");
  ok("__reserved__label__", true, false, "__reserved_label__");
  ok("__x__y", true, false, "key_x_y");
  ok("trailing___", true, false, "trailing_");
  ok("_____", true, false, undefined);
  ok("日本", false, false, undefined);
});

test("metric names of other strategies", () => {
  type Kind = "gauge" | "counter" | "other";
  const plain = (name: string, want: string | undefined) =>
    assert.equal(prometheusMetricName(name, "s", "counter", "UnderscoreEscapingWithoutSuffixes"), want, name);
  plain("a..b__c", "a_b__c");
  plain(".a.", "a");
  plain("__", "__");
  plain("日本", undefined);
  plain("1st", "_1st");
  const utf8 = (name: string, unit: string, kind: Kind, want: string | undefined) =>
    assert.equal(prometheusMetricName(name, unit, kind, "NoUTF8EscapingWithSuffixes"), want, name);
  utf8("a.total", "", "counter", "a_total");
  utf8("a.seconds.total", "s", "counter", "a.seconds_total");
  utf8("a.ratio", "1", "gauge", "a_ratio");
  utf8("a.ratio", "1", "other", "a.ratio");
  utf8("io.per_second", "By/s", "gauge", "io_bytes_per_second");
  utf8("日本", "{x}", "gauge", "日本");
  utf8("", "", "gauge", undefined);
  assert.equal(prometheusMetricName("a.b", "s", "counter", "NoTranslation"), "a.b");
  assert.equal(prometheusMetricName("", "s", "counter", "NoTranslation"), undefined);
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
