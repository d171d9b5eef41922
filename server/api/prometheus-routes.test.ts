import assert from "node:assert/strict";
import test from "node:test";
import { gunzipSync, inflateSync } from "node:zlib";
import type { RuleGroupState } from "../query/doors.ts";
import { ask, json, listReader, promqlDoor, startFixture } from "./api-fixture.test.ts";

const ASKED = {
  timeoutMs: 120_000,
  lookbackMs: undefined,
  sourceResolutionMs: undefined,
  useStartTimestamps: undefined,
  stats: "none",
  explain: false,
};
const SHOWN = { seriesMax: Number.POSITIVE_INFINITY, warnings: [] };

test("query parameters in address and form; those of the form come first", async (context) => {
  const { url, asked } = await startFixture(context);
  await json(`${url}/api/v1/query?query=up&time=1.5`);
  await json(
    `${url}/api/v1/query?query=up&time=2023-11-14T22:13:20.123456Z&timeout=10s&limit=7&lookback_delta=1m&explain=1`,
  );
  await json(`${url}/api/v1/query?query=up&time=1`, { method: "POST", body: new URLSearchParams({ query: "down" }) });
  const parts = new FormData();
  parts.set("query", "parts");
  await json(`${url}/api/v1/query?time=2`, { method: "POST", body: parts });
  await json(`${url}/api/v1/query?query=up&time=3`, {
    method: "POST",
    headers: { "content-type": "text/plain" },
    body: "query=x",
  });
  await json(`${url}/api/v1/query_range?stats=all`, {
    method: "POST",
    headers: { "x-prometheus-use-start-timestamps": "T" },
    body: new URLSearchParams({
      query: "up",
      start: "1699990000",
      end: "2023-11-14T22:13:20+01:00",
      step: "1d",
      max_source_resolution: "auto",
    }),
  });
  await json(`${url}/api/v1/query?query=up&time=4&stats=yes&lookback_delta=-1`);
  const seen = asked.map((request) => {
    if (!("signal" in request)) return request;
    const { signal, ...rest } = request;
    assert.ok(signal instanceof AbortSignal);
    return rest;
  });
  assert.deepEqual(seen, [
    { query: "up", timeMs: 1500, ...ASKED, ...SHOWN },
    {
      query: "up",
      timeMs: 1_700_000_000_123,
      ...ASKED,
      ...SHOWN,
      timeoutMs: 10_000,
      seriesMax: 7,
      lookbackMs: 60_000,
      explain: true,
    },
    { query: "down", timeMs: 1000, ...ASKED, ...SHOWN },
    { query: "parts", timeMs: 2000, ...ASKED, ...SHOWN },
    { query: "up", timeMs: 3000, ...ASKED, ...SHOWN },
    {
      query: "up",
      startMs: 1_699_990_000_000,
      endMs: 1_699_996_400_000,
      stepMs: 86_400_000,
      ...ASKED,
      ...SHOWN,
      useStartTimestamps: true,
      sourceResolutionMs: 17_280_000,
      stats: "per_step",
    },
    {
      query: "up",
      timeMs: 4000,
      ...ASKED,
      ...SHOWN,
      stats: "totals",
      warnings: [
        'value "yes" for parameter "stats" is deprecated and will be rejected in the next major release, use "true" or "all"',
      ],
    },
  ]);
});

test("refusals in Prometheus' own words", async (context) => {
  const { url } = await startFixture(context);
  const error = async (path: string, message: string, init: RequestInit = {}) => {
    const { status, body } = await json(`${url}/api/v1/${path}`, init);
    assert.deepEqual([status, body], [400, { status: "error", errorType: "bad_data", error: message }], path);
  };
  const resolution =
    "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
  const step = "zero or negative query resolution step widths are not accepted. Try a positive integer";
  await error(
    "query?query=up&time=x",
    'invalid parameter "time": invalid time value for \'time\': cannot parse "x" to a valid timestamp',
  );
  await error("query?query=up&limit=x&time=x", 'invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax');
  await error("query?query=up&timeout=0", 'invalid parameter "timeout": timeout must be positive, got 0s');
  await error(
    "query?query=up&lookback_delta=x",
    'error parsing lookback delta duration: cannot parse "x" to a valid duration',
  );
  await error(
    "query?query=up",
    'error parsing X-Prometheus-Use-Start-Timestamps header: strconv.ParseBool: parsing "x": invalid syntax',
    { headers: { "X-Prometheus-Use-Start-Timestamps": "x" } },
  );
  const range = (parameters: string) => `query_range?query=up&${parameters}`;
  await error(range("end=2&step=1"), 'invalid parameter "start": cannot parse "" to a valid timestamp');
  await error(range("start=2&end=1&step=1"), 'invalid parameter "end": end timestamp must not be before start time');
  await error(range("start=1&end=2"), 'invalid parameter "step": cannot parse "" to a valid duration');
  await error(range("start=1&end=2&step=0"), `invalid parameter "step": ${step}`);
  await error(range("start=0&end=11001&step=1"), resolution);
  await error(range("start=0&end=315360000&step=0.001"), resolution);
  await error("series", "no match[] parameter provided");
  await error("series?match[]=sum(up)", 'invalid parameter "match[]": 1:4: parse error: unexpected "("');
  await error("series?match[]={}", 'invalid parameter "match[]": match[] must contain at least one non-empty matcher');
  await error("series?match[]=%zz", 'error parsing form values: invalid URL escape "%zz"');
  await error("labels?match[]=up[5m]", '1:3: parse error: unexpected "["');
  await error('labels?match[]=up&match[]={a=""}', "match[] must contain at least one non-empty matcher");
  await error(
    "labels?start=x",
    'invalid parameter "start": invalid time value for \'start\': cannot parse "x" to a valid timestamp',
  );
  await error("label/job/values?limit=-1", 'invalid parameter "limit": limit must be non-negative');
  await error("label/U__/values", 'invalid label name: ""');
  await error("metadata?limit=x", "limit must be a number");
  await error("metadata?limit_per_metric=x", "limit_per_metric must be a number");
  await error("query_exemplars?query=up&start=5&end=4", "end timestamp must not be before start timestamp");
  await error("query_exemplars?query=(", "1:2: parse error: unclosed left parenthesis");
  await error("format_query?query=(", 'invalid parameter "query": 1:2: parse error: unclosed left parenthesis');
  await error("targets/metadata?match_target=(", 'invalid parameter "match_target": 1:1: parse error: unexpected "("');
  await error("scrape_pools/config", "no scrapePool parameter provided");
  await error("scrape_pools/config?scrapePool=x", 'error retrieving scrape config: scrape pool "x" not found');
  await error("targets/relabel_steps?scrapePool=x", "no labels parameter provided");
  await error("status/tsdb?limit=0", "limit must be a positive number");
  await error("status/tsdb?limit=10001", "limit must not exceed 10000");
  await error("rules?type=x", 'invalid parameter "type": not supported value "x"');
  await error(
    "rules?exclude_alerts=x",
    'invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing "x": invalid syntax',
  );
  await error(
    "rules?group_limit=x",
    'invalid parameter "group_limit": group_limit needs to be a valid number: strconv.ParseInt: parsing "x": invalid syntax',
  );
  await error("rules?group_limit=0", 'invalid parameter "group_limit": group_limit needs to be greater than 0');
  await error(
    "rules?group_next_token=x",
    'invalid parameter "group_next_token": group_limit needs to be present in order to paginate over the groups',
  );
  await error(
    "rules?group_limit=1&group_next_token=x",
    "invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?",
  );
  const admin = await json(`${url}/api/v1/admin/tsdb/delete_series?match[]=up`, { method: "POST" });
  assert.deepEqual(admin, {
    status: 500,
    body: { status: "error", errorType: "unavailable", error: "admin APIs disabled" },
  });
});

test("series, labels, values, metadata: shapes, limits, empty results", async (context) => {
  const { url } = await startFixture(context);
  const whole = async (path: string) => (await json(`${url}/api/v1/${path}`)).body;
  const data = async (path: string) => ((await whole(path)) as { data: unknown }).data;
  assert.deepEqual(await data("series?match[]=up&match[]=up"), [
    { __name__: "up", job: "a" },
    { __name__: "up", job: "b" },
  ]);
  assert.deepEqual(await data("series?match[]=up&start=5&end=4"), []);
  assert.deepEqual(await data("labels"), ["__name__", "a.b", "job"]);
  assert.deepEqual(await data("labels?match[]=up"), ["__name__", "job"]);
  assert.deepEqual(await data("labels?match[]=nothing"), []);
  assert.deepEqual(await data("label/job/values"), ["a", "b"]);
  assert.deepEqual(await data("label/U__a_2e_b/values"), ["1"]);
  assert.deepEqual(await data("label/a.b/values"), ["1"]);
  assert.deepEqual(await data("metadata"), { up: [{ type: "gauge", help: "Is it up?", unit: "" }] });
  assert.deepEqual(await data("metadata?metric=x"), {});
  assert.deepEqual(await data("metadata?limit=0"), {});
  assert.deepEqual(await data("query_exemplars?query=up"), []);
  assert.equal((await fetch(`${url}/api/v1/query_exemplars?query=1`)).status, 204);
  assert.equal(await data("format_query?query=sum(up)by(a)"), "sum by (a) (up)");
  assert.deepEqual(await data("parse_query?query=-a"), {
    type: "unaryExpr",
    op: "-",
    expr: {
      type: "vectorSelector",
      name: "a",
      matchers: [{ name: "__name__", value: "a", type: "=" }],
      offset: 0,
      offsetExpr: null,
      timestamp: null,
      startOrEnd: null,
      anchored: false,
      smoothed: false,
    },
  });
  const cut = { status: "success", warnings: ["results truncated due to limit"] };
  assert.deepEqual(await whole("label/job/values?limit=1"), { ...cut, data: ["a"] });
  assert.deepEqual(await whole("series?match[]=up&limit=1"), { ...cut, data: [{ __name__: "up", job: "a" }] });
  assert.deepEqual(await whole("labels?limit=3"), { status: "success", data: ["__name__", "a.b", "job"] });
});

test("search: lines of batches and a trailer, metadata by family; off unless its switch is on", async (context) => {
  const off = await startFixture(context);
  const refused = await json(`${off.url}/api/v1/search/metric_names`);
  assert.deepEqual(refused, {
    status: 500,
    body: { status: "error", errorType: "unavailable", error: "search API disabled" },
  });
  const { url } = await startFixture(context, { prometheus: { searchApi: true } });
  const lines = async (path: string) => {
    const answer = await fetch(`${url}/api/v1/search/${path}`);
    assert.equal(answer.headers.get("content-type"), "application/x-ndjson; charset=utf-8", path);
    return (await answer.text())
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
  };
  const last = (more: boolean) => ({ status: "success", has_more: more });
  assert.deepEqual(await lines("metric_names?search[]=u&include_score=true&include_metadata=true"), [
    { results: [{ name: "up", score: 1, type: "gauge", help: "Is it up?" }] },
    last(false),
  ]);
  assert.deepEqual(await lines("metric_names?sort_by=alpha&sort_dir=dsc&batch_size=1"), [
    { results: [{ name: "up" }] },
    { results: [{ name: "down" }] },
    last(false),
  ]);
  assert.deepEqual(await lines("label_values?label=job&limit=1"), [{ results: [{ value: "a" }] }, last(true)]);
  assert.deepEqual(await lines("label_names?search[]=zzz"), [{ results: [] }, last(false)]);
  const error = async (path: string, message: string) => {
    const { body } = await json(`${url}/api/v1/search/${path}`);
    assert.deepEqual(body, { status: "error", errorType: "bad_data", error: message });
  };
  await error("label_values", 'missing required parameter "label"');
  await error("metric_names?fuzz_threshold=101", 'invalid fuzz_threshold "101": must be 0-100');
  await error("metric_names?fuzz_alg=x", 'unsupported fuzz_alg "x": must be one of [subsequence jarowinkler]');
  await error("metric_names?sort_by=x", 'invalid sort_by "x" for metric_names: must be "alpha" or "score"');
  await error("metric_names?sort_by=score", "sort_by=score requires search[] to be set");
  await error("metric_names?limit=0", 'invalid limit "0": must be a positive integer');
  await error("metric_names?start=x", "invalid time value for 'start': cannot parse \"x\" to a valid timestamp");
  await error("metric_names?match[]={}", "match[] must contain at least one non-empty matcher");
});

test("exemplars of every selector, each series once, values as text", async (context) => {
  const labels = (name: string): [string, string][] => [["__name__", name]];
  const one = { labels: [["trace_id", "ab"]] as [string, string][], timestampMs: 1_600_000_000_479, value: 1e-7 };
  const { url } = await startFixture(context, {
    reader: {
      ...listReader(() => []),
      exemplars: async (matchers) => [{ labels: labels(matchers[0]?.value ?? ""), exemplars: [one] }],
    },
  });
  const { body } = await json(`${url}/api/v1/query_exemplars?query=rate(b[5m])+/+a+%2B+a`);
  const exemplars = [{ labels: { trace_id: "ab" }, value: "1e-07", timestamp: 1_600_000_000.479 }];
  assert.deepEqual(body, {
    status: "success",
    data: [
      { seriesLabels: { __name__: "a" }, exemplars },
      { seriesLabels: { __name__: "b" }, exemplars },
    ],
  });
});

test("what the server says of itself", async (context) => {
  const { url } = await startFixture(context);
  const data = async (path: string) => ((await json(`${url}/api/v1/${path}`)).body as { data: never }).data;
  assert.deepEqual(await data("status/buildinfo"), {
    version: "3.16.0",
    revision: "thalweg-1.2.3",
    branch: "",
    buildUser: "",
    buildDate: "",
    goVersion: "",
  });
  const { storageRetention, serverTime } = await data("status/runtimeinfo");
  assert.deepEqual([storageRetention, serverTime], ["15d", "2023-11-14T22:13:20.000Z"]);
  assert.deepEqual(await data("status/flags"), { "query-timeout": "2m" });
  assert.deepEqual(await data("status/config"), { yaml: "global: {}\n" });
  assert.deepEqual(await data("status/tsdb/blocks"), {
    blocks: [
      {
        ulid: "00000000000000000000000007",
        minTime: 1,
        maxTime: 3,
        stats: { numSamples: 6, numSeries: 3, numBytes: 900 },
        compaction: { level: 2, sources: ["00000000000000000000000004", "00000000000000000000000005"] },
        version: 1,
      },
    ],
  });
  assert.deepEqual(await data("status/tsdb?limit=2"), {
    headStats: { numSeries: 3, numLabelPairs: 5, chunkCount: 4, minTime: 1, maxTime: Number.MIN_SAFE_INTEGER },
    seriesCountByMetricName: [{ name: "up", value: 2 }],
    labelValueCountByLabelName: [{ name: "job", value: 6 }],
    memoryInBytesByLabelName: [{ name: "job", value: 7 }],
    seriesCountByLabelValuePair: [{ name: "job=a", value: 8 }],
  });
  const features: Record<string, Record<string, boolean>> = await data("features");
  assert.equal(features["promql_functions"]?.["rate"], true);
  assert.equal(features["promql_functions"]?.["info"], false);
  assert.equal(features["promql"]?.["fill"], false);
  assert.equal(features["api"]?.["admin"], false);
  assert.deepEqual(await data("targets"), { activeTargets: [], droppedTargets: [], droppedTargetCounts: {} });
  assert.deepEqual(await data("targets?state=active"), {
    activeTargets: [],
    droppedTargets: [],
    droppedTargetCounts: null,
  });
  assert.deepEqual(await data("targets/metadata"), []);
  assert.deepEqual(await data("scrape_pools"), { scrapePools: [] });
  assert.deepEqual(await data("alertmanagers"), { activeAlertmanagers: [], droppedAlertmanagers: [] });
  assert.deepEqual(await data("notifications"), []);
  assert.deepEqual(await data("status/walreplay"), { min: 0, max: 0, current: 0 });
});

test("methods: 405 names those that are allowed, HEAD too; OPTIONS is answered everywhere", async (context) => {
  const { url } = await startFixture(context);
  const method = async (name: string, path: string) => {
    const { status, headers } = await ask(`${url}/api/v1/${path}`, { method: name });
    return [status, headers.allow];
  };
  for (const name of ["HEAD", "PUT", "DELETE", "PATCH"]) {
    assert.deepEqual(await method(name, "query?query=1"), [405, "GET, OPTIONS, POST"], name);
  }
  assert.deepEqual(await method("POST", "metadata"), [405, "GET, OPTIONS"]);
  assert.deepEqual(await method("POST", "label/a/values"), [405, "GET, OPTIONS"]);
  assert.deepEqual(await method("GET", "admin/tsdb/snapshot"), [405, "OPTIONS, POST, PUT"]);
  assert.equal((await ask(`${url}/api/v1/query`, { method: "PUT" })).text, "Method Not Allowed\n");
  for (const path of ["query", "label/a/values", "nothing/here"]) {
    assert.deepEqual(await method("OPTIONS", path), [204, undefined], path);
  }
  const unknown = await ask(`${url}/api/v1/xyz`);
  assert.equal(unknown.status, 404);
  assert.match(unknown.headers["content-type"] ?? "", /json/);
});

test("CORS: Prometheus' headers for any origin, leave only for those that the setting names", async (context) => {
  const { url } = await startFixture(context);
  const headersOf = async (origin: string, method = "OPTIONS") => {
    const options = { method, headers: { origin, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors" } };
    const { status, headers } = await ask(`${url}/api/v1/query?query=1`, options);
    return [status, headers["access-control-allow-origin"], headers["access-control-allow-methods"]];
  };
  const methods = "GET, POST, OPTIONS";
  assert.deepEqual(await headersOf("http://friend.example"), [204, "http://friend.example", methods]);
  assert.deepEqual(await headersOf("http://friend.example", "POST"), [200, "http://friend.example", methods]);
  assert.deepEqual(await headersOf("http://friend.example.evil"), [204, undefined, methods]);
  assert.deepEqual((await headersOf("http://evil.example", "POST"))[0], 403);
  assert.deepEqual((await headersOf("http://evil.example", "GET"))[0], 403);
  const plain = await ask(`${url}/api/v1/query?query=1`);
  assert.equal(plain.headers.vary, "Origin, Accept-Encoding");
  assert.equal(plain.headers["access-control-allow-methods"], undefined);
});

test("answers of any size and errors are compressed as the client asks; Accept changes nothing", async (context) => {
  const { url } = await startFixture(context);
  const encoded = async (header: string, path = "query?query=1") => {
    const { headers, bytes } = await ask(`${url}/api/v1/${path}`, { headers: { "accept-encoding": header } });
    const encoding = headers["content-encoding"];
    const plain = encoding === "gzip" ? gunzipSync(bytes) : encoding === "deflate" ? inflateSync(bytes) : bytes;
    assert.match(plain.toString(), /^\{"status":/);
    return encoding;
  };
  assert.equal(await encoded("gzip"), "gzip");
  assert.equal(await encoded("gzip, deflate, br"), "gzip");
  assert.equal(await encoded("deflate, gzip"), "deflate");
  assert.equal(await encoded("br"), undefined);
  assert.equal(await encoded("gzip;q=0"), undefined);
  assert.equal(await encoded("gzip", "labels?limit=x"), "gzip");
  for (const accept of ["text/html", "image/png;q=0.5", "garbage", "application/json;q=0"]) {
    const { status, headers } = await ask(`${url}/api/v1/query?query=1`, { headers: { accept } });
    assert.deepEqual([status, headers["content-type"]], [200, "application/json"], accept);
  }
});

test("a client that leaves aborts what works for it", async (context) => {
  const left = Promise.withResolvers<void>();
  const entered = Promise.withResolvers<void>();
  const { url } = await startFixture(context, {
    promql: promqlDoor({
      instant: async ({ signal }) => {
        signal?.addEventListener("abort", () => left.resolve());
        entered.resolve();
        await left.promise;
        return { status: 499, body: Buffer.from("{}") };
      },
    }),
  });
  const impatient = new AbortController();
  const asked = fetch(`${url}/api/v1/query?query=1`, { signal: impatient.signal });
  await entered.promise;
  impatient.abort();
  await assert.rejects(asked, /abort/);
  await left.promise;
});

const GROUPS: readonly RuleGroupState[] = [
  {
    name: "g1",
    file: "a.yml",
    intervalSeconds: 30,
    limit: 0,
    evaluationSeconds: 0.25,
    lastEvaluationMs: 1_700_000_000_120,
    rules: [
      {
        kind: "recording",
        name: "job:up:sum",
        query: "sum by (job) (up)",
        labels: [["team", "x"]],
        health: "ok",
        lastError: "",
        evaluationSeconds: 0.125,
        lastEvaluationMs: 1_700_000_000_000,
      },
      {
        kind: "alerting",
        name: "Down",
        query: "up == 0",
        labels: [["severity", "page"]],
        health: "err",
        lastError: "no luck",
        evaluationSeconds: 0,
        lastEvaluationMs: undefined,
        state: "firing",
        holdSeconds: 300,
        keepFiringSeconds: 0,
        annotations: [["summary", "down"]],
        alerts: [
          {
            labels: [["alertname", "Down"]],
            annotations: [["summary", "down"]],
            state: "firing",
            activeAtMs: 1_700_000_000_500,
            keepFiringSinceMs: undefined,
            value: 1,
          },
        ],
      },
    ],
  },
  {
    name: "g2",
    file: "b.yml",
    intervalSeconds: 60,
    limit: 5,
    evaluationSeconds: 0,
    lastEvaluationMs: undefined,
    rules: [
      {
        kind: "recording",
        name: "other",
        query: "up",
        labels: [],
        health: "unknown",
        lastError: "",
        evaluationSeconds: 0,
        lastEvaluationMs: undefined,
      },
    ],
  },
];

test("rules and alerts in Prometheus' shape, filtered and paged", async (context) => {
  const { url } = await startFixture(context, { prometheus: { ruleGroups: () => GROUPS } });
  const data = async (path: string) => ((await json(`${url}/api/v1/${path}`)).body as { data: never }).data;
  const names = async (parameters: string) => {
    const { groups }: { groups: { name: string; rules: { name: string }[] }[] } = await data(`rules?${parameters}`);
    return groups.map(({ name, rules }) => [name, ...rules.map((rule) => rule.name)].join(" "));
  };
  const alert = {
    labels: { alertname: "Down" },
    annotations: { summary: "down" },
    state: "firing",
    activeAt: "2023-11-14T22:13:20.5Z",
    value: "1e+00",
  };
  assert.deepEqual(await data("alerts"), { alerts: [alert] });
  const { groups }: { groups: unknown[] } = await data("rules?file[]=a.yml");
  assert.deepEqual(groups, [
    {
      name: "g1",
      file: "a.yml",
      rules: [
        {
          name: "job:up:sum",
          query: "sum by (job) (up)",
          labels: { team: "x" },
          health: "ok",
          evaluationTime: 0.125,
          lastEvaluation: "2023-11-14T22:13:20Z",
          type: "recording",
        },
        {
          state: "firing",
          name: "Down",
          query: "up == 0",
          duration: 300,
          keepFiringFor: 0,
          labels: { severity: "page" },
          annotations: { summary: "down" },
          alerts: [alert],
          health: "err",
          lastError: "no luck",
          evaluationTime: 0,
          lastEvaluation: "0001-01-01T00:00:00Z",
          type: "alerting",
        },
      ],
      interval: 30,
      limit: 0,
      evaluationTime: 0.25,
      lastEvaluation: "2023-11-14T22:13:20.12Z",
    },
  ]);
  assert.deepEqual(await names(""), ["g1 job:up:sum Down", "g2 other"]);
  assert.deepEqual(await names("type=record"), ["g1 job:up:sum", "g2 other"]);
  assert.deepEqual(await names("type=ALERT"), ["g1 Down"]);
  assert.deepEqual(await names("rule_name[]=other&rule_name[]=Down"), ["g1 Down", "g2 other"]);
  assert.deepEqual(await names("rule_group[]=g2"), ["g2 other"]);
  assert.deepEqual(await names('match[]={severity="page"}&match[]={team=~"x|y"}'), ["g1 job:up:sum Down"]);
  const first: { groupNextToken: string } = await data("rules?group_limit=1");
  assert.match(first.groupNextToken, /^[0-9a-f]{64}$/);
  assert.deepEqual(await names(`group_limit=1&group_next_token=${first.groupNextToken}`), ["g2 other"]);
  assert.equal("groupNextToken" in (await data("rules?group_limit=2")), false);
});
