import assert from "node:assert/strict";
import { test } from "node:test";
import type { Resource, SpanBatch } from "../model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder, type SpanToAppend } from "../model/span-batch-builder.ts";
import { textReader } from "../model/text-table.ts";
import { AGENT_KEYS, encodeAgentSpans } from "./agent-spans.ts";
import { decodeTraces } from "./otlp-traces-protobuf.ts";

const resourceOf = (service: string): Resource => ({
  service,
  instance: `${service}:1`,
  attributes: [
    { key: "host.name", kind: "s", value: "here" },
    { key: "service.instance.id", kind: "s", value: `${service}:1` },
    { key: "service.name", kind: "s", value: service },
  ],
});

/** One span with every column set. */
const WHOLE: SpanToAppend = {
  ...EMPTY_SPAN,
  traceIdHigh: 0x0123_4567_89ab_cdefn,
  traceIdLow: 0xfedc_ba98_7654_3210n,
  spanId: 0xf000_0000_0000_0001n,
  parentSpanId: 0xf000_0000_0000_0002n,
  startNs: 1_800_000_000_000_000_001n,
  endNs: 1_800_000_000_000_000_999n,
  name: "GET /orders/{id}",
  kind: 3,
  status: 2,
  statusMessage: "reset",
  source: 1,
  linkReason: "thread",
  protocol: "http",
  clientAddr: "10.0.0.1",
  clientPort: 40_001,
  serverAddr: "fd00::2",
  serverPort: 8080,
  pid: 4_000_000_000,
  weight: 7,
  duplicateOf: 0xabc0_0000_0000_0defn,
  flags: 1,
  traceState: "a=b",
  attributes: [
    { key: "http.request.method", kind: "s", value: "GET" },
    { key: "http.response.status_code", kind: "i", value: "200" },
    { key: "server.address", kind: "s", value: "shop" },
    { key: "thalweg.joined_late", kind: "b", value: "true" },
  ],
};

/** A row with its texts read, resource and attributes in place. */
function rowsOf(batch: SpanBatch): unknown[] {
  const text = textReader(batch.text);
  return Array.from({ length: batch.rows }, (_, row) => {
    const from = row === 0 ? 0 : (batch.attributeEnd[row - 1] ?? 0);
    const attributes: string[][] = [];
    for (let at = from; at < (batch.attributeEnd[row] ?? 0); at++) {
      const kind = String.fromCharCode(batch.attributeKind[at] ?? 0);
      attributes.push([text(batch.attributeKey[at]), kind, text(batch.attributeValue[at])]);
    }
    const texts = (
      ["name", "statusMessage", "linkReason", "protocol", "clientAddr", "serverAddr", "traceState"] as const
    ).map((column) => text(batch[column][row]));
    const numbers = (
      [
        "spanId",
        "parentSpanId",
        "startNs",
        "endNs",
        "kind",
        "status",
        "source",
        "clientPort",
        "serverPort",
        "pid",
      ] as const
    ).map((column) => batch[column][row]);
    const more = (["weight", "duplicateOf", "flags"] as const).map((column) => batch[column][row]);
    const trace = [batch.traceId[2 * row], batch.traceId[2 * row + 1]];
    return [
      batch.resources[batch.resource[row] ?? 0],
      batch.scopes[batch.scope[row] ?? 0],
      trace,
      texts,
      numbers,
      more,
      attributes,
    ];
  });
}

function throughOtlp(batch: SpanBatch): SpanBatch {
  const pieces = [...encodeAgentSpans(batch, "1.2.3")];
  assert.equal(
    pieces.reduce((sum, { spans }) => sum + spans, 0),
    batch.rows,
  );
  const decoded = decodeTraces(Buffer.concat(pieces.map(({ bytes }) => bytes)));
  assert.equal(decoded.kind, "decoded");
  if (decoded.kind !== "decoded") throw new Error("checked above");
  return decoded.batch;
}

test("a span of the agent arrives as it was captured", () => {
  const builder = new SpanBatchBuilder();
  const [front, back] = [resourceOf("front"), resourceOf("back")];
  for (const [resource, span] of [
    [front, WHOLE],
    [
      front,
      {
        ...WHOLE,
        spanId: 2n,
        parentSpanId: 0n,
        source: 0,
        weight: 1,
        duplicateOf: 0n,
        linkReason: "",
        clientAddr: "",
        clientPort: 0,
      },
    ],
    [back, { ...WHOLE, spanId: 3n, kind: 2, source: 5, attributes: [] }],
  ] as const) {
    builder.append({
      ...span,
      resource: builder.addResource(resource),
      scope: builder.addScope({ name: "", version: "" }),
    });
  }
  const batch = builder.seal();
  assert.deepEqual(rowsOf(throughOtlp(batch)), rowsOf(batch));
});

test("many spans are sent in pieces that are one request together", () => {
  const builder = new SpanBatchBuilder();
  const resources = [resourceOf("a"), resourceOf("b")];
  for (let at = 0; at < 1300; at++) {
    const resource = resources[at < 1200 ? 0 : 1] ?? resourceOf("c");
    builder.append({
      ...WHOLE,
      spanId: BigInt(at + 1),
      resource: builder.addResource(resource),
      scope: builder.addScope({ name: "", version: "" }),
    });
  }
  const batch = builder.seal();
  assert.deepEqual(
    [...encodeAgentSpans(batch, "")].map(({ spans }) => spans),
    [512, 512, 276],
  );
  assert.deepEqual(rowsOf(throughOtlp(batch)), rowsOf(batch));
});

test("the attributes are columns in the agent's scope alone, and only where they make sense", () => {
  const builder = new SpanBatchBuilder();
  builder.append({
    ...WHOLE,
    resource: builder.addResource(resourceOf("a")),
    scope: builder.addScope({ name: "", version: "" }),
  });
  const [piece] = encodeAgentSpans(builder.seal(), "");
  const body = Buffer.from(piece?.bytes ?? []);
  const decoded = decodeTraces(
    Buffer.from(body.toString("latin1").replace("\x07thalweg\x12", "\x07THALWEG\x12"), "latin1"),
  );
  assert.ok(decoded.kind === "decoded");
  const [other] = rowsOf(decoded.batch) as [unknown[]];
  assert.match(JSON.stringify(other.at(-1)), new RegExp(AGENT_KEYS.linkReason));
  assert.equal(decoded.batch.source[0], 2);

  const odd = decodeTraces(
    Buffer.from(
      body.toString("latin1").replace("\x06packet", "\x06pocket").replace("abc0000000000def", "ABC0000000000DEF"),
      "latin1",
    ),
  );
  assert.ok(odd.kind === "decoded");
  assert.equal(odd.batch.source[0], 2, "an unknown source is what OTLP brings");
  assert.equal(odd.batch.duplicateOf[0], 0n);
});
