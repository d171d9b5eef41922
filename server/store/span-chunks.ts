/**
 * The columns of `span`, filled from staged batches.
 *
 * Invariant: they stand in the order of `STAGED_COLUMNS`.
 */

import { SPAN_SOURCES } from "../model/span-batch.ts";
import { TYPED_ATTRIBUTES } from "../model/sql-tables.ts";
import {
  attributeMap,
  blobs,
  CHUNK_ROWS_MAX,
  type ColumnBuffer,
  constantPerBatch,
  copyOut,
  extraText,
  nonZero,
  nonZeroIds,
  numbers,
  resourceIds,
  StringBuffer,
  text,
  tupleText,
  uuids,
  Validity,
  word,
  wordsOf,
} from "./chunk-columns.ts";
import { KIND_WORD_AT, SOURCE_WORD_AT, STATUS_WORD_AT, type StagedBatch } from "./staged-spans.ts";

const TYPED_COUNT = TYPED_ATTRIBUTES.length;
/** Upper 32 bits of the longest duration and of the shortest, which is its negative. */
const HIGH_MAX = 0x7fff_ffff;
const HIGH_MIN = -0x8000_0000;
/** Texts of a resource and of a scope in `StagedBatch.extra`. */
const RESOURCE_TEXTS = 2;
const SCOPE_TEXTS = 3;

type SpanColumn = ColumnBuffer<StagedBatch>;

/** New buffers for all columns. */
export function spanColumns(): SpanColumn[] {
  return [
    constantPerBatch(new BigUint64Array(CHUNK_ROWS_MAX), ({ sequence }) => BigInt(sequence)),
    uuids(({ batch }) => batch.traceId),
    numbers(new BigUint64Array(CHUNK_ROWS_MAX), ({ batch }) => batch.spanId),
    nonZeroIds(({ batch }) => batch.parentSpanId),
    resourceIds(),
    resourceText(0, false),
    resourceText(1, true),
    scopeText(0),
    scopeText(1),
    text(({ batch }) => batch.name, false),
    word(({ batch }) => batch.kind, KIND_WORD_AT),
    word(({ batch }) => batch.status, STATUS_WORD_AT),
    text(({ batch }) => batch.statusMessage, true),
    numbers(new BigInt64Array(CHUNK_ROWS_MAX), ({ batch }) => batch.startNs),
    durations(),
    sources(),
    text(({ batch }) => batch.linkReason, true),
    text(({ batch }) => batch.protocol, true),
    text(({ batch }) => batch.clientAddr, true),
    nonZero(new Uint16Array(CHUNK_ROWS_MAX), ({ batch }) => batch.clientPort),
    text(({ batch }) => batch.serverAddr, true),
    nonZero(new Uint16Array(CHUNK_ROWS_MAX), ({ batch }) => batch.serverPort),
    nonZero(new Uint32Array(CHUNK_ROWS_MAX), ({ batch }) => batch.pid),
    oftenSame(({ batch }) => batch.weight),
    nonZeroIds(({ batch }) => batch.duplicateOf),
    oftenSame(({ batch }) => batch.flags),
    text(({ batch }) => batch.traceState, true),
    ...TYPED_ATTRIBUTES.map(({ kind }, index) => (kind === "s" ? typedText(index) : typedIntegers(index))),
    attributeMap(),
    extraText((staged) => staged.kinds, false),
    extraText((staged) => staged.repeats, true),
    blobs((staged) => [staged.batch.eventsEnd, staged.events]),
    blobs((staged) => [staged.batch.linksEnd, staged.links]),
    scopeText(2),
  ];
}

/** A sender's spans have one source. */
function sources(): SpanColumn {
  return {
    ...word(({ batch }) => batch.source, SOURCE_WORD_AT),
    only: ({ batch }) => SPAN_SOURCES[onlyNumber(batch.source, batch.rows) ?? SPAN_SOURCES.length],
  };
}

/** Numbers that are mostly the same in all rows of a batch. */
function oftenSame(pick: (staged: StagedBatch) => Uint32Array): SpanColumn {
  return {
    ...numbers(new Uint32Array(CHUNK_ROWS_MAX), pick),
    only: (staged) => onlyNumber(pick(staged), staged.batch.rows)?.toString(),
  };
}

/** The number that the first `rows` entries all are. */
function onlyNumber(column: Uint8Array | Uint32Array, rows: number): number | undefined {
  const first = column[0];
  for (let row = 1; row < rows; row++) if (column[row] !== first) return undefined;
  return first;
}

/** Durations that 63 bits cannot hold are cut, so that start plus duration never overflows in SQL. */
function durations(): SpanColumn {
  const out = new Int32Array(2 * CHUNK_ROWS_MAX);
  return {
    add(staged, from, to, at) {
      const starts = wordsOf(staged.batch.startNs);
      const ends = wordsOf(staged.batch.endNs);
      for (let row = from; row < to; row++) {
        const low = (ends[2 * row] ?? 0) - (starts[2 * row] ?? 0);
        const high = ((ends[2 * row + 1] ?? 0) | 0) - ((starts[2 * row + 1] ?? 0) | 0) - (low < 0 ? 1 : 0);
        const place = 2 * (at + row - from);
        const over = high > HIGH_MAX || (high <= HIGH_MIN && (high < HIGH_MIN || low === 0));
        out[place] = over ? (high > 0 ? -1 : 1) : low;
        out[place + 1] = over ? (high > 0 ? HIGH_MAX : HIGH_MIN) : high;
      }
    },
    flush: (vector, rows) => copyOut(vector, out, 2 * rows),
  };
}

/** Service (0) or instance (1) of the row's resource. */
function resourceText(which: 0 | 1, nullable: boolean): SpanColumn {
  return tupleText((staged) => [staged.batch.resource, staged.resourceTextAt + which], RESOURCE_TEXTS, nullable);
}

/** Name (0), version (1) or rest (2) of the row's scope. */
function scopeText(which: 0 | 1 | 2): SpanColumn {
  return tupleText((staged) => [staged.batch.scope, staged.scopeTextAt + which], SCOPE_TEXTS, true);
}

function typedText(typed: number): SpanColumn {
  const out = new StringBuffer();
  return {
    add(staged, from, to, at) {
      const { words } = staged.text;
      for (let row = from; row < to; row++) {
        const place = row * TYPED_COUNT + typed;
        if (staged.typedSet[place] === 1) out.copy(at + row - from, words, staged.typed[place] ?? 0);
        else out.setNull(at + row - from);
      }
    },
    flush: (vector, rows) => out.flush(vector, rows),
    only: (staged) => nullIfUnset(staged, typed),
  };
}

function nullIfUnset({ batch, typedSet }: StagedBatch, typed: number): null | undefined {
  for (let at = typed; at < batch.rows * TYPED_COUNT; at += TYPED_COUNT) if (typedSet[at] === 1) return undefined;
  return null;
}

function typedIntegers(typed: number): SpanColumn {
  const out = new Int32Array(CHUNK_ROWS_MAX);
  const validity = new Validity();
  return {
    add(staged, from, to, at) {
      for (let row = from; row < to; row++) {
        const place = row * TYPED_COUNT + typed;
        out[at + row - from] = staged.typed[place] ?? 0;
        if (staged.typedSet[place] !== 1) validity.setNull(at + row - from);
      }
    },
    flush(vector, rows) {
      copyOut(vector, out, rows);
      validity.flush(vector);
    },
    only: (staged) => nullIfUnset(staged, typed),
  };
}
