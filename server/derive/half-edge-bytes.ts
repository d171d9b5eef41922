/**
 * Waiting spans as bytes of the derived state: texts once each, then the numbers of all halves in two columns.
 *
 * A snapshot is taken in one turn of the loop, with up to 65,536 halves waiting: each costs some ten stores of numbers.
 */

import type { ByteReader } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";
import type { HalfEdge } from "./half-edges.ts";

/** 32-bit numbers and doubles of one half. */
const WORDS = 15;
const DOUBLES = 5;

/** Writes waiting spans into a snapshot; `readHalves` reads them. */
export function writeHalves(out: ByteWriter, halves: Iterable<HalfEdge>, count: number): void {
  const texts = new Map<string, number>();
  const indexOf = (text: string): number => {
    let index = texts.get(text);
    if (index === undefined) {
      index = texts.size;
      texts.set(text, index);
    }
    return index;
  };
  const words = new Int32Array(WORDS * count);
  const doubles = new Float64Array(DOUBLES * count);
  let word = 0;
  let double = 0;
  for (const half of halves) {
    words[word] = half.side | (half.kind << 8) | (half.flags << 16);
    words[word + 1] = half.trace0;
    words[word + 2] = half.trace1;
    words[word + 3] = half.trace2;
    words[word + 4] = half.trace3;
    words[word + 5] = half.key0;
    words[word + 6] = half.key1;
    words[word + 7] = half.own0;
    words[word + 8] = half.own1;
    words[word + 9] = half.duplicateOf0;
    words[word + 10] = half.duplicateOf1;
    words[word + 11] = half.connection;
    words[word + 12] = indexOf(half.service);
    words[word + 13] = indexOf(half.peer);
    word += WORDS;
    doubles[double] = half.latencyNs;
    doubles[double + 1] = half.startNs;
    doubles[double + 2] = half.arrivedMs;
    doubles[double + 3] = half.bucketMs;
    doubles[double + 4] = half.weight;
    double += DOUBLES;
  }
  out.varint(texts.size);
  for (const text of texts.keys()) out.text(text);
  out.varint(count);
  out.raw(new Uint8Array(words.buffer));
  out.raw(new Uint8Array(doubles.buffer));
}

/**
 * Reads what `writeHalves` wrote; `make` gives a half that is in no table, `done` gets it filled.
 *
 * @throws BytesEndError where the bytes are damaged.
 */
export function readHalves(reader: ByteReader, make: () => HalfEdge, done: (half: HalfEdge) => void): void {
  const texts: string[] = [];
  for (let left = reader.varint(); left > 0; left--) texts.push(reader.text());
  const count = reader.varint();
  const words = new Int32Array(reader.copy(4 * WORDS * count));
  const doubles = new Float64Array(reader.copy(8 * DOUBLES * count));
  for (let at = 0; at < count; at++) {
    const half = make();
    const [tag = 0, trace0 = 0, trace1 = 0, trace2 = 0, trace3 = 0, ...rest] = words.subarray(
      WORDS * at,
      WORDS * at + WORDS,
    );
    const [key0 = 0, key1 = 0, own0 = 0, own1 = 0, duplicateOf0 = 0, duplicateOf1 = 0, connection = 0] = rest;
    const [latencyNs = 0, startNs = 0, arrivedMs = 0, bucketMs = 0, weight = 1] = doubles.subarray(
      DOUBLES * at,
      DOUBLES * at + DOUBLES,
    );
    Object.assign(half, { side: tag & 0xff, kind: (tag >> 8) & 0xff, flags: (tag >> 16) & 0xff });
    Object.assign(half, {
      trace0,
      trace1,
      trace2,
      trace3,
      key0,
      key1,
      own0,
      own1,
      duplicateOf0,
      duplicateOf1,
      connection,
    });
    Object.assign(half, { latencyNs, startNs, arrivedMs, bucketMs, weight });
    half.service = texts[rest[7] ?? 0] ?? "";
    half.peer = texts[rest[8] ?? 0] ?? "";
    done(half);
  }
}
