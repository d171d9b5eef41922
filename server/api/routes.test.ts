import assert from "node:assert/strict";
import type http from "node:http";
import net from "node:net";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ThalwegError } from "../model/errors.ts";
import { oracleDecode, oracleEncode } from "../wire/trace-oracle.ts";
import type { Fixture } from "./api-fixture.test.ts";
import { ask, json, promqlDoor, startFixture } from "./api-fixture.test.ts";
import { CONTENT_SECURITY_POLICY } from "./asset-routes.ts";

async function storeSpan(fixture: Fixture): Promise<string> {
  const span = {
    traceId: Buffer.alloc(16, 0xab),
    spanId: Buffer.alloc(8, 1),
    name: "GET /",
    kind: 2,
    startTimeUnixNano: "5",
    endTimeUnixNano: "9",
  };
  const answer = await fetch(`${fixture.otlpUrl}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf" },
    body: oracleEncode("TracesData", { resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] }),
  });
  assert.equal(answer.status, 200);
  return "ab".repeat(16);
}

test("Host: loopback, the bound address and allowed names pass, others are refused with a reason", async (context) => {
  const { url, otlpUrl } = await startFixture(context);
  const status = async (host: string, base = url) => (await ask(`${base}/livez`, { headers: { host } })).status;
  for (const host of [
    "localhost",
    "localhost:8425",
    "127.0.0.1:1",
    "127.9.9.9",
    "[::1]:8425",
    "app.localhost",
    "proxy.example",
  ]) {
    assert.equal(await status(host), 200, host);
  }
  for (const host of ["evil.example", "10.0.0.1", "127.0.0.1.evil.example", "a b", "localhost.evil.example:80"]) {
    assert.equal(await status(host), 403, host);
  }
  assert.equal(await status("evil.example", otlpUrl), 403);
  const refused = await ask(`${url}/livez`, { headers: { host: "evil.example" } });
  assert.match(JSON.parse(refused.text).error.message, /evil\.example/);
});

test("Origin: pages of other sites are refused where they could change or cost something", async (context) => {
  const { url } = await startFixture(context);
  const post = async (headers: http.OutgoingHttpHeaders) =>
    (
      await ask(
        `${url}/api/v1/sql`,
        { method: "POST", headers: { "content-type": "text/plain", ...headers } },
        "SELECT 1",
      )
    ).status;
  assert.equal(await post({}), 200);
  assert.equal(await post({ origin: url }), 200);
  assert.equal(await post({ origin: "http://evil.example" }), 403);
  assert.equal(await post({ origin: "null" }), 403);
  assert.equal(await post({ origin: url.replace(/\d+$/, "1") }), 403);
  const get = async (headers: http.OutgoingHttpHeaders) => (await ask(`${url}/`, { headers })).status;
  assert.equal(await get({ "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" }), 403);
  assert.equal(await get({ "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" }), 200);
});

test("the page: strict policy, ETag, compressed once", async (context) => {
  const { url } = await startFixture(context);
  const plain = await ask(`${url}/`);
  assert.equal(plain.headers["content-security-policy"], CONTENT_SECURITY_POLICY);
  assert.equal(plain.headers["x-content-type-options"], "nosniff");
  assert.equal(plain.headers["content-type"], "text/html; charset=utf-8");
  assert.equal(plain.text.length, 2015);
  const packed = await ask(`${url}/`, { headers: { "accept-encoding": "br, gzip" } });
  assert.equal(packed.headers["content-encoding"], "gzip");
  assert.ok(Number(packed.headers["content-length"]) < 200);
  const again = await ask(`${url}/`, { headers: { "if-none-match": plain.headers.etag ?? "" } });
  assert.equal(again.status, 304);
  assert.equal(
    (await ask(`${url}/`, { headers: { "accept-encoding": "gzip;q=0" } })).headers["content-encoding"],
    undefined,
  );
  assert.equal((await fetch(`${url}/assets/../api.ts`)).status, 404);
});

test("SQL: JSON, text, form, formats, errors", async (context) => {
  const { url, asked } = await startFixture(context);
  const post = (body: string, type: string, query = "") =>
    fetch(`${url}/api/v1/sql${query}`, { method: "POST", headers: { "content-type": type }, body });
  const whole = '{"query":"SELECT 1","params":["a",1,true,null],"timeout":"5s","limit":10}';
  const answer = await post(whole, "application/json");
  assert.deepEqual(await answer.json(), {
    columns: [
      { name: "n", type: "BIGINT" },
      { name: "text", type: "VARCHAR" },
    ],
    rows: [
      ["9007199254740993", 'say "hi", now'],
      ["2", null],
      ["3", ""],
    ],
    rows_read: 3,
    elapsed_ms: 1.5,
    truncated: false,
  });
  assert.deepEqual(asked[0], { query: "SELECT 1", params: ["a", 1, true, null], timeoutMs: 5000, rowsMax: 10 });
  const ndjson = await post("SELECT 1", "text/plain", "?format=ndjson");
  assert.equal(
    await ndjson.text(),
    '{"n":"9007199254740993","text":"say \\"hi\\", now"}\n{"n":"2","text":null}\n{"n":"3","text":""}\n',
  );
  const csv = await fetch(`${url}/api/v1/sql?query=SELECT%201&format=csv`);
  assert.equal(csv.headers.get("content-type"), "text/csv; charset=utf-8");
  assert.equal(await csv.text(), 'n,text\r\n9007199254740993,"say ""hi"", now"\r\n2,\r\n3,""\r\n');
  assert.equal((await post("query=SELECT+2", "application/x-www-form-urlencoded")).status, 200);
  assert.equal((await post("SELECT 3", "application/x-www-form-urlencoded")).status, 200);
  const texts = asked.map((request) => request.query);
  assert.deepEqual(texts, ["SELECT 1", "SELECT 1", "SELECT 1", "SELECT 2", "SELECT 3"]);
  const refused = await post("DROP TABLE spans", "text/plain");
  assert.equal(refused.status, 403);
  assert.deepEqual(await refused.json(), {
    error: { code: "not_allowed", message: "DROP is not allowed.", line: 1, column: 1, hint: "Only SELECT is run." },
  });
  for (const body of [
    "{",
    "[]",
    "{}",
    '{"query":""}',
    '{"query":"SELECT 1","params":[{}]}',
    '{"query":"SELECT 1","format":"xml"}',
    '{"query":"SELECT 1","timeout":"soon"}',
    '{"query":"SELECT 1","limit":-1}',
  ]) {
    assert.equal((await post(body, "application/json")).status, 400, body);
  }
  const message = async (answer: Response) => ((await answer.json()) as { error: { message: string } }).error.message;
  const deep = await post(`{"query":"SELECT 1","params":${"[".repeat(300_000)}`, "application/json");
  assert.deepEqual([deep.status, await message(deep)], [400, "The body has more than 16 levels of lists and objects."]);
  const brackets = JSON.stringify({ query: `SELECT '"\\${"[{".repeat(20)}'`, params: [`\\"${"[".repeat(20)}`] });
  assert.equal((await post(brackets, "application/json")).status, 200);
  const pairs = await post("a&".repeat(20_000), "application/x-www-form-urlencoded");
  assert.deepEqual([pairs.status, await message(pairs)], [400, "The form has too many parameters."]);
  assert.equal((await post("x".repeat(2 ** 20 + 1), "text/plain")).status, 413);
});

test("SQL: troubles of the catalogue keep their status", async (context) => {
  const sql = {
    run: async () => {
      throw new ThalwegError("query_busy", { running: 4, waiting: 9, max: 4 });
    },
  };
  const { url } = await startFixture(context, { sql });
  const { status, body } = await json(`${url}/api/v1/sql?query=SELECT%201`);
  assert.equal(status, 503);
  assert.equal((body as { error: { code: string } }).error.code, "query_busy");
});

test("traces: own route and Tempo's", async (context) => {
  const fixture = await startFixture(context);
  const { url } = fixture;
  const id = await storeSpan(fixture);
  const own = await json(`${url}/api/v1/traces/${id}`);
  assert.equal(own.status, 200);
  const protobuf = await fetch(`${url}/api/v1/traces/${id}`, { headers: { accept: "application/x-protobuf" } });
  assert.equal(protobuf.headers.get("content-type"), "application/x-protobuf");
  const bytes = Buffer.from(await protobuf.arrayBuffer());
  assert.match(JSON.stringify(oracleDecode("TracesData", bytes)), /"name":"GET \/"/);
  const v2 = await fetch(`${url}/api/v2/traces/${id}`, { headers: { accept: "application/protobuf" } });
  assert.equal(v2.headers.get("content-type"), "application/protobuf");
  const byId = oracleDecode("TraceByIDResponse", Buffer.from(await v2.arrayBuffer())) as { trace: object };
  assert.deepEqual(byId.trace, oracleDecode("TracesData", bytes));
  assert.match(JSON.stringify((await json(`${url}/api/traces/${id}`)).body), /^\{"batches":\[.*SPAN_KIND_SERVER/);
  const explained = await json(`${url}/api/v1/traces/${id}?explain=1`);
  assert.match(JSON.stringify(explained.body), /thalweg\.parent_reason.*sent_as_root.*thalweg\.parent_why/);
  const assembled = await json(`${url}/api/v1/traces/${id}?assemble=1`);
  assert.match(JSON.stringify(assembled.body), /"thalweg\.self_time_ns","value":\{"intValue":"\d+"\}/);
  assert.doesNotMatch(JSON.stringify(own.body), /thalweg\.self_time_ns/);
  assert.equal((await json(`${url}/api/v1/traces/1`)).status, 404);
  assert.equal((await json(`${url}/api/v1/traces/xyz`)).status, 400);
  assert.equal((await json(`${url}/api/v1/traces/${"0".repeat(32)}`)).status, 400);
  assert.equal((await json(`${url}/api/v1/traces/${"a".repeat(33)}`)).status, 400);
  assert.equal((await fetch(`${url}/api/traces/1`)).status, 404);
  assert.deepEqual(await json(`${url}/api/v2/traces/1`), {
    status: 200,
    body: { trace: { resourceSpans: [] }, metrics: {} },
  });
  assert.equal(await (await fetch(`${url}/api/echo`)).text(), "echo");
});

test("graph, capture, health, metrics", async (context) => {
  const fixture = await startFixture(context);
  const { url } = fixture;
  assert.deepEqual((await json(`${url}/api/v1/graph?window=1m`)).body, {
    from: "2023-11-14T22:12:20.000Z",
    to: "2023-11-14T22:13:20.000Z",
    nodes: [],
    edges: [],
  });
  assert.equal(((await json(`${url}/api/v1/graph?from=1&to=2`)).body as { to: string }).to, "1970-01-01T00:00:02.000Z");
  assert.equal((await json(`${url}/api/v1/graph?from=2&to=1`)).status, 400);
  assert.equal((await json(`${url}/api/v1/graph?window=x`)).status, 400);
  assert.deepEqual((await json(`${url}/api/v1/capture`)).body, { tier: "off" });
  assert.match(await (await fetch(`${url}/metrics`)).text(), /thalweg_capture_seen_total/);
  assert.equal((await fetch(`${url}/-/ready`)).status, 200);
  fixture.ready = false;
  assert.deepEqual(await json(`${url}/readyz`), { status: 503, body: { ready: false, reasons: ["replaying"] } });
  assert.equal((await fetch(`${url}/-/ready`)).status, 503);
  assert.equal((await fetch(`${url}/livez`)).status, 200);
  assert.equal((await json(`${url}/nothing`)).status, 404);
  assert.ok(fixture.answers.includes("/api/v1/graph 200") && fixture.answers.includes("unknown 404"));
});

test("newest requests and the live feed", async (context) => {
  const fixture = await startFixture(context);
  const { url, api } = fixture;
  const stream = await fetch(`${url}/api/v1/live`);
  assert.equal(stream.headers.get("content-type"), "text/event-stream");
  assert.equal(stream.headers.get("x-content-type-options"), "nosniff");
  await storeSpan(fixture);
  const batch = fixture.received[0]?.batch;
  assert.ok(batch);
  api.publishLive(batch);
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.includes("event: requests") && text.endsWith("\n\n")) break;
  }
  const [, line = ""] = /event: requests\ndata: (.*)\n\n/.exec(text) ?? [];
  const { body } = await json(`${url}/api/v1/requests?limit=10`);
  assert.deepEqual((body as { requests: unknown }).requests, JSON.parse(line));
  assert.equal(JSON.parse(line)[0].duration_ns, "4");
  for (let times = 0; times < 700; times++) api.publishLive(batch);
  const all = (await json(`${url}/api/v1/requests?limit=9999`)).body as { requests: unknown[] };
  assert.equal(all.requests.length, 500);
  assert.equal((await json(`${url}/api/v1/requests?limit=x`)).status, 400);
});

test("a failing part gives 500 without its words, in the route's own shape", async (context) => {
  const fail = async () => {
    throw new Error("secret words");
  };
  const fixture = await startFixture(context, {
    graph: fail,
    promql: promqlDoor({ instant: fail }),
  });
  const graph = await json(`${fixture.url}/api/v1/graph`);
  assert.equal(graph.status, 500);
  assert.doesNotMatch(JSON.stringify(graph.body), /secret/);
  const query = await json(`${fixture.url}/api/v1/query?query=up`);
  assert.equal((query.body as { errorType: string }).errorType, "internal");
  assert.equal(fixture.logged.length, 2);
});

test("a taken port is named, and nothing stays open", async (context) => {
  const { api } = await startFixture(context);
  const loopback = { host: "127.0.0.1", port: 0 };
  for (const part of ["http", "otlpHttp", "otlpGrpc"] as const) {
    const listen = { http: loopback, otlpHttp: loopback, otlpGrpc: loopback, [part]: api.addresses.http };
    await assert.rejects(startFixture(context, { listen }), { code: "address_in_use" }, part);
  }
});

test("large answers are compressed when asked for", async (context) => {
  const reply = { status: 200, body: Buffer.from(JSON.stringify({ status: "success", data: "x".repeat(5000) })) };
  const promql = promqlDoor({ instant: async () => reply });
  const { url } = await startFixture(context, { promql });
  const packed = await ask(`${url}/api/v1/query?query=up`, { headers: { "accept-encoding": "gzip" } });
  assert.equal(packed.headers["content-encoding"], "gzip");
  assert.equal(((await json(`${url}/api/v1/query?query=up`)).body as { data: string }).data.length, 5000);
  assert.equal((await ask(`${url}/api/v1/query?query=up`)).headers["content-encoding"], undefined);
});

test("a refusal arrives at a sender that is not done", async (context) => {
  const { url } = await startFixture(context);
  const form = { "content-type": "application/x-www-form-urlencoded" };
  for (const [status, path, headers, mib] of [
    [413, "/api/v1/query", form, 65],
    [413, "/api/v1/sql", { "content-type": "application/json" }, 8],
    [415, "/api/v1/write", { "content-encoding": "gzip" }, 8],
    [403, "/api/v1/query", { ...form, host: "evil.example" }, 8],
  ] as const) {
    const body = "a".repeat(mib * 2 ** 20);
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => ask(`${url}${path}`, { method: "POST", headers, agent: false }, body)),
    );
    assert.deepEqual(
      answers.map((answer) => answer.status),
      answers.map(() => status),
      path,
    );
  }
});

test("who sends what is no HTTP reads the answer, even if all of it is sent first", async (context) => {
  const { otlpUrl } = await startFixture(context);
  const { hostname, port } = new URL(otlpUrl);
  const socket = net.connect(Number(port), hostname);
  context.after(() => socket.destroy());
  let fault = "";
  socket.on("error", (error) => {
    fault = error.message;
  });
  const head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
  socket.write(`${head}5;${"a".repeat(100_000)}`);
  for (let piece = 0; piece < 3; piece++) {
    await sleep(50);
    socket.write("a".repeat(100_000));
  }
  await sleep(50);
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  assert.equal(fault, "");
  assert.match(answer, /^HTTP\/1\.1 413 /);
});
