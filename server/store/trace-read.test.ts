import assert from "node:assert/strict";
import { test } from "node:test";
import { spanIdToHex, traceIdToHex } from "../model/hex.ts";
import type { Attribute } from "../model/span-batch.ts";
import { SPAN_KINDS, SPAN_STATUSES } from "../model/span-batch.ts";
import { EMPTY_SPAN, type SpanToAppend } from "../model/span-batch-builder.ts";
import { TYPED_ATTRIBUTES } from "../model/sql-tables.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import { batchOf, NOON_NS, openIn, SHOP, temporaryDirectory } from "./store-fixture.ts";

/** What is special to JSON, to SQL, to numbers, or only long. */
const TEXTS = [
  "a",
  'quote " and \\ backslash',
  "line\nfeed\ttab\u0000zero\u001f",
  "it's; -- {}[],:",
  "\u2028\u2029\ufeff",
  "żółw 🐢",
  "null",
  "9007199254740993",
  "-1",
  "__proto__",
  "x".repeat(5000),
];

/** Numbers from 0 to below `below`, the same in every run. */
function drawer(): (below: number) => number {
  let state = 1;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function drawnSpan(draw: (below: number) => number, id: number): SpanToAppend & { attributes: Attribute[] } {
  const text = () => TEXTS[draw(TEXTS.length)] ?? "";
  const maybe = () => (draw(2) === 0 ? "" : text());
  const bytes = () => Uint8Array.from({ length: draw(3) * draw(40) }, () => draw(256));
  const keys = [...TYPED_ATTRIBUTES.map(({ key }) => key), ...TEXTS];
  const attributes = Array.from({ length: draw(8) }, (): Attribute => {
    const key = keys[draw(keys.length)] ?? "";
    return draw(3) === 0 ? { key, kind: "i", value: String(draw(100_000) - 500) } : { key, kind: "s", value: text() };
  });
  const startNs = NOON_NS + BigInt(id);
  return {
    ...EMPTY_SPAN,
    resource: 0,
    scope: 0,
    traceIdHigh: 7n,
    traceIdLow: 9n,
    spanId: 0xffff_ffff_ffff_ff00n + BigInt(id),
    parentSpanId: draw(3) === 0 ? 0n : 0x8000_0000_0000_0001n + BigInt(draw(9)),
    startNs,
    endNs: startNs + BigInt(draw(1000)) * 0x1_0000_0000_0001n,
    name: text(),
    kind: draw(SPAN_KINDS.length),
    status: draw(SPAN_STATUSES.length),
    statusMessage: maybe(),
    linkReason: maybe(),
    flags: draw(2) * 0xffff_ffff,
    traceState: maybe(),
    attributes,
    events: bytes(),
    links: bytes(),
  };
}

test("a trace is read as it was stored, whatever stands in it", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const draw = drawer();
  const spans = Array.from({ length: 200 }, (_, id) => drawnSpan(draw, id));
  const scope = { name: 'scope "a"', version: "1\\0", rest: '{"droppedAttributesCount":1}' };
  for (let from = 0; from < spans.length; from += 50)
    await store.writer.commitSpans(batchOf(spans.slice(from, from + 50), SHOP, scope));
  const trace = traceIdToHex(7n, 9n);
  const want = spans.map(
    (span): Partial<StoredSpan> => ({
      traceId: trace,
      spanId: spanIdToHex(span.spanId),
      parentSpanId: span.parentSpanId === 0n ? "" : spanIdToHex(span.parentSpanId),
      service: "shop",
      instance: "shop-1",
      name: span.name,
      kind: span.kind,
      status: span.status,
      statusMessage: span.statusMessage,
      startNs: span.startNs,
      endNs: span.endNs,
      linkReason: span.linkReason,
      traceState: span.traceState,
      flags: span.flags,
      scopeName: scope.name,
      scopeVersion: scope.version,
      scopeRest: scope.rest,
      resource: SHOP.attributes,
      resourceRest: "",
      attributes: span.attributes,
      events: span.events,
      links: span.links,
    }),
  );
  const got = await store.reader.trace(trace, 1000);
  assert.deepEqual(
    got.map(({ source: _source, ...span }) => span),
    want,
  );
  assert.deepEqual(await store.reader.trace(trace, 120), got.slice(0, 120), "the earliest of too many");
});
