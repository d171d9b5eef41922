/** The verb `export`: samples of a running server to blocks that Prometheus opens, two hours each. */

import { mkdirSync } from "node:fs";
import { parseTimeMs } from "../api/prometheus-parameters.ts";
import type { Labels, Matcher } from "../model/series.ts";
import { BlockFiles } from "../platform/tsdb-files.ts";
import { PROMQL_DEFAULTS } from "../query/promql/query.ts";
import { parseSelector } from "../query/promql-texts.ts";
import { crc32c } from "../wire/crc32c.ts";
import { type ChunkedSeries, encodeReadRequest, readFrames } from "../wire/remote-read-frames.ts";
import { type BlockSeries, type ChunkPlace, encodeTsdbIndex } from "../wire/tsdb-index.ts";
import { fetchFrom, orRefuse, readServerArgs } from "./ask.ts";
import { BLOCK_MS, nextBlock } from "./block-search.ts";
import { ProgressLine } from "./progress.ts";

const USAGE = "export DIRECTORY [--from TIME] [--to TIME] [--match SELECTOR]";

/** `thalweg export DIRECTORY`: 0 where all was written, 1 where not, 2 for wrong usage. */
export async function runExport(args: readonly string[]): Promise<number> {
  const read = readServerArgs(args, USAGE, ["--from", "--to", "--match"]);
  const [directory, ...more] = read?.words ?? [];
  if (read === undefined || directory === undefined || more.length > 0) {
    process.stderr.write(`Usage: thalweg ${USAGE} [--url URL]\n`);
    return 2;
  }
  return orRefuse(() => exportAll(read, directory));
}

async function exportAll(
  read: { readonly values: ReadonlyMap<string, string>; readonly url: string },
  directory: string,
): Promise<number> {
  const matchers = readMatchers(read.values.get("--match") ?? "");
  const wanted = {
    fromMs: readTime("--from", read.values.get("--from")),
    toMs: readTime("--to", read.values.get("--to")),
  };
  const bounds = await boundsOf(read.url);
  const fromMs = wanted.fromMs ?? bounds?.minMs;
  const toMs = wanted.toMs ?? bounds?.maxMs;
  if (fromMs === undefined || toMs === undefined) {
    process.stdout.write("There are no samples.\n");
    return 0;
  }
  mkdirSync(directory, { recursive: true });
  const progress = new ProgressLine("export");
  const written = { blocks: 0, series: 0, samples: 0 };
  const source = { url: read.url, directory, matchers };
  const holds = (minMs: number, maxMs: number) => holdsSamples(source, Math.max(fromMs, minMs), maxMs);
  let asked = 0;
  for (let startMs: number | undefined = Math.floor(fromMs / BLOCK_MS) * BLOCK_MS; startMs !== undefined; ) {
    const range = { minMs: Math.max(fromMs, startMs), maxMs: Math.min(toMs, startMs + BLOCK_MS - 1) };
    const samples = await exportBlock(source, range, startMs);
    if (samples > 0) written.blocks++;
    written.samples += samples;
    asked++;
    const nextMs: number = startMs + BLOCK_MS;
    // A stretch without samples is no work: it is left out of what is to be done as soon as it is known.
    startMs = samples > 0 && nextMs <= toMs ? nextMs : await nextBlock(holds, nextMs, toMs);
    const left = startMs === undefined ? 0 : Math.ceil((toMs + 1 - startMs) / BLOCK_MS);
    progress.show(asked, asked + left, `${written.samples} samples`);
  }
  progress.clear();
  process.stdout.write(`${written.samples} samples are in ${written.blocks} blocks in ${directory}.\n`);
  return 0;
}

/** Whether the server has any sample in a range; of its answer no more is read than shows it. */
async function holdsSamples(source: Source, minMs: number, maxMs: number): Promise<boolean> {
  for await (const { chunks } of readRange(source, minMs, maxMs)) if (chunks.length > 0) return true;
  return false;
}

/** Series with their chunks, as the server sends them. @throws Error where it refuses */
async function* readRange({ url, matchers }: Source, minMs: number, maxMs: number): AsyncGenerator<ChunkedSeries> {
  const answer = await fetchFrom(url, "/api/v1/read", {
    method: "POST",
    body: new Uint8Array(encodeReadRequest(matchers, minMs, maxMs)),
    headers: { "content-type": "application/x-protobuf", "content-encoding": "snappy" },
  });
  if (!answer.ok || answer.body === null) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  yield* readFrames(answer.body);
}

interface Source {
  readonly url: string;
  readonly directory: string;
  readonly matchers: readonly Matcher[];
}

/** Writes the block of two hours and gives how many samples it has; none is written without any. */
async function exportBlock(
  source: Source,
  { minMs, maxMs }: { readonly minMs: number; readonly maxMs: number },
  startMs: number,
): Promise<number> {
  let files: BlockFiles | undefined;
  const series = new Map<string, { readonly labels: Labels; readonly chunks: ChunkPlace[] }>();
  let samples = 0;
  let chunkCount = 0;
  for await (const { labels, chunks } of readRange(source, minMs, maxMs)) {
    files ??= new BlockFiles(source.directory, startMs, crc32c);
    const key = JSON.stringify(labels);
    const found = series.get(key) ?? { labels, chunks: [] };
    series.set(key, found);
    for (const { minMs: firstMs, maxMs: lastMs, type, bytes } of chunks) {
      found.chunks.push({ minMs: firstMs, maxMs: lastMs, ...files.append(type, bytes) });
      // All encodings begin with the number of their samples.
      samples += ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
      chunkCount++;
    }
  }
  if (files === undefined) return 0;
  const all: BlockSeries[] = [...series.values()];
  const stats = { numSamples: samples, numSeries: all.length, numChunks: chunkCount };
  files.finish(encodeTsdbIndex(all), { minTime: startMs, maxTime: startMs + BLOCK_MS, stats });
  return samples;
}

function readMatchers(text: string): readonly Matcher[] {
  if (text === "") return [{ name: "__name__", kind: "=~", value: ".+" }];
  const outcome = parseSelector(text, PROMQL_DEFAULTS);
  if (outcome.kind === "matchers") return outcome.matchers;
  throw new Error(`--match ${text}: ${outcome.kind === "refused" ? outcome.message : "it matches every series"}`);
}

function readTime(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const timeMs = parseTimeMs(text);
  if (timeMs === undefined) throw new Error(`${flag} ${text} is no time such as 2026-01-31T12:00:00Z or Unix seconds`);
  return timeMs;
}

/** Times of the first and last sample, as the server tells them; undefined where it has none. */
async function boundsOf(url: string): Promise<{ readonly minMs: number; readonly maxMs: number } | undefined> {
  const ask = async (path: string): Promise<unknown> =>
    JSON.parse(await (await fetchFrom(url, `/api/v1/status/${path}`)).text()).data;
  // Both in the shapes of Prometheus' API.
  const { headStats } = (await ask("tsdb?limit=1")) as { headStats: { minTime: number; maxTime: number } };
  const { blocks } = (await ask("tsdb/blocks")) as { blocks: readonly { minTime: number; maxTime: number }[] };
  const isEmpty = headStats.minTime > headStats.maxTime;
  const mins = [...blocks.map(({ minTime }) => minTime), ...(isEmpty ? [] : [headStats.minTime])];
  const maxes = [...blocks.map(({ maxTime }) => maxTime), ...(isEmpty ? [] : [headStats.maxTime])];
  return mins.length === 0 ? undefined : { minMs: Math.min(...mins), maxMs: Math.max(...maxes) };
}
