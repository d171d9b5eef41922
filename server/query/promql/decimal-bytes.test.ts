import assert from "node:assert/strict";
import { test } from "node:test";
import { DECIMAL_BELOW, DECIMAL_FROM, fourDigits, writeFraction } from "./decimal-bytes.ts";

const bytes = new Uint8Array(32);
const view = new DataView(bytes.buffer);
const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);

/** Whole numbers below 2^32, the same in each run. */
function randomOf(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

/** What V8 prints is the oracle. @returns Whether it was written. */
function agrees(value: number): boolean {
  if (!(value >= DECIMAL_FROM && value < DECIMAL_BELOW) || Number.isInteger(value)) return true;
  bytes.fill(0x78);
  const end = writeFraction(value, view, 1);
  if (end === -1) return false;
  const text = String(value);
  // Compared by hand: a million assertions would take most of the time.
  if (text.length !== end - 1 || bytes[0] !== 0x78) assert.fail(`${text} is ${end - 1} characters long`);
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) !== bytes[i + 1]) {
      assert.equal(new TextDecoder().decode(bytes.subarray(1, end)), text);
    }
  }
  return true;
}

/** A double some places away. */
function neighbour(value: number, places: number): number {
  double[0] = value;
  words[0] = ((words[0] ?? 0) + places) >>> 0;
  return double[0] ?? 0;
}

test("a fraction is written as the shortest decimal that reads back the same", () => {
  const random = randomOf(20_261_126);
  const below = (most: number) => random() % most;
  let written = 0;
  let left = 0;
  const look = (value: number) => {
    if (agrees(value)) written++;
    else left++;
  };
  for (let i = 0; i < 60_000; i++) {
    const size = 10 ** ((random() / 2 ** 32) * 20 - 5.7);
    const value = (random() / 2 ** 32) * size;
    look(value);
    words[0] = random();
    words[1] = ((1023 - 20 + below(71)) << 20) | (random() & 0xf_ffff);
    look(double[0] ?? 0);
    const short = Number(value.toPrecision(1 + below(17)));
    look(short);
    look(neighbour(short, below(7) - 3));
    look(below(1_000_000) / (1 + below(10_000)));
    look(below(4_000) * (300 / 285 / 300));
  }
  assert.ok(left < written / 50, `${left} of ${written} are left to the runtime`);
});

test("what lies at the edges of powers, or half-way between decimals, is right or left alone", () => {
  const random = randomOf(4_711);
  for (let power = -20; power <= 50; power++) {
    for (let places = -40; places <= 40; places++) agrees(neighbour(2 ** power, places));
  }
  for (let power = -6; power <= 16; power++) {
    for (let digit = 1; digit <= 9; digit++) {
      for (let places = -40; places <= 40; places++) agrees(neighbour(Number(`${digit}e${power}`), places));
    }
  }
  for (let i = 0; i < 60_000; i++) {
    // An odd number over a power of two has all its digits, and ends in 5.
    agrees((2 * (random() >>> (random() % 24)) + 1) / 2 ** (1 + (random() % 30)));
    // Few bits are set.
    words[0] = random() & 0xfff0_0000;
    words[1] = ((1023 - 20 + (random() % 71)) << 20) | (random() & 0xf_0000);
    agrees(double[0] ?? 0);
  }
});

test("four digits are characters in order", () => {
  for (let whole = 0; whole < 10_000; whole++) {
    view.setUint32(0, fourDigits(whole), true);
    const text = String.fromCharCode(...bytes.subarray(0, 4));
    assert.equal(text, String(whole).padStart(4, "0"));
  }
});
