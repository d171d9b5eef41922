import assert from "node:assert/strict";
import test from "node:test";
import { formValues, joinFormValues, parseFormValues, partValues, watchPairs } from "./form-values.ts";
import { printDurationGo } from "./go-values.ts";
import { unescapeLabelName } from "./prometheus-labels.ts";
import { parseSecondsOrDurationMs, parseTimeMs, readLimit, readRange, readTimeoutMs } from "./prometheus-parameters.ts";

const form = (values: Record<string, string>) => formValues(Object.entries(values));

test("parseTimeMs", () => {
  const ok = (text: string, wantMs: number) => assert.equal(parseTimeMs(text), wantMs, text);
  const bad = (text: string) => assert.equal(parseTimeMs(text), undefined, text);
  ok("0", 0);
  ok("1435781430.781", 1_435_781_430_781);
  ok("1.5e3", 1_500_000);
  ok("-1", -1000);
  ok("2015-07-01T20:10:30.781Z", 1_435_781_430_781);
  ok("2015-07-01T22:10:30.7819999+02:00", 1_435_781_430_781);
  ok("2015-07-01T20:10:30,781Z", 1_435_781_430_781);
  ok("2016-02-29T00:00:00Z", 1_456_704_000_000);
  ok("-4.5", -4500);
  ok(".5", 500);
  ok("5.", 5000);
  ok("+5", 5000);
  ok("1_0", 10_000);
  ok("0x1p4", 16_000);
  // Halves go away from zero where the double is one; 1.0005 is a little less.
  ok("1.0005", 1000);
  ok("1.4999", 1500);
  ok("0.057", 57);
  ok("Inf", 8.64e15);
  ok("-Inf", -8.64e15);
  ok("1e19", 8.64e15);
  ok("-292273086-05-16T16:47:06Z", -8.64e15);
  ok("292277025-08-18T07:12:54.999999999Z", 8.64e15);
  for (const text of [
    "",
    "now",
    "NaN",
    "1e400",
    "2015-07-01t20:10:30Z",
    "2015-02-29T00:00:00Z",
    "2015-07-01T24:00:00Z",
    "1__0",
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
  for (const text of ["", "5x", "m", "1m2h", "1.5h", " 1m", "300y", "1e30", "NaN", "Inf", "-5m"])
    assert.equal(parseSecondsOrDurationMs(text), undefined, text);
});

test("readRange: the limit of points is met exactly", () => {
  const range = (end: number) => readRange(form({ start: "0", end: String(end), step: "1" }));
  assert.deepEqual(range(11_000), { startMs: 0, endMs: 11_000_000, stepMs: 1000 });
  assert.deepEqual(range(11_000.999), { startMs: 0, endMs: 11_000_999, stepMs: 1000 });
  assert.deepEqual(readRange(form({ start: "0", end: "1", step: "0.0015" })), { startMs: 0, endMs: 1000, stepMs: 1.5 });
  assert.throws(() => range(11_001), /11,000 points/);
});

test("readLimit and unescapeLabelName", () => {
  assert.equal(readLimit(form({ limit: "5" })), 5);
  assert.equal(readLimit(form({ limit: "+5" })), 5);
  assert.equal(readLimit(form({ limit: "0" })), Number.POSITIVE_INFINITY);
  assert.throws(() => readLimit(form({ limit: "-1" })), /invalid parameter "limit": limit must be non-negative/);
  assert.throws(() => readLimit(form({ limit: "1.5" })), /strconv.Atoi: parsing "1.5": invalid syntax/);
  assert.throws(() => readLimit(form({ limit: "9".repeat(20) })), /value out of range/);
  assert.equal(unescapeLabelName("U__service_2e_name"), "service.name");
  assert.equal(unescapeLabelName("U__a__b"), "a_b");
  assert.equal(unescapeLabelName("U___1F600_"), "😀");
  assert.equal(unescapeLabelName("plain_name"), "plain_name");
  // What is not so escaped stays as it is.
  for (const name of ["U__a_zz_", "U__a_2e", "U__a_", "U___D800_", "U___10FFFF_"])
    assert.equal(unescapeLabelName(name), name);
});

test("readTimeoutMs: positive, at most the server's own", () => {
  const timeout = (text: string) => readTimeoutMs(form({ timeout: text }), 120_000);
  assert.equal(timeout(""), 120_000);
  assert.equal(timeout("90"), 90_000);
  assert.equal(timeout("1y"), 120_000);
  const bad = (text: string, message: string) => assert.throws(() => timeout(text), { message });
  bad("0", 'invalid parameter "timeout": timeout must be positive, got 0s');
  bad("-90.5", 'invalid parameter "timeout": timeout must be positive, got -1m30.5s');
  bad("0.0000000001", 'invalid parameter "timeout": timeout must be positive, got 0s');
  bad("x", 'invalid parameter "timeout": cannot parse "x" to a valid duration');
  bad("1e19", 'invalid parameter "timeout": cannot parse "1e19" to a valid duration. It overflows int64');
});

test("printDurationGo", () => {
  const ok = (durationMs: number, text: string) => assert.equal(printDurationGo(durationMs), text);
  ok(0, "0s");
  ok(0.000_001, "1ns");
  ok(0.0015, "1.5µs");
  ok(-1.25, "-1.25ms");
  ok(1000, "1s");
  ok(90_500, "1m30.5s");
  ok(3_600_000, "1h0m0s");
  ok(93_784_005, "26h3m4.005s");
});

test("parseFormValues: what is longer than a parameter of its name can be is refused before it is decoded", () => {
  const long = "1".repeat(16_385);
  for (const name of ["time", "limit", "anything", "e".repeat(41)]) {
    const { refusal = "" } = parseFormValues(`query=1&${name}=${long}`);
    assert.match(refusal, /^parameter "\w+" has more than 16384 characters as it came, the most that are read$/);
    assert.equal(partValues([[name, long]]).refusal, refusal);
  }
  for (const name of ["query", "match[]", "match%5B%5D", "search[]"]) {
    const read = parseFormValues(`${name}=${long}`);
    assert.deepEqual([read.refusal, read.get(decodeURIComponent(name))], [undefined, long], name);
    assert.match(parseFormValues(`${name}=${"1".repeat(9 * 65_536)}`).refusal ?? "", /more than 589824 characters/);
  }
  assert.equal(partValues([["query", long]]).get("query"), long);
  assert.match(partValues([["query", "1".repeat(9 * 65_536)]]).refusal ?? "", /more than 589824 characters/);
});

test("watchPairs: a form is watched no longer than until it is clear that none of it is read", () => {
  const isEnough = (...chunks: string[]) => {
    const watch = watchPairs();
    return chunks.map((chunk) => watch(Buffer.from(chunk)));
  };
  assert.deepEqual(isEnough("&a".repeat(9_999), "&", "b"), [false, true, true]);
  const longest = "1".repeat(9 * 65_536);
  assert.deepEqual(isEnough(`a&${longest}`, "&", longest, "1"), [false, false, false, true]);
  // Three bytes that are one character.
  assert.deepEqual(isEnough("€".repeat(9 * 65_536), "€"), [false, true]);
  for (const text of ["&a".repeat(10_000), `query=1&${longest}1`, `${"€".repeat(9 * 65_536)}€`]) {
    assert.deepEqual(isEnough(text), [true]);
    const { fault, refusal } = parseFormValues(text);
    assert.match(fault ?? refusal ?? "", /exceeded limit|has more than/);
  }
});

test("parseFormValues: as Go's net/url", () => {
  const values = parseFormValues("a=1&b=%20x+y&a=2&c&=d&e=%zz&f=1;2&g=%ff");
  assert.deepEqual(values.all("a"), ["1", "2"]);
  assert.equal(values.get("b"), " x y");
  assert.ok(values.has("c") && values.get("c") === "");
  assert.ok(!values.has("e") && !values.has("f"));
  assert.equal(values.fault, 'invalid URL escape "%zz"');
  assert.equal(values.get("g"), "\ufffd");
  assert.equal(parseFormValues("g=a%ffB%C3%a9+%").get("g"), "");
  assert.equal(parseFormValues("g=a%ffB%C3%a9+c").get("g"), "a\ufffdBé c");
  assert.equal(parseFormValues("a;b").fault, "invalid semicolon separator in query");
  assert.deepEqual(parseFormValues(`x=1${"&a".repeat(9_999)}`).get("x"), "1");
  const over = parseFormValues(`x=1${"&a".repeat(10_000)}`);
  assert.deepEqual([over.get("x"), over.fault], ["", "number of URL query parameters exceeded limit"]);
  const joined = joinFormValues(parseFormValues("a=3"), values);
  assert.deepEqual([joined.get("a"), joined.all("a"), joined.get("b")], ["3", ["3", "1", "2"], " x y"]);
});
