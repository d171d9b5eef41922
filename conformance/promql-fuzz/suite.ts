/** The suite `promql-fuzz`: random expressions over random series, answered by us and by a real Prometheus. */

import { parseArgs } from "node:util";
import { Program } from "../program.ts";
import { PROMQL_FEATURES, Prometheus } from "../prometheus.ts";
import { MemoryStore } from "../promql/memory-store.ts";
import { toNative } from "../promql/test-histogram.ts";
import { type SentSeries, sendWrite, type WriteVersion } from "../remote-write.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { compareAnswers, type Difference } from "./answer.ts";
import { ExpressionMaker, type FuzzQuery } from "./expression.ts";
import { shrink } from "./shrink.ts";
import { Tally } from "./tally.ts";
import { engineTarget, httpTarget, type Target } from "./target.ts";
import { makeWorld, type World } from "./world.ts";

const CASES_PER_WORLD = 2500;
const ASKED_AT_ONCE = 4;
const SHOWN_MAX = 400;
/** Differences that a case may have without failing: what both mean is the same. */
const HARMLESS: ReadonlySet<Difference["kind"]> = new Set(["last digits", "wording"]);

interface Pair {
  readonly reference: Target;
  readonly ours: Target;
  readonly close: () => Promise<void>;
}

interface Run {
  readonly report: SuiteReport;
  readonly tally: Tally;
  readonly kinds: Map<string, number>;
  shown: number;
}

/**
 * Options behind the suite's name: `--prometheus PATH` asks that Prometheus, `--cases N` so many queries, `--seed N`
 * begins there, `--engine` asks the engine in this process in place of a server.
 */
export async function runPromqlFuzz({ args = [] }: { args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      prometheus: { type: "string" },
      cases: { type: "string", default: "20000" },
      seed: { type: "string", default: "1" },
      engine: { type: "boolean", default: false },
      dir: { type: "string" },
    },
    allowPositionals: true,
  });
  const run: Run = { report: new SuiteReport({ quiet: true }), tally: new Tally(), kinds: new Map(), shown: 0 };
  if (values.prometheus === undefined) throw new Error("no recording");
  const cases = Number(values.cases);
  for (let done = 0; done < cases; done += CASES_PER_WORLD) {
    const seed = Number(values.seed) + done / CASES_PER_WORLD;
    // One world begins in 1970, the next one yesterday's year: times near 0 and negative ones, and long ones.
    const world = makeWorld(seed, seed % 2 === 0 ? 0 : 1_700_000_040_000);
    const pair = await openPair(values.prometheus, world, values.engine);
    try {
      await runWorld(run, world, pair, Math.min(CASES_PER_WORLD, cases - done));
    } finally {
      await pair.close();
    }
  }
  for (const line of run.tally.table()) process.stdout.write(`${line}\n`);
  const kinds = [...run.kinds].map(([kind, count]) => `${kind} ${count}`).join(", ");
  process.stdout.write(`differences: ${kinds || "none"}\n`);
  return run.report.outcome;
}

async function openPair(binary: string, world: World, isEngine: boolean): Promise<Pair> {
  const version: WriteVersion = world.seed % 3 === 0 ? 1 : 2;
  const sent = sentSeries(world);
  const prometheus = await Prometheus.start(binary, { features: PROMQL_FEATURES });
  try {
    await write(prometheus.http, sent, version);
    const reference = httpTarget(prometheus.http);
    if (isEngine) {
      const store = new MemoryStore();
      const withoutStarts = world.series.map(({ labels, samples }) => ({
        labels,
        samples: samples.map((sample) => ({ ...sample, startMs: version === 1 ? 0 : sample.startMs })),
      }));
      await store.load(withoutStarts);
      return { reference, ours: engineTarget(store), close: () => prometheus.discard() };
    }
    const program = await Program.start(["--capture", "off", `--enable-feature=${PROMQL_FEATURES}`]);
    const close = async () => {
      await program.discard();
      await prometheus.discard();
    };
    await write(program.http, sent, version);
    return { reference, ours: httpTarget(program.http), close };
  } catch (cause) {
    await prometheus.discard();
    throw cause;
  }
}

function sentSeries({ series }: World): SentSeries[] {
  return series.map(({ labels, samples }) => ({
    labels,
    samples: samples.map(({ timestampMs, startMs, value }) => ({
      timestampMs,
      startMs,
      value: typeof value === "object" ? toNative(value) : value,
    })),
  }));
}

async function write(base: string, series: readonly SentSeries[], version: WriteVersion): Promise<void> {
  const { status, text } = await sendWrite(base, series, version);
  if (status >= 300) throw new Error(`${base} refused samples with ${status}: ${text}`);
}

async function runWorld(run: Run, world: World, pair: Pair, cases: number): Promise<void> {
  const maker = new ExpressionMaker(world, world.seed, run.tally);
  const queries = Array.from({ length: cases }, (_, index) => ({ query: maker.next(), index }));
  const startedMs = performance.now();
  const worker = async () => {
    for (let next = queries.shift(); next !== undefined; next = queries.shift())
      await runCase(run, pair, next.query, `${world.seed}.${next.index}`);
  };
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, worker));
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stdout.write(`seed ${world.seed}: ${world.series.length} series, ${cases} queries in ${seconds} s\n`);
}

async function runCase(run: Run, pair: Pair, query: FuzzQuery, name: string): Promise<void> {
  const difference = await differenceOf(pair, query);
  if (difference !== undefined) run.kinds.set(difference.kind, (run.kinds.get(difference.kind) ?? 0) + 1);
  if (difference === undefined || HARMLESS.has(difference.kind)) {
    run.report.add(name, "");
    return;
  }
  if (run.shown++ > SHOWN_MAX) {
    run.report.add(name, `${difference.kind}: ${query.text}`);
    return;
  }
  let least = difference;
  const text = await shrink(query.text, async (part) => {
    const other = await differenceOf(pair, { ...query, text: part });
    if (other === undefined || HARMLESS.has(other.kind)) return false;
    least = other;
    return true;
  });
  const { startMs, endMs, stepMs } = query;
  const at = stepMs === 0 ? `at ${startMs}` : `from ${startMs} to ${endMs} step ${stepMs}`;
  const whole = text === query.text ? "" : `\nof ${query.text}`;
  run.report.add(name, `${least.kind} ${at}: ${text}\n${least.text.slice(0, 1500)}${whole}`);
}

async function differenceOf({ reference, ours }: Pair, query: FuzzQuery): Promise<Difference | undefined> {
  const [wanted, got] = await Promise.all([reference(query), ours(query)]);
  return compareAnswers(wanted, got, /^\(*(?:sort|topk|bottomk)/.test(query.text));
}
