import assert from "node:assert/strict";
import { test } from "node:test";
import type { Endpoint } from "../../server/model/capture-event.ts";
import { decodeIpPacket, makeTcpPacket } from "./packet-decode.ts";
import { type FlowHost, type FlowOptions, PacketFlows } from "./packet-flows.ts";
import { Collector, ipPacket, type PacketSpec, randomOf } from "./packets.testkit.ts";
import { LIVE_LIMITS } from "./tcp-reassembly.ts";

const [FIN, SYN, RST, ACK] = [1, 2, 4, 16];
const C = 1000; // Client's first number.
const S = 5000; // Server's.

function makeFlows(host: Partial<FlowHost> = {}, options: Partial<FlowOptions> = {}) {
  const collector = new Collector();
  const flows = new PacketFlows(
    collector,
    {
      isLocal: () => true,
      isListening: () => false,
      ownersOf: () => ({ client: undefined, server: undefined }),
      netns: 0,
      ...host,
    },
    { limits: LIVE_LIMITS, connectionsMax: 100, oneSight: true, ...options },
  );
  const packet = makeTcpPacket();
  let clockNs = 1e9;
  const put = (spec: PacketSpec & { readonly sight?: number; readonly atNs?: number; readonly snapBytes?: number }) => {
    clockNs = spec.atNs ?? clockNs + 1e6;
    const bytes = ipPacket(spec);
    const captured = bytes.subarray(0, spec.snapBytes ?? bytes.length);
    assert.equal(decodeIpPacket(captured, 0, captured.length, bytes.length, packet), "tcp");
    flows.accept(packet, captured, clockNs, spec.sight ?? 0);
    const { seen, delivered, lost } = flows.counters;
    assert.equal(seen, delivered + lost.after_close + lost.late_segment, "seen = delivered + lost");
  };
  const handshake = (more: Partial<PacketSpec> = {}) => {
    put({ seq: C, flags: SYN, ...more });
    put({ fromClient: false, seq: S, ack: C + 1, flags: SYN | ACK, ...more });
  };
  return { collector, flows, put, handshake };
}

test("a connection is told with its first payload and closed once both sides have finished", () => {
  const { collector, put, handshake } = makeFlows();
  handshake();
  assert.equal(collector.sockets.size, 0);
  put({ seq: C + 1, payload: "ask" });
  put({ fromClient: false, seq: S + 1, ack: C + 4, payload: "answer" });
  put({ fromClient: false, seq: S + 7, ack: C + 4, flags: FIN | ACK });
  const [socket] = collector.list();
  assert.equal(socket?.closed, "");
  put({ seq: C + 4, ack: S + 8, flags: FIN | ACK });
  assert.equal(socket?.closed, "closed");
  assert.deepEqual(socket?.text, ["ask", "answer"]);
  const { sight, role, local, remote, joinedLate, timeNs } = socket?.opened ?? assert.fail();
  assert.deepEqual({ sight, role, joinedLate }, { sight: "both", role: "client", joinedLate: false });
  assert.deepEqual(
    [local, remote],
    [
      { addr: "10.0.0.1", port: 40_000 },
      { addr: "10.0.0.2", port: 7777 },
    ],
  );
  assert.equal(timeNs, 1e9 + 1e6, "the time of the SYN");
});

test("IPv6, and a reset", () => {
  const { collector, put, handshake } = makeFlows();
  handshake({ ipv6: true });
  put({ ipv6: true, seq: C + 1, payload: "ask" });
  put({ ipv6: true, fromClient: false, seq: S + 1, flags: RST });
  const [socket] = collector.list();
  assert.equal(socket?.closed, "reset");
  assert.equal(socket?.opened.local.addr, "2001:db8::a00:1");
});

test("one end on another host: only the local side, whichever it is", () => {
  const isLocal = (at: number) => (_0: number, _1: number, _2: number, word3: number) => (word3 & 255) === at;
  const server = makeFlows({ isLocal: isLocal(2) });
  server.handshake();
  server.put({ seq: C + 1, payload: "ask" });
  const [seenAtServer] = server.collector.list();
  assert.equal(seenAtServer?.opened.sight, "wire");
  assert.equal(seenAtServer?.opened.role, "server");
  assert.equal(seenAtServer?.opened.local.port, 7777);
  assert.deepEqual(seenAtServer?.text, ["", "ask"]);

  const client = makeFlows({ isLocal: isLocal(1) });
  client.handshake();
  client.put({ seq: C + 1, payload: "ask" });
  assert.equal(client.collector.list()[0]?.opened.role, "client");
  assert.deepEqual(client.collector.list()[0]?.text, ["ask", ""]);
});

test("joined late: a listener proves the roles, ports only hint at them", () => {
  const proven = makeFlows({ isListening: (_0, _1, _2, _3, port) => port === 7777 });
  proven.put({ fromClient: false, seq: S, payload: "answer" });
  const [late] = proven.collector.list();
  assert.deepEqual([late?.opened.joinedLate, late?.opened.role, late?.opened.remote.port], [true, "client", 7777]);
  assert.deepEqual(late?.text, ["", "answer"]);

  const hinted = makeFlows();
  hinted.put({ fromClient: false, seq: S, payload: "answer" });
  assert.deepEqual(
    [hinted.collector.list()[0]?.opened.role, hinted.collector.list()[0]?.opened.remote.port],
    ["unknown", 7777],
    "7777 is below the ephemeral ports",
  );
});

test("only the SYN-ACK was seen: its receiver is the client, and nothing is late", () => {
  const { collector, put } = makeFlows();
  put({ fromClient: false, seq: S, ack: C + 1, flags: SYN | ACK });
  put({ seq: C + 1, payload: "ask" });
  const { joinedLate, role, local } = collector.list()[0]?.opened ?? assert.fail();
  assert.deepEqual([joinedLate, role, local.port], [false, "client", 40_000]);
});

test("no SYN-ACK seen: the answer is taken from where it begins", () => {
  const { collector, put } = makeFlows();
  put({ seq: C, flags: SYN });
  put({ seq: C + 1, payload: "ask" });
  put({ fromClient: false, seq: 77, ack: C + 4, payload: "answer" });
  assert.deepEqual(collector.list()[0]?.text, ["ask", "answer"]);
});

test("a SYN sent again is the same connection; ports used again are another", () => {
  const { collector, put, handshake } = makeFlows();
  put({ seq: C, flags: SYN });
  handshake();
  put({ seq: C + 1, payload: "one" });
  put({ seq: C, flags: SYN }); // A late copy.
  assert.equal(collector.list()[0]?.closed, "");
  put({ seq: 90_000, flags: SYN });
  assert.equal(collector.list()[0]?.closed, "closed");
  put({ seq: 90_001, payload: "two" });
  assert.deepEqual(
    collector.list().map((socket) => socket.text[0]),
    ["one", "two"],
  );
  assert.notEqual(collector.list()[0]?.opened.socket, collector.list()[1]?.opened.socket);
});

test("TCP Fast Open: payload in the SYN, and a second SYN-ACK with another number", () => {
  const { collector, put } = makeFlows();
  put({ seq: C, flags: SYN, payload: "ask" });
  put({ fromClient: false, seq: S, ack: C + 1, flags: SYN | ACK });
  put({ fromClient: false, seq: 9000, ack: C + 1, flags: SYN | ACK });
  put({ seq: C + 1, ack: 9001, payload: "ask" });
  put({ fromClient: false, seq: 9001, ack: C + 4, payload: "answer" });
  assert.deepEqual(
    collector.list().map((socket) => socket.text),
    [["ask", "answer"]],
  );
});

test("an acknowledgement sets free what it covers before the packet that carries it", () => {
  const order: string[] = [];
  const { collector, put, handshake } = makeFlows();
  const slice = collector.slice.bind(collector);
  collector.slice = (event) => {
    order.push(Buffer.from(event.bytes).toString());
    slice(event);
  };
  handshake();
  put({ seq: C + 1, payload: "first" });
  put({ seq: C + 10, payload: "third" }); // "second" was dropped by the ring.
  put({ fromClient: false, seq: S + 1, ack: C + 15, payload: "answer" });
  assert.deepEqual(order, ["first", "third", "answer"]);
  assert.equal(collector.list()[0]?.text[0], "first<gap 4>third");
});

test("bytes beyond the snap length are counted", () => {
  const { collector, put, handshake } = makeFlows();
  handshake();
  put({ seq: C + 1, payload: "0123456789", snapBytes: 44 });
  put({ seq: C + 11, payload: "next" });
  assert.deepEqual(collector.list()[0]?.text[0], "0123<cut 6>next");
});

test("bridged packets count at the place of their first sight only", () => {
  const { collector, flows, put } = makeFlows();
  const [inSight, outSight] = [7 * 8 + 3, 9 * 8 + 4];
  const both = (spec: PacketSpec, atNs: number) => {
    put({ ...spec, sight: inSight, atNs });
    put({ ...spec, sight: outSight, atNs: atNs + 5000 });
  };
  both({ seq: C, flags: SYN }, 1e9);
  both({ seq: C + 1, payload: "ask" }, 1.001e9);
  both({ seq: C + 4, payload: "more" }, 1.002e9);
  assert.equal(collector.list()[0]?.text[0], "askmore");
  assert.deepEqual(collector.list()[0]?.timesNs, [1.001e9, 1.002e9]);
  assert.equal(flows.counters.repeated, 3);
  // The route changes: the first place stays silent, and after a second the other one counts.
  put({ seq: C + 8, payload: "!", sight: outSight, atNs: 1.5e9 });
  assert.equal(collector.list()[0]?.text[0], "askmore");
  put({ seq: C + 8, payload: "!", sight: outSight, atNs: 3e9 });
  assert.equal(collector.list()[0]?.text[0], "askmore!");
});

test("stragglers of a closed connection make no connection of their own", () => {
  const { collector, flows, put, handshake } = makeFlows();
  handshake();
  put({ seq: C + 1, payload: "ask" });
  put({ seq: C + 4, flags: RST });
  put({ fromClient: false, seq: S + 1, ack: C + 4, payload: "answer" });
  put({ seq: C + 1, payload: "ask" });
  assert.equal(collector.sockets.size, 1);
  assert.equal(flows.counters.lost.after_close, 1);
  flows.expire(60e9);
  assert.equal(flows.size, 0);
});

test("half-open connections expire, idle ones with a handshake do not", () => {
  const { flows, put, handshake } = makeFlows();
  put({ seq: 1, flags: SYN, clientPort: 1 });
  handshake({ clientPort: 2 });
  flows.expire(30e9);
  assert.equal(flows.size, 1);
  assert.equal(flows.counters.halfOpenExpired, 1);
});

test("a hole is stepped over after a second even where nobody acknowledges", () => {
  const { collector, flows, put, handshake } = makeFlows();
  handshake();
  put({ seq: C + 1, payload: "abc", atNs: 2e9 });
  put({ seq: C + 7, payload: "ghi", atNs: 2e9 });
  flows.expire(2.5e9);
  assert.equal(collector.list()[0]?.text[0], "abc");
  flows.expire(3.1e9);
  assert.equal(collector.list()[0]?.text[0], "abc<gap 3>ghi");
  flows.finish(4e9);
  assert.equal(flows.counters.gapBytes, 3);
});

test("more connections than allowed: unfinished ones go first, then the longest idle, all counted and closed", () => {
  const { collector, flows, put, handshake } = makeFlows({}, { connectionsMax: 10 });
  for (let port = 1; port <= 8; port++) {
    handshake({ clientPort: port });
    put({ seq: C + 1, payload: "x", clientPort: port });
  }
  for (let port = 100; port < 150; port++) put({ seq: 1, flags: SYN, clientPort: port });
  assert.equal(flows.size, 10);
  assert.ok(collector.list().every((socket) => socket.closed === ""));
  for (let port = 200; port < 206; port++) put({ seq: C, payload: "y", clientPort: port });
  assert.equal(flows.size, 10);
  const closed = collector.list().filter((socket) => socket.closed !== "");
  assert.deepEqual(
    closed.map((socket) => socket.opened.local.port),
    [1, 2, 3, 4],
  );
  flows.finish(1e10);
  assert.ok(collector.list().every((socket) => socket.closed === "closed"));
});

test("the agent's own connections are left out and counted apart", () => {
  const asked: [Endpoint, Endpoint][] = [];
  const { collector, flows, put, handshake } = makeFlows({
    ownersOf: (_socket, client, server) => {
      asked.push([client, server]);
      return "ignore";
    },
  });
  handshake();
  put({ seq: C + 1, payload: "ask" });
  put({ seq: C + 4, payload: "more" });
  assert.equal(collector.sockets.size, 0);
  assert.equal(asked.length, 1);
  assert.deepEqual([flows.counters.own, flows.counters.seen], [2, 2]);
});

test("property: random packets of few connections never break order, life or counts", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomOf(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    // The collector throws on overlaps, on slices outside of a life, and on sockets opened twice.
    const { flows, put, collector } = makeFlows({}, { connectionsMax: 4 });
    for (let step = 0; step < 400; step++) {
      put({
        fromClient: random() < 0.5,
        clientPort: 40_000 + below(6),
        seq: 0xffff_ff00 + below(600),
        ack: 0xffff_ff00 + below(600),
        flags: random() < 0.15 ? below(32) : ACK,
        payload: "x".repeat(below(40)),
        sight: below(2),
      });
      if (step % 50 === 0) flows.expire(1e9 + step * 1e7);
    }
    flows.finish(1e12);
    assert.ok(
      collector.list().every((socket) => socket.closed !== ""),
      `seed ${seed}`,
    );
    assert.equal(flows.size, 0);
  }
});
