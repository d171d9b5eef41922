/** The same bytes in other pieces give the same exchanges; any bytes at all give no exception, in linear time. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { play, randomFrom, type Step, timeless } from "./http1.testkit.ts";
import { HEAD_BYTES_MAX } from "./http1-stream.ts";
import { LINE_BYTES_MAX } from "./line-assembler.ts";

const CONTEXT =
  "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\ntracestate: b=2";

const CONVERSATION: readonly Step[] = [
  [">", `GET /a/1234?q=1 HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: t/1\r\n${CONTEXT}\r\n\r\n`],
  ["<", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
  [
    ">",
    "\r\nPOST /b HTTP/1.1\r\nHost:\r\n folded.example\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
  ],
  ["<", "HTTP/1.1 100 Continue\r\n\r\n"],
  [">", "5;x=y\r\nGET /\r\na\r\n HTTP/1.1 \r\n0\r\nX-Trailer: 1\r\n\r\n"],
  ["<", "HTTP/1.1 201 Created\nTransfer-Encoding: chunked\n\n1A\nHTTP/1.1 500 Not a message\n\n0\n\n"],
  [">", "HEAD /c HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\n\r\nOPTIONS * HTTP/1.1\r\n\r\n"],
  ["<", "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"],
  ["<", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"],
  [">", "PROPFIND /e HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"],
  ["<", "HTTP/1.1 207\r\nContent-Length: 3\r\n\r\nabcjunk after the body\r\n"],
  [">", "CONNECT db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n\r\n"],
  ["<", "HTTP/1.1 200 Connection established\r\n\r\n"],
];

const WHOLE = timeless(play(CONVERSATION).exchanges);

test("the conversation holds every kind of exchange", () => {
  assert.deepEqual(
    play(CONVERSATION).exchanges.map((exchange) => `${exchange.op} ${exchange.code}`),
    ["GET 200", "POST 201", "HEAD 200", "GET 304", "OPTIONS 503", "PROPFIND 207", "CONNECT 200"],
  );
});

test("a cut at any place changes nothing", () => {
  for (let index = 0; index < CONVERSATION.length; index++) {
    const [arrow, bytes] = CONVERSATION[index] as Step;
    const text = String(bytes);
    for (let cut = 1; cut < text.length; cut++) {
      const steps = CONVERSATION.slice(0, index).concat(
        [
          [arrow, text.slice(0, cut)],
          [arrow, text.slice(cut)],
        ],
        CONVERSATION.slice(index + 1),
      );
      assert.deepEqual(timeless(play(steps).exchanges), WHOLE, `step ${index} cut at ${cut}`);
    }
  }
});

test("one byte at a time, and random pieces, change nothing", () => {
  const pieces = (next: (left: number) => number) =>
    CONVERSATION.flatMap(([arrow, bytes]): Step[] => {
      const steps: Step[] = [];
      let text = String(bytes);
      while (text.length > 0) {
        const length = next(text.length);
        steps.push([arrow, text.slice(0, length)]);
        text = text.slice(length);
      }
      return steps;
    });
  assert.deepEqual(timeless(play(pieces(() => 1)).exchanges), WHOLE);
  for (let seed = 1; seed <= 300; seed++) {
    const random = randomFrom(seed);
    const steps = pieces((left) => 1 + Math.floor(random() * Math.min(left, seed % 7 === 0 ? left : 40)));
    assert.deepEqual(timeless(play(steps).exchanges), WHOLE, `seed ${seed}`);
  }
});

test("reads joined to one change nothing", () => {
  const joined: Step[] = [];
  for (const step of CONVERSATION) {
    const last = joined.at(-1);
    if (last !== undefined && last[0] === step[0]) joined[joined.length - 1] = [last[0], `${last[1]}${step[1]}`];
    else joined.push(step);
  }
  assert.deepEqual(timeless(play(joined).exchanges), WHOLE);
});

test("each started exchange is finished once, whatever the bytes", () => {
  for (let seed = 1; seed <= 4000; seed++) {
    const random = randomFrom(seed);
    const steps = mutated(random);
    const ends = ["closed", "reset", "stopped"] as const;
    const { started, exchanges } = play(steps, {
      joinedLate: random() < 0.3,
      end: ends[Math.floor(random() * 3)] ?? "closed",
    });
    assert.equal(new Set(exchanges).size, exchanges.length, `seed ${seed}: finished twice`);
    const finished = new Set(exchanges);
    for (const exchange of started)
      assert.ok(finished.has(exchange), `seed ${seed}: ${exchange.resource} not finished`);
    for (const exchange of exchanges) {
      assert.equal(exchange.type === "response", exchange.request === undefined, `seed ${seed}`);
      assert.ok(exchange.op.length <= 24 && exchange.resource.length <= 3100, `seed ${seed}`);
    }
  }
});

/** The conversation with bytes changed, left out, doubled, cut and lost. */
function mutated(random: () => number): Step[] {
  const steps: Step[] = [];
  for (const [arrow, bytes] of CONVERSATION) {
    let payload = Buffer.from(String(bytes));
    if (random() < 0.3 && payload.length > 0) payload = mutatedBytes(payload, random);
    if (random() < 0.05) continue;
    const cut = random() < 0.5 ? payload.length : Math.floor(random() * payload.length);
    steps.push([arrow, payload.subarray(0, cut)]);
    const fate = random();
    if (fate < 0.2 && cut < payload.length) steps.push([arrow, fate < 0.02 ? -1 : payload.length - cut]);
    else steps.push([arrow, payload.subarray(cut)]);
    if (random() < 0.05) steps.push([arrow === ">" ? "<" : ">", payload]);
  }
  return steps;
}

function mutatedBytes(payload: Uint8Array, random: () => number): Buffer<ArrayBuffer> {
  const changed = Buffer.from(payload);
  for (let count = 1 + Math.floor(random() * 4); count > 0; count--) {
    const at = Math.floor(random() * changed.length);
    const kind = random();
    if (kind < 0.5) changed[at] = Math.floor(random() * 256);
    else if (kind < 0.75) changed.copyWithin(at, Math.floor(random() * changed.length));
    else
      changed.fill(
        " \r\n:0/\t;"[Math.floor(random() * 8)] ?? " ",
        at,
        Math.min(changed.length, at + Math.floor(random() * 5)),
      );
  }
  return changed;
}

/** Milliseconds that playing takes, best of three. */
function playMs(steps: readonly Step[]): number {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 3; run++) {
    const begin = performance.now();
    play(steps);
    best = Math.min(best, performance.now() - begin);
  }
  return best;
}

test("time grows with the bytes and not with their square", () => {
  const size = 200_000;
  const hostile: Record<string, (bytes: number) => Step[]> = {
    "request line without an end, byte by byte": (bytes) =>
      Array.from({ length: bytes / 8 }, (): Step => [">", "a"]).concat([[">", "\n"]]),
    "a path of nothing but slashes": (bytes) => [[">", `GET ${"/".repeat(bytes)} HTTP/1.1\r\n\r\n`]],
    "a query of nothing but ampersands": (bytes) => [[">", `GET /?${"&".repeat(bytes)} HTTP/1.1\r\n\r\n`]],
    "a path of signs and dots": (bytes) => [[">", `GET /${"a@a.".repeat(bytes / 4)} HTTP/1.1\r\n\r\n`]],
    "headers without an end": (bytes) => [[">", `GET / HTTP/1.1\r\n${"a: b\r\n".repeat(bytes / 6)}`]],
    "one header in single bytes": (bytes) =>
      [[">", "GET / HTTP/1.1\r\nHost: "] as Step].concat(Array.from({ length: bytes / 8 }, (): Step => [">", "h"])),
    "folded lines without an end": (bytes) => [[">", `GET / HTTP/1.1\r\nHost: a\r\n${" b\r\n".repeat(bytes / 4)}\r\n`]],
    "lengths without an end": (bytes) => [[">", `GET / HTTP/1.1\r\n${"Content-Length: 1\r\n".repeat(bytes / 19)}\r\n`]],
    "tracestate without an end": (bytes) => [
      [">", `GET / HTTP/1.1\r\n${"tracestate: a=1\r\n".repeat(bytes / 17)}\r\n`],
    ],
    "chunks of one byte": (bytes) => [
      [">", `POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${"1\r\na\r\n".repeat(bytes / 6)}`],
    ],
    "junk lines": (bytes) => [[">", `GET / HTTP/1.1\r\n\r\n${"GET \r\n".repeat(bytes / 6)}`]],
    "requests without answers": (bytes) => [[">", "GET / HTTP/1.1\r\n\r\n".repeat(bytes / 18)]],
  };
  for (const [name, steps] of Object.entries(hostile)) {
    const once = playMs(steps(size));
    const fourfold = playMs(steps(size * 4));
    assert.ok(fourfold < 12 * once + 20, `${name}: ${once.toFixed(1)} ms, then ${fourfold.toFixed(1)} ms`);
  }
});

test("heads beyond the limits keep what came before, and no id is ever half read", () => {
  const filler = `X-Filler: ${"f".repeat(8000)}\r\n`;
  const beyond = filler.repeat(Math.ceil(HEAD_BYTES_MAX / filler.length));
  const [long] = play([
    [">", `GET /long HTTP/1.1\r\n${beyond}${CONTEXT}\r\n\r\n`],
    ["<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
  ]).exchanges;
  assert.deepEqual([long?.resource, long?.code, long?.context], ["/long", "200", undefined]);
  const within = filler.repeat(20);
  const [late] = play([[">", `GET /late HTTP/1.1\r\n${within}${CONTEXT}\r\n\r\n`]]).exchanges;
  assert.equal(late?.context?.traceId, "0af7651916cd43dd8448eb211c80319c");
  assert.equal(late?.context?.traceState, "a=1,b=2");
  const target = `/${"t".repeat(LINE_BYTES_MAX)}`;
  const steps: Step[] = [
    [">", "GET "],
    [">", `${target} HTTP/1.1\r\n\r\n`],
    ["<", "HTTP/1.1 414 Too Long\r\nContent-Length: 0\r\n\r\n"],
  ];
  assert.deepEqual(
    play(steps).exchanges.map((exchange) => exchange.code),
    ["414"],
  );
});
