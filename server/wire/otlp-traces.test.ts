import assert from "node:assert/strict";
import test from "node:test";
import type { SpanBatch } from "../model/span-batch.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import { textReader } from "../model/text-table.ts";
import { encodeTempoTraceById, type TraceBody, traceJsonPieces, tracePieces } from "./otlp-traces-encode.ts";
import { decodeTracesJson } from "./otlp-traces-json.ts";
import { decodeTraces } from "./otlp-traces-protobuf.ts";
import type { DecodeOutcome } from "./span-columns.ts";
import { attributesOf, oracleDecode, oracleEncode, randomTraces, seededRandom, spansOf } from "./trace-oracle.ts";

const TRACE_ID = Buffer.from("5b8efff798038103d269b633813fc60c", "hex");
const SPAN_ID = Buffer.from("eee19b7ec3c1b174", "hex");

function decoded(outcome: DecodeOutcome): Extract<DecodeOutcome, { kind: "decoded" }> {
  if (outcome.kind === "malformed") assert.fail(`malformed: ${outcome.reason} at ${outcome.offset}`);
  return outcome;
}

function oneSpan(span: object, resource: object[] = []): Uint8Array {
  const whole = { traceId: TRACE_ID, spanId: SPAN_ID, name: "n", ...span };
  return oracleEncode("TracesData", {
    resourceSpans: [{ resource: { attributes: resource }, scopeSpans: [{ spans: [whole] }] }],
  });
}

function text(batch: SpanBatch, column: Uint32Array, row = 0): string | undefined {
  return textReader(batch.text)(column[row]);
}

function bytesOf(spans: readonly StoredSpan[]): Uint8Array {
  return Buffer.concat([...tracePieces(spans)]);
}

function jsonOf(body: TraceBody, spans: readonly StoredSpan[]): string {
  return [...traceJsonPieces(spans, body)].join("");
}

test("protobuf: what protobufjs encodes comes back equal from our encoder", () => {
  const random = seededRandom(7);
  for (let round = 0; round < 60; round++) {
    const sent = randomTraces(random);
    const bytes = oracleEncode("TracesData", sent);
    const { batch, received, rejected } = decoded(decodeTraces(bytes));
    assert.equal(batch.rows, received);
    assert.equal(rejected.size, 0);
    const again = bytesOf(spansOf(batch));
    assert.deepEqual(comparable(oracleDecode("TracesData", again)), comparable(oracleDecode("TracesData", bytes)));
  }
});

test("a large trace comes in pieces that make one body", () => {
  const spans = Array.from({ length: 1_234 }, (_, at) => {
    const spanId = Buffer.alloc(8);
    spanId.writeUInt32BE(at + 1);
    return { traceId: TRACE_ID, spanId, name: `n${at}` };
  });
  const { batch } = decoded(decodeTraces(oracleEncode("TracesData", { resourceSpans: [{ scopeSpans: [{ spans }] }] })));
  const stored = spansOf(batch);
  assert.ok([...tracePieces(stored)].length > 1);
  const json = decoded(decodeTracesJson(Buffer.from(jsonOf("otlp", stored))));
  for (const again of [json, decoded(decodeTraces(bytesOf(stored)))]) {
    assert.deepEqual(
      spansOf(again.batch).map(({ name }) => name),
      spans.map(({ name }) => name),
    );
  }
});

test("JSON: protobuf → JSON → decoder gives the same columns", () => {
  const random = seededRandom(8);
  for (let round = 0; round < 60; round++) {
    const bytes = oracleEncode("TracesData", randomTraces(random));
    const { batch } = decoded(decodeTraces(bytes));
    const spans = spansOf(batch);
    const json = jsonOf("otlp", spans);
    JSON.parse(json);
    const fromJson = decoded(decodeTracesJson(Buffer.from(json)));
    assert.deepEqual(
      comparable(oracleDecode("TracesData", bytesOf(spansOf(fromJson.batch)))),
      comparable(oracleDecode("TracesData", bytesOf(spans))),
    );
    assert.deepEqual(
      spansOf(fromJson.batch).map((span) => span.attributes),
      spans.map((span) => span.attributes),
    );
  }
});

/** Spans in order, with resource attributes sorted and empty groups left out, as the encoders give them. */
function comparable(traces: unknown): unknown {
  const { resourceSpans = [] } = traces as { resourceSpans?: ResourceSpansJson[] };
  return resourceSpans.flatMap((group) =>
    (group.scopeSpans ?? []).flatMap((scope) =>
      (scope.spans ?? []).map((span) => ({
        resource: {
          droppedAttributesCount: 0,
          ...group.resource,
          entityRefs: (group.resource?.entityRefs ?? []).map((ref) => ({ schemaUrl: "", ...ref })),
          attributes: [...(group.resource?.attributes ?? [])].sort((a, b) => (a.key < b.key ? -1 : 1)),
        },
        scope: { name: "", version: "", attributes: [], droppedAttributesCount: 0, ...scope.scope },
        schemaUrls: [group.schemaUrl ?? "", scope.schemaUrl ?? ""],
        span: {
          traceState: "",
          name: "",
          kind: 0,
          flags: 0,
          droppedAttributesCount: 0,
          droppedEventsCount: 0,
          droppedLinksCount: 0,
          ...span,
          status: { code: 0, message: "", ...span.status },
        },
      })),
    ),
  );
}

interface ResourceSpansJson {
  resource?: { attributes?: { key: string }[]; entityRefs?: object[] };
  schemaUrl?: string;
  scopeSpans?: { scope?: object; schemaUrl?: string; spans?: { status?: object }[] }[];
}

test("protobuf: cut at every byte it is malformed or a shorter request, and never throws", () => {
  const bytes = oracleEncode("TracesData", randomTraces(seededRandom(12)));
  const whole = decoded(decodeTraces(bytes)).received;
  for (let length = 0; length < bytes.length; length++) {
    const outcome = decodeTraces(bytes.subarray(0, length));
    if (outcome.kind === "decoded") assert.ok(outcome.received < whole || whole === 0);
    else assert.ok(outcome.offset <= length);
  }
});

test("JSON: cut at every character it is malformed", () => {
  const { batch } = decoded(decodeTraces(oracleEncode("TracesData", randomTraces(seededRandom(14)))));
  const json = Buffer.from(jsonOf("otlp", spansOf(batch)));
  assert.ok(json.length > 1000);
  for (let length = 0; length < json.length; length++) {
    assert.equal(decodeTracesJson(json.subarray(0, length)).kind, "malformed");
  }
});

test("fuzz: flipped bytes give a result, never an exception", () => {
  const random = seededRandom(99);
  for (let round = 0; round < 400; round++) {
    const bytes = Uint8Array.from(oracleEncode("TracesData", randomTraces(random)));
    const json = Uint8Array.from(Buffer.from(jsonOf("otlp", spansOf(decoded(decodeTraces(bytes)).batch))));
    for (const body of [bytes, json]) {
      for (let flips = 0; flips < 4 && body.length > 0; flips++) {
        body[Math.floor(random() * body.length)] = Math.floor(random() * 256);
      }
    }
    for (const outcome of [decodeTraces(bytes), decodeTracesJson(json), decodeTraces(json), decodeTracesJson(bytes)]) {
      if (outcome.kind !== "decoded") continue;
      const spans = spansOf(outcome.batch);
      oracleDecode("TracesData", bytesOf(spans));
      JSON.parse(jsonOf("otlp", spans));
    }
  }
});

test("ids of wrong length or zero reject the span, not the request", () => {
  const good = { traceId: TRACE_ID, spanId: SPAN_ID, name: "good" };
  const spans = [
    good,
    { ...good, traceId: TRACE_ID.subarray(1) },
    { ...good, traceId: Buffer.alloc(16) },
    { ...good, traceId: Buffer.alloc(0) },
    { ...good, spanId: Buffer.concat([SPAN_ID, SPAN_ID]) },
    { ...good, spanId: Buffer.alloc(8) },
    { ...good, parentSpanId: Buffer.alloc(3) },
    { ...good, parentSpanId: Buffer.alloc(8) },
  ];
  const bytes = oracleEncode("TracesData", { resourceSpans: [{ scopeSpans: [{ spans }] }] });
  const { batch, received, rejected } = decoded(decodeTraces(bytes));
  assert.equal(received, 8);
  assert.equal(batch.rows, 2);
  assert.deepEqual(Object.fromEntries(rejected), {
    trace_id_length: 2,
    trace_id_zero: 1,
    span_id_length: 1,
    span_id_zero: 1,
    parent_span_id_length: 1,
  });
  assert.equal(batch.parentSpanId[1], 0n);
});

test("times: the end before the start, and beyond the last nanosecond", () => {
  const early = decoded(decodeTraces(oneSpan({ startTimeUnixNano: "1000", endTimeUnixNano: "999" })));
  assert.deepEqual([early.batch.startNs[0], early.batch.endNs[0], early.repaired.order], [1000n, 1000n, 1]);
  const late = decoded(decodeTraces(oneSpan({ startTimeUnixNano: "0", endTimeUnixNano: "18446744073709551615" })));
  assert.deepEqual([late.batch.startNs[0], late.batch.endNs[0], late.repaired.times], [0n, 2n ** 63n - 2n, 1]);
});

test("invalid UTF-8 is repaired and counted, also inside events", () => {
  const bytes = Buffer.from(
    oneSpan({
      name: "name-XX",
      events: [{ name: "event-XX", attributes: [{ key: "k", value: { stringValue: "YY" } }] }],
    }),
  );
  for (let at = bytes.indexOf("XX"); at >= 0; at = bytes.indexOf("XX", at)) bytes[at] = 0xff;
  const { batch, repaired } = decoded(decodeTraces(bytes));
  assert.equal(text(batch, batch.name), "name-\ufffdX");
  assert.equal(repaired.text, 2);
  assert.match(jsonOf("otlp", spansOf(batch)), /"name":"event-\ufffdX".*"stringValue":"YY"/);
  assert.deepEqual(
    oracleDecode("Span", batch.eventsBlob),
    oracleDecode(
      "Span",
      oracleEncode("Span", {
        events: [{ name: "event-\ufffdX", attributes: [{ key: "k", value: { stringValue: "YY" } }] }],
      }),
    ),
  );
});

test("JSON: a lone surrogate is repaired and counted once, wherever resource and scope stand", () => {
  const ids = `"traceId":"${TRACE_ID.toString("hex")}","spanId":"${SPAN_ID.toString("hex")}"`;
  const spans = `"spans":[{${ids},"name":"a\\ud800"}]`;
  for (const group of [
    `"resource":{},"scopeSpans":[{"scope":{},${spans}}]`,
    `"resource":{},"scopeSpans":[{${spans}}]`,
    `"scopeSpans":[{${spans},"scope":{}}],"resource":{}`,
  ]) {
    const { batch, repaired } = decoded(decodeTracesJson(Buffer.from(`{"resourceSpans":[{${group}}]}`)));
    assert.deepEqual([text(batch, batch.name), repaired.text], ["a\ufffd", 1], group);
  }
});

test("unknown fields, groups and wrong wire types are skipped; field 0 and stray group ends are malformed", () => {
  const span = oneSpan({});
  const unknown = Buffer.from([
    0x98, 0x06, 0x01, 0x9b, 0x06, 0xa3, 0x06, 0x08, 0x01, 0xa4, 0x06, 0x9c, 0x06, 0x08, 0x05,
  ]);
  assert.equal(decoded(decodeTraces(Buffer.concat([unknown, span, unknown]))).batch.rows, 1);
  assert.equal(decodeTraces(Buffer.from([0x00, 0x01])).kind, "malformed");
  assert.equal(decodeTraces(Buffer.from([0x0c])).kind, "malformed");
  assert.equal(decodeTraces(Buffer.from([0x0b, 0x14])).kind, "malformed");
  assert.equal(decodeTraces(Buffer.from([0x0e])).kind, "malformed");
});

test("a tag of more than 32 bits is malformed, however many bytes a smaller one takes", () => {
  assert.equal(decodeTraces(Buffer.from("88808080f00100", "hex")).kind, "malformed");
  assert.equal(decodeTraces(Buffer.from("8880808080808000" + "00", "hex")).kind, "malformed");
  assert.equal(decodeTraces(Buffer.from("888080800f00", "hex")).kind, "decoded");
});

test("repeated attribute keys keep the last value", () => {
  const attributes = [1, 2, 3].map((value) => ({ key: "k", value: { intValue: value } }));
  const { batch, repaired } = decoded(decodeTraces(oneSpan({ attributes }, attributes)));
  assert.deepEqual(attributesOf(batch, 0), [{ key: "k", kind: "i", value: "3" }]);
  assert.deepEqual(batch.resources[0]?.attributes, [{ key: "k", kind: "i", value: "3" }]);
  assert.equal(repaired.attributes, 4);
});

test("ten megabytes of empty spans are counted in linear time", () => {
  const spans = Buffer.alloc(10_000_000);
  for (let at = 0; at < spans.length; at += 2) spans[at] = 0x12;
  const length = (count: number) =>
    [count & 0x7f, count >>> 7, count >>> 14, count >>> 21].map(
      (septet, index) => (septet & 0x7f) | (index < 3 ? 0x80 : 0),
    );
  const scope = Buffer.concat([Buffer.from([0x12, ...length(spans.length)]), spans]);
  const body = Buffer.concat([Buffer.from([0x0a, ...length(scope.length)]), scope]);
  const { received, rejected } = decoded(decodeTraces(body));
  assert.equal(received, 5_000_000);
  assert.equal(rejected.get("trace_id_length"), 5_000_000);
});

test("events with other fields between them stay in order", () => {
  const span = Buffer.from(oracleEncode("Span", { traceId: TRACE_ID, spanId: SPAN_ID }));
  const event = (name: string) => Buffer.from(oracleEncode("Span", { events: [{ name }] }));
  const state = Buffer.from(oracleEncode("Span", { traceState: "a=b" }));
  const whole = Buffer.concat([event("1"), state, event("2"), span, event("3")]);
  const body = Buffer.concat([
    Buffer.from([0x0a, whole.length + 4, 0x12, whole.length + 2, 0x12, whole.length]),
    whole,
  ]);
  const { batch } = decoded(decodeTraces(body));
  assert.deepEqual(batch.eventsBlob, new Uint8Array(Buffer.concat([event("1"), event("2"), event("3")])));
});

test("columns from present and older attribute names", () => {
  const columns = (kind: number, attributes: Record<string, string | number>) => {
    const list = Object.entries(attributes).map(([key, value]) => ({
      key,
      value: typeof value === "number" ? { intValue: value } : { stringValue: value },
    }));
    const { batch } = decoded(
      decodeTraces(oneSpan({ kind, attributes: list }, [{ key: "process.pid", value: { intValue: 77 } }])),
    );
    assert.equal(batch.pid[0], 77);
    return [
      text(batch, batch.protocol),
      `${text(batch, batch.clientAddr)}:${batch.clientPort[0]}`,
      `${text(batch, batch.serverAddr)}:${batch.serverPort[0]}`,
    ];
  };
  const server = 2;
  const client = 3;
  assert.deepEqual(
    columns(client, {
      "http.request.method": "GET",
      "server.address": "cart",
      "server.port": 80,
      "network.peer.address": "10.0.0.9",
    }),
    ["http", ":0", "cart:80"],
  );
  assert.deepEqual(
    columns(client, { "http.method": "GET", "http.flavor": "1.1", "net.peer.name": "cart", "net.peer.port": 81 }),
    ["http1", ":0", "cart:81"],
  );
  assert.deepEqual(
    columns(server, { "http.method": "GET", "http.host": "shop:8080", "net.peer.ip": "10.0.0.2", "net.peer.port": 5 }),
    ["http", "10.0.0.2:5", "shop:0"],
  );
  assert.deepEqual(
    columns(server, {
      "network.peer.address": "10.0.0.2",
      "client.address": "1.2.3.4",
      "net.host.name": "shop",
      "server.address": "web",
    }),
    ["", "1.2.3.4:0", "web:0"],
  );
  assert.deepEqual(columns(client, { "rpc.system": "grpc", "http.method": "POST" }), ["grpc", ":0", ":0"]);
  assert.deepEqual(columns(client, { "db.system.name": "redis", "server.port": 99999 }), ["redis", ":0", ":0"]);
});

test("service and instance; a resource without service.name is unknown_service; equal resources are one", () => {
  const attributes = (names: Record<string, string>) =>
    Object.entries(names).map(([key, value]) => ({ key, value: { stringValue: value } }));
  const spans = [{ spans: [{ traceId: TRACE_ID, spanId: SPAN_ID }] }];
  const bytes = oracleEncode("TracesData", {
    resourceSpans: [
      { resource: { attributes: attributes({ "service.name": "a", "service.instance.id": "1" }) }, scopeSpans: spans },
      { scopeSpans: spans },
      { resource: { attributes: attributes({ "service.instance.id": "1", "service.name": "a" }) }, scopeSpans: spans },
    ],
  });
  const { batch } = decoded(decodeTraces(bytes));
  assert.deepEqual([...batch.resource], [0, 1, 0]);
  assert.deepEqual(
    batch.resources.map((each) => [each.service, each.instance]),
    [
      ["a", "1"],
      ["unknown_service", ""],
    ],
  );
});

test("JSON: order of members, names of enums, null, exact integers, hex of any case", () => {
  const span = `{"spans":[{"name":"x","traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174",
    "kind":"SPAN_KIND_SERVER","status":{"code":"STATUS_CODE_ERROR","message":null},"startTimeUnixNano":1544712660123456789,
    "endTimeUnixNano":"1.544712661e18","future":{"a":[1,null,{"b":true}]},"start_time_unix_nano":5,"parentSpanId":"",
    "attributes":[{"key":"i","value":{"intValue":-9223372036854775808}},{"key":"d","value":{"doubleValue":"NaN"}},null]}],
    "scope":{"name":"lib"}}`;
  const body = `{"resourceSpans":[{"scopeSpans":[${span}],"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]}}]}`;
  const { batch } = decoded(decodeTracesJson(Buffer.from(body)));
  assert.equal(batch.resources[0]?.service, "s");
  assert.deepEqual(batch.scopes[0], { name: "lib", version: "" });
  assert.deepEqual([batch.startNs[0], batch.endNs[0]], [1544712660123456789n, 1544712661000000000n]);
  assert.deepEqual([batch.kind[0], batch.status[0]], [2, 2]);
  assert.equal(batch.traceId[0], 0x5b8efff798038103n);
  assert.deepEqual(attributesOf(batch, 0), [
    { key: "i", kind: "i", value: "-9223372036854775808" },
    { key: "d", kind: "d", value: "NaN" },
  ]);
});

test("JSON: what is refused", () => {
  const span = (member: string) => Buffer.from(`{"resourceSpans":[{"scopeSpans":[{"spans":[{${member}}]}]}]}`);
  const bad = (member: string) => assert.equal(decodeTracesJson(span(member)).kind, "malformed", member);
  bad('"traceId":"xyz"');
  bad('"traceId":"abc"');
  bad('"kind":"SPAN_KIND_NEW"');
  bad('"kind":1.5');
  bad('"startTimeUnixNano":-1');
  bad('"startTimeUnixNano":"18446744073709551616"');
  bad('"startTimeUnixNano":1e999999');
  bad('"name":5');
  bad('"name":"a\nb"');
  bad('"name":"\\x"');
  bad('"flags":4294967296');
  bad('"attributes":[{"key":"k","value":{"bytesValue":"***"}}]');
  bad('"name":"a",');
  bad('"x":01');
  bad('"x":nul');
  for (const text of ["1234", "", "[]", "{} {}", "{", '{"resourceSpans":{}}']) {
    assert.equal(decodeTracesJson(Buffer.from(text)).kind, "malformed", text);
  }
  assert.equal(
    decoded(decodeTracesJson(span('"kind":99,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"01"'))).rejected
      .size,
    1,
  );
});

test("Tempo bodies", () => {
  const { batch } = decoded(decodeTraces(oneSpan({ kind: 2, status: { code: 2 } })));
  const spans = spansOf(batch);
  const v1 = JSON.parse(jsonOf("tempo", spans));
  const span = v1.batches[0].scopeSpans[0].spans[0];
  assert.equal(span.traceId, TRACE_ID.toString("base64"));
  assert.equal(span.kind, "SPAN_KIND_SERVER");
  assert.equal(span.status.code, "STATUS_CODE_ERROR");
  assert.deepEqual(JSON.parse(jsonOf("tempo_by_id", spans)).trace.resourceSpans, v1.batches);
  assert.deepEqual(JSON.parse(jsonOf("tempo_by_id", [])), { trace: { resourceSpans: [] }, metrics: {} });
  assert.deepEqual(oracleDecode("TraceByIDResponse", encodeTempoTraceById(bytesOf([]))), { trace: {}, metrics: {} });
  assert.deepEqual(
    (oracleDecode("TraceByIDResponse", encodeTempoTraceById(bytesOf(spans))) as { trace: unknown }).trace,
    oracleDecode("TracesData", bytesOf(spans)),
  );
});
