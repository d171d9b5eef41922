// biome-ignore-all lint/suspicious/noTemplateCurlyInString: templates of relabelling look like that.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type RelabelRule, relabel } from "./relabel.ts";
import { sampleLabels } from "./sample-labels.ts";
import { readScrapeConfig } from "./scrape-config.ts";
import type { ScrapeJob } from "./scrape-job.ts";
import { targetsOf } from "./target.ts";

/** Jobs of a text that is right. */
function jobs(text: string): readonly ScrapeJob[] {
  const outcome = readScrapeConfig("/etc/scrape.yml", text);
  if (outcome.kind === "refused") throw new Error(outcome.reasons.join("\n"));
  return outcome.jobs;
}

function job(more: string): ScrapeJob {
  const [only] = jobs(`scrape_configs:\n- job_name: a\n  static_configs: [{targets: ["h:1"]}]\n${more}`);
  assert.ok(only !== undefined);
  return only;
}

test("a job takes its defaults, those of global, and names files from the file's directory", () => {
  const [plain, own] = jobs(`
global: {scrape_interval: 30s, sample_limit: 7, body_size_limit: 2MB}
scrape_configs:
  - job_name: plain
  - job_name: own
    scrape_interval: 5s
    scheme: https
    metrics_path: /m
    sample_limit: 9
    basic_auth: {username: u, password_file: secret.txt}
    tls_config: {ca_file: /ca.pem, insecure_skip_verify: true}
    file_sd_configs: [{files: [t.json, "/abs/*.yml"]}]
    scrape_native_histograms: true
`);
  assert.partialDeepStrictEqual(plain, {
    intervalMs: 30_000,
    timeoutMs: 10_000,
    scheme: "http",
    metricsPath: "/metrics",
  });
  assert.equal(
    plain?.accept,
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,application/openmetrics-text;version=0.0.1;q=0.6," +
      "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
  );
  assert.partialDeepStrictEqual(plain?.limits, { samples: 7, bodyBytes: 2 * 2 ** 20 });
  assert.partialDeepStrictEqual(own, { intervalMs: 5_000, timeoutMs: 5_000, scheme: "https", metricsPath: "/m" });
  assert.equal(own?.limits.samples, 9);
  assert.match(own?.accept ?? "", /^application\/vnd.google.protobuf/);
  assert.deepEqual(own?.http.basic, { username: { text: "u" }, password: { file: "/etc/secret.txt" } });
  assert.deepEqual(own?.http.tls.ca, { file: "/ca.pem" });
  assert.deepEqual(own?.discovery, [{ kind: "file", patterns: ["/etc/t.json", "/abs/*.yml"], refreshMs: 300_000 }]);
});

test("a job is printed as it stands in the file, with its defaults and never a secret", () => {
  const printed = jobs(`
global: {scrape_interval: 30s, scrape_native_histograms: true}
scrape_configs:
  - job_name: all
    scrape_timeout: 5s
    metrics_path: null
    basic_auth: {username: u, password: hidden}
    tls_config: {key: hidden, ca: shown}
    http_headers: {x-a: {values: [shown], secrets: [hidden, hidden]}}
    params: {key: [shown]}
    static_configs: [{targets: ["h:1"], labels: {password: shown}}]
    http_sd_configs:
      - url: https://me:hid@den@host/a?b=c:d@e
        authorization: {credentials: hidden}
`)[0]?.print();
  assert.equal(
    printed,
    `job_name: all
scrape_interval: 30s
scrape_timeout: 5s
scrape_native_histograms: true
always_scrape_classic_histograms: false
convert_classic_histograms_to_nhcb: false
metrics_path: /metrics
scheme: http
basic_auth:
  username: u
  password: <secret>
tls_config:
  key: <secret>
  ca: shown
http_headers:
  x-a:
    values:
      - shown
    secrets:
      - <secret>
      - <secret>
params:
  key:
    - shown
static_configs:
  - targets:
      - h:1
    labels:
      password: shown
http_sd_configs:
  - url: https://me:xxxxx@host/a?b=c:d@e
    authorization:
      credentials: <secret>
`,
  );
});

test("what is wrong is told with its line, and never a secret", () => {
  const cases: [string, RegExp][] = [
    [
      "scrape_configs: [{job_name: a, consul_sd_configs: [{}]}]",
      /consul_sd_configs is not read; have static_configs, /,
    ],
    [
      "scrape_configs: [{job_name: a, static_configs: [{targets: ['http://h:1']}]}]",
      /"http:\/\/h:1" is not a valid host/,
    ],
    ["scrape_configs: [{job_name: ''}]", /line 1: job_name is empty/],
    ["scrape_configs: [{job_name: a}, {job_name: a}]", /multiple scrape configs with job name "a"/],
    ["scrape_configs:\n- job_name: a\n  bogus: 1", /line 3: field bogus not found in scrape_config/],
    [
      "scrape_configs: [{job_name: a, scrape_interval: 1s, scrape_timeout: 2s}]",
      /timeout greater than scrape interval/,
    ],
    ["scrape_configs: [{job_name: a, kubernetes_sd_configs: []}]", /kubernetes_sd_configs is not read/],
    ["scrape_configs: [{job_name: a, honor_labels: maybe}]", /cannot unmarshal "maybe" into bool/],
    ["scrape_configs: [{job_name: a, scheme: ftp}]", /scheme "ftp" is not http or https/],
    ["scrape_configs: [{job_name: a, body_size_limit: lots}]", /"lots" is no size such as 10MB/],
    [
      "scrape_configs: [{job_name: a, scrape_protocols: [X]}]",
      /unknown scrape protocol X, supported: OpenMetricsText0.0.1/,
    ],
    ["scrape_configs: [{job_name: a, relabel_configs: [{action: fly}]}]", /unknown relabel action "fly"/],
    ["scrape_configs: [{job_name: a, relabel_configs: [{action: hashmod, target_label: b}]}]", /non-zero modulus/],
    ["scrape_configs: [{job_name: a, relabel_configs: [{action: replace}]}]", /requires 'target_label' value/],
    [
      "scrape_configs: [{job_name: a, relabel_configs: [{action: labeldrop, regex: a, target_label: b}]}]",
      /requires only 'regex'/,
    ],
    ["scrape_configs: [{job_name: a, relabel_configs: [{target_label: b, regex: '('}]}]", /missing closing \)/],
    ["scrape_configs: [{job_name: a, dns_sd_configs: [{names: [x], type: A}]}]", /a port is required/],
    [
      "scrape_configs: [{job_name: a, basic_auth: {password: hidden, password_file: f}}]",
      /at most one of password & password_file/,
    ],
    ["scrape_configs: 1", /cannot unmarshal into scrape_configs: it takes a list/],
  ];
  for (const [text, wanted] of cases) {
    const outcome = readScrapeConfig("f.yml", text);
    assert.equal(outcome.kind, "refused", text);
    const told = outcome.kind === "refused" ? outcome.reasons.join("\n") : "";
    assert.match(told, wanted);
    assert.doesNotMatch(told, /hidden/);
  }
  const passed = readScrapeConfig("f.yml", "rule_files: [a]\nscrape_configs: []");
  assert.deepEqual(passed.kind === "jobs" && passed.warnings, [
    "f.yml: rule_files is passed over: rules come from --rule-files",
  ]);
});

function rule(more: Partial<RelabelRule>): RelabelRule {
  return {
    action: "replace",
    sourceLabels: [],
    separator: ";",
    regex: "(.*)",
    modulus: 0n,
    targetLabel: "",
    replacement: "$1",
    ...more,
  };
}

test("relabelling: every action", () => {
  const after = (rules: Partial<RelabelRule>[], labels: Record<string, string> = { a: "foo", b: "Bar", c: "baz" }) => {
    const map = new Map(Object.entries(labels));
    return relabel(map, rules.map(rule)) ? Object.fromEntries([...map].sort()) : undefined;
  };
  const same = { a: "foo", b: "Bar", c: "baz" };
  const cases: [Partial<RelabelRule>, Record<string, string> | undefined][] = [
    [
      { sourceLabels: ["a"], regex: "f(.*)", targetLabel: "d", replacement: "ch${1}-$1x" },
      { ...same, d: "choo-" },
    ],
    [
      { sourceLabels: ["a", "b"], regex: "f(.*);(.*)r", targetLabel: "a", replacement: "b${1}${2}m" },
      { ...same, a: "booBam" },
    ],
    [{ sourceLabels: ["a"], regex: "nothing", targetLabel: "a", replacement: "x" }, same],
    [
      { sourceLabels: ["a"], targetLabel: "a", replacement: "" },
      { b: "Bar", c: "baz" },
    ],
    [
      { sourceLabels: ["a"], regex: "(f).*", targetLabel: "${1}_name", replacement: "x" },
      { ...same, f_name: "x" },
    ],
    [{ sourceLabels: ["a"], regex: "fo", action: "keep" }, undefined],
    [{ sourceLabels: ["a"], regex: "fo+", action: "keep" }, same],
    [{ sourceLabels: ["a"], regex: "fo+", action: "drop" }, undefined],
    [
      { sourceLabels: ["c"], targetLabel: "d", action: "hashmod", modulus: 1000n },
      { ...same, d: "976" },
    ],
    [
      { regex: "(b.*|c)", action: "labelmap", replacement: "new_${1}" },
      { ...same, new_b: "Bar", new_c: "baz" },
    ],
    [{ regex: "[ab]", action: "labeldrop" }, { c: "baz" }],
    [
      { regex: "[ab]", action: "labelkeep" },
      { a: "foo", b: "Bar" },
    ],
    [
      { sourceLabels: ["b"], targetLabel: "b", action: "uppercase" },
      { ...same, b: "BAR" },
    ],
    [
      { sourceLabels: ["b"], targetLabel: "d", action: "lowercase" },
      { ...same, d: "bar" },
    ],
    [{ sourceLabels: ["a"], targetLabel: "b", action: "keepequal" }, undefined],
    [{ sourceLabels: ["a"], targetLabel: "a", action: "dropequal" }, undefined],
    [{ sourceLabels: ["a"], targetLabel: "b", action: "dropequal" }, same],
  ];
  for (const [given, wanted] of cases)
    assert.deepEqual(
      after([given]),
      wanted,
      JSON.stringify(given, (_, v) => String(v)),
    );
});

test("targets: labels, URL and reasons", () => {
  const made = job(`  params: {q: [x, y]}\n  relabel_configs:
  - {source_labels: [__address__], regex: "(.*):.*", target_label: __param_q, replacement: "$1"}
  - {source_labels: [__meta_kind], target_label: kind}
  - {source_labels: [kind], regex: bad, action: drop}\n`);
  const group = (address: string, labels: [string, string][] = []) => ({
    source: "s",
    targets: [new Map([["__address__", address]])],
    labels: new Map(labels),
  });
  const [good] = targetsOf(
    made,
    group("h:1", [
      ["__meta_kind", "k"],
      ["zone", "z"],
    ]),
  );
  assert.equal(good?.kind, "target");
  assert.partialDeepStrictEqual(good, {
    target: {
      url: "http://h:1/metrics?q=h&q=y",
      labels: [
        ["instance", "h:1"],
        ["job", "a"],
        ["kind", "k"],
        ["zone", "z"],
      ],
      intervalMs: 60_000,
    },
  });
  assert.equal(targetsOf(made, group("h:1", [["__meta_kind", "bad"]]))[0]?.kind, "dropped");
  assert.deepEqual(targetsOf(made, group("http://h/")), [
    { kind: "invalid", reason: 'instance 0 in group s: "http://h/" is not a valid hostname' },
  ]);
  assert.partialDeepStrictEqual(targetsOf(made, group("")), [{ kind: "invalid" }]);
  assert.partialDeepStrictEqual(targetsOf(made, group("h:1", [["__scrape_timeout__", "2m"]])), [{ kind: "invalid" }]);
});

test("limits of queries and external labels stand in the file too", () => {
  const text = "global: {query_max_series: 5, query_max_duration: 1m, external_labels: {b: $X, a: '1'}}";
  const outcome = readScrapeConfig("a.yml", text);
  assert.ok(outcome.kind === "jobs");
  assert.deepEqual(outcome.externalLabels, [
    ["b", "$X"],
    ["a", "1"],
  ]);
  assert.equal(outcome.warnings.length, 2);
});

test("rules see and set how histograms of a target are scraped", () => {
  const made = job(`  always_scrape_classic_histograms: true\n  relabel_configs:
  - {source_labels: [__meta_native], regex: (.+), target_label: __scrape_native_histograms__, replacement: "$1"}
  - {source_labels: [__always_scrape_classic_histograms__], target_label: seen}
  - {source_labels: [__meta_native], regex: T, target_label: __always_scrape_classic_histograms__, replacement: ""}\n`);
  const [plain, asked, wrong] = targetsOf(made, {
    source: "s",
    targets: ["", "T", "maybe"].map((native) => {
      return new Map([
        ["__address__", "h:1"],
        ["__meta_native", native],
      ]);
    }),
    labels: new Map([["__convert_classic_histograms_to_nhcb__", "1"]]),
  });
  assert.partialDeepStrictEqual(plain, {
    kind: "target",
    target: {
      discovered: [
        ["__address__", "h:1"],
        ["__always_scrape_classic_histograms__", "true"],
        ["__convert_classic_histograms_to_nhcb__", "1"],
      ],
      labels: [
        ["instance", "h:1"],
        ["job", "a"],
        ["seen", "true"],
      ],
      histograms: { native: false, alwaysClassic: true, convertClassic: true },
    },
  });
  assert.deepEqual(asked?.kind === "target" && asked.target.histograms, {
    native: true,
    alwaysClassic: true,
    convertClassic: true,
  });
  assert.deepEqual(wrong, {
    kind: "invalid",
    reason: 'instance 2 in group s: __scrape_native_histograms__ "maybe" is neither true nor false',
  });
});

test("an empty label of a target hides the one of its group", () => {
  const [made] = targetsOf(job(""), {
    source: "s",
    targets: [
      new Map([
        ["__address__", "h:1"],
        ["zone", ""],
      ]),
    ],
    labels: new Map([["zone", "z"]]),
  });
  assert.deepEqual(made?.kind === "target" && made.target.labels, [
    ["instance", "h:1"],
    ["job", "a"],
  ]);
});

test("labels of samples: those of the target win, the exposed ones move aside; or the other way round", () => {
  const target = [
    ["instance", "h:1"],
    ["job", "a"],
  ] as const;
  const exposed = (): [string, string][] => [
    ["__name__", "m"],
    ["job", "theirs"],
    ["exported_job", "older"],
    ["empty", ""],
  ];
  assert.deepEqual(sampleLabels(exposed(), target, job("")), {
    kind: "labels",
    labels: [
      ["__name__", "m"],
      ["exported_exported_job", "theirs"],
      ["exported_job", "older"],
      ["instance", "h:1"],
      ["job", "a"],
    ],
  });
  const honest = sampleLabels(exposed(), target, job("  honor_labels: true\n"));
  assert.deepEqual(honest.kind === "labels" && honest.labels[3], ["job", "theirs"]);
  const limited = sampleLabels(exposed(), target, job("  label_value_length_limit: 4\n"));
  assert.match(limited.kind === "invalid" ? limited.reason : "", /label_value_length_limit exceeded \(metric: m/);
  const long = (length: number): [string, string][] => [
    ["__name__", "m"],
    ["b", "c".repeat(length)],
  ];
  assert.equal(sampleLabels(long(65_536), target, job("")).kind, "labels");
  const tooLong = sampleLabels(long(65_537), target, job(""));
  const why = "the value of label b has more than 65536 characters, the limit";
  assert.deepEqual(tooLong, { kind: "invalid", reason: why });
  const many = Array.from({ length: 1_100 }, (_, at): [string, string] => [`l${at}`, "v"]);
  const tooMany = sampleLabels([["__name__", "m"], ...many], target, job(""));
  assert.match(tooMany.kind === "invalid" ? tooMany.reason : "", /^a series has 11\d\d labels; the limit is 1024$/);
  const twice = sampleLabels(
    [
      ["a", "1"],
      ["a", "2"],
    ],
    target,
    job(""),
  );
  assert.equal(twice.kind, "invalid");
});
