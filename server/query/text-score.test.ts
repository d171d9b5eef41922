import assert from "node:assert/strict";
import { test } from "node:test";
import { jaroWinkler, subsequenceScore, textScore } from "./text-score.ts";

const near = (got: number | undefined, want: number | undefined) => {
  if (got === undefined || want === undefined) assert.equal(got, want);
  else assert.ok(Math.abs(got - want) < 1e-9, `${got}, not ${want}`);
};

test("textScore: beginnings score best, others by place, by run and by likeness", () => {
  const score = (
    term: string,
    text: string,
    algorithm: "subsequence" | "jarowinkler",
    threshold = 0,
    caseSensitive = true,
  ) => textScore({ terms: [term], algorithm, threshold, caseSensitive })(text);
  near(score("http", "http_requests_total", "subsequence"), 1);
  near(score("http", "http_requests_total", "jarowinkler"), 1);
  near(score("total", "http_total", "jarowinkler"), 0.1);
  near(score("é", "xéx", "jarowinkler"), 0.55);
  near(score("zzz", "http", "jarowinkler"), undefined);
  near(score("zzz", "http", "subsequence"), undefined);
  near(score("HTTP", "http_x", "subsequence"), undefined);
  near(score("HTTP", "http_x", "subsequence", 0, false), 1);
  near(score("hrt", "http_requests_total", "subsequence", 0.9), undefined);
  assert.ok((score("hrt", "http_requests_total", "subsequence") ?? 0) > 0.2);
  near(score("x", `${"a".repeat(5000)}x`, "subsequence"), 0.1);
  const either = textScore({ terms: ["", "abc", "xyz"], algorithm: "jarowinkler", threshold: 0, caseSensitive: true });
  near(either("-xyz"), 0.1);
  near(textScore({ terms: [""], algorithm: "subsequence", threshold: 1, caseSensitive: true })("any"), 1);
});

test("jaroWinkler: the examples of the literature", () => {
  const like = (one: string, other: string) => jaroWinkler(Array.from(one), Array.from(other));
  near(like("MARTHA", "MARHTA"), 0.961_111_111_111);
  near(like("DIXON", "DICKSONX"), 0.813_333_333_333);
  near(like("DWAYNE", "DUANE"), 0.84);
  near(like("abc", "xyz"), 0);
  near(like("same", "same"), 1);
});

test("subsequenceScore: one run is worth more than many", () => {
  const of = (wanted: string, text: string) => subsequenceScore(Array.from(wanted), Array.from(text));
  // A run of 2 from the second place of 4 characters: 4 less a quarter before it and half a quarter behind it.
  near(of("bc", "abcd"), ((4 - 0.25 - 0.125) / 4) * 0.999);
  assert.ok(of("abc", "xabcx") > of("abc", "axbxc"));
  assert.equal(of("cb", "abc"), 0);
  near(of("ab", "a-ab"), ((4 - 0.5) / 4) * 0.999);
});
