import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "./crc32c.ts";
import { TsdbFormatError } from "./tsdb-index.ts";
import { readTsdbTombstones } from "./tsdb-tombstones.ts";

const HEADER = [0x01, 0x30, 0xba, 0x30, 1];
const LEAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
const GREATEST = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];

function list(body: readonly number[], header: readonly number[] = HEADER): Uint8Array {
  const bytes = Buffer.from([...header, ...body, 0, 0, 0, 0]);
  bytes.writeUInt32BE(crc32c(Uint8Array.from(body)), bytes.length - 4);
  return bytes;
}

test("ranges stand by the number of their series, to both ends of time", () => {
  assert.deepEqual(readTsdbTombstones(list([])), new Map());
  const found = readTsdbTombstones(list([0x90, 0x01, 3, 20, 7, ...LEAST, ...GREATEST, 0x90, 0x01, 40, 60]));
  assert.deepEqual(
    found,
    new Map([
      [
        144,
        [
          { fromMs: -2, toMs: 10 },
          { fromMs: 20, toMs: 30 },
        ],
      ],
      [7, [{ fromMs: -(2 ** 63), toMs: 2 ** 63 }]],
    ]),
  );
});

test("a list that is none, is cut or damaged is refused", () => {
  const whole = list([1, 2, 4, 200, 1, 6, 8]);
  for (let length = 0; length < whole.length; length++) {
    assert.throws(() => readTsdbTombstones(whole.subarray(0, length)), TsdbFormatError, `${length} bytes`);
  }
  for (let bit = 0; bit < 8 * whole.length; bit++) {
    const damaged = whole.slice();
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assert.throws(() => readTsdbTombstones(damaged), TsdbFormatError, `bit ${bit}`);
  }
  assert.throws(() => readTsdbTombstones(list([1, 2])), /cut short/);
  assert.throws(() => readTsdbTombstones(list([1, 2, 0x80])), /cut short/);
  assert.throws(() => readTsdbTombstones(list([...LEAST.map(() => 0xff), 0xff, 1, 2, 3])), /too long/);
});
