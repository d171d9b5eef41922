import assert from "node:assert/strict";
import { test } from "node:test";
import { processSeen, type Sight, Traffic } from "./traffic.testkit.ts";

const FRONT = 20;
const ATTRIBUTE = "thalweg.unlinked";

/** A Node process that tells, or does not, and answers two requests at a time. */
function front(isTelling: boolean): Traffic {
  const traffic = new Traffic();
  traffic.room.process(processSeen(FRONT, "node", "node"));
  if (isTelling) traffic.room.telling(FRONT, true);
  return traffic;
}

function request(traffic: Traffic, port: number, seq: number): Sight {
  return traffic.sight("server", port, seq, FRONT, { serverPid: FRONT }).start();
}

function call(traffic: Traffic, port: number, seq: number): Sight {
  return traffic.sight("client", port, seq, FRONT, { clientPid: FRONT, serverPort: 81 }).start();
}

/** The process says for whom it made the call on `callPort` whose answer it reads now. */
function told(
  traffic: Traffic,
  asked: { readonly port: number; readonly atNs: number } | undefined,
  callPort: number,
): void {
  traffic.room.told({
    pid: FRONT,
    request: asked && { addr: "127.0.0.1", port: asked.port, ownPort: 80, atNs: asked.atNs },
    call: { ownPort: callPort, port: 81, atNs: traffic.nowNs + 2000 },
  });
}

function linkOf(traffic: Traffic, callPort: number): string {
  const span = traffic.sent.find(({ kind, clientPort }) => kind === 3 && clientPort === callPort);
  const unlinked = span?.attributes.find(({ key }) => key === ATTRIBUTE)?.value;
  return span === undefined ? "not sent" : span.linkReason || `none: ${unlinked}`;
}

test("what a process says of its calls draws them into the request it names", () => {
  const traffic = front(true);
  const first = request(traffic, 4000, 1);
  traffic.pass(1);
  const second = request(traffic, 4001, 1);
  traffic.pass(5);
  const forSecond = call(traffic, 5000, 1);
  const forFirst = call(traffic, 5001, 1);
  const forNone = call(traffic, 5002, 1);
  traffic.pass(5);
  for (const one of [forSecond, forFirst, forNone]) one.finish();
  told(traffic, { port: 4001, atNs: second.connection.socket === 2 ? 1e9 + 1e6 + 5000 : 0 }, 5000);
  told(traffic, { port: 4000, atNs: 1e9 + 5000 }, 5001);
  told(traffic, undefined, 5002);
  traffic.pass(1);
  first.finish();
  second.finish();
  traffic.pass(1200);
  assert.deepEqual(
    [5000, 5001, 5002].map((port) => linkOf(traffic, port)),
    ["inspector", "inspector", "none: told_none"],
  );
  const idOf = (port: number) => traffic.sent.find(({ kind, clientPort }) => kind === 2 && clientPort === port)?.spanId;
  const parentOf = (port: number) =>
    traffic.sent.find(({ kind, clientPort }) => kind === 3 && clientPort === port)?.parentSpanId;
  assert.equal(parentOf(5000), idOf(4001));
  assert.equal(parentOf(5001), idOf(4000));
});

test("what is not told, or not surely of one request, is not drawn", () => {
  const traffic = front(true);
  const requests = [request(traffic, 4000, 1), request(traffic, 4000, 2), request(traffic, 4001, 1)];
  traffic.pass(5);
  const calls = [call(traffic, 5000, 1), call(traffic, 5001, 1), call(traffic, 5002, 1)];
  traffic.pass(5);
  for (const one of calls) one.finish();
  // Two requests on one connection, the second before the answer to the first; and one that nobody made.
  told(traffic, { port: 4000, atNs: 1e9 + 5000 }, 5000);
  told(traffic, { port: 4999, atNs: 1e9 + 5000 }, 5001);
  for (const one of requests) one.finish();
  traffic.pass(1200);
  assert.deepEqual(
    [5000, 5001, 5002].map((port) => linkOf(traffic, port)),
    ["none: told_nothing", "none: told_nothing", "not sent"],
  );
  traffic.pass(1500);
  assert.equal(linkOf(traffic, 5002), "none: told_nothing");
  assert.deepEqual(traffic.room.ledger().told, { drawn: 0, unmatched: 2, silent: 1, overflow: 0 });
});

test("a process whose calls have no sure parent is told of, until it tells", () => {
  const traffic = front(false);
  const requests = [request(traffic, 4000, 1), request(traffic, 4001, 1)];
  traffic.room.sliceSeen({
    socket: 99,
    direction: 1,
    timeNs: traffic.nowNs,
    seq: 0,
    total: 1,
    bytes: new Uint8Array(1),
    tid: FRONT,
    pid: FRONT,
    work: { kind: "loop", unit: 5, origin: 0 },
  });
  for (let port = 5000; port < 5030; port++) call(traffic, port, 1).finish();
  traffic.pass(1500);
  assert.deepEqual(traffic.room.unsure(), [FRONT]);
  traffic.room.telling(FRONT, true);
  assert.deepEqual(traffic.room.unsure(), []);
  for (const one of requests) one.finish();
});

test("of a process with many connections the oldest messages are forgotten", () => {
  const traffic = front(true);
  call(traffic, 5000, 1).finish();
  for (let port = 6000; port < 6140; port++) {
    for (let seq = 1; seq <= 60; seq++) call(traffic, port, seq).finish();
  }
  told(traffic, undefined, 5000);
  told(traffic, undefined, 6139);
  traffic.pass(1200);
  assert.equal(traffic.room.ledger().told["unmatched"], 1);
});
