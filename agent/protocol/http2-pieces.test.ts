/** The same bytes in other pieces give the same exchanges; any bytes at all give no exception, in linear time. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { randomFrom, type Step, timeless } from "./http1.testkit.ts";
import { block, dataFrame, frame, get, headers, literal, OPENING, playHttp2, status } from "./http2.testkit.ts";
import { HTTP2, OVER_MAX, STREAMS_MAX } from "./http2.ts";
import { CONTINUATION, DATA, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE } from "./http2-frame.ts";

const KEPT = Buffer.concat([
  Buffer.of(0x82, 0x86),
  literal(":path", "/kept", true),
  literal("user-agent", "t/1", true),
  literal("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
]);
const GRPC_FIELDS = { ":method": "POST", ":path": "/a.B/C", ":scheme": "http", "content-type": "application/grpc" };

const CONVERSATION: readonly Step[] = [
  ...OPENING,
  [
    ">",
    Buffer.concat([frame(SETTINGS, 1, 0), frame(WINDOW_UPDATE, 0, 0, Buffer.of(0, 0, 255, 255)), get(1, "/a?q=1")]),
  ],
  [
    "<",
    Buffer.concat([
      frame(SETTINGS, 1, 0),
      status(1, 100),
      status(1, 200),
      dataFrame(1, "hello"),
      dataFrame(1, "", true),
    ]),
  ],
  [">", Buffer.concat([frame(HEADERS, 5, 3, KEPT), frame(HEADERS, 5, 5, Buffer.of(0x82, 0x86, 0xbf, 0xbe))])],
  [
    ">",
    Buffer.concat([
      frame(HEADERS, 0, 7, block(GRPC_FIELDS).subarray(0, 9)),
      frame(CONTINUATION, 4, 7, block(GRPC_FIELDS).subarray(9)),
    ]),
  ],
  [
    "<",
    Buffer.concat([
      status(5, 404, true),
      frame(DATA, 8, 3, Buffer.of(2, 65, 0, 0)),
      frame(PING, 0, 0, Buffer.alloc(8)),
    ]),
  ],
  [">", Buffer.concat([frame(DATA, 9, 7, Buffer.of(1, 65, 66, 0)), frame(RST_STREAM, 0, 3, Buffer.of(0, 0, 0, 8))])],
  ["<", Buffer.concat([headers(7, { ":status": "200", "content-type": "application/grpc" }), dataFrame(7, "abc")])],
  ["<", headers(7, { "grpc-status": "7" }, true)],
];

const WHOLE = timeless(playHttp2(CONVERSATION).exchanges);

test("the conversation holds every kind of exchange", () => {
  assert.deepEqual(
    playHttp2(CONVERSATION).exchanges.map(({ endpoint, code, cutShort }) => `${endpoint} ${code} ${cutShort}`.trim()),
    ["GET /a 200", "GET /kept 404", "GET /kept  reset", "/a.B/C 7"],
  );
});

test("a cut at any place changes nothing", () => {
  CONVERSATION.forEach(([arrow, bytes], index) => {
    if (typeof bytes === "number") return;
    for (let cut = 1; cut < bytes.length; cut++) {
      const pieces: Step[] = [
        [arrow, bytes.slice(0, cut)],
        [arrow, bytes.slice(cut)],
      ];
      const steps = [...CONVERSATION.slice(0, index), ...pieces, ...CONVERSATION.slice(index + 1)];
      assert.deepEqual(timeless(playHttp2(steps).exchanges), WHOLE, `step ${index} cut at ${cut}`);
    }
  });
});

test("one byte at a time changes nothing", () => {
  const steps = CONVERSATION.flatMap(([arrow, bytes]): Step[] =>
    typeof bytes === "number" ? [] : [...Buffer.from(bytes)].map((byte) => [arrow, Buffer.of(byte)]),
  );
  assert.deepEqual(timeless(playHttp2(steps).exchanges), WHOLE);
});

test("a beginning is told from its first bytes on, whoever else may speak", () => {
  const preface = Buffer.from(CONVERSATION[0]?.[1] as Uint8Array);
  for (let length = 1; length <= preface.length; length++) {
    assert.equal(HTTP2.detect(preface.subarray(0, length), 0), length < 16 ? "more" : "yes");
    assert.equal(HTTP2.detect(preface.subarray(0, length), 1), "no");
  }
  const request = get(7, "/a");
  const answer = status(7, 200);
  assert.deepEqual([HTTP2.detect(request, 0), HTTP2.detect(request, 1)], ["yes", "no"]);
  assert.deepEqual([HTTP2.detect(answer, 0), HTTP2.detect(answer, 1)], ["no", "yes"]);
  assert.equal(HTTP2.detect(frame(SETTINGS, 0, 0), 1), "more");
  for (const other of [
    "GET / HTTP/1.1\r\n",
    "POST /",
    "\x16\x03\x01\x02\x00\x01\x00",
    "*1\r\n$4\r\nPING\r\n",
    "\0\0\0\0\0\0\0\0\0",
  ]) {
    assert.equal(HTTP2.detect(Buffer.from(other, "latin1"), 0), "no", JSON.stringify(other));
  }
});

/** Breaks a conversation: bytes changed, steps repeated, dropped, swapped, cut, or turned to gaps. */
function broken(random: () => number): Step[] {
  const steps: Step[] = CONVERSATION.map(([arrow, bytes]) => [arrow, Buffer.from(bytes as Uint8Array)]);
  for (let change = Math.floor(random() * 6); change >= 0; change--) {
    const at = Math.floor(random() * steps.length);
    const step = steps[at];
    if (step === undefined || typeof step[1] === "number") continue;
    const [arrow, bytes] = step as readonly [">" | "<", Buffer];
    const place = Math.floor(random() * bytes.length);
    const kind = Math.floor(random() * 6);
    if (kind <= 1 && bytes.length > 0) bytes[place] = Math.floor(random() * 256);
    else if (kind === 2) steps.splice(at, 1);
    else if (kind === 3) steps.splice(at, 0, step);
    else if (kind === 4)
      steps.splice(at, 1, [arrow, bytes.subarray(0, place)], [arrow, random() < 0.1 ? -1 : bytes.length - place]);
    else steps.splice(at, 1, [arrow === ">" ? "<" : ">", bytes]);
  }
  return steps;
}

test("broken conversations never throw, and finish what they start once", () => {
  const random = randomFrom(9113);
  for (let run = 0; run < 5000; run++) {
    const played = playHttp2(broken(random), {
      joinedLate: random() < 0.3,
      end: random() < 0.5 ? "closed" : "stopped",
    });
    assert.equal(new Set(played.exchanges).size, played.exchanges.length);
    for (const exchange of played.started) assert.ok(played.exchanges.includes(exchange));
    for (const exchange of played.exchanges) {
      assert.ok(exchange.request !== undefined || exchange.type !== "exchange");
      assert.ok(exchange.type !== "request" || exchange.response === undefined);
    }
  }
});

test("noise never throws", () => {
  const random = randomFrom(7540);
  for (let run = 0; run < 500; run++) {
    const steps = Array.from({ length: 1 + Math.floor(random() * 20) }, (): Step => {
      const noise = Buffer.from(Array.from({ length: Math.floor(random() * 60) }, () => Math.floor(random() * 256)));
      const type = Math.floor(random() * 11);
      const framed = frame(type, Math.floor(random() * 64), Math.floor(random() * 8), noise);
      return [random() < 0.5 ? ">" : "<", random() < 0.2 ? noise : framed];
    });
    playHttp2(random() < 0.5 ? [...OPENING, ...steps] : steps, { joinedLate: random() < 0.5 });
  }
});

test("time is linear to the bytes, and what is kept is bounded", () => {
  const attacks: Readonly<Record<string, (stream: number) => Buffer>> = {
    "streams that are reset at once": (stream) =>
      Buffer.concat([get(stream, "/"), frame(RST_STREAM, 0, stream, Buffer.of(0, 0, 0, 8))]),
    "streams that are never answered": (stream) => get(stream, "/"),
    "continuations without an end": () => frame(CONTINUATION, 0, 1, "xxxx"),
    "entries of the table": (stream) =>
      frame(HEADERS, 4, stream, Buffer.concat([literal(`n${stream}`, "v", true), Buffer.alloc(200, 0xbe)])),
    "tracestate over and over": (stream) =>
      frame(
        HEADERS,
        4,
        stream,
        Buffer.concat([Buffer.of(0x82), literal("tracestate", "a".repeat(300), true), Buffer.alloc(200, 0xbe)]),
      ),
  };
  for (const [name, attack] of Object.entries(attacks)) {
    const startMs = performance.now();
    const steps: Step[] = [...OPENING, [">", frame(HEADERS, 0, 1, "")]];
    if (!name.startsWith("continuations")) steps.pop();
    for (let count = 0; count < 4 * (STREAMS_MAX + OVER_MAX); count++) steps.push([">", attack(count * 2 + 1)]);
    playHttp2(steps);
    assert.ok(performance.now() - startMs < 3000, name);
  }
});
