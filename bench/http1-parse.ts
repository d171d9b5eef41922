/**
 * What one HTTP/1 exchange costs from slices to a finished exchange, the connection room included.
 *
 * Run: `node bench/http1-parse.ts`
 */

import { bench, do_not_optimize, run, summary } from "mitata";
import type { ConnectionSink } from "../agent/connection/connection-sink.ts";
import { Connections } from "../agent/connection/connections.ts";
import type { SocketSlice } from "../server/model/capture-event.ts";

const EXCHANGES = 1000;
const PORT = 8080;

const encoder = new TextEncoder();

/** Requests and answers by turns, as an API behind a proxy sees them. */
function conversation(bodyBytes: number): readonly Uint8Array[] {
  const body = "x".repeat(bodyBytes);
  return Array.from({ length: 2 * EXCHANGES }, (_unused, index) =>
    encoder.encode(
      index % 2 === 0
        ? `GET /users/${index}/orders?page=${index} HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: curl/8.5.0\r\n` +
            "Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Request-Id: 7f3a9c1e2b4d\r\nCookie: a=b; c=d\r\n" +
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
        : `HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Wed, 26 Nov 2025 03:11:00 GMT\r\nContent-Type: application/json\r\n` +
            `Content-Length: ${bodyBytes}\r\nConnection: keep-alive\r\nETag: "abc"\r\n\r\n${body}`,
    ),
  );
}

function play(connections: Connections, messages: readonly Uint8Array[], slice: SocketSlice): void {
  const seq = [1, 1];
  connections.opened({
    socket: 1,
    sight: "both",
    role: "client",
    local: { addr: "127.0.0.1", port: 40_000 },
    remote: { addr: "127.0.0.1", port: PORT },
    netns: 0,
    joinedLate: false,
    timeNs: 1,
    localOwner: undefined,
    remoteOwner: undefined,
  });
  for (let index = 0; index < messages.length; index++) {
    const bytes = messages[index] as Uint8Array;
    const direction = (index % 2) as 0 | 1;
    slice.direction = direction;
    slice.bytes = bytes;
    slice.total = bytes.length;
    slice.seq = seq[direction] as number;
    seq[direction] = (slice.seq + bytes.length) >>> 0;
    slice.timeNs = index;
    connections.slice(slice);
  }
  connections.closed(1, messages.length, false);
}

let finished = 0;
const sink: ConnectionSink = {
  exchangeStarted: () => undefined,
  exchangeFinished: (_connection, exchange) => {
    finished++;
    do_not_optimize(exchange);
  },
  connectionClosed: () => undefined,
};
const slice: SocketSlice = {
  socket: 1,
  direction: 0,
  timeNs: 0,
  seq: 0,
  total: 0,
  bytes: new Uint8Array(0),
  tid: 7,
  pid: 7,
};

summary(() => {
  for (const bodyBytes of [64, 4096]) {
    const messages = conversation(bodyBytes);
    bench(`${EXCHANGES} exchanges, ${bodyBytes} bytes of body`, () => {
      play(new Connections(sink, { redaction: true }), messages, slice);
    });
  }
});
await run();
if (finished === 0) throw new Error("no exchange was finished");
