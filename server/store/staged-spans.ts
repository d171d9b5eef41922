/**
 * Spans made ready for DuckDB: what a batch needs beside its own columns, and the chunks that carry rows into a table.
 *
 * Everything that can be refused or is dear happens in `stageBatch`, before the batch joins a group; filling a chunk
 * then only copies numbers and 16-byte strings.
 */

import type { Attribute, SpanBatch } from "../model/span-batch.ts";
import { SPAN_KINDS, SPAN_SOURCES, SPAN_STATUSES } from "../model/span-batch.ts";
import { TYPED_ATTRIBUTES } from "../model/sql-tables.ts";
import { type TextReader, type TextTable, textReader } from "../model/text-table.ts";
import { canonicalInteger, KIND_REPEAT, KIND_TYPED_FIRST, printRepeats, typedIndexOf } from "./attribute-columns.ts";
import { type StagedResource, stageResource } from "./resource-book.ts";
import { givePad, type StagePad, takePad } from "./stage-pad.ts";
import { type PlacedBytes, type PlacedText, placeBytes, placeTable, placeText } from "./text-heap.ts";

const TYPED_COUNT = TYPED_ATTRIBUTES.length;
/** `KeyTable.typed` of a key that was not met yet, of one without a column, and of the one with the first column. */
const KEY_UNKNOWN = 0;
const KEY_UNTYPED = 1;
const KEY_TYPED_FIRST = 2;
const TEXT_KIND = "s".charCodeAt(0);
const TYPED_KINDS = Uint8Array.from(TYPED_ATTRIBUTES, ({ kind }) => kind.charCodeAt(0));
const NO_KIND = 0;
/** Bytes of a row in the columns of `SpanBatch` and `StagedBatch`. */
const ROW_BYTES = 220;
const ATTRIBUTE_BYTES = 10;
/** Place of a text, and its string as DuckDB has it. */
const TEXT_BYTES = 24;

/** A batch with all that filling chunks needs. */
export interface StagedBatch {
  readonly batch: SpanBatch;
  readonly sequence: number;
  readonly resources: readonly StagedResource[];
  /** `batch.text`. */
  readonly text: PlacedText;
  /** Words of kinds, statuses and sources, then service and instance of each resource, name, version and rest of each scope, then per-row text. */
  readonly extra: PlacedText;
  readonly resourceTextAt: number;
  readonly scopeTextAt: number;
  /** Index into `extra` by row. */
  readonly kinds: Uint32Array;
  /** Index into `extra` by row; 0 where NULL. */
  readonly repeats: Uint32Array;
  /** Per row and typed column: for text the index into `text`, for integers the value; `typedSet` says whether there is one. */
  readonly typed: Int32Array;
  readonly typedSet: Uint8Array;
  /** Per attribute of the batch: 1 where it stands in the MAP. */
  readonly inMap: Uint8Array;
  readonly events: PlacedBytes;
  readonly links: PlacedBytes;
  /** Holds all columns and texts above; goes back with `unstage`. */
  readonly pad: StagePad;
  /** Memory that the batch holds until it is stored, near enough. */
  readonly bytes: number;
}

/** Index into `StagedBatch.extra` of the first word of each fixed list; 0 is the empty text. */
const WORDS = ["", ...SPAN_KINDS, ...SPAN_STATUSES, ...SPAN_SOURCES];
export const KIND_WORD_AT = 1;
export const STATUS_WORD_AT = KIND_WORD_AT + SPAN_KINDS.length;
export const SOURCE_WORD_AT = STATUS_WORD_AT + SPAN_STATUSES.length;

/** Makes a batch ready. @throws RangeError where the batch breaks an invariant of `SpanBatch`. */
export function stageBatch(batch: SpanBatch, sequence: number): StagedBatch {
  checkBatch(batch);
  const texts = [...WORDS];
  const resourceTextAt = texts.length;
  for (const { service, instance } of batch.resources) texts.push(service, instance);
  const scopeTextAt = texts.length;
  for (const { name, version, rest } of batch.scopes) texts.push(name, version, rest ?? "");
  const pad = takePad();
  const attributes = stageAttributes(batch, texts, pad);
  return {
    batch,
    sequence,
    resources: batch.resources.map(stageResource),
    text: placeTable(batch.text, pad),
    extra: placeText(texts, pad),
    resourceTextAt,
    scopeTextAt,
    ...attributes,
    events: placeBytes(batch.eventsBlob, pad),
    links: placeBytes(batch.linksBlob, pad),
    pad,
    bytes: memoryOf(batch),
  };
}

/** Gives back the memory of a batch that is stored or refused; it must not be used afterwards. */
export function unstage({ pad }: { readonly pad: StagePad }): void {
  givePad(pad);
}

/** Columns and their staged companions; text and bytes stand once in JavaScript and once in native memory. */
function memoryOf(batch: SpanBatch): number {
  const { text, rows, attributeKey, eventsBlob, linksBlob } = batch;
  const bytes = text.bytes.length + eventsBlob.length + linksBlob.length;
  return rows * ROW_BYTES + attributeKey.length * ATTRIBUTE_BYTES + text.lengths.length * TEXT_BYTES + 2 * bytes;
}

type StagedAttributes = Pick<StagedBatch, "kinds" | "repeats" | "typed" | "typedSet" | "inMap">;

function stageAttributes(batch: SpanBatch, texts: string[], pad: StagePad): StagedAttributes {
  const { rows, attributeEnd } = batch;
  const attributeCount = rows === 0 ? 0 : (attributeEnd[rows - 1] ?? 0);
  const staged = {
    kinds: pad.uint32(rows),
    repeats: pad.uint32(rows),
    typed: pad.int32(rows * TYPED_COUNT),
    typedSet: pad.uint8(rows * TYPED_COUNT),
    inMap: pad.uint8(attributeCount),
  };
  const keys = keyTable(batch.text, pad);
  const patterns = new KindPatterns(texts);
  const letters = new Uint8Array(longestRow(batch));
  let start = 0;
  for (let row = 0; row < rows; row++) {
    const end = attributeEnd[row] ?? start;
    const repeats: Attribute[] = [];
    for (let at = start; at < end; at++) {
      const letter = placeAttribute(batch, keys, staged, row, at);
      letters[at - start] = letter;
      if (letter === KIND_REPEAT) repeats.push(attributeAt(batch, keys.read, at));
    }
    staged.kinds[row] = patterns.indexOf(letters, end - start);
    if (repeats.length > 0) staged.repeats[row] = texts.push(printRepeats(repeats)) - 1;
    start = end;
  }
  return staged;
}

/** What is known of each text as an attribute key. */
interface KeyTable {
  /** `KEY_UNKNOWN`, `KEY_UNTYPED`, or `KEY_TYPED_FIRST` and the number of a typed column. */
  readonly typed: Uint8Array;
  /** Text index under which equal keys are counted. */
  readonly canonical: Uint32Array;
  /** Row + 1 in which the key was met last. */
  readonly lastRow: Uint32Array;
  readonly byText: Map<string, number>;
  readonly read: TextReader;
}

function keyTable(text: TextTable, pad: StagePad): KeyTable {
  const count = text.lengths.length;
  return {
    typed: pad.uint8(count),
    canonical: pad.uint32(count),
    lastRow: pad.uint32(count),
    byText: new Map(),
    read: textReader(text),
  };
}

function learnKey(keys: KeyTable, textIndex: number): void {
  const text = keys.read(textIndex);
  const canonical = keys.byText.get(text) ?? textIndex;
  keys.byText.set(text, canonical);
  keys.canonical[textIndex] = canonical;
  const typed = typedIndexOf(text);
  keys.typed[textIndex] = typed < 0 ? KEY_UNTYPED : KEY_TYPED_FIRST + typed;
}

/** Decides where one attribute is kept, writes it there unless that is the MAP or the repeats, and returns its letter. */
function placeAttribute(
  batch: SpanBatch,
  keys: KeyTable,
  staged: Pick<StagedBatch, "typed" | "typedSet" | "inMap">,
  row: number,
  at: number,
): number {
  const key = batch.attributeKey[at] ?? 0;
  const kind = batch.attributeKind[at] ?? NO_KIND;
  if (keys.typed[key] === KEY_UNKNOWN) learnKey(keys, key);
  const canonical = keys.canonical[key] ?? key;
  if (keys.lastRow[canonical] === row + 1) return KIND_REPEAT;
  keys.lastRow[canonical] = row + 1;
  const typed = (keys.typed[key] ?? KEY_UNTYPED) - KEY_TYPED_FIRST;
  if (typed >= 0 && TYPED_KINDS[typed] === kind) {
    const value = batch.attributeValue[at] ?? 0;
    const stored = kind === TEXT_KIND ? value : integerAt(batch.text, value);
    if (stored !== undefined) {
      staged.typed[row * TYPED_COUNT + typed] = stored;
      staged.typedSet[row * TYPED_COUNT + typed] = 1;
      return KIND_TYPED_FIRST + typed;
    }
  }
  staged.inMap[at] = 1;
  return kind;
}

function integerAt({ bytes, starts, lengths }: TextTable, index: number): number | undefined {
  return canonicalInteger(bytes, starts[index] ?? 0, lengths[index] ?? 0);
}

function attributeAt(batch: SpanBatch, read: TextReader, at: number): Attribute {
  return {
    key: read(batch.attributeKey[at]),
    // The column holds char codes of kinds.
    kind: String.fromCharCode(batch.attributeKind[at] ?? NO_KIND) as Attribute["kind"],
    value: read(batch.attributeValue[at]),
  };
}

/** Interns rows of letters; neighbouring rows mostly have the same. */
class KindPatterns {
  readonly #texts: string[];
  readonly #known = new Map<string, number>();
  #last = new Uint8Array(0);
  #lastIndex = 0;

  constructor(texts: string[]) {
    this.#texts = texts;
  }

  indexOf(letters: Uint8Array, length: number): number {
    if (length === 0) return 0;
    if (this.#isLast(letters, length)) return this.#lastIndex;
    this.#last = letters.slice(0, length);
    let pattern = "";
    for (let at = 0; at < length; at++) pattern += String.fromCharCode(letters[at] ?? 0);
    const known = this.#known.get(pattern);
    this.#lastIndex = known ?? this.#texts.push(pattern) - 1;
    if (known === undefined) this.#known.set(pattern, this.#lastIndex);
    return this.#lastIndex;
  }

  #isLast(letters: Uint8Array, length: number): boolean {
    if (length !== this.#last.length) return false;
    for (let at = 0; at < length; at++) if (letters[at] !== this.#last[at]) return false;
    return true;
  }
}

function longestRow(batch: SpanBatch): number {
  let longest = 0;
  let start = 0;
  for (let row = 0; row < batch.rows; row++) {
    const end = batch.attributeEnd[row] ?? start;
    longest = Math.max(longest, end - start);
    start = end;
  }
  return longest;
}

function checkBatch(batch: SpanBatch): void {
  const { rows } = batch;
  checkBatchIndices(batch, {
    name: batch.name,
    statusMessage: batch.statusMessage,
    linkReason: batch.linkReason,
    protocol: batch.protocol,
    clientAddr: batch.clientAddr,
    serverAddr: batch.serverAddr,
    traceState: batch.traceState,
  });
  checkEnds("eventsEnd", batch.eventsEnd, rows, batch.eventsBlob.length);
  checkEnds("linksEnd", batch.linksEnd, rows, batch.linksBlob.length);
  checkIndices("kind", batch.kind, rows, SPAN_KINDS.length);
  checkIndices("status", batch.status, rows, SPAN_STATUSES.length);
  checkIndices("source", batch.source, rows, SPAN_SOURCES.length);
}

/** What batches of spans and of log records have in common. */
type CheckedColumns = Pick<
  SpanBatch,
  "rows" | "text" | "attributeEnd" | "attributeKey" | "attributeValue" | "resource" | "resources" | "scope" | "scopes"
>;

/**
 * Checks indices, which are followed into native memory later: a batch that breaks its invariants must not get there.
 *
 * @param texts Columns of texts by name.
 * @throws RangeError
 */
export function checkBatchIndices(batch: CheckedColumns, texts: Readonly<Record<string, Uint32Array>>): void {
  const { rows, text } = batch;
  checkTexts(text);
  checkEnds("attributeEnd", batch.attributeEnd, rows, batch.attributeKey.length);
  const attributes = rows === 0 ? 0 : (batch.attributeEnd[rows - 1] ?? 0);
  for (const [name, column] of Object.entries(texts)) checkIndices(name, column, rows, text.lengths.length);
  checkIndices("attributeKey", batch.attributeKey, attributes, text.lengths.length);
  checkIndices("attributeValue", batch.attributeValue, attributes, text.lengths.length);
  checkIndices("resource", batch.resource, rows, batch.resources.length);
  checkIndices("scope", batch.scope, rows, batch.scopes.length);
}

function checkTexts({ bytes, starts, lengths }: TextTable): void {
  for (let index = 0; index < lengths.length; index++) {
    const end = (starts[index] ?? bytes.length) + (lengths[index] ?? 0);
    if (end > bytes.length) throw new RangeError(`batch: text ${index} ends at ${end} of ${bytes.length} bytes`);
  }
}

function checkIndices(name: string, column: Uint32Array | Uint8Array, rows: number, below: number): void {
  if (column.length < rows) throw new RangeError(`batch: column ${name} has ${column.length} of ${rows} rows`);
  for (let row = 0; row < rows; row++) {
    if ((column[row] ?? 0) >= below)
      throw new RangeError(`batch: ${name}[${row}] is ${column[row]}, not below ${below}`);
  }
}

function checkEnds(name: string, ends: Uint32Array, rows: number, most: number): void {
  let last = 0;
  for (let row = 0; row < rows; row++) {
    const end = ends[row] ?? 0;
    if (end < last || end > most) throw new RangeError(`batch: ${name}[${row}] is ${end}, not in ${last}..${most}`);
    last = end;
  }
}
