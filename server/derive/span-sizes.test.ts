import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeTraces } from "../wire/otlp-traces-protobuf.ts";
import { oracleDecode, oracleEncode, randomTraces, seededRandom } from "../wire/trace-oracle.ts";
import { halvesOf } from "./batch-rows.ts";
import { SpanSizes } from "./span-sizes.ts";

interface Traces {
  readonly resourceSpans?: readonly { readonly scopeSpans?: readonly { readonly spans?: readonly SentSpan[] }[] }[];
}

interface SentSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly status?: object;
}

test("the size of a span is that of its protobuf", () => {
  const random = seededRandom(11);
  let compared = 0;
  for (let round = 0; round < 80; round++) {
    const bytes = oracleEncode("TracesData", randomTraces(random));
    const outcome = decodeTraces(bytes);
    assert.ok(outcome.kind === "decoded");
    const { batch } = outcome;
    const sent = oracleDecode("TracesData", bytes) as Traces; // the shape of the message that was encoded
    const spans = (sent.resourceSpans ?? []).flatMap(({ scopeSpans = [] }) =>
      scopeSpans.flatMap((scope) => scope.spans ?? []),
    );
    const sizes = new SpanSizes(batch, halvesOf(batch));
    for (const [row, span] of spans.entries()) {
      // protobufjs writes fields that were set although they are at their default; what it decoded has none such.
      const { status, ...rest } = span;
      const isSet = status !== undefined && Object.keys(status).length > 0;
      const wanted = oracleEncode("Span", isSet ? span : rest).length;
      assert.equal(sizes.sizeOf(row), wanted, `round ${round}, row ${row}`);
      compared++;
    }
    assert.equal(batch.rows, spans.length);
  }
  assert.ok(compared > 300);
});

test("numbers of all lengths are as long as protobuf writes them", () => {
  for (const number of [
    "0",
    "127",
    "128",
    "16384",
    "999999999999999",
    "9007199254740993",
    "-1",
    "9223372036854775807",
  ]) {
    const span = {
      traceId: Buffer.alloc(16, 1),
      spanId: Buffer.alloc(8, 1),
      attributes: [{ key: "k".repeat(130), value: { intValue: number } }],
    };
    const bytes = oracleEncode("TracesData", { resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
    const outcome = decodeTraces(bytes);
    assert.ok(outcome.kind === "decoded");
    assert.equal(
      new SpanSizes(outcome.batch, halvesOf(outcome.batch)).sizeOf(0),
      oracleEncode("Span", span).length,
      number,
    );
  }
});
