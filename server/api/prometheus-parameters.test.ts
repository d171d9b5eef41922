import assert from "node:assert/strict";
import test from "node:test";
import { parseSecondsOrDurationMs, parseTimeMs, readLimit, readRange } from "./prometheus-parameters.ts";
import { unescapeLabelName } from "./prometheus-routes.ts";

test("parseTimeMs", () => {
  const ok = (text: string, wantMs: number) => assert.equal(parseTimeMs(text), wantMs, text);
  const bad = (text: string) => assert.equal(parseTimeMs(text), undefined, text);
  ok("0", 0);
  ok("1435781430.781", 1_435_781_430_781);
  ok("1.5e3", 1_500_000);
  ok("-1", -1000);
  ok("2015-07-01T20:10:30.781Z", 1_435_781_430_781);
  ok("2015-07-01t22:10:30.7819999+02:00", 1_435_781_430_781);
  ok("-292273086-05-16T16:47:06Z", -8.64e15);
  ok("292277025-08-18T07:12:54.999999999Z", 8.64e15);
  for (const text of [
    "",
    "now",
    "NaN",
    "Inf",
    "1e300",
    "2015-07-01",
    "2015-07-01T20:10:30",
    "2015-13-01T20:10:30Z",
    "0x10",
  ])
    bad(text);
});

test("parseSecondsOrDurationMs", () => {
  const ok = (text: string, wantMs: number) => assert.equal(parseSecondsOrDurationMs(text), wantMs, text);
  ok("15", 15_000);
  ok("0.5", 500);
  ok("1h30m", 5_400_000);
  ok("1y2w3d4h5m6s7ms", 31_536_000_000 + 1_209_600_000 + 259_200_000 + 14_706_007);
  ok("0s", 0);
  ok("-1", -1000);
  for (const text of ["", "5x", "m", "1m2h", "1.5h", " 1m", "300y", "1e30"])
    assert.equal(parseSecondsOrDurationMs(text), undefined, text);
});

test("readRange: the limit of points is met exactly", () => {
  const range = (end: number) => readRange(new URLSearchParams({ start: "0", end: String(end), step: "1" }));
  assert.deepEqual(range(11_000), { startMs: 0, endMs: 11_000_000, stepMs: 1000 });
  assert.throws(() => range(11_001), /11,000 points/);
});

test("readLimit and unescapeLabelName", () => {
  assert.equal(readLimit(new URLSearchParams("limit=5")), 5);
  assert.equal(readLimit(new URLSearchParams("limit=0")), Number.POSITIVE_INFINITY);
  assert.throws(() => readLimit(new URLSearchParams("limit=-1")), /invalid parameter "limit"/);
  assert.equal(unescapeLabelName("U__service_2e_name"), "service.name");
  assert.equal(unescapeLabelName("U__a__b"), "a_b");
  assert.equal(unescapeLabelName("U___1F600_"), "😀");
  assert.equal(unescapeLabelName("plain_name"), "plain_name");
});
