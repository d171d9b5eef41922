import assert from "node:assert/strict";
import { test } from "node:test";
import { environmentName, readSettings } from "./settings.ts";
import { parseAddress, parseBytes, parseCapture, parseLabels, readDurationMs } from "./values.ts";

const DEFAULTS = { dataDirectory: "/tmp/thalweg-test", memoryBytesMax: 2 ** 30 };

test("readSettings: flags win over the environment, the environment over defaults", () => {
  const settings = readSettings(
    ["--listen", "127.0.0.1:1", "--retention=1h"],
    { THALWEG_LISTEN: ":2", THALWEG_OTLP_HTTP: ":3" },
    DEFAULTS,
  );
  assert.deepEqual(settings.listen, { host: "127.0.0.1", port: 1 });
  assert.deepEqual(settings.otlpHttp, { host: "127.0.0.1", port: 3 });
  assert.deepEqual(settings.otlpGrpc, { host: "127.0.0.1", port: 4317 });
  assert.equal(settings.retentionMs, 3_600_000);
  assert.deepEqual(readSettings(["--allow-host=Shop.example, b"], {}, DEFAULTS).allowHosts, ["shop.example", "b"]);
  assert.equal(settings.dataDirectory, DEFAULTS.dataDirectory);
  assert.equal(environmentName("--query-samples-max"), "THALWEG_QUERY_SAMPLES_MAX");
});

test("readSettings: what is wrong is named with the way out", () => {
  const bad = (args: string[], pattern: RegExp) => assert.throws(() => readSettings(args, {}, DEFAULTS), pattern);
  bad(["--lisen", "127.0.0.1:1"], /--lisen.*did you mean --listen/);
  bad(["--listen"], /it takes HOST:PORT, which is missing/);
  bad(["--listen", "0.0.0.0:8425"], /reachable from other machines.*--allow-remote/);
  bad(["--redaction", "maybe"], /it takes on, off/);
  bad(["--capture", "replay:"], /replay:FILE/);
  bad(["--memory", "1"], /256MiB at least/);
  bad(["--allow-remote=maybe"], /it takes true, false/);
  bad(["--data="], /it takes DIR/);
  bad(["extra"], /There is no flag 'extra'/);
  bad(["--query-samples-max", "0"], /above 0/);
});

test("addresses, durations, sizes and capture modes", () => {
  assert.deepEqual(parseAddress("--listen", "[::1]:0"), { host: "::1", port: 0 });
  assert.throws(() => parseAddress("--listen", "localhost:70000"), /0 to 65535/);
  assert.equal(readDurationMs("--retention", "1h30m"), 5_400_000);
  assert.throws(() => readDurationMs("--retention", "1m2h"), /duration/);
  assert.throws(() => readDurationMs("--retention", "5"), /duration/);
  assert.throws(() => readDurationMs("--retention", "0s"), /longer than 0/);
  assert.equal(readSettings([], {}, { dataDirectory: "d", memoryBytesMax: 1 }).outOfOrderWindowMs, 0);
  const late = readSettings(["--out-of-order-window=30m"], {}, { dataDirectory: "d", memoryBytesMax: 1 });
  assert.equal(late.outOfOrderWindowMs, 1_800_000);
  assert.equal(parseBytes("--memory", "1GiB"), 2 ** 30);
  assert.equal(parseBytes("--memory", "512MB"), 512e6);
  assert.throws(() => parseBytes("--memory", "much"), /size/);
  assert.deepEqual(parseLabels("--external-labels", "b=x=y, a=1"), [
    ["a", "1"],
    ["b", "x=y"],
  ]);
  assert.deepEqual(parseLabels("--external-labels", ""), []);
  assert.throws(() => parseLabels("--external-labels", "a=1,a=2"), /a is there twice/);
  for (const bad of ["a", "a=", "=b", "a=b,", "__name__=x", "1a=b"]) {
    assert.throws(() => parseLabels("--external-labels", bad), /it takes labels/, bad);
  }
  assert.deepEqual(parseCapture("packet"), { kind: "rung", rung: "packet" });
  assert.deepEqual(parseCapture("replay:a.twcap"), { kind: "replay", file: "a.twcap" });
});
