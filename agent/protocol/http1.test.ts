import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, type PlayOptions, play, type Step } from "./http1.testkit.ts";
import { ADRIFT_QUIET_NS, ANSWER_WAIT_NS_MAX, WAITING_MAX } from "./http1.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: shop.example\r\n\r\n`;

function reads(steps: readonly Step[], want: readonly string[], options: PlayOptions = {}): void {
  assert.deepEqual(brief(play(steps, options)), want);
}

test("keep-alive: one exchange after the other", () => {
  reads(
    [
      [">", get("/a")],
      ["<", OK],
      [">", get("/b")],
      ["<", OK],
    ],
    ["exchange GET /a 200", "exchange GET /b 200"],
  );
});

test("pipelining: answers in the order of requests, several messages in one read", () => {
  reads(
    [
      [">", get("/a") + get("/b") + get("/c")],
      ["<", `${OK}HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n`],
      ["<", OK],
    ],
    ["exchange GET /a 200", "exchange GET /b 404", "exchange GET /c 200"],
  );
});

test("marks, sizes and attributes", () => {
  const [exchange] = play([
    [">", "\r\nPOST /orders?x=1 HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: t/1\r\nContent-Length: 3\r\n\r\na"],
    [">", "bc"],
    ["<", "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n"],
    ["<", "no"],
  ]).exchanges;
  assert.ok(exchange?.request !== undefined && exchange.response !== undefined);
  assert.deepEqual(exchange.request, {
    startNs: 1e6,
    endNs: 2e6,
    seq: 2,
    bytes: 93,
    tid: 1,
    pid: 1,
    lastTid: 1,
  });
  assert.equal(exchange.response.startNs, 3e6);
  assert.equal(exchange.response.endNs, 4e6);
  assert.equal(exchange.response.bytes, 42);
  assert.equal(exchange.status, "server_error");
  assert.equal(exchange.endpoint, "POST /orders");
  assert.deepEqual(exchange.attributes, {
    "http.request.method": "POST",
    "url.path": "/orders",
    "url.query": "x=REDACTED",
    "url.scheme": "http",
    "server.address": "shop.example",
    "server.port": 8080,
    "network.protocol.version": "1.1",
    "user_agent.original": "t/1",
    "http.request.body.size": 3,
    "http.response.status_code": 500,
    "error.type": "500",
    "http.response.body.size": 2,
  });
});

test("an exchange is started with its request's head and finished with its answer's last byte", () => {
  const before = play([[">", "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n"]], { end: "open" });
  assert.equal(before.started.length, 1);
  assert.equal(before.exchanges.length, 0);
  const during = play(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"],
    ],
    { end: "open" },
  );
  assert.equal(during.exchanges.length, 0);
});

test("chunked: extensions, trailers, sizes cut by reads", () => {
  reads(
    [
      [">", "POST /a HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3;name=value\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"],
      ["<", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1"],
      ["<", "0\r\n0123456789abc"],
      ["<", "def\r"],
      ["<", "\n0\r\n"],
      ["<", "\r\n"],
      [">", get("/b")],
      ["<", OK],
    ],
    ["exchange POST /a 200", "exchange GET /b 200"],
  );
});

test("chunks that are none end their message; the next is found", () => {
  reads(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nHTTP/1.1 500 in the text\r\n\r\n"],
      [">", get("/b")],
      ["<", OK],
    ],
    ["exchange GET /a 200", "exchange GET /b 200"],
  );
});

test("interim answers belong to the exchange of the final one", () => {
  const steps: Step[] = [
    [">", "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"],
    ["<", "HTTP/1.1 100 Continue\r\n\r\n"],
    [">", "hi"],
    ["<", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"],
    ["<", OK],
  ];
  reads(steps, ["exchange POST /a 200"]);
  assert.equal(play(steps).exchanges[0]?.response?.startNs, 5e6);
});

test("answers without a body whatever their headers say", () => {
  const head = (status: string) => `HTTP/1.1 ${status}\r\nContent-Length: 400\r\n\r\n`;
  reads(
    [
      [">", "HEAD /a HTTP/1.1\r\n\r\n"],
      ["<", head("200 OK")],
      [">", get("/b")],
      ["<", head("304 Not Modified")],
      [">", "DELETE /c HTTP/1.1\r\n\r\n"],
      ["<", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"],
      [">", get("/d")],
      ["<", OK],
    ],
    ["exchange HEAD /a 200", "exchange GET /b 304", "exchange DELETE /c 204", "exchange GET /d 200"],
  );
});

test("101 ends the exchange and HTTP; a reset later is no fault of it", () => {
  const played = play(
    [
      [">", "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"],
      ["<", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n\u0001\u0002"],
      [">", "\u0001GET /tunnelled HTTP/1.1\r\n\r\n"],
      ["<", "HTTP/1.1 500 Not an answer\r\n\r\n"],
    ],
    { end: "reset" },
  );
  assert.deepEqual(brief(played), ["exchange GET /ws 101"]);
  assert.equal(played.exchanges[0]?.status, "ok");
  assert.equal(played.parser.detached, "upgrade");
  assert.equal(played.parser.detachedTo, "websocket");
  assert.equal(played.unused, 2 + 28 + 30);
});

test("CONNECT: a tunnel after 2xx, an ordinary answer otherwise", () => {
  const tunnel = play([
    [">", "CONNECT user:secret@db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n\r\n"],
    ["<", "HTTP/1.0 200 Connection established\r\n\r\n"],
    [">", get("/inside")],
  ]);
  assert.deepEqual(brief(tunnel), ["exchange CONNECT db.example:443 200"]);
  assert.equal(tunnel.exchanges[0]?.endpoint, "CONNECT");
  assert.equal(tunnel.exchanges[0]?.attributes["server.port"], 443);
  assert.equal(tunnel.parser.detached, "tunnel");
  reads(
    [
      [">", "CONNECT db.example:443 HTTP/1.1\r\n\r\n"],
      ["<", "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"],
      [">", "CONNECT db.example:443 HTTP/1.1\r\n\r\n"],
      ["<", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"],
    ],
    ["exchange CONNECT db.example:443 407", "exchange CONNECT db.example:443 502"],
  );
});

test("target forms and unusual methods", () => {
  const named = (line: string, want: Record<string, unknown>) => {
    const [exchange] = play([
      [">", `${line}\r\nHost: front.example\r\n\r\n`],
      ["<", OK],
    ]).exchanges;
    const seen = { endpoint: exchange?.endpoint, op: exchange?.op, ...exchange?.attributes };
    for (const [key, value] of Object.entries(want))
      assert.equal(seen[key as keyof typeof seen], value, `${line} ${key}`);
  };
  named("OPTIONS * HTTP/1.1", { endpoint: "OPTIONS *", "url.path": "*" });
  named("GET http://back.example:8080/a/b?q=1 HTTP/1.1", {
    endpoint: "GET /a/b",
    "url.path": "/a/b",
    "url.query": "q=REDACTED",
    "server.address": "back.example",
    "server.port": 8080,
  });
  named("GET http://back.example HTTP/1.1", { "url.path": "/", endpoint: "GET /" });
  named("GET https://u:p@[::1]:8443/x#frag HTTP/1.1", {
    "url.scheme": "https",
    "server.address": "::1",
    "server.port": 8443,
    "url.path": "/x",
  });
  named("PROPFIND /dav/ HTTP/1.1", {
    op: "PROPFIND",
    endpoint: "HTTP /dav/",
    "http.request.method": "_OTHER",
    "http.request.method_original": "PROPFIND",
  });
  named("get /lower HTTP/1.1", { "http.request.method": "_OTHER", "http.request.method_original": "get" });
  named("PATCH /a HTTP/1.0", { "http.request.method": "PATCH", "network.protocol.version": "1.0" });
  named("QUERY /a HTTP/1.1", { "http.request.method": "QUERY" });
  named("GET    /spaced HTTP/1.1", { "url.path": "/spaced" });
  named("GET HTTP/1.1", { endpoint: "GET", "url.path": undefined });
});

test("line ends, folded lines, blank lines before a request", () => {
  const [exchange] = play([
    [">", "\r\n\nGET /a HTTP/1.1\nHost:\r\n shop.example\nuSER-aGENT: a\n\tb \n\n\r\n"],
    ["<", "HTTP/1.1 200 OK\nContent-Length:\n 2\n\nok"],
  ]).exchanges;
  assert.equal(exchange?.attributes["server.address"], "shop.example");
  assert.equal(exchange?.attributes["user_agent.original"], "a b");
  assert.equal(exchange?.attributes["http.response.body.size"], 2);
});

test("lengths that agree count, lengths that do not leave the end open", () => {
  const second: Step[] = [
    [">", get("/b")],
    ["<", OK],
  ];
  const answered = (headers: string): Step[] => [
    [">", get("/a")],
    ["<", `HTTP/1.1 200 OK\r\n${headers}\r\n\r\n`],
    ["<", "HTTP/1.1 500 text"],
    ...second,
  ];
  for (const headers of [
    "Content-Length: 17\r\nContent-Length: 17",
    "Content-Length: 17, 17",
    "Content-Length: 017",
    "Content-Length: 17\r\nContent-Length: 18",
    "Content-Length: -17",
    "Content-Length: 99999999999999999999",
    "Content-Length: 1e3",
  ]) {
    reads(answered(headers), ["exchange GET /a 200", "exchange GET /b 200"]);
  }
});

test("transfer codings win over lengths; identity is none", () => {
  reads(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nContent-Length: 900\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
      [">", get("/b")],
      ["<", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"],
      [">", get("/c")],
      ["<", OK],
    ],
    ["exchange GET /a 200", "exchange GET /b 200", "exchange GET /c 200"],
  );
});

test("a body without a length ends with the connection", () => {
  const steps: Step[] = [
    [">", "GET /a HTTP/1.0\r\n\r\n"],
    ["<", "HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 500 in the text\r\n\r\n"],
    ["<", "HTTP/1.1 500 in the text\r\n\r\n"],
  ];
  reads(steps, ["exchange GET /a 200"]);
  assert.equal(play(steps).exchanges[0]?.attributes["http.response.body.size"], 56);
  reads(steps, ["exchange GET /a 200 reset"], { end: "reset" });
});

test("body text that reads like messages is body", () => {
  const text = "GET /ghost HTTP/1.1\r\n\r\nHTTP/1.1 500 Ghost\r\n\r\n";
  reads(
    [
      [">", `PUT /a HTTP/1.1\r\nContent-Length: ${text.length * 2}\r\n\r\n`],
      [">", text],
      [">", text],
      ["<", `HTTP/1.1 200 OK\r\nContent-Length: ${text.length * 3}\r\n\r\n`],
      ["<", text],
      ["<", text.slice(23) + text.slice(0, 23)],
      ["<", text],
      [">", get("/b")],
      ["<", `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n`],
      ["<", `${text.length.toString(16)}\r\n`],
      ["<", text],
      ["<", "\r\n0\r\n\r\n"],
    ],
    ["exchange PUT /a 200", "exchange GET /b 200"],
  );
});

test("what is left unanswered says why", () => {
  const asked: Step[] = [[">", get("/a")]];
  const statusOf = (options: PlayOptions) => {
    const [exchange] = play(asked, options).exchanges;
    return [exchange?.type, exchange?.status, exchange?.cutShort, exchange?.attributes["error.type"]];
  };
  assert.deepEqual(statusOf({ end: "closed" }), ["request", "unknown", "connection_closed", "connection_closed"]);
  assert.deepEqual(statusOf({ end: "reset" }), ["request", "unknown", "reset", "reset"]);
  assert.deepEqual(statusOf({ end: "stopped" }), ["request", "unknown", "", undefined]);
  const half: Step[] = [...asked, ["<", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]];
  reads(half, ["exchange GET /a 200 connection_closed"]);
  reads(half, ["exchange GET /a 200 reset"], { end: "reset" });
});

test("an answer that never comes times out, and coming late shifts nothing", () => {
  const { parser, exchanges } = play([[">", get("/a")]], { end: "open" });
  parser.expire(1e6 + ANSWER_WAIT_NS_MAX);
  assert.equal(exchanges.length, 0);
  parser.expire(2e6 + ANSWER_WAIT_NS_MAX);
  assert.deepEqual([exchanges[0]?.status, exchanges[0]?.cutShort], ["timeout", "timeout"]);
  const feed = (direction: 0 | 1, text: string) =>
    parser.data(direction, { bytes: Buffer.from(text), timeNs: 9e12, seq: 0, tid: 1, pid: 1 });
  feed(0, get("/b"));
  feed(1, "HTTP/1.1 500 late\r\nContent-Length: 0\r\n\r\n");
  feed(1, OK);
  assert.deepEqual(
    exchanges.map((exchange) => exchange.resource + exchange.code),
    ["/a", "/b200"],
  );
});

test("an early answer is paired with the request whose head is still coming", () => {
  reads(
    [
      [">", `GET /a HTTP/1.1\r\nHost: x\r\nCookie: ${"c".repeat(9000)}`],
      ["<", "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\r\n"],
      [">", "\r\n\r\n"],
      [">", get("/b")],
      ["<", OK],
    ],
    ["exchange GET /a 431", "exchange GET /b 200"],
  );
  reads(
    [
      [">", "GET /long"],
      ["<", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"],
    ],
    ["exchange GET /long 408"],
  );
  reads(
    [
      [">", "POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n"],
      ["<", "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"],
      [">", "body"],
      [">", get("/b")],
      ["<", OK],
    ],
    ["exchange POST /a 413", "exchange GET /b 200"],
  );
});

test("an answer nobody asked for is left out and shifts nothing", () => {
  const played = play([
    [">", get("/a")],
    ["<", `${OK}${OK}`],
    [">", get("/b")],
    ["<", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"],
  ]);
  assert.deepEqual(brief(played), ["exchange GET /a 200", "exchange GET /b 404"]);
  assert.deepEqual(played.counts, ["http1_response_unasked"]);
  reads([["<", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"]], ["response 408"]);
});

test("bytes after a message are passed over", () => {
  reads(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHello World!\r\n\u0000\u0001more"],
      [">", "T / HTTP\n\nT / HTTP\n\n"],
      [">", get("/b")],
      ["<", OK],
    ],
    ["exchange GET /a 200", "exchange GET /b 200"],
  );
});

test("joined late: inside a body, on either side", () => {
  const late: PlayOptions = { joinedLate: true };
  reads(
    [
      ["<", "tail of a body\r\nHTTP/1.1 500 in the text\r\n\r\n"],
      [">", get("/a")],
      ["<", OK],
    ],
    ["exchange GET /a 200"],
    late,
  );
  reads(
    [
      [">", "rest of an upload"],
      ["<", OK],
      [">", get("/a")],
      ["<", OK],
    ],
    ["response 200", "exchange GET /a 200"],
    late,
  );
  // The answer to a HEAD that was not seen has no body.
  reads(
    [
      ["<", "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"],
      [">", get("/a")],
      ["<", OK],
    ],
    ["response 200", "exchange GET /a 200"],
    late,
  );
});

test("waiting requests have a limit, and answers to those beyond it are passed over", () => {
  const count = WAITING_MAX + 10;
  const played = play([
    [">", get("/a").repeat(count)],
    ["<", OK.repeat(count)],
    [">", get("/after")],
    ["<", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"],
  ]);
  assert.equal(played.exchanges.length, WAITING_MAX + 1);
  assert.equal(played.exchanges.at(-1)?.code, "404");
  assert.equal(played.counts.filter((reason) => reason === "http1_waiting_max").length, 10);
});

test("an answer whose end cannot be told ends after some quiet", () => {
  const { parser, exchanges } = play(
    [
      [">", get("/a")],
      ["<", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
      ["<", 10],
      ["<", "more"],
    ],
    {
      end: "open",
    },
  );
  parser.expire(4e6 + ADRIFT_QUIET_NS);
  assert.equal(exchanges.length, 0);
  parser.expire(5e6 + ADRIFT_QUIET_NS);
  assert.deepEqual([exchanges[0]?.code, exchanges[0]?.cutShort, exchanges[0]?.response?.endNs], ["200", "", 4e6]);
});

test("an answer that is due may have a status line that is not quite one", () => {
  for (const line of ["ICY 200 OK", "HTTP/1.10 200 OK", "HTTP/2.0 200 OK", "http/1.1 200 OK", "HTTP 200"]) {
    reads(
      [
        [">", get("/a")],
        ["<", `${line}\r\nContent-Length: 2\r\n\r\nok`],
      ],
      ["exchange GET /a 200"],
    );
  }
  reads(
    [
      [">", get("/a")],
      ["<", "HTTPD 20 errors\r\n\r\n"],
    ],
    ["request GET /a connection_closed"],
  );
});
