import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { decodeSnappy, encodeSnappy, encodeSnappyElements, snappyDecodedBytes, snappyHeader } from "./snappy.ts";
import { seededRandom } from "./trace-oracle.ts";

interface RecordedBlock {
  readonly name: string;
  readonly encoder: string;
  readonly decodedBytes: number;
  /** First 8 bytes of the digest of what it decodes to, as hex. */
  readonly sha256: string;
  readonly block: string;
}

/** Blocks that other encoders made. */
const RECORDED: readonly RecordedBlock[] = JSON.parse(
  readFileSync(join(import.meta.dirname, "testdata", "snappy-blocks.json"), "utf8"),
);

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

function text(block: Uint8Array | undefined): string | undefined {
  return block === undefined ? undefined : Buffer.from(block).toString("latin1");
}

test("blocks of other encoders decode to what was put in, and come back from our encoder", () => {
  assert.ok(RECORDED.length >= 10);
  for (const { name, encoder, decodedBytes, sha256, block } of RECORDED) {
    const sent = Buffer.from(block, "base64");
    assert.equal(snappyDecodedBytes(sent), decodedBytes);
    const decoded = decodeSnappy(sent);
    assert.ok(decoded !== undefined, `${name} of ${encoder}`);
    assert.equal(createHash("sha256").update(decoded).digest("hex").slice(0, 16), sha256, `${name} of ${encoder}`);
    const ours = encodeSnappy(decoded);
    assert.ok(ours.length <= sent.length * 1.1 + 8, `${name}: ${ours.length} bytes, ${encoder} makes ${sent.length}`);
    assert.deepEqual(decodeSnappy(ours), decoded);
  }
});

test("elements by hand", () => {
  const ok = (block: Uint8Array, want: string) => assert.equal(text(decodeSnappy(block)), want);
  ok(bytes(0), "");
  ok(bytes(3, 2 << 2, 97, 98, 99), "abc");
  ok(bytes(3, 60 << 2, 2, 97, 98, 99), "abc"); // a length that needs no byte of its own
  ok(bytes(3, 63 << 2, 2, 0, 0, 0, 97, 98, 99), "abc");
  ok(bytes(7, 2 << 2, 97, 98, 99, 0 | (0 << 2) | 1, 3), "abcabca"); // four bytes, three back: into what it writes
  ok(bytes(6, 0, 97, (4 << 2) | 2, 1, 0), "aaaaaa");
  ok(bytes(6, 0, 97, (4 << 2) | 3, 1, 0, 0, 0), "aaaaaa");
  ok(bytes(40, 0, 98, (38 << 2) | 2, 1, 0), "b".repeat(40));
  ok(bytes(11, 1 << 2, 97, 98, (2 << 2) | 2, 2, 0, (2 << 2) | 2, 2, 0, (2 << 2) | 2, 2, 0), "abababababa"); // three times the same
});

test("corrupt blocks", () => {
  const bad = (block: Uint8Array) => assert.equal(decodeSnappy(block), undefined);
  bad(bytes());
  bad(bytes(0x80));
  bad(bytes(0xff, 0xff, 0xff, 0xff, 0xff, 1)); // a length of six bytes
  bad(bytes(0xff, 0xff, 0xff, 0xff, 0x1f)); // 2^37
  bad(bytes(3, 2 << 2, 97, 98)); // literal cut short
  bad(bytes(2, 2 << 2, 97, 98, 99)); // more than claimed
  bad(bytes(4, 2 << 2, 97, 98, 99)); // less than claimed
  bad(bytes(3, 60 << 2)); // its length is missing
  bad(bytes(3, 63 << 2, 0xff, 0xff, 0xff, 0xff, 97, 98, 99));
  bad(bytes(6, 0, 97, (4 << 2) | 2, 0, 0)); // no bytes back
  bad(bytes(6, 0, 97, (4 << 2) | 2, 2, 0)); // before the start
  bad(bytes(6, 0, 97, (5 << 2) | 2, 1, 0)); // beyond the end
  bad(bytes(6, 0, 97, (4 << 2) | 2, 1)); // offset cut short
  bad(bytes(6, 0, 97, 1)); // offset missing
  bad(bytes(1, 0, 97, 0, 98)); // elements after the end
});

test("a claim that cannot be fulfilled asks for no memory", () => {
  const claims = [bytes(0xff, 0xff, 0xff, 0xff, 0x07, 0, 97), bytes(0x80, 0x80, 0x80, 0x10, 0, 97)];
  assert.deepEqual(claims.map(snappyDecodedBytes), [2 ** 31 - 1, 2 ** 25]);
  const before = process.memoryUsage().arrayBuffers;
  for (const claim of claims) assert.equal(decodeSnappy(claim), undefined);
  assert.ok(process.memoryUsage().arrayBuffers - before < 2 ** 20);
});

test("room is used where it is large enough, and bytes outside the answer stay", () => {
  const block = encodeSnappy(Buffer.from("abcabcabcabcabcabcabcabcabcabc"));
  const room = new Uint8Array(40).fill(7);
  const decoded = decodeSnappy(block, room);
  assert.equal(decoded?.buffer, room.buffer);
  assert.equal(text(decoded), "abcabcabcabcabcabcabcabcabcabc");
  assert.deepEqual(room.subarray(30), new Uint8Array(10).fill(7));
  assert.notEqual(decodeSnappy(block, new Uint8Array(10))?.buffer, room.buffer);
});

test("a block can be written in pieces", () => {
  const whole = Buffer.from("up and down and up again, ".repeat(9_000));
  const cut = 70_001;
  const block = Buffer.concat([
    snappyHeader(whole.length),
    encodeSnappyElements(whole.subarray(0, cut)),
    encodeSnappyElements(whole.subarray(cut)),
  ]);
  assert.deepEqual(decodeSnappy(block), whole);
});

test("what is encoded decodes to the same: lengths around the limits, noise, runs", () => {
  const random = seededRandom(11);
  const lengths = [0, 1, 14, 15, 16, 17, 59, 60, 61, 255, 256, 257, 65_535, 65_536, 65_537, 131_072, 200_003];
  for (const length of lengths) {
    for (const distinct of [1, 2, 7, 256]) {
      const sent = Buffer.allocUnsafe(length);
      for (let at = 0; at < length; at++) sent[at] = Math.floor(random() * distinct);
      assert.deepEqual(Buffer.from(decodeSnappy(encodeSnappy(sent)) ?? []), sent, `${length} bytes of ${distinct}`);
    }
  }
  for (let round = 0; round < 300; round++) {
    const parts: Buffer[] = [];
    for (let part = 0; part < 20; part++) {
      const known = parts[Math.floor(random() * parts.length)];
      const length = Math.floor(random() * 90);
      parts.push(
        known !== undefined && random() < 0.6
          ? known
          : Buffer.from(Array.from({ length }, () => Math.floor(random() * 256))),
      );
    }
    const sent = Buffer.concat(parts);
    assert.deepEqual(Buffer.from(decodeSnappy(encodeSnappy(sent)) ?? []), sent);
  }
});

test("fuzz: damaged blocks are refused or decoded to what they claim, never written outside", () => {
  const random = seededRandom(12);
  const blocks = RECORDED.map(({ block }) => Buffer.from(block, "base64")).filter((block) => block.length > 8);
  const room = new Uint8Array(300_000);
  const started = performance.now();
  let decodedCount = 0;
  for (let round = 0; round < 10_000; round++) {
    const source = blocks[round % blocks.length] ?? Buffer.alloc(0);
    const damaged = Buffer.from(source.subarray(0, 8 + Math.floor(random() * Math.min(source.length, 400))));
    for (let flips = 1 + Math.floor(random() * 4); flips > 0; flips--) {
      damaged[Math.floor(random() * damaged.length)] = Math.floor(random() * 256);
    }
    const claim = snappyDecodedBytes(damaged);
    const decoded = decodeSnappy(damaged, room);
    if (decoded === undefined) continue;
    assert.equal(decoded.length, claim);
    decodedCount++;
  }
  assert.ok(decodedCount > 0);
  assert.ok(performance.now() - started < 20_000);
});
