import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog, type LogOptions } from "./log.ts";
import { Telemetry } from "./telemetry.ts";

test("every promised metric is present with 0 before anything happened", () => {
  const text = new Telemetry().render();
  for (const line of [
    "thalweg_capture_seen_total 0",
    "thalweg_capture_delivered_total 0",
    'thalweg_capture_lost_total{reason="other"} 0',
    'thalweg_ingest_received_total{signal="traces",transport="grpc"} 0',
    'thalweg_ingest_stored_total{signal="traces"} 0',
    'thalweg_ingest_rejected_total{signal="logs",reason="overload"} 0',
    'thalweg_ingest_lost_total{signal="traces",reason="store_unavailable"} 0',
    'thalweg_store_damage_total{reason="metric_log"} 0',
  ]) {
    assert.ok(text.split("\n").includes(line), line);
  }
  assert.match(text, /^process_resident_memory_bytes \d+$/m);
  for (const line of text.trimEnd().split("\n")) {
    assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? -?[\d.e+-]+)$/);
  }
});

test("values outside a label's list count as other, and open labels are bounded", () => {
  const telemetry = new Telemetry();
  const labels = { signal: "traces", reason: "made up\n" };
  telemetry.count("thalweg_ingest_rejected_total", labels, 3);
  assert.equal(telemetry.value("thalweg_ingest_rejected_total", { signal: "traces", reason: "other" }), 3);
  for (let n = 0; n < 1000; n++) telemetry.count("thalweg_http_requests_total", { route: `/${n}"\\`, code: "200" });
  const shown = telemetry
    .render()
    .split("\n")
    .filter((line) => line.startsWith("thalweg_http_requests_total{"));
  assert.ok(shown.length <= 129);
  assert.ok(shown.includes('thalweg_http_requests_total{route="/0\\"\\\\",code="200"} 1'));
});

test("collectors run before the text is made; damage is counted by file", () => {
  const telemetry = new Telemetry();
  telemetry.onRender(() => telemetry.set("thalweg_head_series", {}, 7));
  telemetry.countDamage("/d/wal/metrics-00000001.log");
  telemetry.countDamage("/d/db/spans-2026-01-01.duckdb.wal");
  const text = telemetry.render();
  assert.match(text, /^thalweg_head_series 7$/m);
  assert.match(text, /^thalweg_store_damage_total\{reason="metric_log"\} 1$/m);
  assert.match(text, /^thalweg_store_damage_total\{reason="span_log"\} 1$/m);
});

function collectingLog(more: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const now = { ms: 0 };
  const write = (line: string) => lines.push(line);
  const log = createLog({ level: "info", terminal: false, write, monotonicMs: () => now.ms, ...more });
  return { log, lines, now };
}

test("log lines are JSON with level, time and message, long values cut, errors told with their cause", () => {
  const { log, lines } = collectingLog();
  const error = new Error("cannot write", { cause: new Error("disk is full") });
  log.warn({ error, text: "x".repeat(1000), n: 5n, bytes: new Uint8Array(9) }, "a thing failed");
  log.debug({}, "not shown");
  assert.equal(lines.length, 1);
  const { time, ...rest } = JSON.parse(lines[0] ?? "{}") as Record<string, string>;
  assert.match(time ?? "", /^\d{4}-\d\d-\d\dT/);
  assert.equal(rest["level"], "warn");
  assert.equal(rest["message"], "a thing failed");
  assert.equal(rest["error"], "cannot write (disk is full)");
  assert.equal(rest["bytes"], "object");
  assert.ok((rest["text"] ?? "").length < 340);
});

test("a repeated message is written five times in ten seconds, then counted", () => {
  let told = 0;
  const { log, lines, now } = collectingLog({ onSuppressed: () => told++ });
  for (let n = 0; n < 100; n++) log.warn({ n }, "again");
  log.error({}, "another");
  assert.equal(lines.length, 6);
  assert.equal(told, 95);
  now.ms = 10_001;
  log.warn({}, "again");
  assert.match(lines[6] ?? "", /"suppressed":95/);
});

test("on a terminal a line is plain text", () => {
  const { log, lines } = collectingLog({ terminal: true });
  log.info({ file: "a b", n: 1 }, "opened");
  assert.match(lines[0] ?? "", /^\d\d:\d\d:\d\d\.\d{3} INFO {2}opened file="a b" n=1\n$/);
});

test("the delay of the loop is how late it was, not how often it is looked at", async () => {
  const telemetry = new Telemetry();
  const delayMs = () =>
    1e3 * Number(/thalweg_loop_delay_seconds\{percentile="50"\} (\S+)/.exec(telemetry.render())?.[1] ?? Number.NaN);
  let least = Number.POSITIVE_INFINITY;
  // Other work of the machine may hold the loop, not each time.
  for (let tries = 0; tries < 20 && least > 5; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    least = Math.min(least, delayMs());
  }
  assert.ok(least <= 5, `an idle loop is ${least} ms late`);
  // After a reading the first look only begins to measure.
  await new Promise((resolve) => setTimeout(resolve, 30));
  const untilMs = performance.now() + 100;
  while (performance.now() < untilMs);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.match(telemetry.render(), /thalweg_loop_delay_seconds\{percentile="100"\} 0\.(0[89]|[1-9])/);
});
