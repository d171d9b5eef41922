/** HTTP/1 with bytes missing: nothing is paired by guess, and what comes after is found again. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, type PlayOptions, play, type Step } from "./http1.testkit.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NO = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: shop.example\r\n\r\n`;
const trailing: Step[] = [
  [">", get("/z")],
  ["<", NO],
];

function reads(steps: readonly Step[], want: readonly string[], options: PlayOptions = {}): void {
  assert.deepEqual(brief(play([...steps, ...trailing], options)), [...want, "exchange GET /z 404"]);
}

test("a gap inside a body of known length is counted through", () => {
  const steps: Step[] = [
    [">", "POST /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc"],
    [">", 990],
    [">", "defghij"],
    ["<", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"],
    ["<", 1000],
  ];
  reads(steps, ["exchange POST /a 200"]);
  const [exchange] = play(steps).exchanges;
  assert.equal(exchange?.attributes["http.request.body.size"], 1000);
  assert.equal(exchange?.attributes["http.response.body.size"], 1000);
  assert.equal(exchange?.response?.endNs, 5e6);
});

test("a gap inside a chunk is counted through", () => {
  reads(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nabc"],
      ["<", 1000],
      ["<", "defghijklmnopqrstuvwx\r\n0\r\n\r\n"],
      [">", get("/b")],
      ["<", OK],
    ],
    ["exchange GET /a 200", "exchange GET /b 200"],
  );
});

test("a lost size of a chunk: the answer goes on until the next request is answered", () => {
  reads(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"],
      ["<", 100],
      ["<", "HTTP/1.1 500 in the text\r\n\r\n"],
      ["<", "more text"],
    ],
    ["exchange GET /a 200"],
  );
});

test("a gap over the end of a body ends its message", () => {
  reads(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"],
      ["<", 50],
      ["<", "tail of what was lost"],
    ],
    ["exchange GET /a 200"],
  );
});

test("a head cut by the capture limit gives what was seen of it", () => {
  reads(
    [
      [">", "POST /a?x=1 HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\nCoo"],
      [">", 500],
      ["<", "HTTP/1.1 500 Oops\r\nContent-Length: 18\r\nSet-Coo"],
      ["<", 100],
    ],
    ["exchange POST /a?x=REDACTED 500"],
  );
  reads(
    [
      [">", "GET /cut/he"],
      [">", 100],
      ["<", OK],
    ],
    ["exchange GET /cut/he 200"],
  );
});

test("a traceparent cut by the capture limit is none; one before the cut counts", () => {
  const contextOf = (head: string) =>
    play([
      [">", head],
      [">", 90],
      ["<", OK],
    ]).exchanges[0]?.context;
  const before = "GET /a HTTP/1.1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  assert.equal(contextOf(before), undefined);
  assert.equal(contextOf(`${before}\r\nCookie: a`)?.spanId, "b7ad6b7169203331");
});

test("a cut answer of known length ends when that much has passed", () => {
  const { exchanges } = play(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nSet-Coo"],
      ["<", 2000],
      ["<", "x".repeat(1000)],
      ["<", 2100],
    ],
    { end: "open" },
  );
  assert.equal(exchanges[0]?.response?.endNs, 5e6);
});

test("a lost answer costs its own exchange", () => {
  reads(
    [
      [">", get("/a")],
      ["<", 200],
      [">", get("/b")],
      ["<", OK],
    ],
    ["request GET /a gap", "exchange GET /b 200"],
  );
  // The loss shows only when the next answer comes.
  reads(
    [
      [">", get("/a")],
      [">", get("/b")],
      ["<", 200],
      ["<", OK],
    ],
    ["request GET /a gap", "exchange GET /b 200"],
  );
});

test("an answer after a gap that may have held the request's own answer belongs to nobody", () => {
  reads(
    [
      [">", get("/a")],
      ["<", 200],
      ["<", NO],
    ],
    ["request GET /a gap", "response 404"],
  );
});

test("a lost request: its answer belongs to nobody", () => {
  reads(
    [
      [">", get("/a")],
      ["<", OK],
      ["<", NO],
      [">", 40],
      [">", get("/c")],
      ["<", OK],
    ],
    ["exchange GET /a 200", "exchange GET /c 200"],
  );
});

test("pipelining: after a gap in the answers none of the waiting requests is paired", () => {
  const pipelined: Step[] = [
    [">", get("/a") + get("/b")],
    ["<", OK + OK],
    [">", get("/c") + get("/d") + get("/e")],
    ["<", 200],
    ["<", NO],
    [">", get("/f")],
    ["<", NO],
  ];
  assert.deepEqual(brief(play(pipelined)), [
    "exchange GET /a 200",
    "exchange GET /b 200",
    "request GET /c gap",
    "request GET /d gap",
    "request GET /e gap",
    "response 404",
    "request GET /f gap",
    "response 404",
  ]);
});

test("pipelining: pairing begins again after a pause", () => {
  // Gaps of no bytes pass the time and nothing else.
  const quiet = Array.from({ length: 30 }, (): Step => [">", 0]);
  const { exchanges } = play([
    [">", get("/a") + get("/b")],
    ["<", OK + OK],
    [">", get("/c") + get("/d")],
    ["<", 50],
    ...quiet,
    [">", get("/e")],
    ["<", NO],
  ]);
  assert.deepEqual(
    exchanges.slice(-1).map((exchange) => exchange.resource + exchange.code),
    ["/e404"],
  );
});

test("a gap of unknown size loses framing, not the connection", () => {
  reads(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nab"],
      ["<", -1],
      ["<", "tail of the body"],
    ],
    ["exchange GET /a 200"],
  );
});

test("a gap before the first message", () => {
  reads(
    [
      [">", 100],
      [">", "rest of it"],
      ["<", 10],
      ["<", OK],
    ],
    ["response 200"],
  );
});
