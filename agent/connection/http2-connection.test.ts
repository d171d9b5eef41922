/** Connections that speak HTTP/2: upgraded, with prior knowledge, beside HTTP/1. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { get, headers, OPENING, status } from "../protocol/http2.testkit.ts";
import { PROTOCOLS } from "../protocol/protocols.ts";
import { Connections } from "./connections.ts";

type Written = readonly [arrow: ">" | "<", bytes: Uint8Array];

/** An h2c upgrade of a GET whose answer comes on stream 1, then a second request on stream 3, as bytes of old peers. */
const UPGRADE: readonly Written[] = [
  [
    ">",
    hex(
      "474554202f666972737420485454502f312e310d0a486f73743a206832632e6578616d706c650d0a436f6e6e656374696f6e3a20557067726164652c2048545450322d53657474696e67730d0a557067726164653a206832630d0a48545450322d53657474696e67733a2041414d414141426b0d0a0d0a",
    ),
  ],
  [
    "<",
    hex(
      "485454502f312e312031303120537769746368696e672050726f746f636f6c730d0a436f6e6e656374696f6e3a20557067726164650d0a557067726164653a206832630d0a0d0a000000040000000000",
    ),
  ],
  [">", hex("505249202a20485454502f322e300d0a0d0a534d0d0a0d0a000006040000000000000300000064000000040100000000")],
  ["<", hex("00000004010000000000000d010400000001885f0a746578742f706c61696e0000020001000000016869")],
  [">", hex("000018010500000003828644072f7365636f6e64410b6832632e6578616d706c65")],
  ["<", hex("0000010105000000038d")],
];

function hex(text: string): Buffer {
  return Buffer.from(text, "hex");
}

/** Exchanges that had a request, and what the room counted. */
function run(written: readonly Written[], isServer: boolean, pieceBytes = Number.POSITIVE_INFINITY) {
  const lines: string[] = [];
  let started = 0;
  const room = new Connections(
    {
      exchangeStarted: () => {
        started++;
      },
      exchangeFinished: (_connection, exchange) => {
        const { protocol, op, resource, code, cutShort } = exchange;
        if (exchange.request !== undefined) lines.push(`${protocol} ${op} ${resource} ${code} ${cutShort}`.trim());
      },
      connectionClosed: () => {},
    },
    { redaction: true, protocols: PROTOCOLS },
  );
  const client = { addr: "127.0.0.1", port: 40_000 };
  const server = { addr: "127.0.0.1", port: 18_080 };
  room.opened({
    socket: 1,
    sight: "end",
    role: isServer ? "server" : "client",
    local: isServer ? server : client,
    remote: isServer ? client : server,
    netns: 0,
    joinedLate: false,
    timeNs: 0,
    localOwner: undefined,
    remoteOwner: undefined,
  });
  const seq: [number, number] = [1000, 5000];
  let timeNs = 0;
  for (const [arrow, bytes] of written) {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = bytes.subarray(at, Math.min(bytes.length, at + pieceBytes));
      const side = arrow === ">" ? 0 : 1;
      timeNs += 1e6;
      const direction = isServer ? (side === 0 ? 1 : 0) : side;
      room.slice({ socket: 1, direction, timeNs, seq: seq[side], total: piece.length, bytes: piece, tid: 1, pid: 1 });
      seq[side] += piece.length;
    }
  }
  room.closed(1, timeNs + 1e6, false);
  return { lines, started, counters: room.counters() };
}

test("an upgrade to h2c gives its two requests and nothing else, at either end", () => {
  for (const isServer of [false, true]) {
    for (const pieceBytes of [Number.POSITIVE_INFINITY, 1, 2, 7, 23]) {
      const { lines, started, counters } = run(UPGRADE, isServer, pieceBytes);
      assert.deepEqual(lines, ["http1 GET /first 101", "http2 GET /second 404"], `${isServer} ${pieceBytes}`);
      assert.equal(started, 2);
      assert.deepEqual(counters.left, {});
      assert.equal(counters.quarantined, 0);
    }
  }
});

test("a connection with prior knowledge, also where the server speaks first", () => {
  const [preface, settings] = OPENING as readonly [Written, Written];
  const rest: Written[] = [
    [">", get(1, "/a")],
    ["<", status(1, 200, true)],
  ];
  for (const opening of [
    [preface, settings],
    [settings, preface],
  ]) {
    for (const pieceBytes of [Number.POSITIVE_INFINITY, 5]) {
      const { lines, counters } = run([...opening, ...rest], true, pieceBytes);
      assert.deepEqual(lines, ["http2 GET /a 200"]);
      assert.deepEqual(counters.detected, { http2: 1 });
    }
  }
});

test("gRPC among other requests of a connection", () => {
  const call = { ":method": "POST", ":path": "/a.B/C", ":scheme": "http", "content-type": "application/grpc" };
  const { lines } = run(
    [
      ...(OPENING as Written[]),
      [">", Buffer.concat([headers(1, call, true), get(3, "/health")])],
      ["<", Buffer.concat([status(3, 200, true), headers(1, { ":status": "200", "grpc-status": "0" }, true)])],
    ],
    true,
  );
  assert.deepEqual(lines, ["http2 GET /health 200", "grpc C /a.B/C 0"]);
});
