/**
 * What one HTTP/1 exchange costs from slices to a finished exchange, the connection room included.
 *
 * Run: `node bench/http1-parse.ts`
 */

import { bench, run, summary } from "mitata";
import { ParsePlayer } from "./parse-kit.ts";

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

const player = new ParsePlayer();
summary(() => {
  for (const bodyBytes of [64, 4096]) {
    const messages = conversation(bodyBytes);
    bench(`${EXCHANGES} exchanges, ${bodyBytes} bytes of body`, () => player.play(messages, PORT));
  }
});
await run();
if (player.finished === 0) throw new Error("no exchange was finished");
