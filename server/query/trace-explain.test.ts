import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { KIND_CLIENT, KIND_SERVER } from "../model/span-batch.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import { explainedSpans } from "./trace-explain.ts";

const PLAIN: StoredSpan = {
  traceId: "1".repeat(32),
  spanId: "0000000000000001",
  parentSpanId: "",
  service: "a",
  instance: "",
  name: "GET /",
  kind: KIND_SERVER,
  status: 0,
  statusMessage: "",
  startNs: 1n,
  endNs: 2n,
  source: "ebpf",
  linkReason: "",
  traceState: "",
  flags: 0,
  scopeName: "",
  scopeVersion: "",
  scopeRest: "",
  resourceRest: "",
  resource: [],
  attributes: [],
  events: new Uint8Array(0),
  links: new Uint8Array(0),
};

function explain(spans: readonly StoredSpan[]): { reason: string; why: string }[] {
  const work = explainedSpans(spans);
  for (;;) {
    const step = work.next();
    if (step.done !== true) continue;
    return step.value.map(({ attributes }) => {
      const value = (key: string) => attributes.find((attribute) => attribute.key === key)?.value ?? "";
      return { reason: value("thalweg.parent_reason"), why: value("thalweg.parent_why") };
    });
  }
}

test("every span tells why it has its parent, or none", () => {
  const unlinked = { key: "thalweg.unlinked", kind: "s", value: "cause_unknown" } as const;
  const call = { ...PLAIN, kind: KIND_CLIENT };
  const found = explain([
    PLAIN,
    { ...call, spanId: "0000000000000002", parentSpanId: PLAIN.spanId, linkReason: "loop" },
    { ...PLAIN, spanId: "0000000000000003", parentSpanId: "00000000000000ff", linkReason: "traceparent" },
    { ...call, spanId: "0000000000000004", attributes: [unlinked] },
    { ...call, spanId: "0000000000000005", source: "packet" },
    { ...PLAIN, spanId: "0000000000000006", source: "otlp" },
    { ...PLAIN, spanId: "0000000000000007", source: "otlp", parentSpanId: PLAIN.spanId },
  ]);
  assert.deepEqual(
    found.map(({ reason }) => reason),
    ["no_client_seen", "loop", "traceparent", "cause_unknown", "thread_unknown", "sent_as_root", "sent"],
  );
  for (const { why } of found) assert.match(why, /^[A-Z].*\.$/);
  assert.match(found[2]?.why ?? "", /not stored here/);
  assert.doesNotMatch(found[1]?.why ?? "", /not stored here/);
});

test("a span whose trace may lack others tells why", () => {
  const source = readFileSync(join(import.meta.dirname, "../../agent/span/hop.ts"), "utf8");
  const reasons = [...(/export type IncompleteReason = (.*);/.exec(source)?.[1] ?? "").matchAll(/"(\w+)"/g)].map(
    ([, word = ""]) => word,
  );
  assert.equal(reasons.length, 4);
  const attribute = { key: "thalweg.incomplete", kind: "s", value: reasons.join(",") } as const;
  const work = explainedSpans([{ ...PLAIN, attributes: [attribute] }, PLAIN]);
  let step = work.next();
  while (step.done !== true) step = work.next();
  const [why, none] = step.value.map(({ attributes }) =>
    attributes.find(({ key }) => key === "thalweg.incomplete_why"),
  );
  assert.equal(why?.value.match(/[A-Z][^.]*\./g)?.length, 4);
  assert.doesNotMatch(why?.value ?? "", /for the reason/);
  assert.equal(none, undefined);
});

test("every reason of the agent has a sentence", () => {
  const source = readFileSync(join(import.meta.dirname, "../../agent/span/call-parent.ts"), "utf8");
  const words = (type: string) => {
    const text = source.slice(source.indexOf(`export type ${type} =`)).split(";", 1)[0] ?? "";
    return [...text.matchAll(/"([a-z_-]+)"/g)].map(([, word = ""]) => word);
  };
  const drawn = words("LinkReason");
  const unlinked = words("UnlinkedReason");
  assert.ok(drawn.length >= 7 && unlinked.length >= 9);
  for (const reason of drawn) {
    const [found] = explain([{ ...PLAIN, parentSpanId: PLAIN.spanId, linkReason: reason }]);
    assert.doesNotMatch(found?.why ?? "", /for the reason/, reason);
  }
  for (const value of unlinked) {
    const attributes = [{ key: "thalweg.unlinked", kind: "s", value } as const];
    const [found] = explain([{ ...PLAIN, kind: KIND_CLIENT, attributes }]);
    assert.doesNotMatch(found?.why ?? "", /for the reason/, value);
  }
});
