import assert from "node:assert/strict";
import { test } from "node:test";
import { releaseBatch } from "../model/batch-lease.ts";
import { textReader } from "../model/text-table.ts";
import { decodeTraces } from "../wire/otlp-traces-protobuf.ts";
import { DEFAULT_TRANSLATION } from "../wire/otlp-translation.ts";
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

/** A request of so many log records that say nothing. */
function emptyLogs(records: number): Uint8Array {
  const inner = Buffer.alloc(2 * records);
  for (let at = 0; at < inner.length; at += 2) inner[at] = 0x12;
  const nested = (tag: number, content: Buffer): Buffer => {
    const length: number[] = [];
    let rest = content.length;
    for (; rest > 0x7f; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
    return Buffer.concat([Buffer.from([tag, ...length, rest]), content]);
  };
  return new Uint8Array(nested(0x0a, nested(0x12, inner)));
}

test("a large request of log records is refused while those of others wait to be stored", async (t) => {
  const decoder = openOtlpDecoder();
  t.after(() => decoder.close());
  const decode = () => decoder.decode("logs", emptyLogs(550_000), "protobuf");
  const [first, second, small] = [decode(), decode(), decoder.decode("logs", emptyLogs(10_000), "protobuf")];
  await assert.rejects(second, { code: "store_unavailable" });
  const [held, other] = [await first, await small];
  assert.ok(held.kind === "decoded" && other.kind === "decoded");
  assert.equal(held.batch.rows, 262_144);
  assert.equal(other.batch.rows, 10_000, "a small one is taken");
  releaseBatch(held.batch);
  assert.equal(held.batch.flags.length, 0, "its memory is free");
  const third = await decode();
  assert.equal(third.kind === "decoded" && third.batch.rows, 262_144);
});

test("what waits when the decoder closes is refused", async () => {
  const decoder = openOtlpDecoder();
  const waiting = decoder.decode("traces", largeBody(), "protobuf");
  await Promise.all([assert.rejects(waiting, /stopping/), decoder.close()]);
});

test("small and large bodies of metrics are translated as was last set before them", async (t) => {
  const decoder = openOtlpDecoder();
  t.after(() => decoder.close());
  const metrics = (count: number) => {
    const gauges = Array.from({ length: count }, (_, at) => ({
      name: `a.b.${at}`,
      gauge: { dataPoints: [{ timeUnixNano: "1700000000000000000", asInt: "1" }] },
    }));
    return Buffer.from(JSON.stringify({ resourceMetrics: [{ scopeMetrics: [{ metrics: gauges }] }] }));
  };
  const nameOf = async (count: number) => {
    const outcome = await decoder.decode("metrics", metrics(count), "json");
    return outcome.kind === "decoded" ? outcome.series[0]?.labels[0]?.[1] : outcome.reason;
  };
  const names = async () => Promise.all([nameOf(1), nameOf(1_000)]);
  assert.deepEqual(await names(), ["a_b_0", "a_b_0"]);
  const before = nameOf(1_000);
  decoder.translate({ ...DEFAULT_TRANSLATION, strategy: "NoTranslation" });
  assert.deepEqual([await before, ...(await names())], ["a_b_0", "a.b.0", "a.b.0"]);
});

test("a decoder's first thread knows what was set before it started", async (t) => {
  const decoder = openOtlpDecoder();
  t.after(() => decoder.close());
  decoder.translate({ ...DEFAULT_TRANSLATION, strategy: "UnderscoreEscapingWithoutSuffixes" });
  const dataPoints = Array.from({ length: 1_000 }, () => ({ timeUnixNano: "1700000000000000000", asInt: "1" }));
  const metrics = [{ name: "a.b", unit: "s", gauge: { dataPoints } }];
  const body = Buffer.from(JSON.stringify({ resourceMetrics: [{ scopeMetrics: [{ metrics }] }] }));
  const outcome = await decoder.decode("metrics", body, "json");
  assert.deepEqual(outcome.kind === "decoded" && outcome.series[0]?.labels, [["__name__", "a_b"]]);
});
