import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, type Played, type Step } from "./http1.testkit.ts";
import {
  block,
  dataFrame,
  frame,
  get,
  headers,
  literal,
  OPENING,
  PREFACE,
  playHttp2,
  status,
} from "./http2.testkit.ts";
import { ANSWER_WAIT_NS_MAX, DOUBTFUL_QUIET_NS, STREAMS_MAX } from "./http2.ts";
import { CONTINUATION, DATA, GOAWAY, HEADERS, PUSH_PROMISE, RST_STREAM, SETTINGS } from "./http2-frame.ts";
import { BLOCK_BYTES_MAX, SLICES_LOST_MAX } from "./http2-reader.ts";

const END_HEADERS = 4;
const END_STREAM = 1;
const PADDED = 8;
const PRIORITY = 0x20;
const CANCEL = Buffer.of(0, 0, 0, 8);
const REFUSED = Buffer.of(0, 0, 0, 7);

/** Plays on a connection that was seen from its beginning. */
function whole(steps: readonly Step[]): Played {
  return playHttp2([...OPENING, ...steps]);
}

function one(played: Played) {
  const [exchange] = played.exchanges;
  assert.equal(played.exchanges.length, 1, brief(played).join("; "));
  assert.ok(exchange !== undefined);
  return exchange;
}

test("an exchange with bodies has the names and attributes of HTTP/1", () => {
  const fields = {
    ":method": "POST",
    ":scheme": "https",
    ":path": "/users/1234?token=abc",
    ":authority": "shop.example:8443",
    "user-agent": "t/1",
    cookie: "secret=1",
    authorization: "Bearer abc",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate: "a=1",
  };
  const played = whole([
    [">", Buffer.concat([headers(3, fields), dataFrame(3, "abc"), dataFrame(3, "de", true)])],
    ["<", Buffer.concat([status(3, 201), dataFrame(3, "hello"), dataFrame(3, "", true)])],
  ]);
  const exchange = one(played);
  assert.deepEqual(played.started, [exchange]);
  assert.deepEqual(
    { ...exchange, request: undefined, response: undefined },
    {
      protocol: "http2",
      type: "exchange",
      op: "POST",
      resource: "/users/1234?token=REDACTED",
      endpoint: "POST /users/{id}",
      status: "ok",
      code: "201",
      id: "3",
      stream: 3,
      version: "2",
      request: undefined,
      response: undefined,
      context: {
        kind: "traceparent",
        traceId: "0af7651916cd43dd8448eb211c80319c",
        spanId: "b7ad6b7169203331",
        flags: 1,
        traceState: "a=1",
      },
      requestId: "",
      answerId: "",
      attributes: {
        "http.request.method": "POST",
        "url.path": "/users/1234",
        "url.query": "token=REDACTED",
        "url.scheme": "https",
        "server.address": "shop.example",
        "server.port": 8443,
        "network.protocol.version": "2",
        "user_agent.original": "t/1",
        "http.response.status_code": 201,
        "http.request.body.size": 5,
        "http.response.body.size": 5,
      },
      cutShort: "",
    },
  );
  assert.equal(exchange.request?.seq, PREFACE.length + 9);
  assert.equal(exchange.request?.startNs, 3e6);
  assert.equal(exchange.response?.endNs, 4e6);
  assert.equal(exchange.response?.bytes, 9 + block({ ":status": "201" }).length + 9 + 5 + 9);
  assert.doesNotMatch(JSON.stringify(exchange), /secret|Bearer/);
});

test("streams are paired by number, in whatever order they end", () => {
  const played = whole([
    [">", Buffer.concat([get(1, "/a"), get(3, "/b"), get(5, "/c")])],
    ["<", Buffer.concat([status(5, 200), status(1, 404, true), status(3, 500, true), dataFrame(5, "x", true)])],
  ]);
  assert.deepEqual(brief(played), ["exchange GET /a 404", "exchange GET /b 500", "exchange GET /c 200"]);
  assert.deepEqual(
    played.exchanges.map((exchange) => exchange.status),
    ["client_error", "server_error", "ok"],
  );
  assert.equal(played.exchanges[1]?.attributes["error.type"], "500");
});

test("the table of a direction carries over from block to block", () => {
  const first = Buffer.concat([Buffer.of(0x82, 0x86), literal(":path", "/kept", true), literal("x", "y", true)]);
  const second = Buffer.of(0x82, 0x86, 0xbf);
  const played = whole([
    [">", Buffer.concat([frame(HEADERS, 5, 1, first), frame(HEADERS, 5, 3, second)])],
    ["<", Buffer.concat([status(1, 200, true), status(3, 200, true)])],
  ]);
  assert.deepEqual(brief(played), ["exchange GET /kept 200", "exchange GET /kept 200"]);
});

test("padding, priority, continuations, interim answers, trailers, unknown frames", () => {
  const fields = block({ ":method": "GET", ":path": "/padded", ":scheme": "http" });
  const padded = Buffer.concat([Buffer.of(4, 0x80, 0, 0, 0, 7), fields, Buffer.alloc(4)]);
  const parts = block({ ":method": "PUT", ":path": "/parts", ":scheme": "http" });
  const padding = Buffer.concat([Buffer.of(3), Buffer.from("ab"), Buffer.alloc(3)]);
  const played = whole([
    [">", frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 1, padded)],
    [">", frame(HEADERS, 0, 3, parts.subarray(0, 5))],
    [">", frame(CONTINUATION, 0, 3, parts.subarray(5, 12))],
    [">", frame(CONTINUATION, END_HEADERS, 3, parts.subarray(12))],
    [">", frame(0x42, 0xff, 9, "whatever this is")],
    [">", frame(DATA, PADDED, 3, padding)],
    [">", headers(3, { "x-checksum": "1" }, true)],
    ["<", Buffer.concat([status(1, 103), status(1, 200), headers(1, { "x-trailer": "1" }, true)])],
    ["<", Buffer.concat([status(3, 100), frame(DATA, PADDED, 3, Buffer.of(0)), status(3, 204, true)])],
  ]);
  assert.deepEqual(brief(played), ["exchange GET /padded 200", "exchange PUT /parts 204"]);
  assert.equal(played.exchanges[1]?.attributes["http.request.body.size"], 2);
  assert.deepEqual(played.counts, []);
});

test("resets and going away", () => {
  const answers: Readonly<Record<string, readonly Step[]>> = {
    "request GET /a reset": [[">", frame(RST_STREAM, 0, 1, CANCEL)]],
    "exchange GET /a 200": [
      ["<", status(1, 200)],
      [">", frame(RST_STREAM, 0, 1, CANCEL)],
    ],
    "exchange GET /a 200 reset": [
      ["<", status(1, 200)],
      ["<", frame(RST_STREAM, 0, 1, Buffer.of(0, 0, 0, 2))],
    ],
    "exchange GET /a 200 connection_closed": [["<", status(1, 200)]],
    "request GET /a connection_closed": [["<", frame(GOAWAY, 0, 0, Buffer.of(0, 0, 0, 1, 0, 0, 0, 0))]],
  };
  for (const [wanted, steps] of Object.entries(answers)) {
    const played = whole([[">", get(1, "/a")], ...steps]);
    assert.deepEqual(brief(played), [wanted]);
  }
  const away = whole([
    [">", Buffer.concat([get(1, "/a"), get(3, "/b")])],
    ["<", frame(GOAWAY, 0, 0, Buffer.of(0, 0, 0, 1, 0, 0, 0, 0))],
    ["<", status(1, 200, true)],
  ]);
  assert.deepEqual(brief(away), ["request GET /b reset", "exchange GET /a 200"]);
});

test("frames of a stream that is over change nothing", () => {
  const played = whole([
    [">", headers(1, { ":method": "POST", ":path": "/a", ":scheme": "http" })],
    ["<", status(1, 413, true)],
    [">", dataFrame(1, "more")],
    [">", headers(1, { "x-trailer": "1" }, true)],
    [">", get(3, "/b")],
    [">", frame(RST_STREAM, 0, 3, CANCEL)],
    ["<", Buffer.concat([status(3, 200), dataFrame(3, "late", true)])],
  ]);
  assert.deepEqual(brief(played), ["exchange POST /a 413", "request GET /b reset"]);
  assert.deepEqual(played.counts, []);
});

test("gRPC: names, codes, streams cut by either side", () => {
  const call = headers(1, {
    ":method": "POST",
    ":path": "/shop.Cart/AddItem",
    ":scheme": "http",
    ":authority": "cart:7070",
    "content-type": "application/grpc+proto",
  });
  const answer = headers(1, { ":status": "200", "content-type": "application/grpc" });
  const trailers = (code: number) => headers(1, { "grpc-status": String(code), "grpc-message": "secret" }, true);
  const ok = one(
    whole([
      [">", call],
      ["<", Buffer.concat([answer, dataFrame(1, "12345"), trailers(0)])],
    ]),
  );
  assert.equal(ok.protocol, "grpc");
  assert.equal(ok.endpoint, "/shop.Cart/AddItem");
  assert.equal(ok.resource, "/shop.Cart/AddItem");
  assert.equal(ok.op, "AddItem");
  assert.equal(`${ok.status} ${ok.code}`, "ok 0");
  assert.deepEqual(ok.attributes, {
    "server.address": "cart",
    "server.port": 7070,
    "network.protocol.version": "2",
    "rpc.system": "grpc",
    "rpc.service": "shop.Cart",
    "rpc.method": "AddItem",
    "rpc.grpc.status_code": 0,
    "http.request.body.size": 0,
    "http.response.body.size": 5,
  });
  const statusOf = (steps: readonly Step[]) => {
    const exchange = one(whole([[">", call], ...steps]));
    return `${exchange.status} ${exchange.code} ${exchange.attributes["error.type"] ?? ""}`.trim();
  };
  assert.equal(statusOf([["<", Buffer.concat([answer, trailers(5)])]]), "client_error 5");
  assert.equal(statusOf([["<", Buffer.concat([answer, trailers(13)])]]), "server_error 13 13");
  assert.equal(statusOf([["<", headers(1, { ":status": "200", "grpc-status": "12" }, true)]]), "server_error 12 12");
  assert.equal(statusOf([["<", status(1, 503, true)]]), "server_error 503 503");
  assert.equal(statusOf([[">", frame(RST_STREAM, 0, 1, CANCEL)]]), "client_error 1 reset");
  assert.equal(statusOf([["<", frame(RST_STREAM, 0, 1, REFUSED)]]), "server_error 14 14");
});

test("a gRPC answer whose end a capture cuts off ends with the last byte that was counted", () => {
  const call = headers(
    1,
    { ":method": "POST", ":path": "/a.B/C", ":scheme": "http", "content-type": "application/grpc" },
    true,
  );
  const answer = Buffer.concat([
    headers(1, { ":status": "200", "content-type": "application/grpc" }),
    dataFrame(1, "m".repeat(9000)),
    headers(1, { "grpc-status": "0" }, true),
  ]);
  const steps: Step[] = [...OPENING, [">", call], ["<", answer.subarray(0, 4096)], ["<", answer.length - 4096]];
  const { parser, exchanges } = playHttp2(steps, { end: "open" });
  parser.expire(5e6 + DOUBTFUL_QUIET_NS);
  assert.equal(exchanges.length, 0);
  parser.expire(6e6 + DOUBTFUL_QUIET_NS);
  const [exchange] = exchanges;
  assert.equal(`${exchange?.endpoint} ${exchange?.code} ${exchange?.cutShort}`.trim(), "/a.B/C 200");
  assert.equal(exchange?.response?.endNs, 5e6);
  // An answer that goes on after the loss is not over.
  const more: Step[] = [["<", dataFrame(1, "x")]];
  const streaming = playHttp2([...steps, ...more], { end: "open" });
  streaming.parser.expire(20e9);
  assert.deepEqual(brief(streaming), []);
});

test("trailers too short to add a field leave the table as it is", () => {
  const grpc = { ":status": "200", "content-type": "application/grpc" };
  const call = (stream: number) =>
    headers(
      stream,
      { ":method": "POST", ":path": "/a.B/C", ":scheme": "http", "content-type": "application/grpc" },
      true,
    );
  const status13 = Buffer.concat([literal("grpc-status", "13", true), literal("grpc-message", "x", true)]);
  const known = frame(HEADERS, 5, 1, status13);
  const indexed = (stream: number) => frame(HEADERS, 5, stream, Buffer.of(0xbf, 0xbe));
  const head = Buffer.concat([headers(3, grpc), dataFrame(3, "m".repeat(9000))]);
  const codes = (missing: number, trailers = indexed(3)) => {
    const large = Buffer.concat([head, trailers]);
    return whole([
      [">", Buffer.concat([call(1), call(3), call(5)])],
      ["<", Buffer.concat([headers(1, grpc), known])],
      ["<", large.subarray(0, large.length - missing)],
      ["<", missing],
      ["<", Buffer.concat([headers(5, grpc), indexed(5)])],
    ]).exchanges.map(({ stream, code }) => `${stream} ${code}`);
  };
  assert.deepEqual(codes(5000), ["1 13", "5 13", "3 200"]);
  assert.deepEqual(codes(11), ["1 13", "5 13", "3 200"]);
  assert.deepEqual(codes(12, frame(HEADERS, 5, 3, Buffer.of(0xbf, 0xbe, 0xbe))), ["1 13", "5 200", "3 200"]);
  // Part of the block's frame was seen: more of it may be missing than the block.
  assert.deepEqual(codes(10), ["1 13", "5 200", "3 200"]);
});

test("gRPC is known by its answer where the request's fields are not", () => {
  const late = frame(HEADERS, END_HEADERS | END_STREAM, 77, Buffer.of(0x83, 0x86, 0xd0, 0xd1));
  const answer = headers(77, { ":status": "200", "content-type": "application/grpc" });
  const played = playHttp2(
    [
      [">", late],
      ["<", Buffer.concat([answer, headers(77, { "grpc-status": "0" }, true)])],
    ],
    { joinedLate: true },
  );
  const exchange = one(played);
  assert.equal(`${exchange.protocol} ${exchange.endpoint} ${exchange.code}`, "grpc gRPC 0");
});

test("pushed answers are messages, and no requests", () => {
  const promise = Buffer.concat([
    Buffer.of(0, 0, 0, 2),
    block({ ":method": "GET", ":path": "/style.css", ":scheme": "http" }),
  ]);
  const played = whole([
    [">", get(1, "/")],
    ["<", Buffer.concat([frame(PUSH_PROMISE, END_HEADERS, 1, promise), status(1, 200, true)])],
    ["<", Buffer.concat([status(2, 200), dataFrame(2, "a{}", true)])],
  ]);
  assert.deepEqual(brief(played), ["exchange GET / 200", "message GET /style.css 200"]);
  assert.equal(played.started.length, 1);
  assert.equal(played.exchanges[1]?.request, undefined);
  assert.deepEqual(played.counts, ["http2_push_promise"]);
});

test("the answer on stream 1 belongs to a request of before; any other answer was not asked for", () => {
  const played = whole([["<", Buffer.concat([status(1, 200, true), status(3, 200, true)])]]);
  assert.deepEqual(brief(played), ["response 200"]);
  assert.deepEqual(played.counts, ["http2_response_unasked"]);
});

test("what a capture cuts off", () => {
  const cut: Readonly<Record<string, readonly [steps: readonly Step[], wanted: readonly string[]]>> = {
    "inside a body": [
      [
        [">", get(1, "/a")],
        ["<", Buffer.concat([status(1, 200), frame(DATA, 1, 1, Buffer.alloc(5000)).subarray(0, 1000)])],
        ["<", 4009],
        [">", get(3, "/b")],
        ["<", status(3, 404, true)],
      ],
      ["exchange GET /a 200", "exchange GET /b 404"],
    ],
    "inside a block, behind what matters": [
      [
        [">", get(1, "/a", { "x-long": "y".repeat(500) }).subarray(0, 300)],
        [">", 262],
        ["<", status(1, 200, true)],
      ],
      ["exchange GET /a 200"],
    ],
    "inside a block, before what matters": [
      [
        [">", get(1, "/a").subarray(0, 23)],
        [">", get(1, "/a").length - 23],
        ["<", status(1, 200, true)],
      ],
      ["exchange GET 200"],
    ],
    "whole frames; reading goes on at the next message": [
      [
        [">", get(1, "/a")],
        ["<", 100],
        [">", 200],
        [">", get(5, "/c")],
        ["<", status(5, 200, true)],
      ],
      ["exchange GET /c 200", "request GET /a gap"],
    ],
    "a number that is not known": [
      [
        [">", get(1, "/a")],
        ["<", -1],
        ["<", status(1, 200, true)],
      ],
      ["exchange GET /a 200"],
    ],
    "half of a frame's header": [
      [
        [">", get(1, "/a").subarray(0, 4)],
        [">", 30],
        [">", get(3, "/b")],
        ["<", status(3, 200, true)],
      ],
      ["exchange GET /b 200"],
    ],
    "the continuation": [
      [
        [">", frame(HEADERS, 1, 1, block({ ":method": "GET", ":path": "/a" }))],
        [">", 60],
        [">", get(3, "/b")],
        ["<", Buffer.concat([status(1, 200, true), status(3, 200, true)])],
      ],
      ["exchange GET /a 200", "exchange GET /b 200"],
    ],
  };
  for (const [name, [steps, wanted]] of Object.entries(cut)) assert.deepEqual(brief(whole(steps)), wanted, name);
  const body = one(whole(cut["inside a body"]?.[0].slice(0, 3) ?? []));
  assert.equal(body.attributes["http.response.body.size"], 5000);
});

test("after a loss the table is not trusted, what is added later is", () => {
  const path = literal(":path", "/first", true);
  const again = Buffer.of(0x82, 0x86, 0xbe);
  const played = whole([
    [">", frame(HEADERS, 5, 1, Buffer.concat([Buffer.of(0x82, 0x86), path]))],
    [">", 50],
    [">", frame(HEADERS, 5, 5, again)],
    [">", frame(HEADERS, 5, 7, Buffer.concat([Buffer.of(0x82, 0x86), literal(":path", "/second", true)]))],
    [">", frame(HEADERS, 5, 9, again)],
    ["<", Buffer.concat([1, 5, 7, 9].map((stream) => status(stream, 200, true)))],
  ]);
  assert.deepEqual(brief(played), [
    "exchange GET /first 200",
    "exchange GET 200",
    "exchange GET /second 200",
    "exchange GET /second 200",
  ]);
});

test("a block that is cut between two fields loses the table, too", () => {
  const kept = Buffer.concat([Buffer.of(0x82, 0x86), literal(":path", "/first", true)]);
  const cut = frame(HEADERS, 5, 1, Buffer.concat([kept, literal("x", "y", true)]));
  const played = whole([
    [">", cut.subarray(0, 9 + kept.length)],
    [">", cut.length - 9 - kept.length],
    [">", frame(HEADERS, 5, 3, Buffer.of(0x82, 0x86, 0xbe))],
    ["<", Buffer.concat([status(1, 200, true), status(3, 200, true)])],
  ]);
  assert.deepEqual(brief(played), ["exchange GET /first 200", "exchange GET 200"]);
});

test("bytes that are missing beyond the end of a body are no frames' beginning", () => {
  const played = whole([
    [">", get(1, "/a")],
    ["<", Buffer.concat([status(1, 200), frame(DATA, 1, 1, Buffer.alloc(500)).subarray(0, 100)])],
    ["<", 409 + 60],
    ["<", "text of a body that was begun meanwhile"],
    [">", get(3, "/b")],
    ["<", status(3, 404, true)],
  ]);
  assert.deepEqual(brief(played), ["exchange GET /a 200", "exchange GET /b 404"]);
  assert.deepEqual(played.counts, []);
});

test("after a loss, frames that only the other side can send are not taken", () => {
  const played = playHttp2(
    [
      [">", status(1, 200, true)],
      [">", get(3, "/a")],
      ["<", status(3, 200, true)],
    ],
    {
      joinedLate: true,
    },
  );
  assert.deepEqual(brief(played), ["exchange GET /a 200"]);
  assert.deepEqual(played.counts, []);
});

test("a request ends where its last frame does; two trace contexts are none", () => {
  const id = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const bytes = frame(
    HEADERS,
    5,
    1,
    Buffer.concat([block({ ":method": "GET", ":path": "/a", traceparent: id }), literal("traceparent", id)]),
  );
  const exchange = one(
    whole([
      [">", bytes.subarray(0, 30)],
      [">", bytes.subarray(30)],
      ["<", status(1, 200, true)],
    ]),
  );
  assert.equal(exchange.request?.startNs, 3e6);
  assert.equal(exchange.request?.endNs, 4e6);
  assert.equal(exchange.request?.bytes, bytes.length);
  assert.equal(exchange.context, undefined);
});

test("a connection joined late, in the middle of a body", () => {
  const played = playHttp2(
    [
      ["<", Buffer.from("the middle of some body that says nothing of frames")],
      [">", get(21, "/a")],
      ["<", Buffer.concat([status(21, 200), dataFrame(21, "x", true)])],
      ["<", status(19, 503, true)],
      [">", headers(17, { "x-trailer": "1" }, true)],
    ],
    { joinedLate: true },
  );
  assert.deepEqual(brief(played), ["exchange GET /a 200"]);
});

test("a connection that shows no frames for long is let go", () => {
  const noise = (count: number) => Array.from({ length: count }, (): Step => ["<", "no frames"]);
  const steps: Step[] = [...OPENING, ["<", 100]];
  assert.equal(playHttp2([...steps, ...noise(SLICES_LOST_MAX)]).parser.detached, "");
  assert.equal(playHttp2([...steps, ...noise(SLICES_LOST_MAX + 1)]).parser.detached, "invalid");
});

test("answers to requests that were not seen", () => {
  const played = playHttp2([["<", Buffer.concat([status(19, 503, true), status(21, 200)])]], { joinedLate: true });
  assert.deepEqual(brief(played), ["response 503", "response 200 connection_closed"]);
});

test("what waits too long is given up, and without blame where bytes are missing", () => {
  const { parser, exchanges } = playHttp2(
    [...OPENING, [">", Buffer.concat([get(1, "/a"), get(3, "/b")])], ["<", status(3, 200)]],
    { end: "open" },
  );
  parser.expire(3e6 + ANSWER_WAIT_NS_MAX);
  assert.equal(exchanges.length, 0);
  parser.expire(4e6 + ANSWER_WAIT_NS_MAX);
  assert.equal(exchanges[0]?.status, "timeout");
  assert.equal(exchanges.length, 1, "an answer that is under way may go on for as long as it likes");
  parser.gap(1, 100, 5e6, 1);
  parser.expire(6e6 + DOUBTFUL_QUIET_NS);
  assert.equal(`${exchanges[1]?.code} ${exchanges[1]?.cutShort}`.trim(), "200");
});

test("streams beyond the bound are counted and left out", () => {
  const requests = Array.from({ length: STREAMS_MAX + 2 }, (_, index) => get(index * 2 + 1, "/a"));
  const answers = requests.map((_, index) => status(index * 2 + 1, 200, true));
  const played = whole([
    [">", Buffer.concat(requests)],
    ["<", Buffer.concat(answers)],
    [">", get(9999, "/b")],
    ["<", status(9999, 200, true)],
  ]);
  assert.equal(played.exchanges.length, STREAMS_MAX + 1);
  assert.deepEqual(played.counts, ["http2_streams_max", "http2_streams_max"]);
});

test("a block beyond the bound is read as far as it is held", () => {
  const filler = Array.from({ length: 7 }, (_, index) =>
    frame(CONTINUATION, index === 6 ? END_HEADERS : 0, 1, block({ "x-filler": "z".repeat(16_000) })),
  );
  const first = frame(HEADERS, END_STREAM, 1, block({ ":method": "GET", ":path": "/a" }));
  const played = whole([
    [">", Buffer.concat([first, ...filler, get(3, "/b")])],
    ["<", Buffer.concat([status(1, 200, true), status(3, 200, true)])],
  ]);
  assert.ok(6 * 16_000 > BLOCK_BYTES_MAX);
  assert.deepEqual(brief(played), ["exchange GET /a 200", "exchange GET /b 200"]);
  assert.deepEqual(played.counts, ["http2_block_bytes_max"]);
});

test("frames larger than allowed are none; SETTINGS allow them", () => {
  const large = frame(DATA, 1, 1, Buffer.alloc(20_000));
  const steps: Step[] = [
    [">", get(1, "/a")],
    ["<", Buffer.concat([status(1, 200), large])],
  ];
  assert.deepEqual(brief(whole(steps)), ["exchange GET /a 200"]);
  assert.equal(one(whole(steps)).attributes["http.response.body.size"], undefined, "its size is not known");
  const setting = frame(SETTINGS, 0, 0, Buffer.of(0, 5, 0, 1, 0, 0));
  assert.deepEqual(brief(whole([[">", setting], ...steps])), ["exchange GET /a 200"]);
});

test("the name that DNS over HTTPS asks for", () => {
  const message = Buffer.concat([
    Buffer.of(0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3),
    Buffer.from("WWW\x07example\x03com\0\0\x01\0\x01"),
  ]);
  const exchange = one(
    whole([
      [">", get(1, `/dns-query?dns=${message.toString("base64url")}`)],
      ["<", status(1, 200, true)],
    ]),
  );
  assert.equal(exchange.resource, "www.example.com");
  assert.equal(exchange.attributes["url.query"], "dns=REDACTED");
});
