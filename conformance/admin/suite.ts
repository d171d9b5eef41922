/**
 * The suite `admin`: series are deleted here and in a real Prometheus by the same requests; both answer alike, also after a
 * kill -9, after clean_tombstones and from a snapshot.
 */

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { Program } from "../program.ts";
import { Prometheus } from "../prometheus.ts";
import { type SentSeries, sendWrite } from "../remote-write.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

const STEP_MS = 15_000;
const SAMPLES = 200;
const FLAGS = ["--capture", "off", "--web.enable-admin-api"];
const SWITCH = "--web.enable-admin-api";

/** Deletions in order; times are samples after the first. */
const DELETIONS: readonly { readonly match: readonly string[]; readonly from?: number; readonly to?: number }[] = [
  { match: ['requests_total{pod="p1"}'] },
  { match: ["temperature"], from: 20, to: 60 },
  { match: ['temperature{room=~"[34]"}'], from: 100 },
  { match: ['requests_total{pod="p2"}', 'temperature{room="0"}'], to: 150 },
  { match: ['{room="1",__name__!=""}'], from: 61, to: 61 },
  { match: ["nothing_of_that_name"] },
];

/** Requests that are refused, by both in the same words. */
const REFUSED: readonly string[] = [
  "delete_series",
  "delete_series?match[]=up{",
  "delete_series?match[]=up&start=soon",
  "delete_series?match[]=up&end=x",
  "snapshot?skip_head=maybe",
];

/** Where a Prometheus is not Debian's: `--prometheus PROGRAM`. */
export async function runAdmin(): Promise<SuiteOutcome> {
  const { values } = parseArgs({ options: { prometheus: { type: "string" } }, strict: false });
  const binary = typeof values.prometheus === "string" ? values.prometheus : "prometheus";
  const report = new SuiteReport();
  if (spawnSync(binary, ["--version"]).status !== 0) {
    report.skip("admin", `there is no ${binary}`, "servers");
    return report.outcome;
  }
  const running: { discard(): Promise<void> }[] = [];
  try {
    const reference = await Prometheus.start(binary, { flags: [SWITCH] });
    running.push(reference);
    await check(report, reference, running);
  } catch (error) {
    report.add("admin", error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    for (const each of running) await each.discard();
  }
  return report.outcome;
}

async function check(
  report: SuiteReport,
  reference: Prometheus,
  running: { discard(): Promise<void> }[],
): Promise<void> {
  let program = await Program.start(FLAGS);
  running.push({ discard: () => program.discard() });
  const off = await Program.start(["--capture", "off"]);
  for (const action of ["delete_series?match[]=up", "clean_tombstones", "snapshot"]) {
    const { status, body } = await post(off.http, action);
    report.add(`off: ${action}`, status === 500 && body.includes('"admin APIs disabled"') ? "" : `${status} ${body}`);
  }
  await off.discard();
  // Prometheus 3 says which parameter is wrong before it says how; 2.42 does not yet.
  const isSame = !(await reference.version()).startsWith("2.");
  for (const action of REFUSED) {
    const [wanted, got] = [await post(reference.http, action), await post(program.http, action)];
    const same = isSame ? isDeepStrictEqual(wanted, got) : wanted.status === got.status;
    report.add(`refused: ${action}`, same ? "" : `${JSON.stringify(wanted)} and ${JSON.stringify(got)}`);
  }
  const startMs = Math.floor(Date.now() / STEP_MS) * STEP_MS - SAMPLES * STEP_MS;
  const first = seriesOf(startMs, 0, SAMPLES);
  for (const base of [reference.http, program.http]) await send(base, first);
  const ask = { startMs, wanted: reference.http };
  await compare(report, "before", { ...ask, got: program.http });
  for (const { match, from, to } of DELETIONS) {
    const form = new URLSearchParams();
    for (const text of match) form.append("match[]", text);
    if (from !== undefined) form.set("start", String((startMs + from * STEP_MS) / 1000));
    if (to !== undefined) form.set("end", new Date(startMs + to * STEP_MS).toISOString());
    for (const base of [reference.http, program.http]) {
      const { status, body } = await post(base, `delete_series?${form}`);
      if (status !== 204) report.add(`delete_series ${form}`, `${base}: ${status} ${body}`);
    }
  }
  await compare(report, "deleted", { ...ask, got: program.http });
  await program.kill();
  program = await Program.start(FLAGS, program.dataDirectory);
  await compare(report, "after kill -9", { ...ask, got: program.http });
  for (const base of [reference.http, program.http]) {
    const { status, body } = await post(base, "clean_tombstones");
    report.add(`clean_tombstones of ${base === program.http ? "Thalweg" : "Prometheus"}`, status === 204 ? "" : body);
    await send(base, seriesOf(startMs, SAMPLES, SAMPLES + 10));
  }
  await compare(report, "after clean_tombstones", { ...ask, got: program.http });
  const { body } = await post(program.http, "snapshot");
  const name: string = JSON.parse(body).data?.name ?? "";
  report.add("a snapshot's name", /^\d{8}T\d{6}Z-[0-9a-f]{16}$/.test(name) ? "" : body);
  await post(program.http, "delete_series?match[]={__name__!=''}");
  report.add(
    "all is deleted",
    (await program.promql("count({__name__!=''})", startMs + 100 * STEP_MS)).length === 0 ? "" : "no",
  );
  const copy = await Program.start(["--capture", "off"], join(program.dataDirectory, "snapshots", name));
  running.unshift(copy);
  await compare(report, "snapshot", { ...ask, got: copy.http });
}

function seriesOf(startMs: number, from: number, to: number): SentSeries[] {
  const times = Array.from({ length: to - from }, (_, at) => startMs + (from + at) * STEP_MS);
  const one = (labels: Readonly<Record<string, string>>, value: (ms: number) => number): SentSeries => ({
    labels: Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)),
    samples: times.map((timestampMs) => ({ timestampMs, startMs: 0, value: value(timestampMs) })),
  });
  return Array.from({ length: 5 }, (_, at) => [
    one({ __name__: "requests_total", pod: `p${at}` }, (ms) => (ms - startMs) / 1000 + at),
    one({ __name__: "temperature", room: String(at) }, (ms) => Math.round(100 * Math.sin(ms / 1e5 + at))),
  ]).flat();
}

async function send(base: string, series: readonly SentSeries[]): Promise<void> {
  const { status, text } = await sendWrite(base, series, 1);
  if (status >= 300) throw new Error(`${base} answered ${status}: ${text}`);
}

async function post(base: string, action: string): Promise<{ readonly status: number; readonly body: string }> {
  const answer = await fetch(`${base}/api/v1/admin/tsdb/${action}`, { method: "POST" });
  return { status: answer.status, body: await answer.text() };
}

async function compare(
  report: SuiteReport,
  when: string,
  { startMs, wanted, got }: { readonly startMs: number; readonly wanted: string; readonly got: string },
): Promise<void> {
  const endMs = startMs + (SAMPLES + 10) * STEP_MS;
  const range = `start=${startMs / 1000}&end=${endMs / 1000}`;
  const all = encodeURIComponent('{__name__=~"requests_total|temperature"}');
  // Steps lie between samples, since Prometheus 2 and 3 differ over windows that end on one.
  const steps = `start=${startMs / 1000 + 7}&end=${endMs / 1000}&step=15`;
  const queries = [all, "count_over_time(temperature[61s])", "rate(requests_total[91s])"].map(
    (query) => `query_range?query=${query}&${steps}`,
  );
  // Prometheus goes on to name what is deleted until it lets go of it.
  if (when !== "deleted" && when !== "after kill -9") {
    queries.push(`series?match[]=${all}&${range}`, `label/pod/values?${range}`, "label/room/values");
    queries.push("labels?match[]=requests_total");
  } else {
    const pods = JSON.stringify(await answerOf(got, `label/pod/values?${range}`));
    report.add(
      `${when}: label/pod/values`,
      pods === JSON.stringify(["p0", "p2", "p3", "p4"].map((pod) => `"${pod}"`)) ? "" : pods,
    );
  }
  for (const query of queries) {
    const [left, right] = await Promise.all([wanted, got].map((base) => answerOf(base, query)));
    const fault = isDeepStrictEqual(left, right)
      ? ""
      : `Prometheus: ${JSON.stringify(left).slice(0, 400)}\nThalweg: ${JSON.stringify(right).slice(0, 400)}`;
    report.add(`${when}: ${decodeURIComponent(query)}`, fault);
  }
}

/** An answer in an order that does not depend on who gave it. */
async function answerOf(base: string, query: string): Promise<unknown> {
  const body: { data?: unknown; error?: string } = JSON.parse(await (await fetch(`${base}/api/v1/${query}`)).text());
  if (body.error !== undefined) throw new Error(`${base}: ${query}: ${body.error}`);
  const data = body.data as { result?: unknown[] } | unknown[]; // Prometheus' two shapes
  const list = Array.isArray(data) ? data : (data.result ?? []);
  return list.map((each) => JSON.stringify(ordered(each))).sort();
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, one]) => [key, ordered(one)]),
  );
}
