import assert from "node:assert/strict";
import { test } from "node:test";
import { randomOf } from "./packets.testkit.ts";
import {
  acceptAck,
  acceptFin,
  acceptSegment,
  LIVE_LIMITS,
  makeStreamHalf,
  releaseHeld,
  type StreamHalf,
  type StreamOutput,
} from "./tcp-reassembly.ts";

const BASE = 0xffff_fff0; // Close to the end of the numbers, so that every test wraps.

interface Output extends StreamOutput {
  text: string;
  times: number[];
}

/** Collects the stream from `BASE` on; gaps show as `-` for each byte, cut bytes as `.`. */
function makeOutput(): Output {
  let next = BASE;
  return {
    text: "",
    times: [],
    streamBytes(_half: StreamHalf, timeNs, seq, total, bytes) {
      const gap = (seq - next) | 0;
      assert.ok(gap >= 0, "slices never overlap");
      this.text += "-".repeat(gap) + Buffer.from(bytes).toString("latin1") + ".".repeat(total - bytes.length);
      this.times.push(timeNs);
      next = (seq + total) >>> 0;
    },
  };
}

function opened(): { half: StreamHalf; output: Output; put: (at: number, text: string, timeNs?: number) => string } {
  const half = makeStreamHalf(0);
  half.next = BASE;
  const output = makeOutput();
  const put = (at: number, text: string, timeNs = at) =>
    acceptSegment(half, LIVE_LIMITS, output, timeNs, (BASE + at) >>> 0, text.length, Buffer.from(text));
  return { half, output, put };
}

const LETTERS = "abcdefghijklmnopqrstuvwxyz";

test("segments in order, out of order, twice and overlapping make the stream", () => {
  const { output, put } = opened();
  assert.equal(put(0, "abc"), "delivered");
  assert.equal(put(10, "klm"), "held");
  assert.equal(put(6, "ghij"), "held");
  assert.equal(put(0, "abc"), "repeated");
  assert.equal(put(2, "cdef"), "delivered");
  assert.equal(output.text, "abcdefghijklm");
  assert.equal(put(5, "fghijklmno"), "delivered");
  assert.equal(output.text, "abcdefghijklmno");
});

test("the time of a byte is that of its first sight", () => {
  const { output, put } = opened();
  put(3, "def", 100);
  put(0, "abcdef", 200);
  put(3, "def", 300);
  assert.deepEqual(output.times, [200], "the later copy that came first in order carries all");
  put(9, "jkl", 400);
  put(6, "ghi", 500);
  assert.deepEqual(output.times, [200, 500, 400]);
});

test("a hole is stepped over once the other side has acknowledged past it", () => {
  const { half, output, put } = opened();
  put(0, "abc");
  put(6, "ghi");
  acceptAck(half, output, (BASE + 5) >>> 0);
  assert.equal(output.text, "abc", "acknowledged within the hole only");
  acceptAck(half, output, (BASE + 9) >>> 0);
  assert.equal(output.text, "abc---ghi");
  assert.equal(put(3, "def"), "late");
  assert.equal(put(0, "abc"), "repeated");
  assert.equal(half.gapBytes, 3);
});

test("a hole is stepped over once too much waits behind it", () => {
  const { half, output, put } = opened();
  put(0, "a");
  for (let at = 2; at < 2 + LIVE_LIMITS.heldPacketsMax; at++) put(at, LETTERS[at % 26] ?? "");
  assert.equal(output.text, "a");
  put(2 + LIVE_LIMITS.heldPacketsMax, "z");
  assert.match(output.text, /^a-cdef/);
  assert.equal(half.held.length, 0);
  assert.equal(half.heldBytes, 0);

  const large = opened();
  large.put(0, "a");
  large.put(10, "x".repeat(LIVE_LIMITS.heldBytesMax));
  assert.equal(large.output.text, "a");
  large.put(20_000, "y");
  assert.ok(large.half.heldBytes <= LIVE_LIMITS.heldBytesMax);
  assert.equal(large.output.text.length, 10 + LIVE_LIMITS.heldBytesMax);
});

test("bytes cut by the capture limit are counted, not invented", () => {
  const half = makeStreamHalf(0);
  const output = makeOutput();
  acceptSegment(half, LIVE_LIMITS, output, 0, BASE, 10, Buffer.from("abc"));
  acceptSegment(half, LIVE_LIMITS, output, 0, (BASE + 8) >>> 0, 5, Buffer.from("ijk"));
  assert.equal(output.text, "abc.......k..");
});

test("a FIN ends the direction once everything before it has passed or is lost for good", () => {
  const { half, output, put } = opened();
  put(0, "abc");
  acceptFin(half, (BASE + 6) >>> 0);
  assert.equal(half.finished, false, "def is still to come");
  put(3, "def");
  assert.equal(half.finished, true);

  const lost = opened();
  lost.put(0, "abc");
  acceptFin(lost.half, (BASE + 6) >>> 0);
  acceptAck(lost.half, lost.output, (BASE + 7) >>> 0);
  assert.equal(lost.half.finished, true, "the other side has everything, the FIN too");
  assert.equal(output.text, "abcdef");
});

test("a stream that ran on unseen for half of the numbers is taken up again", () => {
  const half = makeStreamHalf(0);
  const slices: [number, number, string][] = [];
  const output: StreamOutput = {
    streamBytes: (_half, _timeNs, seq, total, bytes) => slices.push([seq, total, Buffer.from(bytes).toString()]),
  };
  acceptSegment(half, LIVE_LIMITS, output, 0, 100, 3, Buffer.from("abc"));
  assert.equal(acceptSegment(half, LIVE_LIMITS, output, 0, 0x9000_0000, 5, Buffer.from("later")), "delivered");
  assert.deepEqual(slices, [
    [100, 3, "abc"],
    [103, 0x9000_0000 - 103, ""],
    [0x9000_0000, 5, "later"],
  ]);
});

test("property: any cutting, order, repetition and loss gives the stream with exactly the lost bytes as gaps", () => {
  for (let seed = 1; seed <= 400; seed++) checkRandomStream(seed);
});

/** The model: a byte comes out if any segment that was not lost holds it, else it is part of a gap. */
function checkRandomStream(seed: number): void {
  const random = randomOf(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const stream = Array.from({ length: 20 + below(400) }, () => LETTERS[below(26)] ?? "").join("");
  const segments: { at: number; text: string }[] = [];
  for (let at = 0; at < stream.length; ) {
    const length = 1 + below(20);
    segments.push({ at, text: stream.slice(at, at + length) });
    // Retransmissions with other borders.
    if (random() < 0.3) {
      const from = Math.max(0, at - below(15));
      segments.push({ at: from, text: stream.slice(from, from + 1 + below(40)) });
    }
    at += length;
  }
  const isLossy = seed % 2 === 0;
  const kept = segments.filter(() => !isLossy || random() > 0.15);
  // Reordering within a short distance, as networks do it; never enough to fill the buffer.
  const order = kept.map((segment, index) => ({ segment, key: index + random() * 6 }));
  order.sort((a, b) => a.key - b.key);

  const { half, output, put } = opened();
  for (const { segment } of order) put(segment.at, segment.text);
  releaseHeld(half, output);

  const seen = Array<boolean>(stream.length).fill(false);
  for (const { at, text } of kept) seen.fill(true, at, at + text.length);
  const want = [...stream].map((letter, at) => (seen[at] ? letter : "-")).join("");
  assert.equal(output.text, want.replace(/-+$/, ""), `seed ${seed}`);
  assert.equal(half.gapBytes, output.text.split("-").length - 1, `seed ${seed}: bytes of gaps`);
  assert.equal(half.heldBytes, 0, `seed ${seed}: nothing is held at the end`);
}
