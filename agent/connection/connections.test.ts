import assert from "node:assert/strict";
import { test } from "node:test";
import type { SocketOpened } from "../../server/model/capture-event.ts";
import type { Exchange, ExchangeSink, ProtocolParser } from "../protocol/exchange.ts";
import { HTTP1 } from "../protocol/http1.ts";
import type { Protocol } from "../protocol/protocol.ts";
import type { Connection } from "./connection-sink.ts";
import { Connections, type ConnectionsOptions, IDLE_NS_MAX } from "./connections.ts";
import { HELD_BYTES_MAX, RUNS_MAX } from "./detection.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: shop.example\r\n\r\n`;
const CLIENT = { addr: "10.0.0.1", port: 40_000 };
const SERVER = { addr: "10.0.0.2", port: 8080 };

interface Seen {
  readonly connection: Connection;
  readonly exchange: Exchange;
}

/** The room with a sink that remembers, fed by hand. */
function makeRoom(options: Partial<ConnectionsOptions> = {}) {
  const finished: Seen[] = [];
  const closed: number[] = [];
  let started = 0;
  const room = new Connections(
    {
      exchangeStarted: () => {
        started++;
      },
      exchangeFinished: (connection, exchange) => finished.push({ connection, exchange }),
      connectionClosed: (connection) => closed.push(connection.socket),
    },
    { redaction: true, protocols: [HTTP1], ...options },
  );
  let timeNs = 0;
  const open = (socket: number, event: Partial<SocketOpened> = {}) =>
    room.opened({
      socket,
      sight: "end",
      role: "client",
      local: CLIENT,
      remote: SERVER,
      netns: 0,
      joinedLate: false,
      timeNs,
      localOwner: undefined,
      remoteOwner: undefined,
      ...event,
    });
  const send = (socket: number, direction: 0 | 1, seq: number, text: string, total = text.length) => {
    timeNs += 1e6;
    room.slice({ socket, direction, timeNs, seq: seq >>> 0, total, bytes: Buffer.from(text), tid: 1, pid: 1 });
  };
  const brief = () =>
    finished.map(({ exchange }) => `${exchange.type} ${exchange.op} ${exchange.resource} ${exchange.code}`);
  return { room, open, send, brief, finished, closed, started: () => started };
}

test("an exchange from end to end, with sequence numbers that wrap", () => {
  const { room, open, send, brief, closed, finished } = makeRoom();
  open(1);
  send(1, 0, 0xfffffff0, get("/a"));
  send(1, 1, 0xfffffffe, OK);
  send(1, 0, 0xfffffff0 + get("/a").length, get("/b"));
  send(1, 1, 0xfffffffe + OK.length, OK);
  room.closed(1, 9e6, false);
  assert.deepEqual(brief(), ["exchange GET /a 200", "exchange GET /b 200"]);
  assert.equal(finished[1]?.exchange.request?.seq, (0xfffffff0 + get("/a").length) >>> 0);
  assert.deepEqual(closed, [1]);
  assert.equal(room.counters().gaps, 0);
  assert.deepEqual(room.counters().detected, { http1: 1 });
  assert.equal(room.counters().connections, 0);
});

test("bytes sent again are trimmed, bytes missing are gaps", () => {
  const { room, open, send, brief } = makeRoom();
  open(1);
  const request = `POST /a HTTP/1.1\r\nContent-Length: 100\r\n\r\n${"b".repeat(20)}`;
  send(1, 0, 1000, request);
  send(1, 0, 1000, request);
  send(1, 0, 1000 + request.length - 10, `${"b".repeat(10)}${"c".repeat(30)}`);
  send(1, 0, 1000 + request.length + 60, "d".repeat(20));
  send(1, 1, 5000, `HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc`, 39 + 50);
  send(1, 0, 1000 + request.length + 80, get("/b"));
  send(1, 1, 5000 + 39 + 50, OK);
  assert.deepEqual(brief(), ["exchange POST /a 200", "exchange GET /b 200"]);
  const { gaps, gapBytes, repeatedBytes } = room.counters();
  assert.deepEqual(
    { gaps, gapBytes, repeatedBytes },
    { gaps: 2, gapBytes: 30 + 47, repeatedBytes: request.length + 10 },
  );
});

test("an empty slice tells where a stream begins, so the loss of its beginning shows", () => {
  const { room, open, send } = makeRoom();
  open(1);
  send(1, 0, 1000, "", 0);
  send(1, 0, 1100, get("/a"));
  assert.equal(room.counters().gapBytes, 100);
});

test("detection in pieces of one byte, either side first", () => {
  for (const order of [0, 1] as const) {
    const { room, open, send, brief } = makeRoom();
    open(1);
    const texts =
      order === 0
        ? ([
            [0, get("/a")],
            [1, OK],
          ] as const)
        : ([
            [1, OK],
            [0, get("/a")],
            [1, OK],
          ] as const);
    const seq = [0, 0];
    for (const [direction, text] of texts) {
      for (const char of text) {
        send(1, direction, seq[direction] as number, char);
        seq[direction] = (seq[direction] as number) + 1;
      }
    }
    room.closed(1, 9e9, false);
    assert.deepEqual(brief(), order === 0 ? ["exchange GET /a 200"] : ["response   200", "exchange GET /a 200"]);
    assert.equal(room.counters().heldBytes, 0);
  }
});

test("the role is inferred from what the ends send, ports only break ties", () => {
  const unknown = { role: "unknown", joinedLate: true, sight: "end", local: SERVER, remote: CLIENT } as const;
  const { open, send, finished } = makeRoom();
  open(1, unknown);
  send(1, 1, 0, get("/a"));
  send(1, 0, 0, OK);
  assert.deepEqual(finished[0]?.connection.client, CLIENT);
  assert.equal(finished[0]?.connection.side, "server");
  // The end with the port of a server is the one that asks.
  open(2, unknown);
  send(2, 0, 0, get("/b"));
  send(2, 1, 0, OK);
  assert.deepEqual(finished[1]?.connection.client, SERVER);
  assert.equal(finished[1]?.connection.side, "client");
  assert.equal(finished[1]?.exchange.type, "exchange");
});

test("owners follow the ends, also when they become known late", () => {
  const { room, open, send, finished } = makeRoom();
  const owner = { pid: 7, ownerBy: "fd", fallbackName: "" } as const;
  open(1, { role: "unknown", joinedLate: true, local: SERVER, remote: CLIENT });
  room.owner(1, "local", owner);
  send(1, 0, 0, OK);
  room.owner(1, "remote", { ...owner, pid: 8 });
  assert.deepEqual([finished[0]?.connection.serverOwner?.pid, finished[0]?.connection.clientOwner?.pid], [7, 8]);
});

test("a connection of a protocol that nobody knows is let go", () => {
  const { room, open, send, brief } = makeRoom();
  open(1);
  for (let run = 0; run <= RUNS_MAX; run++) send(1, (run % 2) as 0 | 1, Math.floor(run / 2) * 4, "\u0001\u0002ab");
  send(1, 0, 12, get("/never"));
  assert.deepEqual(brief(), []);
  assert.deepEqual(room.counters().left, { protocol_unknown: 1 });
});

test("text inside a message of another protocol is no request", () => {
  const { open, send, brief, room } = makeRoom();
  open(1);
  send(1, 0, 0, "\u0001binary");
  send(1, 0, 7, get("/in-the-text"));
  room.closed(1, 9e6, false);
  assert.deepEqual(brief(), []);
});

test("joined late inside a body of many slices, the next message is found", () => {
  const { open, send, brief } = makeRoom();
  open(1, { joinedLate: true });
  for (let index = 0; index < 500; index++) send(1, 1, index * 1000, "x".repeat(1000));
  send(1, 0, 0, get("/a"));
  send(1, 1, 500_000, OK);
  assert.deepEqual(brief(), ["exchange GET /a 200"]);
});

test("bytes behind CONNECT are detected afresh; an upgrade to what has no parser is left alone", () => {
  const { room, open, send, brief, closed } = makeRoom();
  open(1);
  const connect = "CONNECT inner.example:80 HTTP/1.1\r\n\r\n";
  const tunnel = "HTTP/1.1 200 Connection established\r\n\r\n";
  send(1, 0, 0, connect);
  send(1, 1, 0, tunnel);
  send(1, 0, connect.length, get("/inside"));
  send(1, 1, tunnel.length, OK);
  assert.deepEqual(brief(), ["exchange CONNECT inner.example:80 200", "exchange GET /inside 200"]);
  open(2);
  const upgrade = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
  send(2, 0, 0, upgrade);
  send(2, 1, 0, `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n${OK}`);
  send(2, 0, upgrade.length, get("/not-http"));
  room.closed(2, 9e6, true);
  assert.equal(brief().length, 3);
  assert.deepEqual(room.counters().left, { protocol_without_parser: 1 });
  assert.deepEqual(closed, [2]);
});

test("an upgrade hands the rest of the slice to the protocol that both ends named", () => {
  const heard: string[] = [];
  const named: Protocol = {
    name: "named",
    ports: [],
    upgradeTokens: ["named/1"],
    detect: () => "no",
    create: () => ({
      ...silentParser(),
      data: (direction, slice) => {
        heard.push(`${direction} ${slice.seq} ${Buffer.from(slice.bytes)}`);
        return slice.bytes.length;
      },
    }),
  };
  const { open, send } = makeRoom({ protocols: [HTTP1, named] });
  open(1);
  send(1, 0, 0, "GET / HTTP/1.1\r\nUpgrade: named/1\r\n\r\n");
  const answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: Named/1\r\n\r\n";
  send(1, 1, 100, `${answer}rest`);
  assert.deepEqual(heard, [`1 ${100 + answer.length} rest`]);
});

test("a parser that throws costs its connection and nothing else", () => {
  const failing: Protocol = {
    ...HTTP1,
    create: (sink: ExchangeSink, context) => {
      const parser = HTTP1.create(sink, context);
      return {
        ...silentParser(),
        data: (direction, slice) => {
          if (Buffer.from(slice.bytes).includes("boom")) throw new Error("a bug");
          return parser.data(direction, slice);
        },
        stopped: () => parser.stopped(),
      };
    },
  };
  const { room, open, send, brief, closed, started } = makeRoom({ protocols: [failing] });
  open(1);
  open(2);
  send(1, 0, 0, get("/a"));
  send(2, 0, 0, get("/b"));
  send(1, 1, 0, "boom");
  send(1, 1, 4, "boom");
  send(2, 1, 0, OK);
  room.closed(1, 9e6, false);
  assert.deepEqual(brief(), ["request GET /a ", "exchange GET /b 200"]);
  assert.equal(started(), 2);
  assert.equal(room.counters().quarantined, 1);
  assert.deepEqual(closed, [1]);
});

test("held bytes and sockets have limits, and what goes is counted", () => {
  const { room, open, send, closed } = makeRoom({ connectionsMax: 2, heldBytesMax: 10 });
  open(1);
  send(1, 0, 0, "GET /abcdefghijk");
  assert.deepEqual(room.counters().left, { held_bytes_max: 1 });
  assert.equal(room.counters().heldBytes, 0);
  open(2);
  send(2, 0, 0, get("/b"));
  open(3);
  open(4);
  assert.equal(room.counters().connections, 2);
  assert.equal(room.counters().left["connections_max"], 2);
  assert.deepEqual(closed, [1, 2]);
  send(2, 0, 999, "late");
  assert.equal(room.counters().left["slice_without_socket"], 1);
});

test("no more than some bytes are held of a direction", () => {
  const { room, open, send } = makeRoom();
  open(1);
  for (let index = 0; index < 200; index++)
    send(1, 0, index * 100, `ABC /${"a".repeat(95)}`.slice(0, 100).replaceAll(" ", index === 0 ? " " : "x"));
  assert.ok(room.counters().heldBytes <= HELD_BYTES_MAX);
});

test("sweeping forgets what was quiet for hours, stopping finishes what is open", () => {
  const { room, open, send, brief, finished } = makeRoom();
  open(1);
  send(1, 0, 0, get("/a"));
  room.sweep(IDLE_NS_MAX);
  assert.equal(room.counters().connections, 1);
  assert.equal(finished[0]?.exchange.cutShort, "timeout");
  room.sweep(2 * IDLE_NS_MAX);
  assert.equal(room.counters().connections, 0);
  assert.equal(room.counters().left["connection_idle"], 1);
  open(2);
  send(2, 0, 0, get("/b"));
  room.stop(9e6);
  assert.deepEqual(brief(), ["request GET /a ", "request GET /b "]);
  assert.equal(finished[1]?.exchange.cutShort, "");
});

test("a request whose line is cut by the capture limit is known by its method", () => {
  const { open, send, brief } = makeRoom();
  open(1);
  send(1, 0, 0, "GET /a/very/long/pa", 400);
  send(1, 1, 0, OK);
  open(2);
  send(2, 0, 0, "SUB /a/very/long/pa", 400);
  send(2, 1, 0, "+OK\r\n");
  assert.deepEqual(brief(), ["exchange GET /a/very/long/pa 200"]);
});

test("what a proxy says before the first request is passed over", () => {
  const binary = Buffer.from("0d0a0d0a000d0a515549540a2111000c0a0000010a0000029c400050", "hex").toString("latin1");
  for (const header of ["PROXY TCP4 10.0.0.1 10.0.0.2 40000 80\r\n", binary]) {
    for (const isApart of [true, false]) {
      const { room, open, finished } = makeRoom();
      open(1);
      const bytes = Buffer.from(header + get("/a"), "latin1");
      const pieces = isApart ? [bytes.subarray(0, header.length), bytes.subarray(header.length)] : [bytes];
      let seq = 5;
      for (const piece of pieces) {
        room.slice({ socket: 1, direction: 0, timeNs: 1, seq, total: piece.length, bytes: piece, tid: 1, pid: 1 });
        seq += piece.length;
      }
      room.closed(1, 2, false);
      assert.equal(finished[0]?.exchange.resource, "/a");
      assert.equal(finished[0]?.exchange.request?.seq, 5 + header.length);
    }
  }
});

function silentParser(): ProtocolParser {
  return {
    data: (_direction, slice) => slice.bytes.length,
    gap: () => undefined,
    closed: () => undefined,
    stopped: () => undefined,
    expire: () => undefined,
    detached: "",
    detachedTo: "",
  };
}
