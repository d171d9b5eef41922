import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import test from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import grpc from "@grpc/grpc-js";
import { ROOT_CONTEXT, SpanKind, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as ProtoExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { requireOrSkip } from "../platform/test-ability.ts";
import { oracleDecode, oracleEncode } from "../wire/trace-oracle.ts";
import type { Fixture } from "./api-fixture.test.ts";
import { startFixture } from "./api-fixture.test.ts";

const SUITE = join(import.meta.dirname, "../../../shared/conformance/otlp");
const MISSING = existsSync(SUITE) ? "" : `${SUITE} does not exist`;
const EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HEALTH = "/grpc.health.v1.Health/Check";
const TRACE_ID = Buffer.from("5b8efff798038103d269b633813fc60c", "hex");
const same = (bytes: Buffer) => bytes;

function spansBody(count: number, change: object = {}): Buffer {
  const spans = Array.from({ length: count }, (_, index) => {
    const spanId = Buffer.alloc(8);
    spanId.writeUInt32BE(index + 1, 4);
    return { traceId: TRACE_ID, spanId, name: "n", kind: 2, ...change };
  });
  return Buffer.from(oracleEncode("TracesData", { resourceSpans: [{ scopeSpans: [{ spans }] }] }));
}

function rowsReceived(fixture: Fixture): number {
  return fixture.received.reduce((sum, received) => sum + received.batch.rows, 0);
}

interface Sent {
  readonly body?: Buffer;
  readonly type?: string;
  readonly encoding?: string;
  readonly method?: string;
}

async function send(url: string, { body = Buffer.alloc(0), type, encoding, method = "POST" }: Sent) {
  const headers = {
    ...(type === undefined ? {} : { "content-type": type }),
    ...(encoding === undefined ? {} : { "content-encoding": encoding }),
  };
  return new Promise<{ status: number; headers: http.IncomingHttpHeaders; body: Buffer }>((resolve, reject) => {
    const request = http.request(
      url,
      { method, headers: { ...headers, "content-length": body.length } },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
        );
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

interface HttpCase {
  name: string;
  method: string;
  path: string;
  contentType: string;
  contentEncoding: string;
  bodyBase64: string;
  expectStatus: number | null;
  expectAcceptedSpans: number | null;
}

test("the shared HTTP cases", async (context) => {
  if (!requireOrSkip(context, "suites", MISSING)) return;
  const cases: HttpCase[] = JSON.parse(readFileSync(join(SUITE, "http-cases.json"), "utf8"));
  const fixture = await startFixture(context);
  for (const each of cases) {
    for (const url of [fixture.otlpUrl, fixture.url]) {
      const before = rowsReceived(fixture);
      const answer = await send(url + each.path, {
        method: each.method,
        body: Buffer.from(each.bodyBase64, "base64"),
        ...(each.contentType === "" ? {} : { type: each.contentType }),
        ...(each.contentEncoding === "" ? {} : { encoding: each.contentEncoding }),
      });
      if (each.expectStatus !== null) assert.equal(answer.status, each.expectStatus, each.name);
      if (each.expectAcceptedSpans !== null) {
        assert.equal(rowsReceived(fixture) - before, each.expectAcceptedSpans, each.name);
      }
    }
  }
  assert.deepEqual(fixture.logged, []);
});

test("every trace body of the shared shop", async (context) => {
  if (!requireOrSkip(context, "suites", MISSING)) return;
  const folder = join(SUITE, "sdk-shop");
  const expected: { spans: number; spansByService: Record<string, number> } = JSON.parse(
    readFileSync(join(folder, "expected.json"), "utf8"),
  );
  const fixture = await startFixture(context);
  const client = new grpc.Client(fixture.grpcTarget, grpc.credentials.createInsecure());
  context.after(() => client.close());
  for (const file of readdirSync(folder).filter((name) => /-traces\./.test(name))) {
    const body = readFileSync(join(folder, file));
    if (file.includes("-grpc-")) {
      await unary(client, EXPORT, body);
      continue;
    }
    const type = file.includes(".json") ? "application/json" : "application/x-protobuf";
    const encoding = file.endsWith(".gz") ? { encoding: "gzip" } : {};
    const answer = await send(`${fixture.otlpUrl}/v1/traces`, { body, type, ...encoding });
    assert.equal(answer.status, 200, file);
    assert.equal(answer.body.toString(), type === "application/json" ? "{}" : "", file);
  }
  assert.equal(rowsReceived(fixture), expected.spans);
  const byService: Record<string, number> = {};
  for (const { batch } of fixture.received) {
    for (const index of batch.resource) {
      const service = batch.resources[index]?.service ?? "";
      byService[service] = (byService[service] ?? 0) + 1;
    }
  }
  assert.deepEqual(Object.entries(byService).sort(), Object.entries(expected.spansByService).sort());
});

test("partial success names count and reasons, in both encodings", async (context) => {
  const fixture = await startFixture(context);
  const mixed = Buffer.concat([spansBody(2), spansBody(3, { traceId: Buffer.alloc(16) })]);
  const answer = await send(`${fixture.otlpUrl}/v1/traces`, { body: mixed, type: "application/x-protobuf" });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "application/x-protobuf");
  assert.deepEqual(oracleDecode("ExportTraceServiceResponse", answer.body), {
    partialSuccess: { rejectedSpans: "3", errorMessage: "3 spans rejected: trace_id_zero" },
  });
  const [received] = fixture.received;
  assert.deepEqual(
    [received?.batch.rows, received?.transport, received?.rejected.get("trace_id_zero")],
    [2, "http", 3],
  );
  const json = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"01"}]}]}]}';
  const second = await send(`${fixture.otlpUrl}/v1/traces`, { body: Buffer.from(json), type: "application/json" });
  assert.deepEqual(JSON.parse(second.body.toString()), {
    partialSuccess: { rejectedSpans: "1", errorMessage: "1 spans rejected: trace_id_length" },
  });
});

test("what is mended behind the decoder is told to the sender", async (context) => {
  const fixture = await startFixture(context);
  const mended = new Map(Object.entries({ text_length: 3, self_parent: 2 }));
  fixture.refuse = { kind: "stored", rejected: new Map(), mended };
  const answer = await send(`${fixture.otlpUrl}/v1/traces`, { body: spansBody(2), type: "application/x-protobuf" });
  assert.deepEqual(oracleDecode("ExportTraceServiceResponse", answer.body), {
    partialSuccess: {
      errorMessage:
        "3 texts were longer than is kept and were cut; 2 spans named themselves as their parent and were kept without one",
    },
  });
});

test("what the decoder mends is told to the sender and handed on to be counted", async (context) => {
  const fixture = await startFixture(context);
  const key = { key: "k", value: { stringValue: "v" } };
  const body = spansBody(2, { startTimeUnixNano: "9", endTimeUnixNano: "5", attributes: [key, key] });
  const answer = await send(`${fixture.otlpUrl}/v1/traces`, { body, type: "application/x-protobuf" });
  assert.match(JSON.stringify(oracleDecode("ExportTraceServiceResponse", answer.body)), /2 spans ended before.*2 attr/);
  assert.deepEqual(
    fixture.received[0]?.mended,
    new Map([
      ["end_before_start", 2],
      ["attribute_count", 2],
    ]),
  );
});

test("undecodable bodies give 400 with a Status in the request's encoding, and show no content", async (context) => {
  const fixture = await startFixture(context);
  const json = await send(`${fixture.otlpUrl}/v1/traces`, {
    body: Buffer.from('{"secret":tok'),
    type: "application/json",
  });
  assert.equal(json.status, 400);
  const status = JSON.parse(json.body.toString());
  assert.equal(status.code, 3);
  assert.doesNotMatch(status.message, /tok/);
  const proto = await send(`${fixture.otlpUrl}/v1/traces`, {
    body: Buffer.from([10, 200]),
    type: "application/x-protobuf",
  });
  assert.equal(proto.status, 400);
  assert.equal((oracleDecode("RpcStatus", proto.body) as { code: number }).code, 3);
  const gzip = { body: Buffer.from("plain"), encoding: "gzip", type: "application/x-protobuf" };
  assert.equal((await send(`${fixture.otlpUrl}/v1/traces`, gzip)).status, 400);
  const cut = { ...gzip, body: gzipSync(spansBody(9)).subarray(0, -20) };
  assert.equal((await send(`${fixture.otlpUrl}/v1/traces`, cut)).status, 400);
  assert.equal(fixture.received.length, 0);
});

test("gzip, zstd and chunked bodies", async (context) => {
  const fixture = await startFixture(context);
  const url = `${fixture.otlpUrl}/v1/traces`;
  const type = "application/x-protobuf";
  assert.equal((await send(url, { body: gzipSync(spansBody(5)), encoding: "gzip", type })).status, 200);
  assert.equal((await send(url, { body: zstdCompressSync(spansBody(6)), encoding: "zstd", type })).status, 200);
  const chunked = new ReadableStream({
    start(controller) {
      const body = spansBody(7);
      controller.enqueue(body.subarray(0, 10));
      controller.enqueue(body.subarray(10));
      controller.close();
    },
  });
  const answer = await fetch(url, { method: "POST", headers: { "content-type": type }, body: chunked, duplex: "half" });
  assert.equal(answer.status, 200);
  assert.equal(rowsReceived(fixture), 18);
});

test("bodies too large before or after decompression give 413 and cost little memory", async (context) => {
  const fixture = await startFixture(context);
  const url = `${fixture.otlpUrl}/v1/traces`;
  const type = "application/x-protobuf";
  const before = process.memoryUsage().rss;
  const bomb = { body: gzipSync(Buffer.alloc(200 * 2 ** 20)), encoding: "gzip", type };
  const answer = await send(url, bomb);
  assert.equal(answer.status, 413);
  assert.equal((oracleDecode("RpcStatus", answer.body) as { code: number }).code, 8);
  assert.equal((await send(url, { body: Buffer.alloc(64 * 2 ** 20 + 1), type })).status, 413);
  assert.ok(process.memoryUsage().rss - before < 500 * 2 ** 20);
  assert.equal((await send(url, { body: spansBody(1), type })).status, 200);
});

test("a store that refuses gives 503 and Retry-After over HTTP, UNAVAILABLE and RetryInfo over gRPC", async (context) => {
  const fixture = await startFixture(context);
  fixture.refuse = { kind: "refused", reason: "disk full", retryAfterSeconds: 7 };
  const answer = await send(`${fixture.otlpUrl}/v1/traces`, { body: spansBody(1), type: "application/x-protobuf" });
  assert.equal(answer.status, 503);
  assert.equal(answer.headers["retry-after"], "7");
  assert.deepEqual(oracleDecode("RpcStatus", answer.body), { code: 14, message: "disk full" });
  const client = new grpc.Client(fixture.grpcTarget, grpc.credentials.createInsecure());
  context.after(() => client.close());
  const error = await refusal(client, EXPORT, spansBody(1));
  assert.equal(error.code, grpc.status.UNAVAILABLE);
  const [details] = error.metadata.get("grpc-status-details-bin");
  assert.match(String(details), /google\.rpc\.RetryInfo/);
  fixture.refuse = new Error("boom");
  const broken = await send(`${fixture.otlpUrl}/v1/traces`, { body: spansBody(1), type: "application/json" });
  assert.equal(broken.status, 400);
  const failed = await send(`${fixture.otlpUrl}/v1/traces`, { body: spansBody(1), type: "application/x-protobuf" });
  assert.equal(failed.status, 503);
  assert.doesNotMatch(failed.body.toString(), /boom/);
  assert.equal(fixture.logged.length, 1);
});

test("logs and metrics over both transports and encodings; profiles say that they are not taken", async (context) => {
  const fixture = await startFixture(context);
  const client = new grpc.Client(fixture.grpcTarget, grpc.credentials.createInsecure());
  context.after(() => client.close());
  const logs = {
    resourceLogs: [{ scopeLogs: [{ logRecords: [{ body: { stringValue: "hello" }, spanId: "abcd" }] }] }],
  };
  const metrics = {
    resourceMetrics: [
      {
        scopeMetrics: [
          {
            metrics: [
              { name: "up", gauge: { dataPoints: [{ asInt: "1", timeUnixNano: "1700000000000000000" }] } },
              { name: "d", sum: { dataPoints: [{ asInt: "1" }, { asInt: "2" }] } },
            ],
          },
        ],
      },
    ],
  };
  const json = (path: string, body: object) =>
    send(`${fixture.otlpUrl}${path}`, { body: Buffer.from(JSON.stringify(body)), type: "application/json" });
  const logAnswer = await json("/v1/logs", logs);
  assert.equal(logAnswer.status, 200);
  assert.match(JSON.parse(logAnswer.body.toString()).partialSuccess.errorMessage, /1 records had a trace or span id/);
  assert.equal(fixture.receivedLogs[0]?.batch.rows, 1);
  assert.deepEqual(fixture.receivedLogs[0]?.mended, new Map([["trace_context", 1]]));
  const metricAnswer = await json("/v1/metrics", metrics);
  assert.equal(metricAnswer.status, 200);
  const partial = JSON.parse(metricAnswer.body.toString()).partialSuccess;
  assert.equal(partial.rejectedDataPoints, "2");
  assert.match(partial.errorMessage, /2 data points rejected: temporality/);
  assert.equal(fixture.receivedMetrics[0]?.decoded.series.length, 1);
  for (const [path, service] of [
    ["/v1/logs", "opentelemetry.proto.collector.logs.v1.LogsService"],
    ["/v1/metrics", "opentelemetry.proto.collector.metrics.v1.MetricsService"],
  ] as const) {
    assert.equal((await unary(client, `/${service}/Export`, Buffer.alloc(0))).length, 0, "empty is a full success");
    assert.equal((await json(path, {})).body.toString(), "{}");
    assert.equal(
      (await refusal(client, `/${service}/Export`, Buffer.from([10, 200]))).code,
      grpc.status.INVALID_ARGUMENT,
    );
    const broken = await send(`${fixture.otlpUrl}${path}`, {
      body: Buffer.from([10, 200]),
      type: "application/x-protobuf",
    });
    assert.equal(broken.status, 400);
    fixture.refuse = { kind: "refused", reason: "no room", retryAfterSeconds: 3 };
    const refused = await json(path, path === "/v1/logs" ? logs : metrics);
    assert.deepEqual([refused.status, refused.headers["retry-after"]], [503, "3"]);
    fixture.refuse = undefined;
    const asked = Buffer.from([10, service.length, ...Buffer.from(service)]);
    assert.deepEqual(await unary(client, HEALTH, asked), Buffer.from([8, 1]), "it serves");
    assert.equal((await send(`${fixture.otlpUrl}${path}`, { method: "PUT" })).status, 405);
  }
  const profiles = await json("/v1development/profiles", {});
  assert.equal(profiles.status, 404);
  assert.equal(JSON.parse(profiles.body.toString()).code, 12);
  const profileService = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
  assert.equal((await refusal(client, profileService, Buffer.alloc(0))).code, grpc.status.UNIMPLEMENTED);
});

function unary(client: grpc.Client, path: string, body: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, same, same, body, (error, value) => {
      if (error !== null) reject(error);
      else resolve(value ?? Buffer.alloc(0));
    });
  });
}

async function refusal(client: grpc.Client, path: string, body: Buffer): Promise<grpc.ServiceError> {
  try {
    await unary(client, path, body);
  } catch (error) {
    return error as grpc.ServiceError;
  }
  return assert.fail("the call succeeded");
}

test("gRPC: many calls in flight, gzip, too large, undecodable, health", async (context) => {
  const fixture = await startFixture(context);
  const client = new grpc.Client(fixture.grpcTarget, grpc.credentials.createInsecure());
  const gzipClient = new grpc.Client(fixture.grpcTarget, grpc.credentials.createInsecure(), {
    "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip,
  });
  context.after(() => {
    client.close();
    gzipClient.close();
  });
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      unary(index % 2 === 0 ? client : gzipClient, EXPORT, spansBody(index % 5)),
    ),
  );
  assert.ok(answers.every((answer) => answer.length === 0));
  assert.equal(rowsReceived(fixture), 400);
  assert.ok(fixture.received.every((received) => received.transport === "grpc"));
  const large = Buffer.concat([spansBody(1), Buffer.alloc(64 * 2 ** 20)]);
  assert.equal((await refusal(client, EXPORT, large)).code, grpc.status.RESOURCE_EXHAUSTED);
  assert.equal((await refusal(client, EXPORT, Buffer.from([10, 200]))).code, grpc.status.INVALID_ARGUMENT);
  assert.deepEqual([...(await unary(client, HEALTH, Buffer.alloc(0)))], [8, 1]);
  fixture.ready = false;
  assert.deepEqual([...(await unary(client, HEALTH, Buffer.alloc(0)))], [8, 2]);
  const unknown = Buffer.from([10, 1, 0x78]);
  assert.equal((await refusal(client, HEALTH, unknown)).code, grpc.status.NOT_FOUND);
  assert.ok(fixture.answers.includes(`${EXPORT} 0`) && fixture.answers.includes(`${EXPORT} 3`));
});

test("the OpenTelemetry SDK's exporters, and the trace read back", async (context) => {
  const fixture = await startFixture(context);
  const exporters = [
    new GrpcExporter({ url: `http://${fixture.grpcTarget}` }),
    new ProtoExporter({ url: `${fixture.otlpUrl}/v1/traces` }),
  ];
  for (const exporter of exporters) {
    const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(exporter)] });
    const tracer = provider.getTracer("lib", "1.0");
    const parent = tracer.startSpan("GET /cart", { kind: SpanKind.SERVER }, ROOT_CONTEXT);
    const child = tracer.startSpan("redis", { kind: SpanKind.CLIENT }, trace.setSpan(ROOT_CONTEXT, parent));
    child.setAttribute("db.system.name", "redis").setAttribute("list", ["a", "b"]).addEvent("retried", { times: 2 });
    child.addLink({ context: parent.spanContext() });
    child.end();
    parent.end();
    await provider.shutdown();
    const { traceId, spanId } = parent.spanContext();
    const answer = await fetch(`${fixture.url}/api/v1/traces/${traceId.toUpperCase()}`);
    assert.equal(answer.status, 200);
    const body = (await answer.json()) as { resourceSpans: { scopeSpans: { scope: object; spans: SpanJson[] }[] }[] };
    const scopeSpans = body.resourceSpans[0]?.scopeSpans[0];
    assert.deepEqual(scopeSpans?.scope, { name: "lib", version: "1.0" });
    const found = scopeSpans?.spans.find((span) => span.name === "redis");
    assert.equal(found?.parentSpanId, spanId);
    assert.equal(found?.kind, 3);
    assert.equal(found?.events[0]?.name, "retried");
    assert.equal(found?.links[0]?.spanId, spanId);
    assert.deepEqual(found?.attributes.find((attribute) => attribute.key === "list")?.value, {
      arrayValue: { values: [{ stringValue: "a" }, { stringValue: "b" }] },
    });
  }
  assert.deepEqual(
    fixture.received.map((received) => received.transport),
    ["grpc", "http"],
  );
});

interface SpanJson {
  name: string;
  kind: number;
  parentSpanId: string;
  events: { name: string }[];
  links: { spanId: string }[];
  attributes: { key: string; value: object }[];
}

test("pages of allowed origins may send, ask before, and read the answer; others may not", async (context) => {
  const fixture = await startFixture(context);
  const ask = async (method: string, path: string, headers: Record<string, string>, body?: Buffer) => {
    const answer = await fetch(`${fixture.otlpUrl}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body: new Uint8Array(body) }),
    });
    return { status: answer.status, headers: answer.headers, body: Buffer.from(await answer.arrayBuffer()) };
  };
  const friend = "https://friend.example";
  const preflight = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-token",
  };
  for (const path of ["/v1/traces", "/v1/logs", "/v1/metrics"]) {
    const asked = await ask("OPTIONS", path, { origin: friend, ...preflight });
    assert.equal(asked.status, 204);
    assert.equal(asked.headers.get("access-control-allow-origin"), friend);
    assert.equal(asked.headers.get("access-control-allow-credentials"), "true");
    assert.equal(asked.headers.get("access-control-allow-methods"), "POST");
    assert.equal(asked.headers.get("access-control-allow-headers"), "content-type,x-token");
    assert.ok(Number(asked.headers.get("access-control-max-age")) > 0);
    assert.match(asked.headers.get("vary") ?? "", /Origin/);
    const other = await ask("OPTIONS", path, { origin: "https://evil.example", ...preflight });
    assert.equal(other.headers.get("access-control-allow-origin"), null);
    assert.equal((await ask("OPTIONS", path, { origin: friend })).status, 405, "no preflight");
  }
  const json = { "content-type": "application/json", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors" };
  const sent = await ask("POST", "/v1/traces", { origin: friend, ...json }, Buffer.from("{}"));
  assert.equal(sent.status, 200);
  assert.equal(sent.headers.get("access-control-allow-origin"), friend);
  assert.match(sent.headers.get("access-control-expose-headers") ?? "", /Retry-After/);
  const bad = await ask("POST", "/v1/traces", { origin: friend, ...json }, Buffer.from("{"));
  assert.equal(bad.status, 400);
  assert.equal(bad.headers.get("access-control-allow-origin"), friend, "a page may read why");
  const evil = await ask("POST", "/v1/traces", { origin: "https://evil.example", ...json }, Buffer.from("{}"));
  assert.equal(evil.status, 403);
  assert.equal(evil.headers.get("access-control-allow-origin"), null);
  assert.equal(JSON.parse(evil.body.toString()).code, 7);
  const plain = await ask("POST", "/v1/traces", { "content-type": "application/json" }, Buffer.from("{}"));
  assert.equal(plain.headers.get("access-control-allow-origin"), null);
});

test("what is refused before the body is a Status too, in the request's encoding", async (context) => {
  const fixture = await startFixture(context);
  const unknown = { body: spansBody(1), type: "application/x-protobuf" };
  const notFound = await send(`${fixture.otlpUrl}/v1/nothing`, unknown);
  assert.deepEqual([notFound.status, notFound.headers["content-type"]], [404, "application/x-protobuf"]);
  assert.equal((oracleDecode("RpcStatus", notFound.body) as { code: number }).code, 12);
  const wrongType = await send(`${fixture.otlpUrl}/v1/logs`, { body: Buffer.from("{}"), type: "text/plain" });
  assert.deepEqual([wrongType.status, wrongType.headers["content-type"]], [415, "text/plain"]);
  assert.match(JSON.parse(wrongType.body.toString()).message, /supported: \[application\/json/);
});
