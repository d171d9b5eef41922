/** Reports about OTLP itself: recorded bodies, sent to servers that capture nothing. */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { runParts, type SuiteReport } from "../suite.ts";

const JSON_TYPE = "application/json";
const PROTOBUF_TYPE = "application/x-protobuf";
/** Most of their time they wait for half edges to expire. */
const REPORTS_AT_ONCE = 3;
const ANSWER_MS_MAX = 1_000;
const DERIVED_MS_MAX = 15_000;
/** Derived series are written every five seconds. */
const FLUSH_MS = 6_500;

/** Plays one report. @returns What is wrong; empty where nothing is. */
type Play = (program: Program, input: (name: string) => Buffer) => Promise<string>;

/** Reports by the inputs they need. */
const REPORTS: Readonly<Record<string, { readonly inputs: readonly string[]; readonly play: Play }>> = {
  "OT-02": { inputs: ["OT-02.otlp.json"], play: exactIntegers },
  "OT-05": { inputs: ["OT-05.ok.otlp.json"], play: contentTypes },
  "OT-06": { inputs: ["OT-06.bomb.gz", "OT-06.notgzip", "OT-06.ok.gz", "OT-06.two.gz"], play: compressions },
  "OT-07": { inputs: ["OT-07.otlp.json"], play: oddTimes },
  "OT-09": { inputs: ["OT-09.traces.otlp.pb"], play: brokenText },
  "MT-08": {
    inputs: ["MT-08.a.otlp.json", "MT-08.b.otlp.json", "MT-08.a2.otlp.json", "MT-08.b2.otlp.json"],
    play: countersOnlyGrow,
  },
};

/** Plays the reports whose inputs lie under `dir`, each to a server of its own. */
export async function checkOtlpReports(dir: string, report: SuiteReport): Promise<void> {
  const input = (name: string) => readFileSync(join(dir, "inputs", name));
  const present = Object.entries(REPORTS).filter(([, { inputs }]) =>
    inputs.every((name) => existsSync(join(dir, "inputs", name))),
  );
  const parts = present.map(([id, { play }]) => async () => {
    const program = await Program.start(["--capture", "off"]);
    try {
      report.add(id, await play(program, input));
      // MT-08 ends with another program on the same directory, and judges that.
      if (id !== "MT-08") report.add(`${id}: one truth`, await oneTruthFault(program, { withOrphans: true }));
    } finally {
      await program.discard();
    }
  });
  await runParts(parts, REPORTS_AT_ONCE);
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

async function post(
  program: Program,
  body: Uint8Array,
  headers: Readonly<Record<string, string>>,
  path = "/v1/traces",
): Promise<Answer> {
  const answer = await fetch(`${program.otlpHttp}${path}`, { method: "POST", headers, body: new Uint8Array(body) });
  return { status: answer.status, type: answer.headers.get("content-type") ?? "", text: await answer.text() };
}

/** 64-bit integers keep every digit, whether they came as text or as numbers. */
async function exactIntegers(program: Program, input: (name: string) => Buffer): Promise<string> {
  const answer = await post(program, input("OT-02.otlp.json"), { "content-type": JSON_TYPE });
  if (answer.status !== 200) return `status ${answer.status}: ${answer.text}`;
  const wanted: Readonly<Record<string, string>> = {
    "as.string": "9007199254740993",
    "as.number": "42",
    neg: "-9223372036854775808",
    max: "9223372036854775807",
    dbl: "1e+21",
    dblstr: "NaN",
    zero: "0",
  };
  const [row] = await program.sql("SELECT start_ns, trace_id, attributes FROM spans WHERE service = 'ints'");
  const [start, traceId, attributes] = row ?? [];
  const faults: string[] = [];
  if (start !== "1758000000000000001") faults.push(`start ${start}`);
  for (const [key, value] of Object.entries(wanted)) {
    // A MAP is an object in a SQL answer.
    const found = (attributes as Readonly<Record<string, string>> | undefined)?.[key];
    if (found !== value) faults.push(`SQL: ${key} is ${found}, expected ${value}`);
  }
  const otlp = await (await fetch(`${program.http}/api/v1/traces/${traceId}`)).text();
  for (const piece of [
    '"startTimeUnixNano":"1758000000000000001"',
    '"intValue":"9007199254740993"',
    '"intValue":"-9223372036854775808"',
    '"intValue":"9223372036854775807"',
    '"intValue":"42"',
    '"intValue":"0"',
    '"doubleValue":"NaN"',
  ]) {
    if (!otlp.includes(piece)) faults.push(`OTLP: ${piece} is missing`);
  }
  return faults.join("\n");
}

/** Types are taken without regard to case and parameters; faults of a client are never 5xx. */
async function contentTypes(program: Program, input: (name: string) => Buffer): Promise<string> {
  const ok = input("OT-05.ok.otlp.json");
  const empty = Buffer.alloc(0);
  const json = Buffer.from("{}");
  const faults: string[] = [];
  const expect = (what: string, answer: Answer, status: number, check: (answer: Answer) => boolean = () => true) => {
    if (answer.status !== status || !check(answer)) faults.push(`${what}: ${JSON.stringify(answer)}`);
  };
  const isJson = ({ type }: Answer) => type === JSON_TYPE;
  expect("charset", await post(program, ok, { "content-type": `${JSON_TYPE}; charset=utf-8` }), 200, isJson);
  expect("upper case", await post(program, ok, { "content-type": JSON_TYPE.toUpperCase() }), 200, isJson);
  expect("text/plain", await post(program, ok, { "content-type": "text/plain" }), 415);
  expect("no subtype", await post(program, ok, { "content-type": "application/" }), 415);
  expect("no type", await post(program, ok, {}), 415);
  expect(
    "empty protobuf",
    await post(program, empty, { "content-type": PROTOBUF_TYPE }),
    200,
    ({ type, text }) => type === PROTOBUF_TYPE && text === "",
  );
  expect("empty object", await post(program, json, { "content-type": JSON_TYPE }), 200, ({ text }) => text === "{}");
  const got = await fetch(`${program.otlpHttp}/v1/traces`);
  if (got.status !== 405) faults.push(`GET: status ${got.status}`);
  const broken = await post(program, Buffer.from('{"resourceSpans":[{'), { "content-type": JSON_TYPE });
  expect("broken JSON", broken, 400, (answer) => isJson(answer) && "code" in JSON.parse(answer.text));
  expect("wrong path", await post(program, json, { "content-type": JSON_TYPE }, "/v1/nothing"), 404);
  return faults.join("\n");
}

/** Members of gzip are all read, bombs refused while others are answered, and nothing compressed is read as plain. */
async function compressions(program: Program, input: (name: string) => Buffer): Promise<string> {
  const send = (body: Uint8Array, encoding = "gzip") =>
    post(program, body, { "content-type": JSON_TYPE, "content-encoding": encoding });
  const faults: string[] = [];
  const ok = input("OT-06.ok.gz");
  const okStatus = (await send(ok)).status;
  if (okStatus !== 200) faults.push(`ok.gz: status ${okStatus}`);
  const traceId = /"traceId":\s*"([0-9a-f]+)"/.exec(gunzipSync(ok).toString())?.[1];
  const trace = await fetch(`${program.http}/api/v1/traces/${traceId}`);
  if (trace.status !== 200) faults.push(`trace ${traceId}: status ${trace.status}`);
  const bomb = send(input("OT-06.bomb.gz"));
  const started = performance.now();
  await fetch(`${program.http}/livez`);
  if (performance.now() - started > ANSWER_MS_MAX) faults.push("others wait while a bomb is refused");
  const statuses: readonly (readonly [string, number, number])[] = [
    ["bomb.gz", (await bomb).status, 413],
    ["two.gz", (await send(input("OT-06.two.gz"))).status, 200],
    ["notgzip", (await send(input("OT-06.notgzip"))).status, 400],
    ["br", (await send(ok, "br")).status, 400],
    ["twice gzip as once", (await send(gzipSync(ok))).status, 400],
  ];
  for (const [what, status, wanted] of statuses) if (status !== wanted) faults.push(`${what}: status ${status}`);
  const [row] = await program.sql("SELECT count(*) FROM spans WHERE trace_id = $1", [traceId ?? ""]);
  const wantedRows = (
    gunzipSync(ok)
      .toString()
      .match(/"spanId"/g) ?? []
  ).length;
  if (Number(row?.[0]) !== wantedRows) faults.push(`${row?.[0]} spans of the trace, expected ${wantedRows}`);
  return faults.join("\n");
}

/** Spans with odd times are kept, have a duration of 0 at least and of years nowhere, and come back as they were. */
async function oddTimes(program: Program, input: (name: string) => Buffer): Promise<string> {
  const sent = input("OT-07.otlp.json").toString();
  const answer = await post(program, Buffer.from(sent), { "content-type": JSON_TYPE });
  if (answer.status !== 200) return `status ${answer.status}: ${answer.text}`;
  const faults: string[] = [];
  const rows = await program.sql("SELECT name, duration_ns, trace_id FROM spans WHERE service = 'clock' ORDER BY name");
  const durations = rows.map(([name, duration]) => `${name} ${duration}`).join(", ");
  if (durations !== "backwards 0, epoch 1, future 1000000, noend 0") faults.push(`durations: ${durations}`);
  for (const [name, , traceId] of rows) {
    const otlp = await (await fetch(`${program.http}/api/v1/traces/${traceId}`)).text();
    const times = [...otlp.matchAll(/"(?:start|end)TimeUnixNano":"(\d+)"/g)].map((match) => match[1]);
    const place = sent.indexOf(`"${name}"`);
    const wanted = [...sent.slice(place).matchAll(/"(?:start|end)TimeUnixNano": "(\d+)"/g)].slice(0, 2);
    if (wanted.map((match) => match[1]).join() !== times.join()) faults.push(`${name}: times ${times.join()}`);
  }
  await until(async () => {
    const [sum] = await program.promql('sum(traces_spanmetrics_latency_sum{service="clock"})');
    return sum !== undefined && sum.value > 0 ? true : undefined;
  }, DERIVED_MS_MAX);
  const [sum] = await program.promql('sum(traces_spanmetrics_latency_sum{service="clock"})');
  if (sum === undefined || sum.value >= 1) faults.push(`latencies sum up to ${sum?.value}`);
  const started = performance.now();
  const [max] = await program.sql("SELECT max(duration_ns), count(*) FROM traces");
  if (Number(max?.[0]) > 1e9 || Number(max?.[1]) !== 4) faults.push(`traces: ${max}`);
  if (performance.now() - started > ANSWER_MS_MAX) faults.push("the list of traces takes more than a second");
  return faults.join("\n");
}

/** A text that is not UTF-8 is repaired, told of, and poisons nothing. */
async function brokenText(program: Program, input: (name: string) => Buffer): Promise<string> {
  const answer = await post(program, input("OT-09.traces.otlp.pb"), { "content-type": PROTOBUF_TYPE });
  if (answer.status !== 200) return `status ${answer.status}`;
  const faults: string[] = [];
  if (!answer.text.includes("not valid Unicode")) faults.push("the sender is not told");
  const rows = await program.sql("SELECT trace_id, name, attributes FROM spans");
  if (rows.length !== 3) faults.push(`${rows.length} spans, expected 3`);
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (const traceId of new Set(rows.map(([id]) => id))) {
    const body = await (await fetch(`${program.http}/api/v1/traces/${traceId}`)).arrayBuffer();
    JSON.parse(decoder.decode(body));
  }
  const all = JSON.stringify(rows);
  if (!all.includes("\ufffd")) faults.push(`nothing was repaired: ${all}`);
  if (!/\p{Emoji_Presentation}/u.test(all) || !/\p{Script=Han}/u.test(all)) faults.push(`emoji or CJK changed: ${all}`);
  return faults.join("\n");
}

/** Two instances of a service write in turn: no counter ever decreases, and the service counts each call once. */
async function countersOnlyGrow(program: Program, input: (name: string) => Buffer): Promise<string> {
  const query = 'traces_spanmetrics_calls_total{service="red"}';
  const faults: string[] = [];
  let total = 0;
  for (const [name, calls] of [
    ["a", 5],
    ["b", 3],
    ["a2", 4],
    ["b2", 2],
  ] as const) {
    const answer = await post(program, input(`MT-08.${name}.otlp.json`), { "content-type": JSON_TYPE });
    if (answer.status !== 200) faults.push(`${name}: status ${answer.status}`);
    total += calls;
    let found = 0;
    await until(async () => {
      const [sum] = await program.promql(`sum(${query})`);
      found = sum?.value ?? 0;
      return found === total ? true : undefined;
    }, DERIVED_MS_MAX);
    if (found !== total) faults.push(`after ${name} the service has ${found} calls, expected ${total}`);
  }
  for (const { metric, value } of await program.promql(`resets(${query}[5m])`)) {
    if (value !== 0) faults.push(`${JSON.stringify(metric)} decreased ${value} times`);
  }
  // After a restart the counters go on; what is sent again is no call that came to pass twice.
  await program.stop();
  const again = await Program.start(["--capture", "off"], program.dataDirectory);
  try {
    const answer = await post(again, input("MT-08.a.otlp.json"), { "content-type": JSON_TYPE });
    if (answer.status !== 200) faults.push(`a, after the restart: status ${answer.status}`);
    await sleep(FLUSH_MS);
    const [sum] = await again.promql(`sum(${query})`);
    if (sum?.value !== total) faults.push(`after the restart the service has ${sum?.value} calls, expected ${total}`);
    const resets = await again.promql(`sum(resets(${query}[5m]))`);
    if (resets[0]?.value !== 0) faults.push(`counters decreased ${resets[0]?.value} times over the restart`);
    return faults
      .concat(await oneTruthFault(again))
      .filter((fault) => fault !== "")
      .join("\n");
  } finally {
    await again.stop();
  }
}
