/**
 * Remote write 1.0: `prometheus.WriteRequest` → series to append.
 *
 * @see https://prometheus.io/docs/specs/prw/remote_write_spec/
 */

import type { Exemplar, Labels } from "../model/series.ts";
import {
  cursorOver,
  enterMessage,
  leaveMessage,
  type ProtobufCursor,
  readDouble,
  readInt64Number,
  readTag,
  readText,
  readTextHead,
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
  LABEL_BYTES_MAX,
  type Pair,
  PairRoom,
  type SeriesFault,
  type SeriesGate,
} from "./series-labels.ts";
import {
  EXEMPLAR_UNITS,
  HISTOGRAM_UNITS,
  labelUnits,
  needUnits,
  SERIES_UNITS,
  sampleUnits,
  takeUnits,
  type WireBudget,
  wireBudget,
} from "./wire-budget.ts";
import { WireError } from "./wire-error.ts";

/** Bytes of labels of a series that is known again, on average at most. */
const KNOWN_SERIES_BYTES = 192;

/** Tags: field number times 8 plus wire type. */
const REQUEST_SERIES = 10;
const REQUEST_METADATA = 26;
const REQUEST_RESERVED_FIELD = 2;
const REQUEST_LAST_FIELD = 3;
const SERIES_LABEL = 10;
/** Bytes of the labels of a series that are remembered. */
const KNOWN_LABELS_BYTES_MAX = 65_536;
/** Tag and length of a short one. */
const LABEL_HEAD_BYTES = 2;
const SERIES_SAMPLE = 18;
const SERIES_EXEMPLAR = 26;
const SERIES_HISTOGRAM = 34;
const SERIES_LAST_FIELD = 4;
const LABEL_NAME = 10;
const LABEL_VALUE = 18;
const EXEMPLAR_LABEL = 10;
const EXEMPLAR_VALUE = 17;
const EXEMPLAR_TIMESTAMP = 24;
const METADATA_TYPE = 8;
const METADATA_NAME = 18;
const METADATA_HELP = 34;
const METADATA_UNIT = 42;
const METADATA_FIELDS: ReadonlySet<number> = new Set([1, 2, 4, 5]);

/** Decodes requests, and remembers the labels of series between them. */
export class RemoteWriteDecoder1 {
  readonly #known: KnownSeries<GoodLabels>;

  readonly #refusalOf: (labels: Labels) => string | undefined;
  readonly #pairs = new PairRoom();

  constructor({ rememberedMax, refusalOf = () => undefined }: SeriesGate = {}) {
    this.#known = new KnownSeries(KNOWN_SERIES_BYTES, rememberedMax);
    this.#refusalOf = refusalOf;
  }

  /** Decodes a request. Nothing in the outcome refers to `bytes`. */
  decode(bytes: Uint8Array): RemoteWriteOutcome {
    if (this.#known.isFull(Math.min(bytes.length, this.#known.bytesMax / 2))) this.#known.clear();
    const outcome = outcomeOf(() => this.#decode(cursorOver(bytes)));
    this.#pairs.end();
    return outcome;
  }

  #decode(cursor: ProtobufCursor): RemoteWrite {
    const into = new WriteGatherer(1);
    const budget = wireBudget();
    // Most requests end with the last of these.
    this.#readPlainSeries(cursor, into, budget, SERIES_UNITS);
    countFields(cursor, budget);
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag === REQUEST_SERIES) {
        this.#readSeries(cursor, into, budget);
        this.#readPlainSeries(cursor, into, budget, 0);
      } else if (tag === REQUEST_METADATA) readMetadata(cursor, into);
      else skipField(cursor, tag);
    }
    return into.finish();
  }

  #readSeries(cursor: ProtobufCursor, into: WriteGatherer, budget: WireBudget): void {
    const outer = enterMessage(cursor);
    const shape = surveySeries(cursor, budget);
    const { samples, histograms, exemplars } = shape;
    into.receive(samples, histograms, exemplars);
    const labels = this.#labelsOf(cursor, shape, budget);
    const isRefused = "reason" in labels;
    if (isRefused) into.rejectSeries(labels, this.#pairs.pairs, { samples: samples + histograms, exemplars });
    if (samples + histograms + exemplars > 0) {
      // Read even where it is left out: a request that cannot be decoded to its end is refused whole.
      const columns = seriesColumns(shape.samples, shape.histograms);
      const kept = readColumns(cursor, { shape, columns, into, budget });
      if (!isRefused) into.add(labels, columns, kept);
    }
    leaveMessage(cursor, outer);
  }

  /**
   * Reads series as long as each is the one expected next and has but plain samples. The cursor stands after the last.
   *
   * @param units Of a series, where they are not taken yet.
   */
  #readPlainSeries(cursor: ProtobufCursor, into: WriteGatherer, budget: WireBudget, units: number): void {
    if (!into.takesRows) return;
    const { bytes, end } = cursor;
    const known = this.#known;
    const { rows } = into;
    const before = rows.count;
    let count = before;
    let done = cursor.at;
    while (bytes[done] === REQUEST_SERIES) {
      const length = shortLength(bytes, done + 1);
      // Longer ones are left to who reads all forms.
      if (length < 0) break;
      const start = done + 1 + lengthBytes(length);
      const to = start + length;
      if (to > end) break;
      const entry = known.expected(cursor, start, to);
      if (entry === undefined) break;
      cursor.at = known.expectedEnd;
      cursor.end = to;
      if (readPlainSamples(cursor, entry, into) === 0 || cursor.at !== to) break;
      takeUnits(budget, units, to);
      entry.lasting = true;
      count = rows.count;
      done = to;
    }
    leavePlainSeries(cursor, into, budget, { before, count, done, end });
  }

  #labelsOf(cursor: ProtobufCursor, shape: SeriesShape, budget: WireBudget): GoodLabels | SeriesFault {
    const { start, labelsEnd, isContiguous } = shape;
    // Labels that are too long are not looked for: that would go through all of them.
    const isKnowable = isContiguous && labelsEnd - start <= KNOWN_LABELS_BYTES_MAX;
    if (!isContiguous) return this.#readLabels(cursor, { start, end: cursor.end, budget });
    const known = isKnowable ? this.#known.find(cursor, start, labelsEnd) : undefined;
    if (known !== undefined) {
      known.lasting = true;
      return known;
    }
    const range = { start, end: labelsEnd, budget };
    const read = this.#readLabels(cursor, range);
    if (isKnowable && !("reason" in read)) this.#known.keep(cursor, range, read);
    return read;
  }

  /** Reads the labels among the fields in `[start, end)`. */
  #readLabels(cursor: ProtobufCursor, { start, end, budget }: LabelRange): GoodLabels | SeriesFault {
    const outerEnd = cursor.end;
    const repairedBefore = cursor.textRepaired;
    const pairs = this.#pairs;
    cursor.at = start;
    cursor.end = end;
    pairs.begin();
    while (cursor.at < end) {
      const tag = readTag(cursor);
      if (tag === SERIES_LABEL) readLabel(cursor, budget, pairs.add());
      else skipField(cursor, tag);
    }
    cursor.end = outerEnd;
    return checkPairs(pairs.pairs, cursor.textRepaired === repairedBefore, this.#refusalOf);
  }
}

/** Takes the units of all further series and metadata before any is built, and looks at the wire types. */
function countFields(cursor: ProtobufCursor, budget: WireBudget): void {
  const start = cursor.at;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag >>> 3 !== REQUEST_RESERVED_FIELD) expectBytes(tag, REQUEST_LAST_FIELD, cursor);
    takeUnits(budget, SERIES_UNITS, cursor.at);
    skipField(cursor, tag);
  }
  cursor.at = start;
}

/** Where the labels of a series stand, and how much else it has. */
interface SeriesShape {
  readonly start: number;
  /** End of the labels that stand at the start. */
  readonly labelsEnd: number;
  /** False where labels come after other fields. */
  readonly isContiguous: boolean;
  readonly samples: number;
  readonly histograms: number;
  readonly exemplars: number;
}

/** Looks over a series, and takes the units of what it holds beside labels. */
function surveySeries(cursor: ProtobufCursor, budget: WireBudget): SeriesShape {
  const start = cursor.at;
  let labelsEnd = start;
  let isContiguous = true;
  let samples = 0;
  let histograms = 0;
  let exemplars = 0;
  let units = 0;
  while (cursor.at < cursor.end) {
    const fieldAt = cursor.at;
    const tag = readTag(cursor);
    expectBytes(tag, SERIES_LAST_FIELD, cursor);
    skipField(cursor, tag);
    if (tag === SERIES_LABEL) {
      // Taken where they are read: those of a series that came before are not.
      units += labelUnits(cursor.at - fieldAt - LABEL_HEAD_BYTES);
      needUnits(budget, units, cursor.at);
      if (labelsEnd === fieldAt) labelsEnd = cursor.at;
      else isContiguous = false;
    } else if (tag === SERIES_SAMPLE) {
      takeUnits(budget, sampleUnits(cursor.at - fieldAt), cursor.at);
      samples++;
    } else if (tag === SERIES_EXEMPLAR) {
      takeUnits(budget, EXEMPLAR_UNITS, cursor.at);
      exemplars++;
    } else if (tag === SERIES_HISTOGRAM) {
      takeUnits(budget, HISTOGRAM_UNITS, cursor.at);
      histograms++;
    }
  }
  return { start, labelsEnd, isContiguous, samples, histograms, exemplars };
}

interface ColumnSink {
  readonly shape: SeriesShape;
  readonly columns: SeriesColumns;
  readonly into: WriteGatherer;
  readonly budget: WireBudget;
}

function readColumns(cursor: ProtobufCursor, { shape, columns, into, budget }: ColumnSink): Exemplar[] | undefined {
  let exemplars: Exemplar[] | undefined;
  cursor.at = shape.labelsEnd;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === SERIES_SAMPLE) readSample(cursor, columns);
    else if (tag === SERIES_HISTOGRAM) {
      if (readHistogramSample(cursor, columns, budget)) into.staleHistograms++;
    } else if (tag === SERIES_EXEMPLAR) {
      exemplars ??= [];
      exemplars.push(readExemplar(cursor, budget));
    } else skipField(cursor, tag);
  }
  return exemplars;
}

interface LabelRange {
  readonly start: number;
  readonly end: number;
  readonly budget: WireBudget;
}

/** Reads a label into `pair`, whatever is in it. */
function readLabel(cursor: ProtobufCursor, budget: WireBudget, pair: Pair): void {
  const outer = enterMessage(cursor);
  takeUnits(budget, labelUnits(cursor.end - cursor.at), cursor.at);
  pair[0] = "";
  pair[1] = "";
  // Of a text that comes twice the last one counts, and so does only its being text.
  let nameRepaired = 0;
  let valueRepaired = 0;
  const repairedBefore = cursor.textRepaired;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === LABEL_NAME || tag === LABEL_VALUE) {
      cursor.textRepaired = 0;
      pair[tag === LABEL_NAME ? 0 : 1] = readTextHead(cursor, LABEL_BYTES_MAX);
      if (tag === LABEL_NAME) nameRepaired = cursor.textRepaired;
      else valueRepaired = cursor.textRepaired;
    } else {
      expectBytes(tag, 2, cursor);
      skipField(cursor, tag);
    }
  }
  cursor.textRepaired = repairedBefore + nameRepaired + valueRepaired;
  leaveMessage(cursor, outer);
}

function readExemplar(cursor: ProtobufCursor, budget: WireBudget): Exemplar {
  const outer = enterMessage(cursor);
  const pairs: Pair[] = [];
  let value = 0;
  let timestampMs = 0;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === EXEMPLAR_LABEL) {
      const pair: Pair = ["", ""];
      readLabel(cursor, budget, pair);
      pairs.push(pair);
    } else if (tag === EXEMPLAR_VALUE) value = readDouble(cursor);
    else if (tag === EXEMPLAR_TIMESTAMP) timestampMs = readInt64Number(cursor);
    else if (tag >>> 3 <= 3) throw new WireError(`wire type ${tag & 7} in an exemplar`, cursor.at);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outer);
  return { labels: sortedExemplarLabels(pairs), value, timestampMs };
}

function readMetadata(cursor: ProtobufCursor, into: WriteGatherer): void {
  const outer = enterMessage(cursor);
  let type = 0;
  let name = "";
  let help = "";
  let unit = "";
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === METADATA_TYPE) type = readVarint32(cursor);
    else if (tag === METADATA_NAME) name = readText(cursor);
    else if (tag === METADATA_HELP) help = readText(cursor);
    else if (tag === METADATA_UNIT) unit = readText(cursor);
    else if (METADATA_FIELDS.has(tag >>> 3)) throw new WireError(`wire type ${tag & 7} in metadata`, cursor.at);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outer);
  into.describe(name, type, { help, unit });
}
