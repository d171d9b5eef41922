import assert from "node:assert/strict";
import { test } from "node:test";
import { cursorOver, readLength, skipField } from "./protobuf-reader.ts";
import { oracleDecode } from "./trace-oracle.ts";
import { WireError } from "./wire-error.ts";

/** Lengths of 2 that take more bits than they need, and how many bytes they are spelled in. */
const LENGTHS: readonly (readonly [bytes: readonly number[], isRead: boolean])[] = [
  [[0x02], true],
  [[0x82, 0x00], true],
  [[0x82, 0x80, 0x80, 0x80, 0x00], true],
  [[0x82, 0x80, 0x80, 0x80, 0x10], false],
  [[0x82, 0x80, 0x80, 0x80, 0x08], false],
  [[0x82, 0x80, 0x80, 0x80, 0x80, 0x00], false],
  [[0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], false],
];

test("lengths take 31 bits in five bytes, as the library has it: what lies beyond is not cut off", () => {
  for (const [length, isRead] of LENGTHS) {
    // An unknown field of `TracesData` and a known one, both with nothing in them that could be wrong.
    for (const tag of [0x7a, 0x0a]) {
      const body = Buffer.from([tag, ...length, 0x7a, 0x00]);
      const ours = () => {
        const cursor = cursorOver(body);
        cursor.at = 1;
        return readLength(cursor);
      };
      const skipped = () => skipField({ ...cursorOver(body), at: 1 }, tag);
      const spelled = length.map((byte) => byte.toString(16)).join(" ");
      if (isRead) {
        assert.equal(ours(), body.length, spelled);
        skipped();
        oracleDecode("TracesData", body);
      } else {
        assert.throws(ours, WireError, spelled);
        assert.throws(skipped, WireError, spelled);
        assert.throws(() => oracleDecode("TracesData", body), spelled);
      }
    }
  }
});
