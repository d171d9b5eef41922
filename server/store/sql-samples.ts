/**
 * `samples()` in SQL: what a statement asks for is gathered encoded before it runs, and decoded series by series while
 * the engine reads it, only the columns that it wants.
 *
 * Invariants: what a call gathered stays until its statement is over; a scan keeps its own place, so that one call may be
 * read several times; texts lie in the statement's pad, which goes back when nothing reads them any more.
 */

import {
  BIGINT,
  DOUBLE,
  type DuckDBConnection,
  DuckDBTableFunction,
  type DuckDBTableFunctionInfo,
  type DuckDBTableFunctionInitInfo,
  VARCHAR,
} from "@duckdb/node-api";
import duckdb from "@duckdb/node-bindings";
import { ThalwegError } from "../model/errors.ts";
import type { NativeHistogram } from "../model/histogram.ts";
import { parseSampleTimeMs } from "../model/sample-time.ts";
import type { Matcher } from "../model/series.ts";
import { SAMPLES_SOURCE } from "../model/sql-tables.ts";
import { CHUNK_ROWS_MAX, copyOut, StringBuffer, Validity } from "./chunk-columns.ts";
import { columnType } from "./column-types.ts";
import { isStale, type SampleRun } from "./metric-chunk.ts";
import type { EncodedSeries, EncodedWindow } from "./metric-reader.ts";
import type { SamplesCalls, SqlValue } from "./reader.ts";
import { givePad, type StagePad, takePad } from "./stage-pad.ts";
import { type PlacedText, placeText, STRING_WORDS } from "./text-heap.ts";

/** Samples that all calls of one statement read, decoded one series at a time. */
const SAMPLES_MAX = 50_000_000;
/** Memory of a label that is placed, beside its bytes, and of a series. */
const TEXT_BYTES = 32;
const SERIES_BYTES = 300;
const HIGH_WORD = 2 ** 32;
const MAP_TYPE = "MAP(VARCHAR, VARCHAR)";
/** Columns of the function, in order. */
const COLUMNS = ["name", "labels", "time_ms", "value", "histogram"] as const;
type Column = (typeof COLUMNS)[number];

/** Finds samples that are still encoded. */
export type SelectEncoded = (matchers: readonly Matcher[], window: EncodedWindow) => Promise<EncodedSeries[]>;

/** What one call gathered. */
interface GatheredSamples {
  readonly series: readonly EncodedSeries[];
  readonly text: PlacedText;
  /** Places in `text`: of each series the name, then names and values of its labels. */
  readonly texts: Uint32Array;
  /** Where those of a series start in `texts`. */
  readonly textsFrom: Uint32Array;
  readonly printHistogram: (histogram: NativeHistogram) => string;
}

/** A scan's place, and the columns it is asked for. */
interface Scan {
  readonly samples: GatheredSamples;
  /** Undefined where the engine asks only how many rows there are. */
  readonly columns: readonly (Column | undefined)[];
  /** The series after the one whose samples are given out. */
  next: number;
  run: SampleRun | undefined;
  row: number;
}

/** Calls of statements that run. One for each instance. */
export class SqlSamples {
  readonly #select: SelectEncoded;
  readonly #bytesMax: number;
  readonly #gathered = new Map<number, GatheredSamples>();

  /** @param bytesMax Memory that the samples and labels of one statement may take. */
  constructor(select: SelectEncoded, bytesMax: number) {
    this.#select = select;
    this.#bytesMax = bytesMax;
  }

  /** Makes the function known to all connections of the instance. */
  register(connection: DuckDBConnection): void {
    connection.registerTableFunction(
      DuckDBTableFunction.create({
        name: SAMPLES_SOURCE,
        parameterTypes: [BIGINT],
        supportsProjectionPushdown: true,
        bindFunction: (info) => {
          const samples = this.#gathered.get(Number(info.getParameter(0)));
          if (samples === undefined) info.setError("nothing was gathered for this call");
          else info.setBindData(samples);
          for (const column of COLUMNS) info.addResultColumn(column, typeOf(column));
        },
        initFunction: startScan,
        mainFunction: (info, { chunk }) => fill(info, chunk),
      }),
    );
  }

  /**
   * Gathers what the calls of a statement read.
   *
   * @param times The row that `calls.times` gave.
   * @returns Bytes that are kept for it, and what is to be called when the statement is over.
   * @throws ThalwegError `sql_samples_max`, or `query_failed` where a time is none.
   */
  async gather(
    calls: SamplesCalls,
    times: readonly SqlValue[],
    signal: AbortSignal,
  ): Promise<{ readonly bytes: number; readonly release: () => void }> {
    const budget = new SampleBudget(this.#bytesMax);
    const pads: StagePad[] = [];
    const release = () => {
      for (const { token } of calls.calls) this.#gathered.delete(token);
      for (const pad of pads) givePad(pad);
    };
    try {
      for (const [i, { token, matchers }] of calls.calls.entries()) {
        const window = {
          minMs: Math.ceil(timeMs(times[2 * i])),
          maxMs: Math.floor(timeMs(times[2 * i + 1])),
          budget,
          signal,
        };
        const series = await this.#select(matchers, window);
        const pad = takePad();
        pads.push(pad);
        this.#gathered.set(token, {
          series,
          ...placeLabels(series, budget, pad),
          printHistogram: calls.printHistogram,
        });
      }
    } catch (error) {
      release();
      throw error;
    }
    return { bytes: budget.bytes, release };
  }
}

function timeMs(value: SqlValue | undefined): number {
  const ms = parseSampleTimeMs(value);
  if (ms !== undefined) return ms;
  const why = `samples() cannot take ${JSON.stringify(value)} as a time: it takes a TIMESTAMP, a Unix time or RFC 3339`;
  throw new ThalwegError("query_failed", { why });
}

/** Counts what is kept. */
class SampleBudget {
  readonly #bytesMax: number;
  #samples = 0;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(samples: number, bytes: number): void {
    this.#samples += samples;
    this.#bytes += bytes;
    if (this.#samples > SAMPLES_MAX) {
      throw new ThalwegError("sql_samples_max", { asked: this.#samples, unit: "samples", max: SAMPLES_MAX });
    }
    if (this.#bytes > this.#bytesMax) {
      throw new ThalwegError("sql_samples_max", { asked: this.#bytes, unit: "bytes", max: this.#bytesMax });
    }
  }
}

/** Places each text once, since series share most of them. */
function placeLabels(
  series: readonly EncodedSeries[],
  budget: SampleBudget,
  pad: StagePad,
): Pick<GatheredSamples, "text" | "texts" | "textsFrom"> {
  const known = new Map<string, number>();
  const numberOf = (text: string): number => {
    const number = known.get(text) ?? known.size;
    if (number === known.size) {
      known.set(text, number);
      budget.add(0, 3 * text.length + TEXT_BYTES);
    }
    return number;
  };
  const texts: number[] = [];
  const textsFrom = new Uint32Array(series.length + 1);
  for (const [i, { labels }] of series.entries()) {
    budget.add(0, SERIES_BYTES);
    texts.push(numberOf(labels.find(([name]) => name === "__name__")?.[1] ?? ""));
    for (const [name, value] of labels) if (name !== "__name__") texts.push(numberOf(name), numberOf(value));
    textsFrom[i + 1] = texts.length;
  }
  return { text: placeText([...known.keys()], pad), textsFrom, texts: Uint32Array.from(texts) };
}

function typeOf(column: Column) {
  if (column === "labels") return columnType(MAP_TYPE);
  if (column === "time_ms") return BIGINT;
  return column === "value" ? DOUBLE : VARCHAR;
}

function startScan(info: DuckDBTableFunctionInitInfo): void {
  info.setMaxThreads(1);
  const scan: Scan = {
    samples: info.bindData as GatheredSamples, // put there by the function that binds
    columns: info.getColumnIndexes().map((index) => COLUMNS[index]),
    next: 0,
    run: undefined,
    row: 0,
  };
  info.setInitData(scan);
}

/** Rows of one chunk; functions of the engine run one at a time. */
const rowSeries = new Uint32Array(CHUNK_ROWS_MAX);
const rowTimes = new Uint32Array(2 * CHUNK_ROWS_MAX);
const rowValues = new Float64Array(CHUNK_ROWS_MAX);
const rowHistograms: (NativeHistogram | undefined)[] = [];

function fill(info: DuckDBTableFunctionInfo, chunk: duckdb.DataChunk): void {
  const scan = info.initData as Scan; // put there when the scan started
  try {
    const rows = takeRows(scan);
    duckdb.data_chunk_set_size(chunk, rows);
    if (rows === 0) return;
    for (const [at, column] of scan.columns.entries()) {
      if (column !== undefined) writeColumn(scan.samples, column, duckdb.data_chunk_get_vector(chunk, at), rows);
    }
  } catch (error) {
    info.setError(error instanceof Error ? error.message : String(error));
  }
}

/** Gathers the next rows; stale markers are no samples. @returns How many; 0 is the end. */
function takeRows(scan: Scan): number {
  let rows = 0;
  rowHistograms.length = 0;
  while (rows < CHUNK_ROWS_MAX) {
    if (scan.run === undefined || scan.row === scan.run.timestampsMs.length) {
      const series = scan.samples.series[scan.next];
      if (series === undefined) break;
      scan.run = series.decode();
      scan.next++;
      scan.row = 0;
      continue;
    }
    const { timestampsMs, values, histograms } = scan.run;
    const value = values[scan.row] as number; // in range: looked at above, as is the time
    const ms = timestampsMs[scan.row] as number;
    const histogram = histograms?.[scan.row];
    scan.row++;
    if (histogram === undefined && isStale(value)) continue;
    rowSeries[rows] = scan.next - 1;
    rowTimes[2 * rows] = ms >>> 0;
    rowTimes[2 * rows + 1] = Math.floor(ms / HIGH_WORD) >>> 0;
    rowValues[rows] = value;
    if (histogram !== undefined) rowHistograms[rows] = histogram;
    rows++;
  }
  return rows;
}

function writeColumn(samples: GatheredSamples, column: Column, vector: duckdb.Vector, rows: number): void {
  switch (column) {
    case "name":
      writeNames(samples, vector, rows);
      break;
    case "labels":
      writeLabels(samples, vector, rows);
      break;
    case "time_ms":
      copyOut(vector, rowTimes, 2 * rows);
      break;
    case "value":
      writeValues(vector, rows);
      break;
    case "histogram":
      writeHistograms(samples, vector, rows);
      break;
  }
}

function writeNames({ text, texts, textsFrom }: GatheredSamples, vector: duckdb.Vector, rows: number): void {
  const out = new StringBuffer();
  for (let row = 0; row < rows; row++) {
    out.copy(row, text.words, texts[textsFrom[rowSeries[row] ?? 0] ?? 0] ?? 0);
  }
  out.flush(vector, rows);
}

/** A MAP is a list of key and value pairs: per row offset and length, then all keys and all values of the chunk. */
function writeLabels({ text, texts, textsFrom }: GatheredSamples, vector: duckdb.Vector, rows: number): void {
  const lists = new Uint32Array(4 * rows);
  let entries = 0;
  for (let row = 0; row < rows; row++) {
    const series = rowSeries[row] ?? 0;
    const pairs = ((textsFrom[series + 1] ?? 0) - (textsFrom[series] ?? 0) - 1) / 2;
    lists[4 * row] = entries;
    lists[4 * row + 2] = pairs;
    entries += pairs;
  }
  const keys = new Uint32Array(entries * STRING_WORDS);
  const values = new Uint32Array(entries * STRING_WORDS);
  let entry = 0;
  for (let row = 0; row < rows; row++) {
    const series = rowSeries[row] ?? 0;
    const end = textsFrom[series + 1] ?? 0;
    for (let at = (textsFrom[series] ?? 0) + 1; at < end; at += 2) {
      copyString(text.words, texts[at] ?? 0, keys, entry);
      copyString(text.words, texts[at + 1] ?? 0, values, entry);
      entry++;
    }
  }
  duckdb.list_vector_reserve(vector, entries);
  duckdb.list_vector_set_size(vector, entries);
  copyOut(vector, lists, 4 * rows);
  if (entries === 0) return;
  const child = duckdb.list_vector_get_child(vector);
  copyOut(duckdb.struct_vector_get_child(child, 0), keys, keys.length);
  copyOut(duckdb.struct_vector_get_child(child, 1), values, values.length);
}

function copyString(from: Uint32Array, index: number, to: Uint32Array, entry: number): void {
  const at = index * STRING_WORDS;
  for (let word = 0; word < STRING_WORDS; word++) to[entry * STRING_WORDS + word] = from[at + word] ?? 0;
}

function writeValues(vector: duckdb.Vector, rows: number): void {
  duckdb.copy_data_to_vector(vector, 0, rowValues.buffer, 0, 8 * rows);
  if (rowHistograms.length === 0) return;
  const validity = new Validity();
  for (let row = 0; row < rows; row++) if (rowHistograms[row] !== undefined) validity.setNull(row);
  validity.flush(vector);
}

function writeHistograms({ printHistogram }: GatheredSamples, vector: duckdb.Vector, rows: number): void {
  const validity = new Validity();
  for (let row = 0; row < rows; row++) {
    const histogram = rowHistograms[row];
    if (histogram === undefined) validity.setNull(row);
    else duckdb.vector_assign_string_element(vector, row, printHistogram(histogram));
  }
  validity.flush(vector);
}
