/**
 * The verb `import`: Prometheus' blocks and OpenMetrics text into a running server, by remote write, so that what was taken is
 * durable and what was not is known.
 */

import { isUtf8 } from "node:buffer";
import { readFileSync, statSync } from "node:fs";
import type { Labels, SeriesSamples } from "../model/series.ts";
import { findBlocks } from "../platform/tsdb-files.ts";
import { ExpositionError } from "../wire/exposition.ts";
import { TextExposition } from "../wire/exposition-text.ts";
import { encodeRemoteWrite } from "../wire/remote-write-encode.ts";
import { encodeSnappy } from "../wire/snappy.ts";
import { fetchFrom, orRefuse, readServerArgs } from "./ask.ts";
import { overlapping, readBlocks } from "./import-blocks.ts";
import { ProgressLine } from "./progress.ts";

const USAGE = "import PATH… (directories of Prometheus' blocks, or files of OpenMetrics text)";
/** Samples of one write. */
const BATCH_SAMPLES = 20_000;
const RETRIES_MAX = 20;
const RETRY_MS = 1_000;
/** Bytes of a text: a string holds no more. */
const TEXT_BYTES_MAX = 500 * 2 ** 20;

/** What came of it. */
interface Tally {
  sent: number;
  written: number;
  /** The server's words about what it did not take, each once. */
  readonly reasons: Set<string>;
  damagedChunks: number;
}

/** `thalweg import PATH…`: 0 where all was taken, 1 where something was not, 2 for wrong usage. */
export async function runImport(args: readonly string[]): Promise<number> {
  const read = readServerArgs(args, USAGE, []);
  if (read === undefined) return 2;
  if (read.words.length === 0) {
    process.stderr.write(`Usage: thalweg ${USAGE} [--url URL]\n`);
    return 2;
  }
  return orRefuse(() => importAll(read));
}

async function importAll(read: { readonly words: readonly string[]; readonly url: string }): Promise<number> {
  const tally: Tally = { sent: 0, written: 0, reasons: new Set(), damagedChunks: 0 };
  const sender = new Sender(read.url, tally);
  for (const path of read.words) {
    if (statSync(path).isDirectory()) await importBlocks(path, sender);
    else await importText(path, sender);
  }
  const lines = [`${tally.written} of ${tally.sent} samples are stored.`];
  if (tally.damagedChunks > 0) lines.push(`${tally.damagedChunks} chunks are damaged and were left out.`);
  for (const reason of tally.reasons) lines.push(`Not taken: ${reason}`);
  if ([...tally.reasons].some((reason) => /out of order|too old/.test(reason))) {
    lines.push(
      "Samples older than what a series already has are taken by a server that runs with --out-of-order-window AGE.",
    );
  }
  process.stdout.write(`${lines.join("\n")}\n`);
  return tally.written === tally.sent && tally.damagedChunks === 0 ? 0 : 1;
}

async function importBlocks(path: string, sender: Sender): Promise<void> {
  const blocks = findBlocks(path);
  if (blocks.length === 0) throw new Error(`${path}: there is no block of Prometheus in it`);
  const total = blocks.reduce((sum, { meta }) => sum + meta.stats.numSamples, 0);
  const progress = new ProgressLine("import");
  for (const group of overlapping(blocks)) {
    for (const samples of readBlocks(group)) {
      if (samples === undefined) sender.tally.damagedChunks++;
      else await sender.add(samples);
      progress.show(sender.tally.sent, total, `${sender.tally.sent} samples`);
    }
    await sender.flush();
  }
  progress.clear();
}

/** Every sample needs a time; series come in the order of the text. */
async function importText(path: string, sender: Sender): Promise<void> {
  const { size } = statSync(path);
  if (size > TEXT_BYTES_MAX) throw new Error(`${path}: it has ${size} bytes; cut it into files of ${TEXT_BYTES_MAX}`);
  const bytes = readFileSync(path);
  const series = new Map<string, { labels: Labels; times: number[]; values: number[] }>();
  const sink = {
    describe: () => {},
    sample: ({ key, labels, timestampMs, value }: Parameters<TextSink["sample"]>[0]) => {
      if (timestampMs === undefined) throw new ExpositionError(`the sample of ${key} has no time`);
      let found = series.get(key);
      if (found === undefined) {
        found = {
          labels: labels()
            .filter(([, text]) => text !== "")
            .sort(([a], [b]) => (a < b ? -1 : 1)),
          times: [],
          values: [],
        };
        series.set(key, found);
      }
      found.times.push(timestampMs);
      found.values.push(value);
    },
  };
  const progress = new ProgressLine("read");
  try {
    const reader = new TextExposition(bytes.toString(), { openMetrics: true, isUtf8: isUtf8(bytes) }, sink);
    while (reader.read(10_000)) await new Promise(setImmediate);
  } catch (error) {
    if (!(error instanceof ExpositionError)) throw error;
    throw new Error(`${path}: ${error.message}`, { cause: error });
  }
  let done = 0;
  for (const { labels, times, values } of series.values()) {
    const order = times.map((_, at) => at).sort((a, b) => (times[a] ?? 0) - (times[b] ?? 0));
    const pick = (list: readonly number[]) => Float64Array.from(order, (at) => list[at] ?? 0);
    await sender.add({ labels, timestampsMs: pick(times), values: pick(values) });
    progress.show(++done, series.size, `${sender.tally.sent} samples`);
  }
  await sender.flush();
  progress.clear();
}

type TextSink = ConstructorParameters<typeof TextExposition>[2];

/** Sends series in batches and waits for each answer. */
class Sender {
  readonly tally: Tally;
  readonly #url: string;
  #held: SeriesSamples[] = [];
  #samples = 0;

  constructor(url: string, tally: Tally) {
    this.#url = url;
    this.tally = tally;
  }

  async add(series: SeriesSamples): Promise<void> {
    for (let from = 0; from < series.timestampsMs.length; from += BATCH_SAMPLES) {
      const to = Math.min(series.timestampsMs.length, from + BATCH_SAMPLES);
      this.#held.push({
        labels: series.labels,
        timestampsMs: series.timestampsMs.subarray(from, to),
        values: series.values.subarray(from, to),
        histograms: series.histograms?.slice(from, to),
      });
      this.#samples += to - from;
      if (this.#samples >= BATCH_SAMPLES) await this.flush();
    }
  }

  async flush(): Promise<void> {
    if (this.#held.length === 0) return;
    const body = encodeSnappy(encodeRemoteWrite(this.#held));
    const samples = this.#samples;
    this.#held = [];
    this.#samples = 0;
    this.tally.sent += samples;
    const answer = await this.#post(body);
    const written = (kind: string) => Number(answer.headers.get(`x-prometheus-remote-write-${kind}-written`) ?? 0);
    this.tally.written += written("samples") + written("histograms");
    const text = await answer.text();
    if (!answer.ok) this.tally.reasons.add(text.split(" for series ")[0]?.split("\n")[0] ?? `status ${answer.status}`);
  }

  /** Once more where the server asks for it. */
  async #post(body: Uint8Array): Promise<Response> {
    for (let tries = 0; ; tries++) {
      const answer = await fetchFrom(this.#url, "/api/v1/write", {
        method: "POST",
        body: new Uint8Array(body),
        headers: {
          "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
          "content-encoding": "snappy",
          "x-prometheus-remote-write-version": "2.0.0",
        },
      });
      if (answer.status !== 503 || tries === RETRIES_MAX) return answer;
      await answer.body?.cancel();
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
