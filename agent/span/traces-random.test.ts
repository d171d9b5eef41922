/**
 * Random chains of processes, told in random order and cut short at random: the room's invariants hold whatever comes.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { processSeen, randomFrom, type Sight, Traffic } from "./traffic.testkit.ts";

const PIDS = [10, 20, 30, 40];

/** What can be done to one sight next. */
function step(traffic: Traffic, sight: Sight, random: () => number): void {
  const draw = random();
  if (draw < 0.8) sight.finish(draw < 0.1 ? 503 : 200);
  else if (draw < 0.9) sight.cut("gap");
  else {
    sight.cut("connection_closed");
    if (random() < 0.8) traffic.room.connectionClosed(sight.connection, traffic.nowNs);
  }
}

function play(seed: number): Traffic {
  const random = randomFrom(seed);
  const pick = (count: number) => Math.floor(random() * count);
  const traffic = new Traffic();
  for (const pid of PIDS) traffic.room.process(processSeen(pid, `p${pid}`, random() < 0.5 ? "python" : "node"));
  const open: Sight[] = [];
  const toStart: { readonly sight: Sight; readonly atNs: number }[] = [];
  let port = 1024;
  for (let turn = 0; turn < 600; turn++) {
    if (random() < 0.3) traffic.pass(random() * 60);
    if (random() < 0.5) {
      port += 1;
      const clientPid = PIDS[pick(4)] as number;
      const serverPid = PIDS[pick(4)] as number;
      const isOneSight = random() < 0.15;
      const shape = { clientPid, serverPid, serverPort: serverPid };
      const sights = isOneSight
        ? [traffic.sight("both", port, 1, 0, shape)]
        : [
            traffic.sight("client", port, 1, clientPid * 10 + pick(2), shape),
            traffic.sight("server", port, 1, serverPid * 10 + pick(2), shape),
          ];
      // A sight may be told late, early, or never.
      for (const sight of sights) {
        if (random() < 0.95) toStart.push({ sight, atNs: traffic.nowNs + random() * (random() < 0.1 ? 400e6 : 5e6) });
      }
    }
    for (let at = toStart.length - 1; at >= 0; at--) {
      const next = toStart[at];
      if (next === undefined || next.atNs > traffic.nowNs) continue;
      open.push(next.sight.start());
      toStart.splice(at, 1);
    }
    if (open.length > 0 && random() < 0.5) {
      const [sight] = open.splice(pick(open.length), 1);
      if (sight !== undefined) step(traffic, sight, random);
    }
  }
  for (const sight of open) step(traffic, sight, random);
  traffic.pass(1000);
  traffic.room.flush();
  return traffic;
}

test("the ledger balances, ids are unique, and a parent lies in the trace of its child", () => {
  let [linked, spans] = [0, 0];
  for (let seed = 1; seed <= 150; seed++) {
    const traffic = play(seed);
    const ledger = traffic.room.ledger();
    const dropped = Object.values(ledger.dropped).reduce((sum, count) => sum + count, 0);
    assert.equal(ledger.exchanges, ledger.spans + dropped, `seed ${seed}: nothing is left over`);
    assert.deepEqual([ledger.waiting, ledger.openExchanges, ledger.openHops], [0, 0, 0], `seed ${seed}`);
    const traceOf = new Map(traffic.sent.map((span) => [span.spanId, `${span.traceIdHigh}/${span.traceIdLow}`]));
    assert.equal(traceOf.size, traffic.sent.length, `seed ${seed}: ids are unique`);
    for (const span of traffic.sent) {
      spans += 1;
      assert.ok(span.endNs >= span.startNs, `seed ${seed}: a span ends after it starts`);
      assert.ok(span.traceIdHigh !== 0n || span.traceIdLow !== 0n);
      const parentTrace = traceOf.get(span.parentSpanId);
      if (parentTrace === undefined) continue;
      linked += 1;
      assert.equal(parentTrace, `${span.traceIdHigh}/${span.traceIdLow}`, `seed ${seed}: one trace`);
    }
  }
  assert.ok(linked > 0.4 * spans, `${linked} of ${spans} spans have a parent: the test sees links`);
});
