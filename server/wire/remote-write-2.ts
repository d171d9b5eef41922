/**
 * Remote write 2.0: `io.prometheus.write.v2.Request` → series to append.
 *
 * @see https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
 */

import { labelsText } from "../model/labels-text.ts";
import type { Exemplar, Labels } from "../model/series.ts";
import type { WordPlaces } from "./byte-interner.ts";
import {
  cursorOver,
  enterMessage,
  leaveMessage,
  type ProtobufCursor,
  readDouble,
  readInt64Number,
  readTag,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import {
  expectBytes,
  leavePlainSeries,
  lengthBytes,
  outcomeOf,
  type RemoteWrite,
  type RemoteWriteOutcome,
  readHistogramSample,
  readPlainSamples,
  readSample,
  type SeriesColumns,
  seriesColumns,
  shortLength,
  sortedExemplarLabels,
  WriteGatherer,
} from "./remote-write.ts";
import {
  checkPairs,
  type GoodLabels,
  KnownSeries,
  PairRoom,
  type SeriesFault,
  type SeriesGate,
} from "./series-labels.ts";
import { SYMBOL_REFS_MAX, SymbolRefs } from "./symbol-refs.ts";
import { SymbolTable } from "./symbol-table.ts";
import {
  EXEMPLAR_UNITS,
  HISTOGRAM_UNITS,
  SERIES_UNITS,
  sampleUnits,
  symbolUnits,
  takeUnits,
  type WireBudget,
  wireBudget,
} from "./wire-budget.ts";
import { WireError } from "./wire-error.ts";

/** Bytes of a series' numbers of strings, on average at most. */
const KNOWN_SERIES_BYTES = 96;
/** Strings that are remembered from request to request. */
const KNOWN_SYMBOLS = { stringsMax: 524_288, bytesMax: 24 * 2 ** 20 };
/** Strings of larger requests are counted before they are looked up. */
const LOOKED_UP_AT_ONCE_BYTES = 2 ** 20;
/** Series of which the units are taken together. */
const SERIES_COUNTED_AT_ONCE = 1_024;

/** Tags: field number times 8 plus wire type. */
const REQUEST_SYMBOL = 34;
const REQUEST_SERIES = 42;
const REQUEST_FIRST_FIELD = 4;
const REQUEST_LAST_FIELD = 5;
const SERIES_REFS = 10;
const SERIES_REF = 8;
const SERIES_SAMPLE = 18;
const SERIES_HISTOGRAM = 26;
const SERIES_EXEMPLAR = 34;
const SERIES_METADATA = 42;
const SERIES_LAST_FIELD = 5;
const EXEMPLAR_REFS = 10;
const EXEMPLAR_REF = 8;
const EXEMPLAR_VALUE = 17;
const EXEMPLAR_TIMESTAMP = 24;
const METADATA_TYPE = 8;
const METADATA_HELP = 24;
const METADATA_UNIT = 32;
const METADATA_FIELDS: ReadonlySet<number> = new Set([1, 3, 4]);

/** Endings that the series of a metric carry, by its type. */
const FAMILY_ENDINGS: Readonly<Record<number, RegExp>> = {
  3: /_(?:bucket|count|sum)$/,
  4: /_(?:bucket|gcount|gsum)$/,
  5: /_(?:count|sum)$/,
};

/** A series that came before, and what was last said of its metric. */
interface KnownEntry extends GoodLabels {
  type: number;
  helpId: number;
  unitId: number;
}

/** What stands in the fields of a series, before its labels are looked up. */
interface SeriesFields {
  samples: number;
  histograms: number;
  exemplars: number;
  type: number;
  helpRef: number;
  unitRef: number;
}

/** Decodes requests, and remembers strings and series between them. */
export class RemoteWriteDecoder2 {
  readonly #symbols = new SymbolTable(KNOWN_SYMBOLS);
  readonly #known: KnownSeries<KnownEntry>;
  readonly #refs = new SymbolRefs();
  readonly #exemplarRefs = new SymbolRefs();
  /** Series whose metadata this request told first. */
  readonly #described: KnownEntry[] = [];
  readonly #ids = new Int32Array(SYMBOL_REFS_MAX);
  readonly #plainFields = { samples: 0, histograms: 0, exemplars: 0, type: 0, helpRef: 0, unitRef: 0 };
  readonly #idBytes = { bytes: new Uint8Array(this.#ids.buffer), view: new DataView(this.#ids.buffer) };

  readonly #refusalOf: (labels: Labels) => string | undefined;
  readonly #pairs = new PairRoom();

  constructor({ rememberedMax, refusalOf = () => undefined }: SeriesGate = {}) {
    this.#known = new KnownSeries(KNOWN_SERIES_BYTES, rememberedMax);
    this.#refusalOf = refusalOf;
  }

  /** Decodes a request. Nothing in the outcome refers to `bytes`. */
  decode(bytes: Uint8Array): RemoteWriteOutcome {
    const share = Math.min(bytes.length, KNOWN_SYMBOLS.bytesMax / 2);
    if (this.#symbols.isFull(share) || this.#known.isFull(share)) {
      this.#symbols.clear();
      this.#known.clear();
    }
    const outcome = outcomeOf(() => this.#decode(cursorOver(bytes)));
    this.#symbols.end();
    this.#pairs.end();
    // Of a malformed request nobody heard its metadata.
    if (outcome.kind === "malformed") for (const entry of this.#described) entry.type = -1;
    this.#described.length = 0;
    return outcome;
  }

  #decode(cursor: ProtobufCursor): RemoteWrite {
    const into = new WriteGatherer(2);
    const budget = wireBudget();
    this.#readSymbols(cursor, budget);
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag !== REQUEST_SERIES) {
        skipField(cursor, tag);
        continue;
      }
      const { at } = cursor;
      cursor.at = at - 1;
      this.#readPlainSeries(cursor, into, budget);
      if (cursor.at >= at) continue;
      cursor.at = at;
      this.#readSeries(cursor, into, budget);
    }
    return into.finish();
  }

  /** Reads all strings, which may stand after the series, and takes the units of the series. */
  #readSymbols(cursor: ProtobufCursor, budget: WireBudget): void {
    this.#symbols.begin(cursor);
    // Of a request that is too large, no string is looked up.
    if (cursor.end > LOOKED_UP_AT_ONCE_BYTES) this.#goThrough(cursor, wireBudget(), false);
    this.#goThrough(cursor, budget, true);
  }

  #goThrough(cursor: ProtobufCursor, budget: WireBudget, keeps: boolean): void {
    const { bytes, end } = cursor;
    const symbols = this.#symbols;
    let series = 0;
    while (cursor.at < end) {
      const { at } = cursor;
      const length = shortLength(bytes, at + 1);
      const from = at + 1 + lengthBytes(length);
      const to = from + length;
      // Most fields are series and short strings, and are told by their first bytes.
      if (length >= 0 && to <= end && bytes[at] === REQUEST_SERIES) {
        cursor.at = to;
        if (++series < SERIES_COUNTED_AT_ONCE) continue;
        takeUnits(budget, SERIES_UNITS * series, to);
        series = 0;
        continue;
      }
      if (length >= 0 && to <= end && bytes[at] === REQUEST_SYMBOL) {
        if (keeps) symbols.add(cursor, from, to);
        takeUnits(budget, symbolUnits(length), to);
        cursor.at = to;
        continue;
      }
      this.#passField(cursor, budget, keeps);
    }
    takeUnits(budget, SERIES_UNITS * series, end);
    cursor.at = 0;
  }

  #passField(cursor: ProtobufCursor, budget: WireBudget, keeps: boolean): void {
    const tag = readTag(cursor);
    if (tag >>> 3 >= REQUEST_FIRST_FIELD) expectBytes(tag, REQUEST_LAST_FIELD, cursor);
    const start = cursor.at;
    if (keeps && tag === REQUEST_SYMBOL) this.#symbols.read(cursor);
    else skipField(cursor, tag);
    // The first byte of an empty string's length is all of it.
    const units = tag === REQUEST_SYMBOL ? symbolUnits(cursor.at - start - 1) : 1;
    takeUnits(budget, tag === REQUEST_SERIES ? SERIES_UNITS : units, cursor.at);
  }

  #readSeries(cursor: ProtobufCursor, into: WriteGatherer, budget: WireBudget): void {
    const outer = enterMessage(cursor);
    const start = cursor.at;
    const fields = this.#survey(cursor, budget);
    const { samples, histograms, exemplars } = fields;
    into.receive(samples, histograms, exemplars);
    const columns = seriesColumns(samples, histograms);
    const entry = this.#entryOf(fields, into, budget);
    cursor.at = start;
    const kept = this.#readColumns(cursor, { columns, labels: entry?.labels, into, budget });
    if (entry !== undefined) {
      into.add(entry, columns, kept);
      this.#describe(entry, fields, into);
    }
    leaveMessage(cursor, outer);
  }

  /**
   * Reads known series as long as each is in the form that senders write, with plain samples. The cursor stands after the
   * last.
   */
  #readPlainSeries(cursor: ProtobufCursor, into: WriteGatherer, budget: WireBudget): void {
    if (!into.takesRows) return;
    const { bytes, end } = cursor;
    const known = this.#known;
    const { rows } = into;
    const places = { bytes, table: this.#symbols.ids, count: this.#symbols.count };
    const before = rows.count;
    let count = before;
    let done = cursor.at;
    while (bytes[done] === REQUEST_SERIES) {
      const length = shortLength(bytes, done + 1);
      // Longer ones are left to who reads all forms.
      if (length < 0) break;
      const start = done + 1 + lengthBytes(length);
      const to = start + length;
      const refsBytes = shortLength(bytes, start + 1);
      const refsFrom = start + 1 + lengthBytes(refsBytes);
      const refsEnd = refsFrom + refsBytes;
      if (to > end || bytes[start] !== SERIES_REFS || refsBytes < 0 || refsEnd > to) break;
      const entry = known.expectedWords(places, refsFrom, refsEnd) ?? this.#knownByRefs(places, refsFrom, refsEnd);
      if (entry === undefined) break;
      cursor.at = refsEnd;
      cursor.end = to;
      if (readPlainSamples(cursor, entry, into) === 0) break;
      if (!this.#readPlainMetadata(cursor, entry, into)) break;
      entry.lasting = true;
      count = rows.count;
      done = to;
    }
    leavePlainSeries(cursor, into, budget, { before, count, done, end });
  }

  /** Reads metadata that ends a series, or none at its end. @returns Whether there is nothing else; else nothing is told. */
  #readPlainMetadata(cursor: ProtobufCursor, entry: KnownEntry, into: WriteGatherer): boolean {
    const { bytes, at, end } = cursor;
    const { count } = this.#symbols;
    if (this.#saysTheSame(bytes, at, end, entry)) return true;
    const fields = this.#plainFields;
    fields.type = 0;
    fields.helpRef = 0;
    fields.unitRef = 0;
    if (at < end && bytes[at] === SERIES_METADATA) {
      cursor.at++;
      readMetadata(cursor, fields);
    }
    if (cursor.at !== end || fields.helpRef >= count || fields.unitRef >= count) return false;
    this.#describe(entry, fields, into);
    return true;
  }

  /** Whether `[at, end)` is metadata in the most common form, a type and a help of one or two bytes, as it was told last. */
  #saysTheSame(bytes: Uint8Array, at: number, end: number, entry: KnownEntry): boolean {
    if (at + 6 > end || bytes[at] !== SERIES_METADATA || bytes[at + 1] !== end - at - 2) return false;
    if (bytes[at + 2] !== METADATA_TYPE || bytes[at + 3] !== entry.type || entry.type >= 0x80) return false;
    if (bytes[at + 4] !== METADATA_HELP) return false;
    let helpRef = bytes[at + 5] as number; // in range: checked above, here and below
    let next = at + 6;
    if (helpRef >= 0x80) {
      const high = next < end ? (bytes[next++] as number) : 0x80;
      if (high >= 0x80) return false;
      helpRef = (helpRef & 0x7f) | (high << 7);
    }
    const { ids, count } = this.#symbols;
    if (next !== end || helpRef >= count || entry.helpId < 0) return false;
    return ids[helpRef] === entry.helpId && ids[0] === entry.unitId;
  }

  /** The known series that packed references name; else undefined. */
  #knownByRefs({ bytes, table, count: symbols }: WordPlaces, start: number, end: number): KnownEntry | undefined {
    const ids = this.#ids;
    let count = 0;
    let at = start;
    while (at < end) {
      let ref = bytes[at++] as number; // in range: before `end`
      if (ref >= 0x80) {
        const next = at < end ? (bytes[at++] as number) : 0x80; // in range, as above
        ref = (ref & 0x7f) | ((next & 0x7f) << 7);
        if (next >= 0x80) {
          const last = at < end ? (bytes[at++] as number) : 0x80; // in range, as above
          if (last >= 0x80) return undefined;
          ref |= last << 14;
        }
      }
      const id = ref < symbols ? (table[ref] as number) : -1; // in range, as above
      if (id < 0 || count === SYMBOL_REFS_MAX) return undefined;
      ids[count++] = id;
    }
    return count % 2 === 0 ? this.#known.find(this.#idBytes, 0, 4 * count) : undefined;
  }

  /** Looks over a series: gathers references and metadata, and takes the units of the rest. */
  #survey(cursor: ProtobufCursor, budget: WireBudget): SeriesFields {
    const fields = { samples: 0, histograms: 0, exemplars: 0, type: 0, helpRef: 0, unitRef: 0 };
    this.#refs.clear();
    while (cursor.at < cursor.end) {
      const fieldAt = cursor.at;
      const tag = readTag(cursor);
      if (tag === SERIES_REFS) this.#refs.readPacked(cursor);
      else if (tag === SERIES_REF) this.#refs.push(readVarint32(cursor));
      else if (tag === SERIES_METADATA) readMetadata(cursor, fields);
      else {
        expectBytes(tag, SERIES_LAST_FIELD, cursor);
        skipField(cursor, tag);
        if (tag === SERIES_SAMPLE) {
          takeUnits(budget, sampleUnits(cursor.at - fieldAt), cursor.at);
          fields.samples++;
        } else if (tag === SERIES_HISTOGRAM) {
          takeUnits(budget, HISTOGRAM_UNITS, cursor.at);
          fields.histograms++;
        } else if (tag === SERIES_EXEMPLAR) {
          takeUnits(budget, EXEMPLAR_UNITS, cursor.at);
          fields.exemplars++;
        }
      }
    }
    return fields;
  }

  /** The series that a message is about; undefined where it has to be left out, which is then told. */
  #entryOf(fields: SeriesFields, into: WriteGatherer, budget: WireBudget): KnownEntry | undefined {
    const { samples, histograms, exemplars, helpRef, unitRef } = fields;
    const counts = { samples: samples + histograms, exemplars };
    const leaveOut = (reason: "labels_invalid" | "metadata_invalid", text: string) => {
      into.rejectSeries({ reason, text }, [], counts);
      return undefined;
    };
    const refs = this.#refs;
    const fault = refs.fault(this.#symbols.count);
    if (fault !== "") return leaveOut("labels_invalid", `parsing labels for series ${refs.shown()}: ${fault}`);
    const { count } = this.#symbols;
    const outside = (name: string, ref: number) =>
      leaveOut(
        "metadata_invalid",
        `parsing metadata for series ${refs.shown()}: metadata ${name} ${ref} outside of symbols table (size ${count})`,
      );
    if (unitRef >= count) return outside("unit_ref", unitRef);
    if (helpRef >= count) return outside("help_ref", helpRef);
    const entry = this.#lookUp(budget);
    // One with exemplars alone is how Prometheus sends them, though its own receiver refuses it.
    const isEmpty = samples + histograms + exemplars === 0;
    if ("reason" in entry && !(isEmpty && entry.reason === "series_max")) {
      into.rejectSeries(entry, this.#pairs.pairs, counts);
      return undefined;
    }
    if (!isEmpty && !("reason" in entry)) return entry;
    const labels = "reason" in entry ? this.#pairs.pairs : entry.labels;
    into.fault(`TimeSeries must contain at least one sample or histogram for series ${labelsText(labels)}`);
    return undefined;
  }

  #lookUp(budget: WireBudget): KnownEntry | SeriesFault {
    const refs = this.#refs;
    const count = refs.keptCount;
    let isKnowable = true;
    for (let at = 0; at < count; at++) {
      const id = this.#symbols.id(refs.at(at));
      if (id < 0) isKnowable = false;
      this.#ids[at] = id;
    }
    const known = isKnowable ? this.#known.find(this.#idBytes, 0, 4 * count) : undefined;
    if (known !== undefined) {
      known.lasting = true;
      return known;
    }
    const made = this.#makeEntry(budget);
    if (isKnowable && !("reason" in made)) this.#known.keep(this.#idBytes, { start: 0, end: 4 * count }, made);
    return made;
  }

  #makeEntry(budget: WireBudget): KnownEntry | SeriesFault {
    const refs = this.#refs;
    takeUnits(budget, refs.keptCount / 2, 0);
    const pairs = this.#pairs;
    pairs.begin();
    let isUtf8 = true;
    for (let at = 0; at < refs.keptCount; at += 2) {
      const name = this.#symbols.symbol(refs.at(at));
      const value = this.#symbols.symbol(refs.at(at + 1));
      if (!name.isUtf8 || !value.isUtf8) isUtf8 = false;
      const pair = pairs.add();
      pair[0] = name.text;
      pair[1] = value.text;
    }
    const checked = checkPairs(pairs.pairs, isUtf8, this.#refusalOf);
    return "reason" in checked ? checked : { ...checked, type: -1, helpId: -1, unitId: -1 };
  }

  /** Tells the metadata of a series where it is not what was told last. */
  #describe(entry: KnownEntry, { type, helpRef, unitRef }: SeriesFields, into: WriteGatherer): void {
    const helpId = this.#symbols.id(helpRef);
    const unitId = this.#symbols.id(unitRef);
    if (entry.type === type && entry.helpId === helpId && entry.unitId === unitId && helpId >= 0) return;
    entry.type = type;
    entry.helpId = helpId;
    entry.unitId = unitId;
    this.#described.push(entry);
    const help = this.#symbols.symbol(helpRef).text;
    const unit = this.#symbols.symbol(unitRef).text;
    if (type === 0 && help === "" && unit === "") return;
    const ending = FAMILY_ENDINGS[type];
    const name = entry.labels.find(([label]) => label === "__name__")?.[1] ?? "";
    into.describe(ending === undefined ? name : name.replace(ending, ""), type, { help, unit });
  }

  #readColumns(cursor: ProtobufCursor, { columns, labels, into, budget }: ColumnSink): Exemplar[] | undefined {
    let exemplars: Exemplar[] | undefined;
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag === SERIES_SAMPLE) readSample(cursor, columns);
      else if (tag === SERIES_HISTOGRAM) {
        if (readHistogramSample(cursor, columns, budget)) into.staleHistograms++;
      } else if (tag === SERIES_EXEMPLAR) {
        const exemplar = this.#readExemplar(cursor, labels, { into, budget });
        exemplars ??= [];
        if (exemplar !== undefined) exemplars.push(exemplar);
      } else skipField(cursor, tag);
    }
    return exemplars;
  }

  /** @param series Labels of the series it belongs to; undefined where that is left out anyway. */
  #readExemplar(
    cursor: ProtobufCursor,
    series: Labels | undefined,
    { into, budget }: ExemplarSink,
  ): Exemplar | undefined {
    const outer = enterMessage(cursor);
    const refs = this.#exemplarRefs;
    refs.clear();
    let value = 0;
    let timestampMs = 0;
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag === EXEMPLAR_REFS) refs.readPacked(cursor);
      else if (tag === EXEMPLAR_REF) refs.push(readVarint32(cursor));
      else if (tag === EXEMPLAR_VALUE) value = readDouble(cursor);
      else if (tag === EXEMPLAR_TIMESTAMP) timestampMs = readInt64Number(cursor);
      else if (tag >>> 3 <= 3) throw new WireError(`wire type ${tag & 7} in an exemplar`, cursor.at);
      else skipField(cursor, tag);
    }
    leaveMessage(cursor, outer);
    if (series === undefined) return undefined;
    const fault = refs.count > SYMBOL_REFS_MAX ? "too many labels" : refs.fault(this.#symbols.count);
    if (fault !== "") {
      into.rejectExemplar("labels_invalid", `parsing exemplar for series ${labelsText(series)}: ${fault}`);
      return undefined;
    }
    takeUnits(budget, refs.keptCount / 2, cursor.at);
    const pairs: [string, string][] = [];
    for (let at = 0; at < refs.keptCount; at += 2) {
      pairs.push([this.#symbols.symbol(refs.at(at)).text, this.#symbols.symbol(refs.at(at + 1)).text]);
    }
    return { labels: sortedExemplarLabels(pairs), value, timestampMs };
  }
}

interface ExemplarSink {
  readonly into: WriteGatherer;
  readonly budget: WireBudget;
}

interface ColumnSink extends ExemplarSink {
  readonly columns: SeriesColumns;
  readonly labels: Labels | undefined;
}

function readMetadata(cursor: ProtobufCursor, fields: SeriesFields): void {
  const outer = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === METADATA_TYPE) fields.type = readVarint32(cursor);
    else if (tag === METADATA_HELP) fields.helpRef = readVarint32(cursor);
    else if (tag === METADATA_UNIT) fields.unitRef = readVarint32(cursor);
    else if (METADATA_FIELDS.has(tag >>> 3)) throw new WireError(`wire type ${tag & 7} in metadata`, cursor.at);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outer);
}
