import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { BodyBlocks, type ByteRoom } from "./body-blocks.ts";

/** Room that tells how much of it is taken. */
class Room implements ByteRoom {
  used = 0;
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  take(bytes: number): boolean {
    if (this.used + bytes > this.#max) return false;
    this.used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.used -= bytes;
  }
}

test("pieces of any size come back in order, in blocks or joined, and the room with them", () => {
  for (const sizes of [
    [],
    [0],
    [1],
    [3, 4_093, 1],
    [200_000],
    [65_536, 65_536],
    Array.from({ length: 300 }, (_, n) => n * 7),
  ]) {
    const bytes = randomBytes(sizes.reduce((sum, size) => sum + size, 0));
    const room = new Room(10_000_000);
    const filled = () => {
      const body = new BodyBlocks(room);
      let at = 0;
      for (const size of sizes) {
        assert.equal(body.add(bytes.subarray(at, at + size)), undefined);
        at += size;
      }
      assert.equal(body.length, bytes.length);
      assert.ok(room.used >= bytes.length && room.used <= 2 * bytes.length + 65_536);
      return body;
    };
    const parts: Buffer[] = [];
    for (const block of filled().read()) parts.push(Buffer.from(block));
    assert.ok(Buffer.concat(parts).equals(bytes));
    assert.equal(room.used, 0, "what was read is given back");
    const joined = filled();
    assert.ok(Buffer.from(joined.join()).equals(bytes));
    assert.ok(room.used >= bytes.length, "what is joined is held");
    joined.release();
    joined.release();
    const dropped = filled();
    dropped.release();
    assert.equal(room.used, 0);
  }
});

test("many small pieces take little more room than their bytes, and crumbs are refused", () => {
  const room = new Room(1_000_000);
  const body = new BodyBlocks(room);
  for (let at = 0; at < 10_000; at++) assert.equal(body.add(Buffer.from("a")), undefined);
  assert.ok(room.used < 30_000, `${room.used} bytes of room`);
  assert.equal(body.add(Buffer.from("a")), "crumbs");
  body.release();
  const large = new BodyBlocks(room);
  assert.equal(large.add(Buffer.alloc(900_000)), undefined);
  assert.equal(large.add(Buffer.alloc(200_000)), "no_room");
  large.release();
  assert.equal(room.used, 0);
});
