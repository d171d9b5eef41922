import assert from "node:assert/strict";
import { test } from "node:test";
import type { Head } from "./http1-head.ts";
import { forgetHeads } from "./http1-head-memory.ts";
import { Http1Stream, type StreamOwner } from "./http1-stream.ts";

/** Reads slices as one end of a connection does, and keeps the heads that were read. */
function heads(direction: 0 | 1, seq: number, ...texts: string[]): Head[] {
  const found: Head[] = [];
  const owner: StreamOwner = {
    mayStart: () => true,
    isAnswerDue: () => true,
    headRead: (_direction, head) => {
      found.push(head);
      return Math.max(0, head.contentLength);
    },
    messageEnded: () => undefined,
    trackLost: () => undefined,
  };
  const stream = new Http1Stream(owner, direction, false);
  let at = seq;
  for (const text of texts) {
    const bytes = Buffer.from(text, "latin1");
    stream.feed({ bytes, timeNs: 1, seq: at >>> 0, tid: 1, pid: 1 });
    at += bytes.length;
  }
  return found;
}

const ask = (path: string) => `GET ${path} HTTP/1.1\r\nHost: shop\r\n\r\n`;

test("a head that both ends show is read once, and is what reading it again gives", () => {
  const text = ask("/both") + ask("/then");
  const first = heads(0, 4_294_967_290, text);
  const second = heads(0, 4_294_967_290, text);
  assert.deepEqual(
    first.map(({ target }) => target),
    ["/both", "/then"],
  );
  assert.equal(second[0], first[0]);
  assert.equal(second[1], first[1]);
});

test("other bytes at the same sequence number are read anew", () => {
  heads(0, 700, ask("/one"));
  assert.deepEqual(
    heads(0, 700, ask("/two")).map(({ target }) => target),
    ["/two"],
  );
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  assert.deepEqual(
    heads(1, 700, answer).map(({ status }) => status),
    [200],
  );
  // A request's bytes are no answer, though they were read as a request there.
  heads(0, 900, ask("/three"));
  assert.deepEqual(heads(1, 900, ask("/three")), []);
});

test("the same bytes elsewhere are not read again, other bytes of the same length are", () => {
  const [first] = heads(0, 100_000, ask("/again/and/again"));
  assert.equal(heads(0, 200_000, ask("/again/and/again"))[0], first);
  assert.deepEqual(
    heads(0, 300_000, ask("/again/and/Again")).map(({ target }) => target),
    ["/again/and/Again"],
  );
  // What follows the head is not part of it.
  const body = `POST /form HTTP/1.1\r\nHost: shop\r\nAccept: ${"a".repeat(60)}\r\nContent-Length: 4\r\n\r\n`;
  const [posted] = heads(0, 400_000, `${body}abcd`);
  const [second, then] = heads(0, 500_000, `${body}wxyz`, ask("/after"));
  assert.equal(second, posted);
  assert.equal(then?.target, "/after");
});

test("a head that one end shows in parts and the other whole is the same", () => {
  const text = ask("/parts");
  const [inParts] = heads(0, 5000, text.slice(0, 9), text.slice(9, 30), text.slice(30));
  const [whole] = heads(0, 5000, text);
  const [again] = heads(0, 5000, text.slice(0, 20), text.slice(20));
  assert.deepEqual(whole, inParts);
  assert.deepEqual(again, whole);
});

test("a loosely read status line is not remembered for where none is due", () => {
  const loose = "ICY 200 OK\r\nicy-name: x\r\n\r\n";
  const [first] = heads(1, 42, loose);
  const [second] = heads(1, 42, loose);
  assert.equal(first?.status, 200);
  assert.notEqual(second, first);
});

test("what a head held is forgotten", () => {
  const text = ask("/secret?token=1");
  const [first] = heads(0, 6000, text);
  assert.equal(heads(0, 6000, text)[0], first);
  forgetHeads();
  const [second] = heads(0, 6000, text);
  assert.notEqual(second, first);
  assert.deepEqual(second, first);
});
