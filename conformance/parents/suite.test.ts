import assert from "node:assert/strict";
import { test } from "node:test";
import { IN_CI, testSuite } from "../suite-test.ts";
import type { SeenSpan } from "./capture-child.ts";
import { judge, readTruth } from "./judge.ts";
import { runParents } from "./suite.ts";

// All cells take a minute: a newcomer's `npm test` runs one that every machine has.
testSuite("parents", () => runParents(IN_CI ? [] : ["node keep-alive"]));

function spanOf(reason: string) {
  return (kind: string, clientPort: number, serverPort: number, id: string, parent = ""): SeenSpan => ({
    kind,
    clientPort,
    serverPort,
    id,
    parent,
    reason,
    unlinked: "cause_unknown",
    startNs: `100${id}`,
    pid: 1,
  });
}

test("the judge tells right, wrong and missing parents apart", () => {
  const truth = readTruth([
    "ready",
    "call 5001 80 1 for 4001 90 1",
    "call 5001 80 2 for 4001 90 2",
    "call 5002 80 1 for 4002 90 1",
  ]);
  const span = spanOf("loop");
  const spans = [
    span("server", 4001, 90, "1"),
    span("server", 4001, 90, "2"),
    span("server", 4002, 90, "3"),
    span("client", 5001, 80, "4", "1"),
    span("client", 5001, 80, "5", "3"),
    span("client", 5002, 80, "6"),
  ];
  const lastRequest = [["5001 80 1", "4001 90 1"] as const, ["5001 80 2", "4001 90 1"] as const];
  assert.deepEqual(judge(truth, { spans, lastRequest, lost: 0 }), {
    expected: 3,
    drawn: 2,
    right: 1,
    wrong: 1,
    missing: 1,
    lastRequest: { drawn: 2, right: 1, wrong: 1 },
    reasons: { loop: 1, "wrong: loop": 1, "none: cause_unknown": 1 },
  });
});

test("messages that capture came too late for do not shift those after them", () => {
  const truth = readTruth(["call 5001 80 2 for 4001 90 2", "call 5001 80 3 for 4001 90 3"]);
  // Of both connections the first message was not seen.
  const span = spanOf("thread");
  const spans = [
    span("server", 4001, 90, "1"),
    span("server", 4001, 90, "2"),
    span("client", 5001, 80, "3", "1"),
    span("client", 5001, 80, "4", "2"),
  ];
  const { right, wrong, missing } = judge(truth, { spans, lastRequest: [], lost: 0 });
  assert.deepEqual({ right, wrong, missing }, { right: 2, wrong: 0, missing: 0 });
});
