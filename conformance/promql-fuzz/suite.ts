/** The suite `promql-fuzz`: random expressions over random series, answered by us and by a real Prometheus. */

import { createHash } from "node:crypto";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PROMQL_DEFAULTS } from "../../server/query/promql/query.ts";
import { Program } from "../program.ts";
import { PROMQL_FEATURES, Prometheus } from "../prometheus.ts";
import { TEST_SETTINGS } from "../promql/engine-answer.ts";
import { MemoryStore, type TestStore } from "../promql/memory-store.ts";
import { RealStore } from "../promql/real-store.ts";
import { toNative } from "../promql/test-histogram.ts";
import { readRecording, writeRecording } from "../recording.ts";
import { encodeWrite, type SentSeries, sendWrite, type WriteVersion } from "../remote-write.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { type ApiAnswer, compareAnswers, type Difference, type Explained, isHarm } from "./answer.ts";
import { ExpressionMaker, type FuzzQuery } from "./expression.ts";
import { partsOf, shrink } from "./shrink.ts";
import { Tally } from "./tally.ts";
import { engineTarget, httpTarget, type Target } from "./target.ts";
import { makeWorld, type World } from "./world.ts";

const CASES_PER_WORLD = 2500;
const CASES_DEFAULT = 20_000;
/** So many times at least is each feature used in a run of `CASES_DEFAULT`. */
const USES_MIN = 100;
const ASKED_AT_ONCE = 4;
/** Characters of a difference that are told. */
const FAULT_LENGTH_MAX = 1500;
/** Where two answers differ the reference is asked again: what it makes of series in no order comes out one way or another. */
const ASKED_AGAIN = 6;

const RECORDING = join(import.meta.dirname, "recorded.ndjson.gz");
const RECORDED_CASES = 1000;
const RECORDED_SEEDS = [101, 102, 103, 104];
/** Longer answers are left out of a recording. */
const RECORDED_ANSWER_LENGTH_MAX = 20_000;
/** An answer without series or error is shorter. */
const RECORDED_ANSWER_LENGTH_MIN = 80;

interface Run {
  readonly report: SuiteReport;
  readonly tally: Tally;
  readonly kinds: Map<string, number>;
}

/** Asks our side; `wanted` is what a Prometheus answers. */
interface Pair {
  readonly world: Pick<World, "startMs" | "endMs">;
  readonly wanted: Target;
  readonly ours: Target;
}

interface RecordedWorld {
  readonly seed: number;
  readonly startMs: number;
  /** Of the samples as they are sent: tells a recording over other samples. */
  readonly hash: string;
}

interface RecordedCase {
  readonly seed: number;
  readonly query: FuzzQuery;
  readonly features: readonly string[];
  readonly answer: ApiAnswer;
}

/**
 * Options behind the suite's name: `--prometheus PATH` asks that Prometheus in place of the recorded answers,
 * `--cases N` so many queries, `--seed N` begins there, `--engine memory|head|blocks` asks the engine in this process in
 * place of a server, over samples that lie there, `--record` writes a recording.
 */
export async function runPromqlFuzz({ args = [] }: { args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      prometheus: { type: "string" },
      cases: { type: "string", default: String(CASES_DEFAULT) },
      seed: { type: "string", default: "1" },
      engine: { type: "string" },
      record: { type: "boolean", default: false },
      dir: { type: "string" },
    },
    allowPositionals: true,
  });
  const run: Run = { report: new SuiteReport({ quiet: true }), tally: new Tally(), kinds: new Map() };
  const open = values.engine === undefined ? openProgram : openEngine(values.engine);
  if (values.prometheus === undefined) await replay(run, open);
  else if (values.record) await record(values.prometheus);
  else await runLive(run, values.prometheus, open, { seed: Number(values.seed), cases: Number(values.cases) });
  for (const line of run.tally.table()) process.stdout.write(`${line}\n`);
  const kinds = [...run.kinds].map(([kind, count]) => `${kind} ${count}`).join(", ");
  process.stdout.write(`differences: ${kinds || "none"}\n`);
  return run.report.outcome;
}

/** Opens what answers over the samples of a world. */
type Opener = (world: World) => Promise<{ readonly target: Target; readonly close: () => Promise<void> }>;

const openProgram: Opener = async (world) => {
  const switches = isPlain(world) ? [] : [`--enable-feature=${PROMQL_FEATURES}`];
  const program = await Program.start(["--capture", "off", ...switches]);
  try {
    await write(program.http, world);
  } catch (cause) {
    await program.discard();
    throw cause;
  }
  return { target: httpTarget(program.http), close: () => program.discard() };
};

const STORES: Readonly<Record<string, () => TestStore>> = {
  memory: () => new MemoryStore(),
  head: () => new RealStore(false),
  blocks: () => new RealStore(true),
};

function openEngine(place: string): Opener {
  const make = STORES[place];
  if (make === undefined) throw new Error(`samples lie in ${Object.keys(STORES).join(", ")}, not in '${place}'`);
  return async (world) => {
    const store = make();
    const keepsStarts = writeVersion(world) === 2;
    const series = world.series.map(({ labels, samples }) => ({
      labels,
      samples: keepsStarts ? samples : samples.map((sample) => ({ ...sample, startMs: 0 })),
    }));
    await store.load(series);
    const target = engineTarget(store, isPlain(world) ? PROMQL_DEFAULTS : TEST_SETTINGS);
    return { target, close: () => store.clear() };
  };
}

function openPrometheus(binary: string): Opener {
  return async (world) => {
    const prometheus = await Prometheus.start(binary, isPlain(world) ? {} : { features: PROMQL_FEATURES });
    try {
      await write(prometheus.http, world);
    } catch (cause) {
      await prometheus.discard();
      throw cause;
    }
    return { target: httpTarget(prometheus.http), close: () => prometheus.discard() };
  };
}

/** One world begins in 1970, the next one in 2023: times near 0 and negative ones, and long ones. */
function worldOf(seed: number): World {
  return makeWorld(seed, seed % 2 === 0 ? 0 : 1_700_000_040_000);
}

/** Every fourth world is asked without any switch: names then go at once, and what is experimental is refused. */
function isPlain({ seed }: World): boolean {
  return seed % 4 === 0;
}

function writeVersion({ seed }: World): WriteVersion {
  return seed % 3 === 0 ? 1 : 2;
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

async function write(base: string, world: World): Promise<void> {
  const { status, text } = await sendWrite(base, sentSeries(world), writeVersion(world));
  if (status >= 300) throw new Error(`${base} refused samples with ${status}: ${text}`);
}

async function runLive(
  run: Run,
  binary: string,
  open: Opener,
  { seed, cases }: { readonly seed: number; readonly cases: number },
): Promise<void> {
  for (let done = 0; done < cases; done += CASES_PER_WORLD) {
    const world = worldOf(seed + done / CASES_PER_WORLD);
    const maker = new ExpressionMaker(world, world.seed, run.tally);
    const count = Math.min(CASES_PER_WORLD, cases - done);
    const queries = Array.from({ length: count }, (_, index) => ({
      name: `${world.seed}.${index}`,
      query: maker.next(),
    }));
    const reference = await openPrometheus(binary)(world);
    try {
      const ours = await open(world);
      try {
        await runCases(run, world, { world, wanted: reference.target, ours: ours.target }, queries);
      } finally {
        await ours.close();
      }
    } finally {
      await reference.close();
    }
  }
  if (cases < CASES_DEFAULT) return;
  const rare = run.tally.below(USES_MIN);
  run.report.add("coverage", rare.length === 0 ? "" : `used less than ${USES_MIN} times: ${rare.join(", ")}`);
}

async function runCases(
  run: Run,
  world: World,
  pair: Pair,
  cases: readonly { readonly name: string; readonly query: FuzzQuery }[],
): Promise<void> {
  const startedMs = performance.now();
  const waiting = [...cases];
  const worker = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
      await runCase(run, pair, next.query, next.name);
  };
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, worker));
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stdout.write(`seed ${world.seed}: ${world.series.length} series, ${cases.length} queries in ${seconds} s\n`);
}

async function runCase(run: Run, pair: Pair, query: FuzzQuery, name: string): Promise<void> {
  const found = await minimalDifference(pair, query);
  if (found !== undefined) run.kinds.set(found.kind, (run.kinds.get(found.kind) ?? 0) + 1);
  if (found === undefined || !isHarm(found)) return run.report.add(name, "");
  const { startMs, endMs, stepMs } = query;
  const at = stepMs === 0 ? `at ${startMs}` : `from ${startMs} to ${endMs} step ${stepMs}`;
  const whole = found.part === query.text ? "" : `\nof ${query.text}`;
  return run.report.add(name, `${found.kind} ${at}: ${found.part}\n${found.text.slice(0, FAULT_LENGTH_MAX)}${whole}`);
}

/** The difference in the least part of a query that still has one, or one that explains it. */
async function minimalDifference(pair: Pair, query: FuzzQuery): Promise<(Difference & { part: string }) | undefined> {
  const difference = await differenceOf(pair, query);
  if (difference === undefined || !isHarm(difference)) return difference && { ...difference, part: query.text };
  let least = difference;
  const part = await shrink(query.text, async (text) => {
    const other = await differenceOf(pair, { ...query, text });
    if (other === undefined || !isHarm(other)) return false;
    least = other;
    return true;
  });
  for (const text of partsOf(part)) {
    const inner = await differenceOf(pair, { ...query, text });
    if (inner !== undefined && inner.kind !== "wording")
      return { kind: "follows", text: `${inner.kind} of ${text}`, part };
  }
  return { ...least, part };
}

/** Undefined where both say the same, or where a recording does not know the query. */
async function differenceOf({ wanted, ours, world }: Pair, query: FuzzQuery): Promise<Difference | undefined> {
  const [right, left] = await Promise.all([wanted(query), ours(query)]);
  if (right === undefined || left === undefined) return undefined;
  const isOrdered = /^\(*(?:sort|topk|bottomk)/.test(query.text);
  const difference = compareAnswers(right, left, isOrdered);
  if (difference === undefined || !isHarm(difference)) return difference;
  const reason = reasonOf(query, world);
  if (reason !== undefined) return { kind: reason, text: difference.text };
  return (await isUnsettled(wanted, query, right)) ? { kind: "unsettled", text: difference.text } : difference;
}

/** Why the reference answers a query by how its storage lies, and not by what is in it; undefined where it does not. */
function reasonOf({ text, startMs, endMs }: FuzzQuery, world: Pair["world"]): Explained | undefined {
  const isElsewhere = startMs > world.endMs || endMs < world.startMs || /offset|@/.test(text);
  if (isElsewhere && /\babsent/.test(text)) return "no samples";
  // With counts below zero the search for a quantile ends in the last bucket, which may be an empty one.
  return /histogram_quantile.*[(,] ?-\s*[^\s\d]/.test(text) ? "layout" : undefined;
}

/** Whether somebody who is asked again says something else than `first`. */
async function isUnsettled(target: Target, query: FuzzQuery, first: ApiAnswer): Promise<boolean> {
  for (let again = 0; again < ASKED_AGAIN; again++) {
    const answer = await target(query);
    if (answer !== undefined && compareAnswers(first, answer, true) !== undefined) return true;
  }
  return false;
}

async function record(binary: string): Promise<void> {
  const lines: (RecordedWorld | RecordedCase)[] = [];
  for (const seed of RECORDED_SEEDS) {
    const world = worldOf(seed);
    const tally = new Tally();
    const maker = new ExpressionMaker(world, seed, tally);
    tally.takeRecent();
    const reference = await openPrometheus(binary)(world);
    const ours = await openEngine("memory")(world);
    try {
      lines.push({ seed, startMs: world.startMs, hash: hashOf(world) });
      for (let kept = 0; kept < RECORDED_CASES / RECORDED_SEEDS.length; ) {
        const query = maker.next();
        const features = tally.takeRecent();
        const answer = await reference.target(query);
        if (answer === undefined) continue;
        const { length } = JSON.stringify(answer);
        if (length > RECORDED_ANSWER_LENGTH_MAX) continue;
        // Most that say hardly anything are left out: every fourth answer is empty, and one is as good as the other.
        if (length < RECORDED_ANSWER_LENGTH_MIN && kept % 4 !== 0) continue;
        // A replay cannot ask for the parts of a query, nor twice.
        const pair: Pair = { world, wanted: reference.target, ours: ours.target };
        const { kind = "" } = (await minimalDifference(pair, query)) ?? {};
        if (kind === "follows" || (await isUnsettled(reference.target, query, answer))) continue;
        lines.push({ seed, query, features, answer });
        kept++;
      }
    } finally {
      await reference.close();
    }
  }
  process.stdout.write(`${lines.length} lines, ${writeRecording(RECORDING, lines)} bytes\n`);
}

async function replay(run: Run, open: Opener): Promise<void> {
  const lines = readRecording<RecordedWorld | RecordedCase>(RECORDING) ?? [];
  for (const line of lines) {
    if (!("hash" in line)) continue;
    const world = worldOf(line.seed);
    if (hashOf(world) !== line.hash) {
      run.report.add(`seed ${line.seed}`, "was recorded over other samples: record it anew");
      continue;
    }
    const cases = lines.flatMap((one) => ("query" in one && one.seed === line.seed ? [one] : []));
    const answers = new Map(cases.map(({ query, answer }) => [JSON.stringify(query), answer]));
    for (const { features } of cases) run.tally.add(features);
    const ours = await open(world);
    try {
      const wanted: Target = async (query) => answers.get(JSON.stringify(query));
      const named = cases.map(({ query }, index) => ({ name: `${line.seed}.${index}`, query }));
      await runCases(run, world, { world, wanted, ours: ours.target }, named);
    } finally {
      await ours.close();
    }
  }
}

function hashOf(world: World): string {
  return createHash("sha256")
    .update(encodeWrite(sentSeries(world), writeVersion(world)))
    .digest("hex");
}
