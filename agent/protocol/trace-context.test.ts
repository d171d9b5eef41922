import assert from "node:assert/strict";
import { test } from "node:test";
import { play } from "./http1.testkit.ts";
import { parseTraceparent, printTraceparent, TRACE_STATE_CHARS_MAX } from "./trace-context.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const VALID = `00-${TRACE}-${SPAN}-01`;

test("parseTraceparent", () => {
  const ok = (text: string, flags: number) => {
    const context = parseTraceparent(text, "");
    assert.deepEqual([context?.traceId, context?.spanId, context?.flags], [TRACE, SPAN, flags], text);
  };
  const bad = (text: string) => assert.equal(parseTraceparent(text, ""), undefined, text);
  ok(VALID, 1);
  ok(`00-${TRACE}-${SPAN}-00`, 0);
  ok(`00-${TRACE}-${SPAN}-ff`, 255);
  ok(`cc-${TRACE}-${SPAN}-01`, 1);
  ok(`cc-${TRACE}-${SPAN}-01-what-the-future-brings`, 1);
  bad("");
  bad(`${VALID}-more`);
  bad(`${VALID}0`);
  bad(`cc-${TRACE}-${SPAN}-01.more`);
  bad(`ff-${TRACE}-${SPAN}-01`);
  bad(`00-${TRACE.toUpperCase()}-${SPAN}-01`);
  bad(`00-${TRACE}-${SPAN.toUpperCase()}-01`);
  bad(`00-${"0".repeat(32)}-${SPAN}-01`);
  bad(`00-${TRACE}-${"0".repeat(16)}-01`);
  bad(`00-${TRACE.slice(1)}-${SPAN}-01x`);
  bad(`00_${TRACE}-${SPAN}-01`);
  bad(`00-${TRACE}-${SPAN}-0g`);
  bad(`.0-${TRACE}-${SPAN}-01`);
});

test("printTraceparent is the inverse", () => {
  for (const flags of ["00", "01", "0a", "ff"]) {
    const text = `00-${TRACE}-${SPAN}-${flags}`;
    const context = parseTraceparent(text, "");
    assert.equal(context && printTraceparent(context), text);
  }
});

test("tracestate is kept whole or not at all", () => {
  assert.equal(parseTraceparent(VALID, "a=1,b=2")?.traceState, "a=1,b=2");
  assert.equal(parseTraceparent(VALID, "a".repeat(TRACE_STATE_CHARS_MAX + 1))?.traceState, "");
  assert.equal(parseTraceparent(VALID, "a=\u0001")?.traceState, "");
});

test("two traceparent headers are none", () => {
  const contextOf = (headers: string) => play([[">", `GET / HTTP/1.1\r\n${headers}\r\n\r\n`]]).exchanges[0]?.context;
  assert.equal(contextOf(`TraceParent:\t${VALID} `)?.spanId, SPAN);
  assert.equal(contextOf(`traceparent: ${VALID}\r\ntraceparent: 00-${TRACE}-00000000000000aa-01`), undefined);
  assert.equal(contextOf(`traceparent2: ${VALID}`), undefined);
});
