/**
 * Bombs and floods over HTTP and gRPC, each alone and ten at once: refused by the right rule, at once and within memory,
 * counted under a reason, while good traffic goes on.
 */

import { parseArgs } from "node:util";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { BODY_BYTES_MAX } from "./bodies.ts";
import { faceBombs } from "./face-bombs.ts";
import { grpcBombs } from "./grpc-bombs.ts";
import { type Bomb, httpBombs, type Refusal, sendRaw, type Target } from "./http-bombs.ts";
import { http2Floods } from "./http2-floods.ts";
import { pushedFloods } from "./pushed-floods.ts";
import { slowClients } from "./slow-clients.ts";
import { cpuMs, GoodTraffic, MemoryPeak, p99, settle } from "./watch.ts";

const MIB = 2 ** 20;
const AT_ONCE = 10;
/** Beyond what a plain refusal takes at the same time. */
const REFUSED_MS_MAX = 100;
/** What is legal and heavy is answered once all of it was looked at. */
const LEGAL_MS_MAX = 3_000;
const MORE_BYTES_MAX = 64 * MIB;
/** What good traffic takes meanwhile: one body that tells no length fills all the rest before it is known as too large. */
const GOOD_BYTES_MAX = 4 * MIB;
/** What the store keeps in memory of a series that writes are under way to: labels, index, and the last of its samples. */
const SERIES_BYTES = 1_500;
/** What is too slow or too large is so each time; a machine with other work is so now and then. */
const ATTEMPTS_MAX = 3;
const QUIET_MS = 5_000;
const SHORT_QUIET_MS = 2_000;
const TAIL_MS = 100;
/** The first requests warm a program up: to what it takes by itself, or as far as the short form has time for. */
const WARM_MS = 10_000;
const SHORT_WARM_MS = 2_000;
/** What a machine has at least that the limits are meant for. */
const PROCESSORS = 2;
/** Good requests may take twice their quiet time; below this they are quick, whatever they took before. */
const GOOD_MS_FLOOR = 50;
/** The short form runs beside who knows what: there, times tell only what hangs. */
const SHORT_SLACK = 10;
const SHORT_MORE_BYTES_MAX = 2.5 * MORE_BYTES_MAX;
/** With others at once, a body may find the room for bodies full: that is retryable. */
const NO_ROOM = ["503", "grpc 14"];

/** Every so many bombs the short form throws one of; all kinds are among them. */
const SHORT_EVERY = 8;

/** Runs the suite. `--only TEXT` runs bombs whose name holds a text, `--short` a part of all, refusals ten at once, the rest alone,
 * without floods that are pushed. */
export async function runLimits({ args }: { readonly args: readonly string[] }): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: { only: { type: "string" }, short: { type: "boolean" } },
    allowPositionals: true,
    strict: false,
  });
  const only = typeof values.only === "string" ? values.only : "";
  const report = new SuiteReport();
  const isShort = values.short === true;
  const all = [...httpBombs(), ...faceBombs(), ...grpcBombs(), ...http2Floods()].filter(({ name }) =>
    name.includes(only),
  );
  const bombs = isShort ? all.filter((_, index) => index % SHORT_EVERY === 0) : all;
  const slack = isShort ? SHORT_SLACK : 1;
  const countsOf = ({ isLegal }: Bomb) => (isShort ? [isLegal === true ? 1 : AT_ONCE] : [1, AT_ONCE]);
  const quietMs = isShort ? SHORT_QUIET_MS : QUIET_MS;
  const isSlowAsked = "slow clients".includes(only);
  const throwAll = async () => (bombs.length > 0 ? bombed({ bombs, countsOf, slack, quietMs }, report) : undefined);
  const holdUp = async () => (isSlowAsked ? heldUp({ slack, isWhole: !isShort }, report) : undefined);
  // Each has a program of its own, and slow clients are mostly waited for: the short form, which judges times loosely, waits meanwhile.
  if (isShort) await Promise.all([throwAll(), holdUp()]);
  else {
    await throwAll();
    await holdUp();
  }
  // Not in the short form: a minute, most of it waiting.
  if ("pushed floods".includes(only) && !(isShort && only === "")) await pushedFloods(report, slack);
  return report.outcome;
}

async function bombed(how: Attack, report: SuiteReport): Promise<void> {
  const program = await Program.start(["--capture", "off"]);
  try {
    await attack(program, how, report);
    report.add("one truth after all", await oneTruthFault(program, { withOrphans: true }));
    report.add("stops cleanly", (await program.stop()) === 0 ? "" : "the exit status is not 0");
  } finally {
    await program.discard();
  }
}

/** Against a program of its own: what others left in memory would hide what slow clients take. */
async function heldUp(how: { readonly slack: number; readonly isWhole: boolean }, report: SuiteReport): Promise<void> {
  const program = await Program.start(["--capture", "off"]);
  const { http, otlpHttp, otlpGrpc } = program;
  const traffic = new GoodTraffic({ http, otlpHttp, otlpGrpc, isLight: true });
  try {
    try {
      await sleep(how.isWhole ? WARM_MS : SHORT_WARM_MS);
      await slowClients(report, { program, traffic, ...how });
    } finally {
      await traffic.stop();
    }
    report.add("slow: one truth after all", await oneTruthFault(program, { withOrphans: true }));
  } finally {
    await program.discard();
  }
}

interface Attack {
  readonly bombs: readonly Bomb[];
  /** How many of one are thrown at once, in turn. */
  countsOf(bomb: Bomb): readonly number[];
  /** How many times the limits of time are allowed. */
  readonly slack: number;
  /** How long good traffic is alone, before and after. */
  readonly quietMs: number;
}

async function attack(
  program: Program,
  { bombs, countsOf, slack, quietMs }: Attack,
  report: SuiteReport,
): Promise<void> {
  const target: Target = {
    http: program.http.replace("http://", ""),
    otlpHttp: program.otlpHttp.replace("http://", ""),
    otlpGrpc: program.otlpGrpc,
  };
  const { http, otlpHttp, otlpGrpc } = program;
  const traffic = new GoodTraffic({ http, otlpHttp, otlpGrpc });
  const memory = new MemoryPeak(program.pid);
  const quiet: { writes: number[]; queries: number[] } = { writes: [], queries: [] };
  const busy: typeof quiet = { writes: [], queries: [] };
  // What is legal is work, and others wait their turn.
  const working: typeof quiet = { writes: [], queries: [] };
  const faults: string[] = [];
  const note = async (into: typeof quiet): Promise<string> => {
    const seen = await traffic.take();
    into.writes.push(...seen.writesMs);
    into.queries.push(...seen.queriesMs);
    faults.push(...seen.faults);
    return `good ${Math.round(Math.max(0, ...seen.writesMs, ...seen.queriesMs))} ms`;
  };
  await sleep(2_000); // the first requests warm the server up
  await traffic.take();
  await sleep(quietMs);
  await note(quiet);
  for (const bomb of bombs) {
    for (const count of countsOf(bomb)) {
      const refusedBefore = await refusedOf(program, bomb);
      const thrown = await throwBomb(bomb, { count, program, target, memory, slack });
      // What was under way when the bomb ended was slowed by it, too.
      await sleep(TAIL_MS);
      const good = await note(bomb.isLegal === true ? working : busy);
      const refused = (await refusedOf(program, bomb)) - refusedBefore;
      const isCounted = refused >= thrown.refusals;
      const uncounted = isCounted ? "" : `${thrown.refusals} were refused, ${refused} are counted under a reason`;
      const fault = [thrown.fault, uncounted].filter((one) => one !== "").join("\n");
      report.add(`${bomb.name}, ${count} at once (${thrown.figures}, ${good})`, fault);
    }
    await sleep(100);
    await note(quiet);
  }
  await sleep(quietMs);
  await note(quiet);
  await traffic.stop();
  report.add("good requests are all answered", faults.slice(0, 5).join("\n"));
  for (const what of ["writes", "queries"] as const) {
    const [aloneMs, busyMs] = [p99(quiet[what]), p99(busy[what])];
    const allowedMs = slack * Math.max(GOOD_MS_FLOOR, 2 * aloneMs);
    const figures = `p99 of good ${what} ${busyMs.toFixed(1)} ms, quiet ${aloneMs.toFixed(1)} ms`;
    report.add(figures, busyMs <= allowedMs ? "" : `more than ${allowedMs.toFixed(1)} ms`);
  }
}

/** Requests that were refused so far, as they are counted for such a bomb. */
async function refusedOf(program: Program, { isAnswered }: Bomb): Promise<number> {
  if (isAnswered !== true) return program.counter("thalweg_requests_refused_total");
  const codes = await Promise.all(
    ["400", "413", "422", "503"].map((code) => program.counter("thalweg_http_requests_total", `code="${code}"`)),
  );
  return codes.reduce((sum, count) => sum + count, 0);
}

interface Throw {
  readonly count: number;
  readonly program: Program;
  readonly target: Target;
  readonly memory: MemoryPeak;
  readonly slack: number;
}

interface Thrown {
  readonly fault: string;
  readonly figures: string;
  /** How many were refused, plain ones included. */
  readonly refusals: number;
}

async function throwBomb(bomb: Bomb, { count, program, target, memory, slack }: Throw): Promise<Thrown> {
  const all = <T>(make: () => Promise<T>) => Promise.all(Array.from({ length: count }, make));
  const limitMs = slack * (bomb.isLegal === true ? LEGAL_MS_MAX * count : REFUSED_MS_MAX);
  const wants = count === 1 ? bomb.wants : [...bomb.wants, ...NO_ROOM];
  let fault = "";
  let figures = "";
  let refused = 0;
  // What a body holds that is taken stands once as it came and once in columns.
  const held = bomb.isLegal === true ? 2 * Math.min(count * (bomb.bytes ?? 0), BODY_BYTES_MAX) : 0;
  const kept = (bomb.series ?? 0) * SERIES_BYTES;
  const moreBytesMax = (slack === 1 ? MORE_BYTES_MAX : SHORT_MORE_BYTES_MAX) + GOOD_BYTES_MAX + held + kept;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    await settle();
    const plain = await all(() => plainRefusal(target, bomb.bytes ?? 1));
    const before = memory.reset();
    const cpuBefore = cpuMs(program.pid);
    const refusals = await all(() => bomb.send(target));
    // On a machine that works for others too, a refusal takes no longer than what the program itself worked meanwhile.
    const ownMs = (cpuMs(program.pid) - cpuBefore) / PROCESSORS;
    const moreBytes = memory.peak() - before;
    const plainMs = Math.max(...plain.map(({ tookMs }) => tookMs));
    const tookMs = Math.max(...refusals.map(({ tookMs }) => tookMs));
    const outcomes = [...new Set(refusals.map(({ outcome }) => outcome))];
    figures = `${outcomes.join(" and ")}, ${Math.round(tookMs)} ms, own ${Math.round(ownMs)} ms, plain ${Math.round(plainMs)} ms, ${Math.round(moreBytes / MIB)} MiB`;
    const faults = refusals
      .map(({ outcome, fault, text }) => (wants.includes(outcome) ? fault : `${outcome}: ${text.slice(0, 200)}`))
      .filter((one) => one !== "");
    refused += count + refusals.filter(({ outcome }) => /^(4|5|grpc [1-9])/.test(outcome)).length;
    if (faults.length > 0) return { fault: faults.slice(0, 3).join("\n"), figures, refusals: refused };
    const slow = Math.min(tookMs, ownMs) > limitMs + plainMs ? `it took ${tookMs.toFixed(0)} ms` : "";
    const large = moreBytes > moreBytesMax ? `it took ${Math.round(moreBytes / MIB)} MiB` : "";
    fault = [slow, large].filter((one) => one !== "").join("; ");
    if (fault === "") break;
  }
  return { fault, figures, refusals: refused };
}

/** A request that is refused for its first byte, as large as a bomb. */
function plainRefusal({ otlpHttp }: Target, bytes: number): Promise<Refusal> {
  const headers = { "content-type": "application/x-protobuf", "content-length": String(bytes) };
  return sendRaw({ address: otlpHttp, path: "/v1/traces", headers, body: [Buffer.alloc(bytes, 7)] });
}
