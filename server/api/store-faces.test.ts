import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { gunzipSync } from "node:zlib";
import { requireOrSkip } from "../platform/test-ability.ts";
import { openPromqlDoor } from "../query/promql-door.ts";
import { openIn, temporaryDirectory } from "../store/store-fixture.ts";
import { startFixture } from "./api-fixture.test.ts";

const SHOP = join(import.meta.dirname, "../../../shared/conformance/otlp/sdk-shop");

interface TracesJson {
  resourceSpans: { resource: { attributes: object[] }; scopeSpans: { scope: object; spans: SpanJson[] }[] }[];
}

interface SpanJson {
  traceId: string;
  spanId: string;
  attributes?: { key: string; value: object }[];
  events?: { attributes?: object[] }[];
  [member: string]: unknown;
}

/** Spans by id, as a sender's JSON and ours can be compared: defaults left out, integers as strings, attributes by key. */
function spansById(traces: TracesJson): Map<string, unknown> {
  const found = new Map<string, unknown>();
  for (const { resource, scopeSpans } of traces.resourceSpans) {
    for (const { scope, spans } of scopeSpans) {
      for (const span of spans) found.set(span.spanId, plain({ resource: resource.attributes, scope, span }));
    }
  }
  return found;
}

function plain(value: unknown, name = ""): unknown {
  if (Array.isArray(value)) {
    const list = value.map((each) => plain(each));
    return name === "values" || name === "events" || name === "links" ? list : list.sort(byJson);
  }
  if (typeof value === "number" && name !== "doubleValue") return String(value);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value)
    .filter(([key, member]) => !/^dropped|^schemaUrl$/.test(key) && !isDefault(member, key))
    .map(([key, member]) => [key, plain(member, key)] as const)
    .sort((a, b) => (a[0] < b[0] ? -1 : 1));
  return Object.fromEntries(members);
}

function isDefault(member: unknown, key: string): boolean {
  if (key === "attributes" || key === "events" || key === "links") return Array.isArray(member) && member.length === 0;
  if (key === "status") return JSON.stringify(plain(member)) === "{}";
  return (key === "code" && member === 0) || (key === "message" && member === "");
}

function byJson(a: unknown, b: unknown): number {
  return JSON.stringify(a) < JSON.stringify(b) ? -1 : 1;
}

test("over the real store: what the SDK sent in JSON comes back equal", async (context) => {
  if (!requireOrSkip(context, "suites", existsSync(SHOP) ? "" : `${SHOP} does not exist`)) return;
  const store = await openIn(context, await temporaryDirectory(context));
  const promql = openPromqlDoor({ reader: store.reader, clock: { monotonicMs: () => performance.now() } });
  context.after(() => promql.close());
  const fixture = await startFixture(context, {
    reader: store.reader,
    promql,
    acceptSpans: async ({ batch }) => {
      await store.writer.commitSpans(batch);
      return { kind: "stored", rejected: new Map(), mended: new Map() };
    },
  });
  const sent = new Map<string, unknown>();
  const traceIds = new Set<string>();
  for (const file of readdirSync(SHOP).filter((name) => /-http-traces\.json/.test(name))) {
    const raw = readFileSync(join(SHOP, file));
    const body = file.endsWith(".gz") ? gunzipSync(raw) : raw;
    const traces: TracesJson = JSON.parse(body.toString());
    for (const [id, span] of spansById(traces)) sent.set(id, span);
    for (const group of traces.resourceSpans) {
      for (const scope of group.scopeSpans) for (const span of scope.spans) traceIds.add(span.traceId);
    }
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${fixture.otlpUrl}/v1/traces`, { method: "POST", headers, body });
    assert.equal(answer.status, 200);
  }
  const back = new Map<string, unknown>();
  for (const traceId of traceIds) {
    const answer = await fetch(`${fixture.url}/api/v1/traces/${traceId}`);
    // The route answers TracesData.
    for (const [id, span] of spansById((await answer.json()) as TracesJson)) back.set(id, span);
  }
  assert.ok(sent.size > 100);
  assert.equal(back.size, sent.size);
  for (const [id, span] of sent) assert.deepEqual(back.get(id), span);
});

test("over the real store and PromQL engine: a series through every Prometheus route", async (context) => {
  const store = await openIn(context, await temporaryDirectory(context));
  const promql = openPromqlDoor({ reader: store.reader, clock: { monotonicMs: () => performance.now() } });
  context.after(() => promql.close());
  const { url } = await startFixture(context, { reader: store.reader, promql });
  const nowMs = 1_700_000_000_000;
  await store.writer.appendSamples([
    {
      labels: [
        ["__name__", "up"],
        ["job", "a"],
      ],
      timestampMs: nowMs,
      value: 1,
    },
  ]);
  const data = async (path: string) => {
    const answer = await fetch(`${url}/api/v1/${path}`);
    const body = (await answer.json()) as { status: string; data: unknown };
    assert.equal(body.status, "success", JSON.stringify(body));
    return body.data;
  };
  assert.deepEqual(await data("query?query=up"), {
    resultType: "vector",
    result: [{ metric: { __name__: "up", job: "a" }, value: [1_700_000_000, "1"] }],
  });
  assert.deepEqual(await data("query_range?query=up*2&start=1699999999&end=1700000001&step=1"), {
    resultType: "matrix",
    result: [
      {
        metric: { job: "a" },
        values: [
          [1_700_000_000, "2"],
          [1_700_000_001, "2"],
        ],
      },
    ],
  });
  assert.deepEqual(await data('series?match[]={job=~"a|b"}'), [{ __name__: "up", job: "a" }]);
  assert.deepEqual(await data("labels"), ["__name__", "job"]);
  assert.deepEqual(await data("label/job/values?match[]=up"), ["a"]);
  assert.deepEqual(await data("label/job/values?start=1&end=2"), []);
  const wrong = await fetch(`${url}/api/v1/query?query=sum(`);
  assert.equal(wrong.status, 400);
  assert.equal(((await wrong.json()) as { errorType: string }).errorType, "bad_data");
});
