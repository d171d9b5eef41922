/** Snappy and chunks, ours and those of Prometheus, as subjects: bytes of random samples, damaged. */

import { BytesEndError } from "../../server/model/byte-reader.ts";
import type { NativeHistogram } from "../../server/model/histogram.ts";
import { emptyColumns, readChunk, sealChunk } from "../../server/store/metric-chunk.ts";
import {
  anyDouble,
  anyRun,
  bitText,
  linesOf,
  type Pick,
  random as pickerOf,
} from "../../server/store/metric-fixture.ts";
import { decodeHistogramChunk, encodeHistogramChunk } from "../../server/wire/histogram-chunk.ts";
import { grow, randomHistogram } from "../../server/wire/remote-oracle.ts";
import { decodeSnappy, encodeSnappy, snappyDecodedBytes } from "../../server/wire/snappy.ts";
import { WireError } from "../../server/wire/wire-error.ts";
import { decodeXorChunk, encodeXorChunk, type FloatSamples } from "../../server/wire/xor-chunk.ts";
import type { FuzzSubject } from "../fuzz-run.ts";
import { PlainFault, plainHistograms, plainSnappy, plainXor } from "./plain-decoders.ts";

type Random = () => number;

/** Ours are doubles: differences of differences of numbers up to this are exact. */
const WHOLE_MAX = 2n ** 50n;
const INT64_MAX = 2n ** 63n;
const DECODED_MAX = 100_000;
const EDITS_MAX = 3;

/** A few bytes changed, dropped, doubled or taken from another input; more often near the start, where sizes stand. */
function withBytesChanged(random: Random, input: Uint8Array, other: Uint8Array): Uint8Array {
  let bytes = Buffer.from(input);
  for (let edits = 1 + Math.floor(random() * EDITS_MAX); edits > 0; edits--) {
    const reach = random() < 0.3 ? Math.min(16, bytes.length) : bytes.length;
    const at = Math.floor(random() * (reach + 1));
    const length = 1 + Math.floor(random() * 8);
    const kind = Math.floor(random() * 6);
    if (kind <= 1) bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8));
    else if (kind === 2) bytes[at] = Math.floor(random() * 256);
    else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    else if (kind === 4) {
      const from = Math.floor(random() * (other.length + 1));
      bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(from, from + length), bytes.subarray(at)]);
    } else bytes = bytes.subarray(0, random() < 0.5 ? at : bytes.length);
  }
  return Uint8Array.from(bytes);
}

const shown = (input: Uint8Array) => Buffer.from(input).toString("hex");

function pickOf(random: Random): Pick {
  return pickerOf(Math.floor(random() * 2 ** 31));
}

/** What a decoder answers; undefined where it throws what it may throw. */
function attempt<T>(decode: () => T, ...faults: readonly (new (...given: never[]) => Error)[]): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (faults.some((fault) => error instanceof fault)) return undefined;
    throw error;
  }
}

/** Snappy blocks, of which the plain decoder must make the same bytes. */
export function snappySubject(): FuzzSubject {
  const room = new Uint8Array(DECODED_MAX + 64).fill(0xa5);
  return {
    name: "snappy",
    fresh: (random) => encodeSnappy(repetitive(random)),
    damaged: withBytesChanged,
    read: (input) => {
      const told = snappyDecodedBytes(input);
      // Whoever decodes has looked at what a block tells.
      if (told !== undefined && told > DECODED_MAX) return undefined;
      return decodeSnappy(input, room.subarray(0, DECODED_MAX));
    },
    fault: (input, reading) => {
      if (room.subarray(DECODED_MAX).some((byte) => byte !== 0xa5)) return "it wrote behind its room";
      if ((snappyDecodedBytes(input) ?? 0) > DECODED_MAX) return "";
      const plain = attempt(() => plainSnappy(input), PlainFault);
      if (reading === undefined || plain === undefined) return reading === plain ? "" : "only one of both takes it";
      return Buffer.compare(Buffer.from(reading as Uint8Array), plain) === 0
        ? ""
        : "the plain decoder reads other bytes"; // `read` answers no other
    },
    shown,
  };
}

function repetitive(random: Random): Uint8Array {
  const parts: Buffer[] = [];
  for (let left = Math.floor(random() * 12); left >= 0; left--) {
    const known = parts[Math.floor(random() * parts.length)];
    const length = Math.floor(random() * (random() < 0.1 ? 3_000 : 80));
    const noise = Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)));
    const choice = random();
    parts.push(
      known !== undefined && choice < 0.5 ? known : choice < 0.7 ? Buffer.alloc(length, noise[0] ?? 0) : noise,
    );
  }
  return Buffer.concat(parts);
}

/** Chunks of our blocks: what is read is what is read of a chunk of the same samples. The first two bytes tell how many. */
export function ownChunkSubject(): FuzzSubject {
  const decode = (input: Uint8Array) => {
    const count = ((input[0] ?? 0) << 8) | (input[1] ?? 0);
    const columns = emptyColumns(count);
    readChunk({ count, bytes: input.subarray(2) }, columns, 0);
    return columns;
  };
  const textOf = (columns: ReturnType<typeof decode>) => linesOf([{ labels: [], ...columns }])[0] ?? "";
  return {
    name: "chunks of our blocks",
    fresh: (random) => {
      const run = anyRun(pickOf(random));
      const { count, bytes } = sealChunk(run, 0, run.timestampsMs.length);
      const input = Uint8Array.of(count >> 8, count & 255, ...bytes);
      const [was, is] = [linesOf([{ labels: [], ...run }])[0], textOf(decode(input))];
      if (was !== is) throw new Error(`a chunk of ${was} is read as ${is}`);
      return input;
    },
    damaged: withBytesChanged,
    read: (input) => attempt(() => decode(input), BytesEndError),
    fault: (_input, reading) => {
      if (reading === undefined) return "";
      const columns = reading as ReturnType<typeof decode>; // `read` answers no other
      if (columns.values.length === 0 || !isWritable(columns)) return "";
      const again = sealChunk(columns, 0, columns.values.length);
      const back = emptyColumns(again.count);
      readChunk(again, back, 0);
      return textOf(back) === textOf(columns) ? "" : "written again it is read otherwise";
    },
    shown,
  };
}

/** Times that a store could have given out: whole, and near enough to be exact. */
function isWritable({ timestampsMs, startsMs }: ReturnType<typeof emptyColumns>): boolean {
  const isTime = (ms: number) => Number.isInteger(ms) && Math.abs(ms) < 2 ** 48;
  return timestampsMs.every(isTime) && (startsMs?.every(isTime) ?? true);
}

/** Prometheus' chunks of floats. */
export function xorSubject(): FuzzSubject {
  return {
    name: "chunks of floats",
    fresh: (random) => encodeXorChunk(anyFloats(pickOf(random))),
    damaged: withBytesChanged,
    read: (input) => attempt(() => decodeXorChunk(input), WireError),
    fault: (input, reading) => {
      const plain = attempt(() => plainXor(input), PlainFault);
      if (reading === undefined || plain === undefined) return reading === plain ? "" : "only one of both takes it";
      const { timestampsMs, values } = reading as FloatSamples; // `read` answers no other
      if (plain.length !== values.length) return `${values.length} samples, not ${plain.length}`;
      for (const [at, [ms, bits]] of plain.entries()) {
        // Times out of bounds wrap in one and are rounded in the other.
        if (isOutside(ms)) return "";
        const isSame = Number(ms) === timestampsMs[at] && hex(bits) === bitText(values[at] ?? 0);
        if (!isSame) return `sample ${at} is ${timestampsMs[at]} ${bitText(values[at] ?? 0)}, not ${ms} ${hex(bits)}`;
      }
      return "";
    },
    shown,
  };
}

function isOutside(value: bigint): boolean {
  return value > WHOLE_MAX || value < -WHOLE_MAX;
}

/** Of a NaN that signals the processor makes one that does not; which NaN a count is says nothing. */
function isSameNumber(found: number, bits: bigint): boolean {
  const magnitude = bits & 0x7fff_ffff_ffff_ffffn;
  return Number.isNaN(found) ? magnitude > 0x7ff0_0000_0000_0000n : bitText(found) === hex(bits);
}

function hex(bits: bigint): string {
  return `${(bits >> 32n).toString(16)}:${(bits & 0xffff_ffffn).toString(16)}`;
}

/** Doubles of one class or of all, at times that are regular or not. */
function anyFloats(pick: Pick): FloatSamples {
  const rows = pick(130);
  const isMixed = pick(2) === 0;
  const constant = anyDouble(pick);
  const timestampsMs = new Float64Array(rows);
  let ms = pick(2) === 0 ? 1_768_478_400_000 : -pick(2 ** 31);
  const values = Float64Array.from({ length: rows }, (_, row) => {
    timestampsMs[row] = ms;
    ms += pick(5) === 0 ? 1 + pick(2 ** 31) : 15_000;
    return isMixed ? anyDouble(pick) : pick(3) === 0 ? constant : pick(1_000) / 8;
  });
  return { timestampsMs, values };
}

/** Prometheus' chunks of histograms; the first byte tells the kind. */
export function histogramSubject(): FuzzSubject {
  const kindOf = (input: Uint8Array) => ((input[0] ?? 0) % 2 === 0 ? "whole" : "float");
  return {
    name: "chunks of histograms",
    fresh: (random) => {
      const integer = random() < 0.5;
      const histograms: (NativeHistogram | undefined)[] = [randomHistogram(random, integer, "unknown")];
      for (let left = Math.floor(random() * 12); left > 0; left--) {
        const last = histograms.at(-1);
        if (last !== undefined) histograms.push(random() < 0.05 ? undefined : grow(last, random));
      }
      const timestampsMs = Float64Array.from(histograms, (_, at) => at * 15_000 + Math.floor(random() * 9));
      return Uint8Array.of(integer ? 0 : 1, ...encodeHistogramChunk({ timestampsMs, histograms }));
    },
    damaged: withBytesChanged,
    read: (input) => attempt(() => decodeHistogramChunk(input.subarray(1), kindOf(input)), WireError),
    fault: (input, reading) => {
      const plain = attempt(() => plainHistograms(input.subarray(1), kindOf(input)), PlainFault);
      if (reading === undefined || plain === undefined) return reading === plain ? "" : "only one of both takes it";
      const { timestampsMs, histograms } = reading as ReturnType<typeof decodeHistogramChunk>; // as above
      if (plain.length !== histograms.length) return `${histograms.length} histograms, not ${plain.length}`;
      for (const [at, wanted] of plain.entries()) {
        const found = histograms[at];
        if (isOutside(wanted.timestampMs)) return "";
        if (Number(wanted.timestampMs) !== timestampsMs[at]) return `time ${at} is ${timestampsMs[at]}`;
        if (wanted.isStale !== (found === undefined)) return `histogram ${at} is stale in one`;
        if (found === undefined) continue;
        // From there on the one wraps where the other rounds.
        if (kindOf(input) === "whole" && wanted.counts.some((each) => isOutside(each))) return "";
        const counts = [found.count, found.zeroCount, ...found.positiveCounts, ...found.negativeCounts];
        const isSame =
          isSameNumber(found.sum, wanted.sum) &&
          counts.length === wanted.counts.length &&
          counts.every((count, row) => {
            const told = wanted.counts[row] ?? INT64_MAX;
            return kindOf(input) === "whole" ? BigInt(count) === told : isSameNumber(count, told);
          });
        if (!isSame) return `histogram ${at} is ${JSON.stringify(found)}, not ${wanted.counts.join(" ")}`;
      }
      return "";
    },
    shown,
  };
}
