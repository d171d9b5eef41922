import assert from "node:assert/strict";
import { test } from "node:test";
import { spanIdToHex, traceIdToHex } from "../../server/model/hex.ts";
import { carried, processSeen, type SentSpan, Traffic } from "./traffic.testkit.ts";
import { TRIAL_NS } from "./trials.ts";

const CURL = 10;
const FRONT = 20;
const BACK = 30;

function shop(): Traffic {
  const traffic = new Traffic();
  traffic.room.process(processSeen(CURL, "curl"));
  traffic.room.process(processSeen(FRONT, "front"));
  traffic.room.process(processSeen(BACK, "back"));
  return traffic;
}

function traceOf(span: SentSpan): string {
  return traceIdToHex(span.traceIdHigh, span.traceIdLow);
}

function balanced(traffic: Traffic): void {
  const { exchanges, spans, waiting, dropped } = traffic.room.ledger();
  const droppedCount = Object.values(dropped).reduce((sum, count) => sum + count, 0);
  assert.equal(exchanges, spans + waiting + droppedCount, "exchanges = spans + waiting + dropped");
  assert.equal(spans, traffic.sent.length);
}

/** curl → front → back, with front calling inside its request; the order of starts at each hop is given. */
function chain(traffic: Traffic, serverFirst: boolean): void {
  const call = traffic.sight("client", 4000, 1, CURL, { clientPid: CURL });
  const served = traffic.sight("server", 4000, 1, FRONT, { serverPid: FRONT });
  if (serverFirst) {
    served.start();
    call.start();
  } else {
    call.start();
    served.start();
  }
  traffic.nowNs += 1e6;
  const innerCall = traffic.sight("client", 5000, 7, FRONT, { clientPid: FRONT, serverPort: 81 });
  const innerServed = traffic.sight("server", 5000, 7, BACK, { serverPid: BACK, serverPort: 81 });
  innerCall.start();
  innerServed.start();
  traffic.nowNs += 1e6;
  innerServed.finish();
  innerCall.finish();
  served.finish();
  call.finish();
}

for (const serverFirst of [false, true]) {
  test(`a chain of processes is one trace (${serverFirst ? "server" : "client"} seen first)`, () => {
    const traffic = shop();
    chain(traffic, serverFirst);
    traffic.pass(0);
    assert.equal(traffic.sent.length, 4, "everything is settled: nothing waits");
    const outer = traffic.span("client", "curl");
    const front = traffic.span("server", "front");
    const inner = traffic.span("client", "front");
    const back = traffic.span("server", "back");
    assert.equal(new Set(traffic.sent.map(traceOf)).size, 1);
    assert.equal(outer.parentSpanId, 0n);
    assert.equal(outer.linkReason, "");
    assert.equal(front.parentSpanId, outer.spanId);
    assert.equal(front.linkReason, "message");
    assert.equal(inner.parentSpanId, front.spanId);
    assert.equal(inner.linkReason, "thread");
    assert.equal(back.parentSpanId, inner.spanId);
    assert.equal(outer.protocol, "http");
    assert.equal(outer.source, 0);
    balanced(traffic);
  });
}

test("ids depend on the message alone", () => {
  const ids = (serverFirst: boolean) => {
    const traffic = shop();
    chain(traffic, serverFirst);
    return traffic.sent.map((span) => `${traceOf(span)} ${spanIdToHex(span.spanId)} ${span.service}`).sort();
  };
  assert.deepEqual(ids(true), ids(false));
});

test("a client side that is told late still becomes the parent, and gives the trace", () => {
  const traffic = shop();
  const outer = traffic.sight("server", 3000, 9, FRONT, { serverPid: FRONT }).start();
  const served = traffic.sight("server", 4000, 1, BACK, { serverPid: BACK }).start();
  served.finish();
  traffic.pass(100);
  assert.equal(traffic.sent.length, 0, "the client side of both may still come");
  traffic.sight("client", 4000, 1, FRONT, { clientPid: FRONT }).start().finish();
  assert.equal(traffic.sent.length, 0, "its parent's client side may still come");
  outer.finish();
  traffic.sight("client", 3000, 9, CURL, { clientPid: CURL }).start().finish();
  assert.equal(traffic.sent.length, 4);
  assert.equal(new Set(traffic.sent.map(traceOf)).size, 1);
  assert.equal(traffic.span("server", "back").parentSpanId, traffic.span("client", "front").spanId);
  balanced(traffic);
});

test("a server side whose client is never seen is a root after the linger, and no later", () => {
  const traffic = shop();
  traffic.sight("server", 4000, 1, FRONT, { serverPid: FRONT }).start().finish();
  traffic.pass(249);
  assert.equal(traffic.sent.length, 0);
  balanced(traffic);
  traffic.pass(2);
  assert.equal(traffic.span("server", "front").parentSpanId, 0n);
  balanced(traffic);
  assert.equal(traffic.room.ledger().openHops, 0);
});

test("children of a long request leave before it ends, with its trace", () => {
  const traffic = shop();
  const outer = traffic.sight("server", 3000, 9, FRONT, { serverPid: FRONT }).start();
  traffic.pass(1000);
  traffic.sight("client", 4000, 1, FRONT, { clientPid: FRONT }).start().finish();
  assert.equal(traffic.sent.length, 1);
  traffic.pass(1000);
  outer.finish();
  traffic.pass(300);
  assert.equal(traceOf(traffic.span("client", "front")), traceOf(traffic.span("server", "front")));
  assert.equal(traffic.span("client", "front").parentSpanId, traffic.span("server", "front").spanId);
});

test("a client side later than the linger changes no trace that was sent", () => {
  const traffic = shop();
  const grand = traffic.sight("server", 2000, 5, BACK, { serverPid: BACK }).start();
  const served = traffic.sight("server", 4000, 1, FRONT, { serverPid: FRONT }).start();
  served.finish();
  traffic.pass(300);
  const late = traffic.sight("client", 4000, 1, BACK, { clientPid: BACK }).start();
  late.finish();
  grand.finish();
  traffic.pass(300);
  assert.equal(traffic.sent.length, 3);
  for (const span of traffic.sent) {
    const parent = traffic.sent.find((other) => other.spanId === span.parentSpanId);
    if (parent !== undefined) assert.equal(traceOf(parent), traceOf(span), "a parent lies in its child's trace");
  }
});

test("a client side that comes after its trace was sent gets no parent of another trace", () => {
  const traffic = shop();
  const grand = traffic.sight("server", 2000, 5, BACK, { serverPid: BACK }).start();
  const served = traffic.sight("server", 4000, 1, FRONT, { serverPid: FRONT }).start();
  traffic.pass(300);
  traffic.sight("client", 5000, 1, FRONT, { clientPid: FRONT }).start().finish();
  const late = traffic.sight("client", 4000, 1, BACK, { clientPid: BACK }).start();
  for (const side of [late, served, grand]) side.finish();
  traffic.pass(300);
  assert.equal(traffic.span("client", "back").parentSpanId, 0n);
  assert.equal(traceOf(traffic.span("client", "back")), traceOf(traffic.span("client", "front")));
});

for (const [language, want] of [
  ["python", "thread"],
  ["java", "thread"],
  ["go", ""],
  ["node", ""],
] as const) {
  test(`overlapping requests of ${language} draw ${want === "" ? "nothing" : "by their threads"}`, () => {
    const traffic = new Traffic();
    traffic.room.process(processSeen(FRONT, "front", language));
    let port = 1000;
    const serve = (tid: number) => traffic.sight("server", port++, 1, tid, { serverPid: FRONT }).start();
    for (let at = 0; at < 20; at++) for (const side of [serve(71), serve(72)]) side.finish();
    const open = [serve(71), serve(72)];
    traffic.sight("client", port, 1, 71, { clientPid: FRONT }).start().finish();
    for (const side of open) side.finish();
    traffic.pass(300);
    assert.equal(traffic.span("client", "front").linkReason, want);
  });
}

test("one sight gives both spans", () => {
  const traffic = shop();
  traffic.sight("both", 4000, 1, 0, { clientPid: CURL, serverPid: FRONT }).start().finish(404);
  const client = traffic.span("client", "curl");
  const server = traffic.span("server", "front");
  assert.equal(server.parentSpanId, client.spanId);
  assert.equal(server.linkReason, "one-sight");
  assert.equal(server.startNs, client.startNs);
  assert.equal(server.endNs, client.endNs);
  assert.equal(server.source, 1);
  assert.equal(client.status, 2, "4xx fails the client");
  assert.equal(server.status, 0, "and not the server");
  assert.deepEqual([client.pid, server.pid], [CURL, FRONT]);
  assert.ok(client.attributes.some(({ key, value }) => key === "error.type" && value === "404"));
  assert.ok(server.attributes.some(({ key, value }) => key === "thalweg.owner_by" && value === "hook"));
  balanced(traffic);
});

test("sights on the wire draw no parent inside a process", () => {
  const traffic = shop();
  const outer = traffic.sight("both", 4000, 1, 0, { clientPid: CURL, serverPid: FRONT }).start();
  traffic.sight("both", 5000, 1, 0, { clientPid: FRONT, serverPid: BACK }).start().finish();
  outer.finish();
  assert.equal(traffic.span("client", "front").parentSpanId, 0n);
});

test("a sight whose other end is on another host gives the local side alone", () => {
  const traffic = shop();
  const shape = { sight: "wire" as const, serverAddr: "10.1.1.1", clientPid: CURL };
  traffic.sight("client", 4000, 1, 0, shape).start().finish();
  traffic.pass(300);
  assert.equal(traffic.sent.length, 1);
  assert.equal(traffic.span("client", "curl").linkReason, "");
});

test("a second sight of the same end makes no second span", () => {
  const traffic = shop();
  const shape = { clientPid: CURL, serverPid: FRONT };
  const first = traffic.sight("both", 4000, 1, 0, shape).start();
  const second = traffic.sight("both", 4000, 1, 0, shape).start();
  first.finish();
  second.finish();
  assert.equal(traffic.sent.length, 2);
  assert.deepEqual(traffic.room.ledger().dropped, { repeated_sight: 2 });
  balanced(traffic);
});

test("owners without a process give their own name, and unknown ones say so", () => {
  const traffic = shop();
  const named = traffic.sight("both", 4000, 1, 0);
  named.connection.serverOwner = { pid: 0, ownerBy: "cgroup", fallbackName: "orders" };
  named.start().finish();
  traffic.pass(300);
  assert.deepEqual(traffic.sent.map((span) => span.service).sort(), ["orders", "unknown"]);
  traffic.sight("both", 4000, 2, 0).start().finish();
  traffic.pass(300);
  assert.ok(traffic.sent.some((span) => span.service === "unknown:80"));
});

test("an owner known by its user or port alone is waited for", () => {
  const traffic = shop();
  const sight = traffic.sight("both", 4000, 1, 0, { serverPid: FRONT });
  sight.connection.clientOwner = { pid: 0, ownerBy: "port", fallbackName: "unknown" };
  sight.start().finish();
  traffic.pass(100);
  assert.equal(traffic.sent.length, 1, "the server side alone");
  sight.connection.clientOwner = { pid: CURL, ownerBy: "fd", fallbackName: "" };
  traffic.pass(200);
  assert.equal(traffic.span("client", "curl").pid, CURL);
});

test("a process that becomes known while its span waits names it", () => {
  const traffic = new Traffic();
  traffic.sight("server", 4000, 1, 55, { serverPid: 55 }).start().finish();
  traffic.pass(100);
  traffic.room.process(processSeen(55, "late"));
  traffic.pass(200);
  assert.equal(traffic.span("server", "late").pid, 55);
});

test("a carried context wins over every inference", () => {
  const traffic = shop();
  const context = carried("5f1e1d0000000000000000000000a384", "a1b2000000000384");
  const outer = traffic.sight("server", 3000, 9, FRONT, { serverPid: FRONT }).start();
  const call = traffic.sight("client", 4000, 1, FRONT, { clientPid: FRONT });
  const served = traffic.sight("server", 4000, 1, BACK, { serverPid: BACK });
  call.exchange.context = context;
  served.exchange.context = context;
  call.start();
  served.start();
  served.finish();
  call.finish();
  for (const span of [traffic.span("client", "front"), traffic.span("server", "back")]) {
    assert.equal(traceOf(span), context.traceId);
    assert.equal(spanIdToHex(span.parentSpanId), context.spanId);
    assert.equal(span.linkReason, "traceparent");
    assert.equal(span.flags, 1);
  }
  outer.finish();
});

test("a request whose trace was computed links to the call inside it that carried the program's own", () => {
  const context = carried("5f1e1d0000000000000000000000a384", "a1b2000000000384");
  const linkOf = (inbound: typeof context | undefined) => {
    const traffic = shop();
    const outer = traffic.sight("server", 3000, 1, FRONT, { serverPid: FRONT });
    outer.exchange.context = inbound;
    outer.start();
    const call = traffic.sight("client", 4000, 1, FRONT, { clientPid: FRONT });
    call.exchange.context = context;
    call.start().finish();
    outer.finish();
    traffic.pass(5_000);
    assert.equal(traffic.span("client", "front").links.length, 0);
    return Buffer.from(traffic.span("server", "front").links).toString("hex");
  };
  assert.equal(linkOf(undefined), `6a1c0a10${context.traceId}1208${context.spanId}`);
  assert.equal(linkOf(carried("5f1e1d0000000000000000000000a399", "a1b2000000000399")), "");
});

test("a context that is not sampled is kept and marked", () => {
  const traffic = shop();
  const served = traffic.sight("server", 4000, 1, BACK, { serverPid: BACK });
  served.exchange.context = carried("5f1e1d0000000000000000000000a385", "a1b2000000000385", 0);
  served.start().finish();
  assert.equal(traffic.span("server", "back").flags, 0);
});

test("calls inside a request with a context belong to its trace", () => {
  const traffic = shop();
  const served = traffic.sight("server", 4000, 1, FRONT, { serverPid: FRONT });
  served.exchange.context = carried("5f1e1d0000000000000000000000a384", "a1b2000000000384");
  served.start();
  traffic.sight("client", 5000, 1, FRONT, { clientPid: FRONT }).start().finish();
  served.finish();
  const call = traffic.span("client", "front");
  assert.equal(traceOf(call), "5f1e1d0000000000000000000000a384");
  assert.equal(call.parentSpanId, traffic.span("server", "front").spanId);
});

test("sights that disagree by one byte stay two traces", () => {
  const traffic = shop();
  traffic.sight("client", 4000, 1, CURL, { clientPid: CURL }).start().finish();
  traffic.sight("server", 4000, 2, FRONT, { serverPid: FRONT }).start().finish();
  traffic.pass(300);
  assert.notEqual(traceOf(traffic.span("client", "curl")), traceOf(traffic.span("server", "front")));
});

test("behind translated addresses the ends are joined where only one pair fits", () => {
  const traffic = shop();
  const shape = { serverAddr: "10.96.0.1" };
  const behind = { serverAddr: "10.1.1.7", serverPort: 8080, serverPid: FRONT };
  const call = traffic.sight("client", 4000, 777, CURL, { ...shape, clientPid: CURL }).start();
  const served = traffic.sight("server", 4000, 777, FRONT, behind).start();
  served.finish();
  call.finish();
  const server = traffic.span("server", "front");
  assert.equal(server.parentSpanId, traffic.span("client", "curl").spanId);
  assert.equal(server.linkReason, "message-nat");
  assert.equal(traceOf(server), traceOf(traffic.span("client", "curl")));
});

test("behind translated addresses nothing is joined where several pairs fit", () => {
  const traffic = shop();
  traffic.sight("client", 4000, 777, CURL, { serverAddr: "10.96.0.1", clientPid: CURL }).start().finish();
  traffic.sight("client", 4000, 777, BACK, { serverAddr: "10.96.0.2", clientPid: BACK }).start().finish();
  const behind = { serverAddr: "10.1.1.7", serverPort: 8080, serverPid: FRONT };
  traffic.sight("server", 4000, 777, FRONT, behind).start().finish();
  traffic.pass(300);
  assert.equal(traffic.span("server", "front").parentSpanId, 0n);
});

test("an answer that never came is an error from request to the end of the connection", () => {
  const traffic = shop();
  const call = traffic.sight("client", 4000, 1, CURL, { clientPid: CURL }).start();
  traffic.nowNs += 5e6;
  call.cut("connection_closed");
  assert.equal(traffic.sent.length, 0);
  balanced(traffic);
  traffic.room.connectionClosed(call.connection, traffic.nowNs);
  traffic.pass(300);
  const span = traffic.span("client", "curl");
  assert.equal(span.status, 2);
  assert.equal(span.statusMessage, "connection_closed");
  assert.ok(span.attributes.some(({ key, value }) => key === "error.type" && value === "connection_closed"));
  assert.equal(span.endNs - span.startNs, 5_000_000n);
  balanced(traffic);
});

test("an answer that may be among lost events makes no error", () => {
  const traffic = shop();
  const call = traffic.sight("client", 4000, 1, CURL, { clientPid: CURL }).start();
  const served = traffic.sight("server", 4000, 1, FRONT, { serverPid: FRONT }).start();
  const cutLate = traffic.sight("client", 4001, 1, CURL, { clientPid: CURL }).start();
  traffic.pass(10);
  served.finish();
  call.cut("connection_closed");
  traffic.room.connectionClosed(call.connection, traffic.nowNs);
  traffic.pass(100);
  traffic.room.eventsLost(traffic.nowNs, traffic.nowNs);
  cutLate.cut("timeout");
  traffic.nowNs += 5e6;
  const young = traffic.sight("server", 4003, 1, FRONT, { serverPid: FRONT }).start();
  traffic.nowNs += 5e6;
  traffic.room.eventsLost(traffic.nowNs, traffic.nowNs);
  young.cut("connection_closed");
  traffic.pass(1);
  const after = traffic.sight("client", 4002, 1, BACK, { clientPid: BACK }).start();
  traffic.pass(300);
  after.cut("reset");
  traffic.room.connectionClosed(after.connection, traffic.nowNs);
  traffic.pass(300);
  assert.deepEqual(traffic.room.ledger().dropped, { gap: 3 });
  assert.equal(traffic.span("server", "front").status, 0);
  assert.equal(traffic.span("client", "back").status, 2, "nothing was lost since this one began");
  balanced(traffic);
});

test("spans whose traces may lack others say why", () => {
  const traffic = shop();
  const incomplete = (kind: "client" | "server", service: string) =>
    traffic.span(kind, service).attributes.find(({ key }) => key === "thalweg.incomplete")?.value;
  const lost = traffic.sight("server", 4000, 1, FRONT, { serverPid: FRONT }).start();
  traffic.pass(10);
  traffic.room.eventsLost(traffic.nowNs, traffic.nowNs + 1e6);
  traffic.nowNs += 2e6;
  lost.finish();
  const served = traffic.sight("server", 4001, 1, BACK, { serverPid: BACK }).start();
  const database = traffic.sight("client", 4002, 1, BACK, { clientPid: BACK });
  traffic.room.connectionLost(database.connection, "parser_failed");
  served.finish();
  traffic.pass(300);
  assert.equal(incomplete("server", "front"), "events_lost");
  assert.equal(incomplete("server", "back"), "parser_failed");
  const after = traffic.sight("client", 4003, 1, CURL, { clientPid: CURL }).start();
  after.finish();
  traffic.pass(300);
  assert.equal(incomplete("client", "curl"), undefined, "nothing was lost since this one began");
});

test("what the agent did not see makes no span and is counted", () => {
  const traffic = shop();
  traffic.sight("client", 4000, 1, CURL, { clientPid: CURL }).start().cut("gap");
  traffic.sight("client", 4003, 1, CURL, { clientPid: CURL }).start().cut("");
  const response = traffic.sight("server", 4001, 1, FRONT, { serverPid: FRONT });
  response.exchange.request = undefined;
  response.exchange.type = "response";
  traffic.room.exchangeFinished(response.connection, response.exchange);
  const message = traffic.sight("both", 4002, 1, 0);
  message.exchange.type = "message";
  traffic.room.exchangeFinished(message.connection, message.exchange);
  traffic.pass(300);
  assert.deepEqual(traffic.room.ledger().dropped, { gap: 1, capture_ended: 1, response_only: 1, one_way: 2 });
  assert.equal(traffic.sent.length, 0);
  balanced(traffic);
});

test("the status of a span follows the semantic conventions", () => {
  const status = (side: "client" | "server", code: number) => {
    const traffic = shop();
    traffic.sight(side, 4000, 1, CURL, { clientPid: CURL, serverPid: CURL }).start().finish(code);
    traffic.pass(300);
    return traffic.span(side, "curl").status;
  };
  assert.deepEqual(
    [200, 302, 404, 500, 503].map((code) => status("server", code)),
    [0, 0, 0, 2, 2],
  );
  assert.deepEqual(
    [200, 302, 404, 500, 503].map((code) => status("client", code)),
    [0, 0, 2, 2, 2],
  );
});

test("a recording played again makes other ids", () => {
  const ids = [1, 2].map((pass) => {
    const traffic = shop();
    traffic.room.setReplay(true, pass);
    chain(traffic, false);
    assert.ok(traffic.sent.every((span) => span.source === 5));
    return traffic.span("client", "curl").spanId;
  });
  assert.notEqual(ids[0], ids[1]);
});

test("times are Unix times by the measured offset", () => {
  const traffic = shop();
  traffic.room.setClockOffset({ bootToUnixNano: 1_800_000_000_000_000_000n });
  traffic.sight("client", 4000, 1, CURL, { clientPid: CURL }).start().finish();
  assert.equal(traffic.span("client", "curl").startNs, 1_800_000_001_000_000_000n);
});

test("while a process serves a connection that is not read, no lone request draws its calls", () => {
  const traffic = shop();
  const upgraded = traffic.sight("server", 2000, 1, FRONT, { serverPid: FRONT });
  traffic.room.connectionUnread(upgraded.connection);
  const drawn = (port: number) => {
    const outer = traffic.sight("server", port, 1, FRONT, { serverPid: FRONT }).start();
    const call = traffic.sight("client", port + 1, 1, FRONT, { clientPid: FRONT }).start();
    call.finish();
    outer.finish();
    traffic.pass(TRIAL_NS / 1e6 + 300);
    return traffic.sent.filter(({ clientPort }) => clientPort === port + 1).map(({ linkReason }) => linkReason);
  };
  assert.deepEqual(drawn(3000), [""]);
  traffic.room.connectionClosed(upgraded.connection, traffic.nowNs);
  assert.deepEqual(drawn(3100), ["thread"]);
});

test("the first calls of a process wait until its rule is proved, or has failed, or for a while", () => {
  for (const outcome of ["right", "wrong", "none"] as const) {
    const traffic = shop();
    const links = () => traffic.sent.filter(({ kind }) => kind === 3).map(({ linkReason }) => linkReason);
    const pairs = outcome === "none" ? 2 : 10;
    for (let pair = 0; pair < pairs; pair++) {
      const port = (thread: number) => 3000 + 4 * pair + 2 * thread;
      const threads = [1, 2] as const;
      const outers = threads.map((tid) => traffic.sight("server", port(tid), 1, tid, { serverPid: FRONT }).start());
      const calls = threads.map((tid) => traffic.sight("client", port(tid) + 1, 1, tid, { clientPid: FRONT }).start());
      for (const call of calls) call.finish();
      traffic.pass(30);
      assert.deepEqual(links(), [], "nothing is sent without its trace");
      const isWrong = outcome === "wrong" && pair === 5;
      for (const [at, outer] of outers.entries()) outer.finish(200, isWrong ? 9 : at + 1);
      if (isWrong) break;
    }
    traffic.pass(300);
    if (outcome === "right")
      assert.deepEqual(
        links(),
        Array.from({ length: 20 }, () => "thread"),
      );
    else if (outcome === "wrong")
      assert.deepEqual(
        links(),
        Array.from({ length: 12 }, () => ""),
      );
    else {
      assert.deepEqual(links(), [], "it may still be proved");
      traffic.pass(TRIAL_NS / 1e6);
      assert.deepEqual(links(), ["", "", "", ""]);
    }
    balanced(traffic);
  }
});

test("flush sends what waits", () => {
  const traffic = shop();
  traffic.sight("server", 4000, 1, FRONT, { serverPid: FRONT }).start().finish();
  traffic.room.flush();
  assert.equal(traffic.sent.length, 1);
  balanced(traffic);
});

test("an endless chain of calls keeps no memory of its past", () => {
  const traffic = shop();
  let open = traffic.sight("server", 2000, 1, FRONT, { serverPid: FRONT }).start();
  for (let at = 0; at < 300; at++) {
    const call = traffic.sight("client", 3000 + at, 1, FRONT, { clientPid: FRONT }).start();
    open.finish();
    open = traffic.sight("server", 3000 + at, 1, FRONT, { serverPid: FRONT }).start();
    call.finish();
    traffic.pass(10);
  }
  open.finish();
  traffic.pass(300);
  balanced(traffic);
  assert.equal(traffic.sent.length, 602 - 1);
  assert.equal(traffic.room.ledger().openHops, 0);
});
