import assert from "node:assert/strict";
import { test } from "node:test";
import {
  hashId,
  ID_CLIENT_SPAN,
  ID_SERVER_SPAN,
  ID_TRACE_HIGH,
  ID_TRACE_LOW,
  type Lanes,
} from "../../server/model/message-ids.ts";
import { hashMessage, hashTuple, lanesKey, plainAddress } from "./message-identity.ts";

const message = (client: string, server: string, netns: number, seq: number): string => {
  const end = (text: string) => {
    const colon = text.lastIndexOf(":");
    return { addr: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
  };
  const out: Lanes = { high: 0, low: 0 };
  hashMessage(hashTuple(end(client), end(server), netns, 0), seq, out);
  return `${out.high},${out.low}`;
};

test("both ends of a message agree on its identity", () => {
  const one = message("10.0.0.1:4000", "10.0.0.2:80", 1, 77);
  assert.equal(message("::ffff:10.0.0.1:4000", "10.0.0.2:80", 2, 77), one, "mapped addresses, another namespace");
  assert.notEqual(message("10.0.0.2:80", "10.0.0.1:4000", 1, 77), one, "the other direction");
  assert.notEqual(message("10.0.0.1:4000", "10.0.0.2:80", 1, 78), one);
  assert.notEqual(message("10.0.0.1:4001", "10.0.0.2:80", 1, 77), one);
  assert.equal(
    message("::1:9", "0:0:0:0:0:0:0:1:8", 5, 1),
    message("0::1:9", "::1:8", 5, 1),
    "spellings of one address",
  );
  assert.equal(message("fe80::1%eth0:9", "fe80::2:8", 1, 1), message("fe80::1:9", "fe80::2:8", 1, 1), "zone");
});

test("the network namespace tells loopback connections apart, and only those", () => {
  const loopback = (netns: number) => message("127.0.0.1:4000", "127.0.0.1:80", netns, 9);
  assert.notEqual(loopback(1), loopback(2));
  const v6 = (netns: number) => message("::1:4000", "::1:80", netns, 9);
  assert.notEqual(v6(1), v6(2));
  const routed = (netns: number) => message("192.168.1.4:4000", "192.168.1.5:80", netns, 9);
  assert.equal(routed(1), routed(2));
});

test("sequence numbers are taken modulo 2^32", () => {
  assert.equal(message("10.0.0.1:1", "10.0.0.2:2", 0, 0xffffffff), message("10.0.0.1:1", "10.0.0.2:2", 0, -1));
});

test("ids are never zero and differ by purpose", () => {
  const out: Lanes = { high: 0, low: 0 };
  for (let at = 0; at < 2000; at++) {
    const ids = new Set<string>();
    for (const purpose of [ID_CLIENT_SPAN, ID_SERVER_SPAN, ID_TRACE_HIGH, ID_TRACE_LOW]) {
      hashId(Math.imul(at, 0x9e3779b1), at, purpose, out);
      assert.ok(out.high !== 0 || out.low !== 0);
      ids.add(`${out.high},${out.low}`);
    }
    assert.equal(ids.size, 4);
  }
});

test("400,000 neighbouring messages give as many keys", () => {
  const seen = new Set<number>();
  const out: Lanes = { high: 0, low: 0 };
  for (let port = 0; port < 400; port++) {
    const tuple = hashTuple({ addr: "127.0.0.1", port: 32768 + port }, { addr: "127.0.0.1", port: 80 }, 4026531840, 0);
    for (let at = 0; at < 1000; at++) {
      hashMessage(tuple, 1000 + at * 85, out);
      seen.add(lanesKey(out.high, out.low));
    }
  }
  assert.equal(seen.size, 400_000);
});

test("one flipped bit of the sequence flips about half of the id's bits", () => {
  const tuple = hashTuple({ addr: "10.0.0.1", port: 4000 }, { addr: "10.0.0.2", port: 80 }, 0, 0);
  const bits = (value: number) => {
    let count = 0;
    for (let rest = value >>> 0; rest !== 0; rest >>>= 1) count += rest & 1;
    return count;
  };
  const flips = new Array<number>(32).fill(0);
  for (let at = 0; at < 500; at++) {
    const a: Lanes = { high: 0, low: 0 };
    const b: Lanes = { high: 0, low: 0 };
    for (let bit = 0; bit < 32; bit++) {
      hashMessage(tuple, at * 7919, a);
      hashMessage(tuple, (at * 7919) ^ (1 << bit), b);
      flips[bit] = (flips[bit] as number) + bits(a.high ^ b.high) + bits(a.low ^ b.low);
    }
  }
  for (const flipped of flips) assert.ok(Math.abs(flipped / 500 - 32) < 2, `mean ${flipped / 500} of 64 bits`);
});

test("plainAddress", () => {
  assert.equal(plainAddress("::ffff:127.0.0.1"), "127.0.0.1");
  assert.equal(plainAddress("::1"), "::1");
  assert.equal(plainAddress("10.0.0.1"), "10.0.0.1");
});
