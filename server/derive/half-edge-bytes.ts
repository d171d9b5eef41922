/** Waiting spans as bytes of the derived state. */

import type { ByteReader } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";
import type { HalfEdge } from "./half-edges.ts";

/** Writes a waiting span into a snapshot; `readHalf` reads it. */
export function writeHalf(out: ByteWriter, half: HalfEdge): void {
  out.byte(half.side);
  out.byte(half.kind);
  out.byte(half.flags);
  for (const word of [half.trace0, half.trace1, half.trace2, half.trace3, half.key0, half.key1]) out.uint32(word);
  for (const word of [half.own0, half.own1, half.duplicateOf0, half.duplicateOf1, half.connection]) out.uint32(word);
  out.varint(half.weight);
  out.text(half.service);
  out.text(half.peer);
  out.float64(half.latencyNs);
  out.float64(half.startNs);
  out.float64(half.arrivedMs);
  out.float64(half.bucketMs);
}

/** Fills a half that is in no table. */
export function readHalf(reader: ByteReader, half: HalfEdge): void {
  half.side = reader.byte();
  half.kind = reader.byte();
  half.flags = reader.byte();
  half.trace0 = reader.uint32() | 0;
  half.trace1 = reader.uint32() | 0;
  half.trace2 = reader.uint32() | 0;
  half.trace3 = reader.uint32() | 0;
  half.key0 = reader.uint32() | 0;
  half.key1 = reader.uint32() | 0;
  half.own0 = reader.uint32() | 0;
  half.own1 = reader.uint32() | 0;
  half.duplicateOf0 = reader.uint32() | 0;
  half.duplicateOf1 = reader.uint32() | 0;
  half.connection = reader.uint32() | 0;
  half.weight = reader.varint();
  half.service = reader.text();
  half.peer = reader.text();
  half.latencyNs = reader.float64();
  half.startNs = reader.float64();
  half.arrivedMs = reader.float64();
  half.bucketMs = reader.float64();
}
