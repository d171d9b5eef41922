import assert from "node:assert/strict";
import { test } from "node:test";
import type { ExposedSample } from "./exposition.ts";
import { NhcbSink } from "./exposition-nhcb.ts";
import { TextExposition } from "./exposition-text.ts";

/** What a text becomes, a line a sample. */
function told(text: string, options: { readonly keeps?: boolean; readonly openMetrics?: boolean } = {}): string[] {
  const lines: string[] = [];
  const sample = ({ key, labels, value, histogram: h, timestampMs, exemplars }: ExposedSample) => {
    const pairs = labels().map(([name, text]) => `${name}=${text}`);
    const spans = h?.positiveSpans.map(({ offset, length }) => `${offset}+${length}`).join(",");
    const shown =
      h === undefined
        ? String(value)
        : `${h.count}/${h.sum} [${h.customValues}] ${spans} [${h.positiveCounts}] ${h.integer}`;
    lines.push(
      `${pairs.join(" ")} ${shown}${timestampMs === undefined ? "" : ` @${timestampMs}`}${exemplars.map(({ value: of }) => ` #${of}`).join("")}`,
    );
    assert.ok(key.length > 0);
  };
  const sink = new NhcbSink({ describe: () => undefined, sample }, options.keeps === true);
  const reader = new TextExposition(text, { openMetrics: options.openMetrics === true, isUtf8: true }, sink);
  while (reader.read(1000));
  sink.finish();
  return lines;
}

const CLASSIC = `# TYPE h histogram
h_bucket{a="x",le="0.5"} 1
h_bucket{a="x",le="1"} 1
h_bucket{a="x",le="+Inf"} 4
h_sum{a="x"} 7.5
h_count{a="x"} 4
`;

test("lines of a classic histogram are one native histogram", () => {
  assert.deepEqual(told(CLASSIC), ["__name__=h a=x 4/7.5 [0.5,1] 0+3 [1,0,3] true"]);
  assert.deepEqual(told(`${CLASSIC}h_bucket{a="y",le="+Inf"} 2\nh_count{a="y"} 2\nh_sum{a="y"} 1\nother 3\n`), [
    "__name__=h a=x 4/7.5 [0.5,1] 0+3 [1,0,3] true",
    "__name__=h a=y 2/1 [] 0+1 [2] true",
    "__name__=other 3",
  ]);
  assert.equal(told(CLASSIC, { keeps: true }).length, 6);
  const exemplified =
    '# TYPE h histogram\nh_bucket{le="1"} 1 # {} 4\nh_bucket{le="+Inf"} 2 # {} 5 6\nh_count 2\nh_sum 1\n# EOF\n';
  assert.deepEqual(told(exemplified, { keeps: true, openMetrics: true }).slice(0, 2), [
    "__name__=h_bucket le=1.0 1 #4",
    "__name__=h_bucket le=+Inf 2",
  ]);
});

test("empty buckets are left out where there are many, or any of fractions", () => {
  const many = [1, 1, 1, 1, 1, 5].map((count, at) => `h_bucket{le="${at}"} ${count}\n`).join("");
  assert.deepEqual(told(`# TYPE h histogram\n${many}h_bucket{le="+Inf"} 5\nh_sum 1\nh_count 5\n`), [
    "__name__=h 5/1 [0,1,2,3,4,5] 0+1,4+1 [1,4] true",
  ]);
  assert.deepEqual(
    told('# TYPE h histogram\nh_bucket{le="1"} 0.5\nh_bucket{le="2"} 0.5\nh_bucket{le="+Inf"} 2\nh_sum 1\nh_count 2\n'),
    ["__name__=h 2/1 [1,2] 0+1,1+1 [0.5,1.5] false"],
  );
});

test("what is no histogram stays as it is; what contradicts itself goes", () => {
  assert.deepEqual(told("# TYPE h counter\nh_bucket 3\n# TYPE g gauge\ng_count 2\n"), [
    "__name__=h_bucket 3",
    "__name__=g_count 2",
  ]);
  assert.deepEqual(told('# TYPE h histogram\nh_bucket{le="1"} 5\nh_bucket{le="2"} 3\nh_sum 1\nh_count 5\n'), []);
  assert.deepEqual(told('# TYPE h histogram\nh_bucket{le="1"} 5\nh_bucket{le="+Inf"} 5\nh_sum 1\nh_count 9\n'), []);
  assert.deepEqual(told('# TYPE h histogram\nh_bucket{le="wide"} 5\n'), ["__name__=h_bucket le=wide 5"]);
  assert.deepEqual(told('# TYPE h histogram\nh_bucket{le="2"} 5\nh_bucket{le="1"} 3\nh_sum 1\n'), [
    "__name__=h 5/1 [1,2] 0+2 [3,2] true",
  ]);
  assert.deepEqual(told("# TYPE h histogram\nh_created 5\nh_count 2\nh_sum 3\n"), [
    "__name__=h_created 5",
    "__name__=h 2/3 [] 0+1 [2] true",
  ]);
});

test("times and exemplars go along", () => {
  const text =
    '# TYPE h histogram\nh_bucket{le="1"} 1 2.5 # {t="a"} 0.25\nh_bucket{le="+Inf"} 1 2.5 # {t="b"} 9\nh_count 1 2.5\nh_sum 1 2.5\n# EOF\n';
  assert.deepEqual(told(text, { openMetrics: true }), ["__name__=h 1/1 [1] 0+1 [1] true @2500 #0.25 #9"]);
});
