import assert from "node:assert/strict";
import { test } from "node:test";
import { textReader } from "../model/text-table.ts";
import { decodeTraces } from "../wire/otlp-traces-protobuf.ts";
import { oracleEncode, randomTraces, seededRandom, spansOf } from "../wire/trace-oracle.ts";
import { openOtlpDecoder } from "./otlp-decoder.ts";

function largeBody(): Uint8Array {
  const random = seededRandom(21);
  const parts: Uint8Array[] = [];
  for (let bytes = 0; bytes < 100_000; bytes += parts.at(-1)?.length ?? 0) {
    parts.push(oracleEncode("TracesData", randomTraces(random)));
  }
  return new Uint8Array(Buffer.concat(parts));
}

test("a large request comes back from the thread as it is decoded in place", async (t) => {
  const decoder = openOtlpDecoder();
  t.after(() => decoder.close());
  const body = largeBody();
  const here = decodeTraces(body);
  const there = await decoder.decode("traces", body.slice(), "protobuf");
  assert.ok(here.kind === "decoded" && there.kind === "decoded");
  assert.ok(there.batch.rows > 0);
  assert.deepEqual(spansOf(there.batch), spansOf(here.batch));
  assert.deepEqual(there.rejected, here.rejected);
  assert.equal(textReader(there.batch.text)(0), "");
});

test("answers find their requests when many are under way, malformed ones among them", async (t) => {
  const decoder = openOtlpDecoder();
  t.after(() => decoder.close());
  const body = largeBody();
  const expected = decodeTraces(body);
  assert.ok(expected.kind === "decoded");
  const asked = Array.from({ length: 20 }, (_, at) =>
    decoder.decode("traces", at % 3 === 0 ? body.slice(0, body.length - 1) : body.slice(), "protobuf"),
  );
  for (const [at, outcome] of (await Promise.all(asked)).entries()) {
    if (at % 3 === 0) assert.equal(outcome.kind, "malformed");
    else assert.equal(outcome.kind === "decoded" && outcome.received, expected.received);
  }
});

test("a body that shares its buffer with others leaves them whole", async (t) => {
  const decoder = openOtlpDecoder();
  t.after(() => decoder.close());
  const body = largeBody();
  const shared = Buffer.concat([Buffer.from("before"), body, Buffer.from("after")]);
  await decoder.decode("traces", shared.subarray(6, 6 + body.length), "protobuf");
  assert.equal(shared.subarray(6 + body.length).toString(), "after");
});

test("what waits when the decoder closes is refused", async () => {
  const decoder = openOtlpDecoder();
  const waiting = decoder.decode("traces", largeBody(), "protobuf");
  await Promise.all([assert.rejects(waiting, /stopping/), decoder.close()]);
});
