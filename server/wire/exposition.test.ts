import assert from "node:assert/strict";
import { test } from "node:test";
import { type ExposedMetadata, type ExposedSample, ExpositionError, formatOf, openMetricsFloat } from "./exposition.ts";
import { ProtobufExposition } from "./exposition-protobuf.ts";
import { TextExposition } from "./exposition-text.ts";

interface Told {
  readonly samples: { labels: Record<string, string>; value: number; ms?: number; exemplar?: object }[];
  readonly metadata: ExposedMetadata[];
}

/** All that a text tells, in turns of one line. */
function told(text: string, openMetrics = false): Told {
  const found: Told = { samples: [], metadata: [] };
  const reader = new TextExposition(
    text,
    { openMetrics, isUtf8: true },
    {
      describe: (metadata) => found.metadata.push(metadata),
      sample: (sample) => found.samples.push(plain(sample)),
    },
  );
  while (reader.read(1));
  return found;
}

function plain({ labels, value, timestampMs, exemplars }: ExposedSample) {
  const [first] = exemplars;
  return {
    labels: Object.fromEntries(labels()),
    value,
    ...(timestampMs === undefined ? {} : { ms: timestampMs }),
    ...(first === undefined ? {} : { exemplar: { ...first, labels: Object.fromEntries(first.labels) } }),
  };
}

function refusal(text: string, openMetrics = false): string {
  try {
    told(text, openMetrics);
  } catch (error) {
    if (error instanceof ExpositionError) return error.message;
    throw error;
  }
  return "";
}

test("text: names, labels, escapes, values and times as Prometheus reads them", () => {
  const { samples, metadata } = told(
    [
      '# HELP http_requests_total All \\\\ requests\\nof the \\"server\\".',
      "# TYPE http_requests_total counter",
      'http_requests_total{method="post",code="200",} 1027 1395066363000',
      "# a comment",
      "",
      "  \t",
      'msdos_file_access_time_seconds{path="C:\\\\DIR\\\\FILE.TXT",error="Cannot \\"open\\"\\nit"} 1.458255915e9',
      'something_weird{problem="division by zero"} +Inf -1'.replace(" -1", ""),
      "nan_value NaN",
      'small{ a = "1" , b = "2" } -.5e-3',
      '{"my.metric", "label.x"="y"} 3',
      "name{}\t4\t17",
    ].join("\n"),
  );
  assert.deepEqual(metadata, [
    { name: "http_requests_total", help: 'All \\ requests\nof the \\"server\\".' },
    { name: "http_requests_total", type: "counter" },
  ]);
  assert.deepEqual(samples, [
    { labels: { __name__: "http_requests_total", method: "post", code: "200" }, value: 1027, ms: 1395066363000 },
    {
      labels: {
        __name__: "msdos_file_access_time_seconds",
        path: "C:\\DIR\\FILE.TXT",
        error: 'Cannot "open"\nit',
      },
      value: 1.458255915e9,
    },
    { labels: { __name__: "something_weird", problem: "division by zero" }, value: Infinity },
    { labels: { __name__: "nan_value" }, value: NaN },
    { labels: { __name__: "small", a: "1", b: "2" }, value: -0.0005 },
    { labels: { __name__: "my.metric", "label.x": "y" }, value: 3 },
    { labels: { __name__: "name" }, value: 4, ms: 17 },
  ]);
});

test("text: bounds of histograms and quantiles are spelled as in OpenMetrics, other labels stay", () => {
  const { samples } = told(
    [
      "# TYPE h histogram",
      'h_bucket{le="1"} 1',
      'h_bucket{le="1000000"} 1',
      'h_bucket{le="+Inf"} 1',
      "# TYPE s summary",
      's{quantile="0.50",le="1"} 1',
      "# TYPE g gauge",
      'g{le="1"} 1',
    ].join("\n"),
  );
  assert.deepEqual(
    samples.map(({ labels }) => labels["le"] ?? ""),
    ["1.0", "1e+06", "+Inf", "1", "1"],
  );
  assert.equal(samples[3]?.labels["quantile"], "0.5");
});

test("text: what leaves the format is refused with its line", () => {
  const cases: [string, RegExp][] = [
    ["a", /expected value after metric, in column 2 while parsing: "a"/],
    ['a{b="c" 1', /expected label name/],
    ["a{b='c'} 1", /expected label value/],
    ['a{b="c"} v', /invalid syntax/],
    ["a 1 2.5", /expected next entry after timestamp/],
    ["a 1 -5", /expected timestamp or new record/],
    ["a 1e999", /out of range/],
    ["a 0x1p-2", /invalid syntax/],
    ["9a 1", /expected a valid start token/],
    ['{b="c"} 1', /metric name not set/],
    ['{"a","b"} 1', /metric name already set/],
    ["# TYPE a kind", /invalid metric type "kind"/],
    ['a{b="c\\', /expected label value/],
  ];
  for (const [text, wanted] of cases) assert.match(refusal(text), wanted, text);
  const samples: ExposedSample[] = [];
  const broken = new TextExposition(
    'a{b="\ufffd"} 1\n',
    { openMetrics: false, isUtf8: false },
    {
      describe: () => {},
      sample: (sample) => samples.push(sample),
    },
  );
  assert.throws(() => broken.read(10), /invalid UTF-8 label value/);
});

test("OpenMetrics: exemplars, units, seconds, its end; strict about blanks", () => {
  const { samples, metadata } = told(
    [
      "# TYPE request_seconds histogram",
      "# UNIT request_seconds seconds",
      '# HELP request_seconds Time \\"of\\" requests.',
      'request_seconds_bucket{le="0.1"} 8 # {trace_id="KOO5S4vxi0o"} 0.054',
      'request_seconds_bucket{le="+Inf"} 9 1520879607.789 # {trace_id="x"} 0.67 1520879607.5',
      "request_seconds_count 9",
      "# EOF",
    ].join("\n"),
    true,
  );
  assert.deepEqual(metadata, [
    { name: "request_seconds", type: "histogram" },
    { name: "request_seconds", unit: "seconds" },
    { name: "request_seconds", help: 'Time "of" requests.' },
  ]);
  assert.deepEqual(samples, [
    {
      labels: { __name__: "request_seconds_bucket", le: "0.1" },
      value: 8,
      exemplar: { labels: { trace_id: "KOO5S4vxi0o" }, value: 0.054, timestampMs: undefined },
    },
    {
      labels: { __name__: "request_seconds_bucket", le: "+Inf" },
      value: 9,
      ms: 1520879607789,
      exemplar: { labels: { trace_id: "x" }, value: 0.67, timestampMs: 1520879607500 },
    },
    { labels: { __name__: "request_seconds_count" }, value: 9 },
  ]);
  assert.match(refusal("a 1\n", true), /does not end with # EOF/);
  assert.match(refusal("a 1\n# EOF\nb 1", true), /unexpected data after # EOF/);
  assert.match(refusal("a  1\n# EOF", true), /expected value|invalid syntax/);
  assert.match(refusal('a{ b="c"} 1\n# EOF', true), /expected label name/);
  assert.match(refusal("# UNIT a_bytes seconds\n# EOF", true), /unit "seconds" not a suffix of metric "a_bytes"/);
  assert.match(refusal("\n# EOF", true), /expected a valid start token/);
});

/** Bytes of a length-delimited field. */
function field(number: number, content: Uint8Array | string): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([number * 8 + 2, bytes.length]), bytes]);
}

function double(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = number * 8 + 1;
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

test("protobuf: families become the series of the text formats, native histograms stay whole", () => {
  const label = field(1, Buffer.concat([field(1, "job"), field(2, "a")]));
  const bucket = field(3, Buffer.concat([Buffer.from([8, 3]), double(2, 0.5)]));
  const span = field(12, Buffer.from([8, 2, 16, 2]));
  const native = Buffer.concat([Buffer.from([40, 6]), double(6, 1e-9), span, field(13, Buffer.from([2, 4]))]);
  const histogram = field(7, Buffer.concat([Buffer.from([8, 5]), double(2, 2.5), bucket, native]));
  const family = Buffer.concat([
    field(4, Buffer.concat([label, histogram])),
    field(1, "h"),
    field(2, "Help."),
    Buffer.from([24, 4]),
  ]);
  const bytes = Buffer.concat([Buffer.from([family.length]), family]);
  const names: string[] = [];
  const histograms: unknown[] = [];
  const sink = {
    describe: () => {},
    sample: ({ labels, value, histogram: whole }: ExposedSample) => {
      names.push(`${labels().map(([name, text]) => `${name}=${text}`)} ${value}`);
      if (whole !== undefined) histograms.push(whole);
    },
  };
  new ProtobufExposition(bytes, { native: true, alwaysClassic: false }, sink).read(9);
  assert.deepEqual(names, ["__name__=h,job=a NaN"]);
  assert.partialDeepStrictEqual(histograms, [
    { schema: 3, count: 5, sum: 2.5, zeroThreshold: 1e-9, positiveSpans: [{ offset: 1, length: 2 }], integer: true },
  ]);
  names.length = 0;
  new ProtobufExposition(bytes, { native: false, alwaysClassic: false }, sink).read(9);
  assert.deepEqual(names, [
    "__name__=h_count,job=a 5",
    "__name__=h_sum,job=a 2.5",
    "__name__=h_bucket,job=a,le=0.5 3",
    "__name__=h_bucket,job=a,le=+Inf 5",
  ]);
  const cut = new ProtobufExposition(bytes.subarray(0, -3), { native: true, alwaysClassic: false }, sink);
  assert.throws(() => cut.read(9), ExpositionError);
});

test("random bytes are refused or read, never more", () => {
  let seed = 42;
  const random = () => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return seed / 2 ** 31;
  };
  const good = '# TYPE a counter\na{b="c"} 1 2\n{"d.e",f="g"} 2.5\n# EOF\n';
  const sink = { describe: () => {}, sample: (sample: ExposedSample) => void sample.labels() };
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(good);
    for (let each = 0; each < 1 + (round % 4); each++) bytes[Math.floor(random() * bytes.length)] = random() * 256;
    for (const reader of [
      new TextExposition(bytes.toString(), { openMetrics: round % 2 === 0, isUtf8: false }, sink),
      new ProtobufExposition(bytes, { native: true, alwaysClassic: true }, sink),
    ]) {
      try {
        while (reader.read(3));
      } catch (error) {
        assert.ok(error instanceof ExpositionError, String(error));
      }
    }
  }
});

test("formats are told by the header, or by the fallback", () => {
  assert.equal(formatOf("text/plain; version=0.0.4; charset=utf-8", undefined), "text");
  assert.equal(formatOf("application/openmetrics-text; version=1.0.0", undefined), "openmetrics");
  const protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
  assert.equal(formatOf(protobuf, undefined), "protobuf");
  assert.equal(formatOf("text/html", "text"), "text");
  assert.throws(() => formatOf("", undefined), /blank Content-Type/);
  assert.throws(() => formatOf("text/html", undefined), /unsupported Content-Type "text\/html"/);
});

test("bounds are spelled as Go spells them", () => {
  const spelled: [number, string][] = [
    [1, "1.0"],
    [0, "0.0"],
    [0.1, "0.1"],
    [1e6, "1e+06"],
    [123456, "123456.0"],
    [1e-5, "1e-05"],
    [2.5e-10, "2.5e-10"],
    [-1.5, "-1.5"],
    [Infinity, "+Inf"],
    [NaN, "NaN"],
  ];
  for (const [value, text] of spelled) assert.equal(openMetricsFloat(value), text);
});
