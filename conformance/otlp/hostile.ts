/**
 * What senders get wrong and what is odd though legal, signal by signal: each has one rule, one counter with its reason,
 * and rows that show it. The rules stand in `server/ingest/RULES.md`.
 */

import { randomBytes } from "node:crypto";
import { oracleEncode } from "../../server/wire/trace-oracle.ts";
import { cpuMs } from "../limits/watch.ts";
import { oneTruthFault } from "../one-truth.ts";
import type { Program } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { SIGNALS, type SignalFace } from "./signals.ts";
import { callHttp } from "./wire-call.ts";

const PROTOBUF = "application/x-protobuf";
const YEAR_2017 = "1485467191639875000";
const YEAR_2200 = "7258118400000000001";
const BEYOND = "18446744073709551615";
const MANY_SPANS = 100_000;
const ATTRIBUTES_MAX = 1_024;
const ANSWER_MS_MAX = 10_000;

type Item = Readonly<Record<string, unknown>>;
type Counters = Readonly<Record<string, number>>;

/** One odd item beside a good one of the same request. */
interface Hostile {
  readonly rule: string;
  readonly items: readonly Item[];
  /** Counters that grow, `mended{what}` or `rejected{reason}`, by how much; no other of these two may. */
  readonly counts: Counters;
  /** Items that are stored. */
  readonly stored: number;
  /** What of a row must be found afterwards, by an expression over `spans` or `logs`. */
  readonly row?: readonly [expression: string, value: string];
}

const START = "1700000000000000000";
const END = "1700000000000001000";

function span(more: Item = {}): Item {
  return {
    traceId: randomBytes(16),
    spanId: randomBytes(8),
    name: "n",
    kind: 2,
    startTimeUnixNano: START,
    endTimeUnixNano: END,
    ...more,
  };
}

function attribute(key: string, value: Item): Item {
  return { key, value };
}

function nested(levels: number): Item {
  let value: Item = { intValue: "1" };
  for (let level = 0; level < levels; level++) value = { arrayValue: { values: [value] } };
  return value;
}

const ID = randomBytes(8);
const SPANS: readonly Hostile[] = [
  {
    rule: "a trace id of zeros",
    items: [span({ traceId: Buffer.alloc(16) })],
    counts: { "rejected trace_id_zero": 1 },
    stored: 0,
  },
  {
    rule: "a span id of zeros",
    items: [span({ spanId: Buffer.alloc(8) })],
    counts: { "rejected span_id_zero": 1 },
    stored: 0,
  },
  { rule: "no ids", items: [span({ traceId: "", spanId: "" })], counts: { "rejected trace_id_length": 1 }, stored: 0 },
  {
    rule: "a long trace id",
    items: [span({ traceId: randomBytes(17) })],
    counts: { "rejected trace_id_length": 1 },
    stored: 0,
  },
  {
    rule: "a short span id",
    items: [span({ spanId: randomBytes(7) })],
    counts: { "rejected span_id_length": 1 },
    stored: 0,
  },
  {
    rule: "a short parent id",
    items: [span({ parentSpanId: randomBytes(4) })],
    counts: { "rejected parent_span_id_length": 1 },
    stored: 0,
  },
  {
    rule: "a parent id of zeros is none",
    items: [span({ parentSpanId: Buffer.alloc(8) })],
    counts: {},
    stored: 1,
    row: ["parent_span_id IS NULL OR parent_span_id = ''", "true"],
  },
  {
    rule: "an end before the start",
    items: [span({ endTimeUnixNano: "5" })],
    counts: { "mended end_before_start": 1 },
    stored: 1,
    row: ["duration_ns", "0"],
  },
  {
    rule: "no end",
    items: [span({ endTimeUnixNano: "0" })],
    counts: { "mended end_before_start": 1 },
    stored: 1,
    row: ["duration_ns", "0"],
  },
  {
    rule: "no times",
    items: [span({ startTimeUnixNano: "0", endTimeUnixNano: "0" })],
    counts: {},
    stored: 1,
    row: ["start_ns", "0"],
  },
  {
    rule: "1970",
    items: [span({ startTimeUnixNano: "1", endTimeUnixNano: "2" })],
    counts: {},
    stored: 1,
    row: ["start_ns", "1"],
  },
  {
    rule: "2017",
    items: [span({ startTimeUnixNano: YEAR_2017, endTimeUnixNano: YEAR_2017 })],
    counts: {},
    stored: 1,
    row: ["start_ns", YEAR_2017],
  },
  {
    rule: "2200",
    items: [span({ startTimeUnixNano: YEAR_2200, endTimeUnixNano: YEAR_2200 })],
    counts: {},
    stored: 1,
    row: ["start_ns", YEAR_2200],
  },
  {
    rule: "beyond 2262",
    items: [span({ startTimeUnixNano: BEYOND, endTimeUnixNano: BEYOND })],
    counts: { "mended clock": 1 },
    stored: 1,
    row: ["duration_ns", "0"],
  },
  {
    rule: "its own parent",
    items: [span({ spanId: ID, parentSpanId: ID })],
    counts: { "mended self_parent": 1 },
    stored: 1,
    row: ["parent_span_id IS NULL OR parent_span_id = ''", "true"],
  },
  ...loop(),
  {
    rule: "two spans of one id and different kinds, as Zipkin has them",
    items: shared([{ kind: 3 }, { kind: 2 }]),
    counts: {},
    stored: 2,
  },
  { rule: "the same span twice", items: shared([{}, {}]), counts: { "rejected repeated": 1 }, stored: 1 },
  { rule: "an unknown kind", items: [span({ kind: 77 })], counts: {}, stored: 1, row: ["kind", "unspecified"] },
  {
    rule: "a name of a megabyte",
    items: [span({ name: "x".repeat(2 ** 20) })],
    counts: { "mended text_length": 1 },
    stored: 1,
    row: ["length(name)", "1024"],
  },
  ...attributes((list) => span({ attributes: list })),
];

const LOGS: readonly Hostile[] = [
  {
    rule: "a long trace id",
    items: [{ traceId: randomBytes(17) }],
    counts: { "mended trace_context": 1 },
    stored: 1,
    row: ["trace_id IS NULL", "true"],
  },
  {
    rule: "a short span id",
    items: [{ traceId: randomBytes(16), spanId: ID.subarray(1) }],
    counts: { "mended trace_context": 1 },
    stored: 1,
    row: ["span_id IS NULL", "true"],
  },
  {
    rule: "ids of zeros are none",
    items: [{ traceId: Buffer.alloc(16), spanId: Buffer.alloc(8) }],
    counts: {},
    stored: 1,
    row: ["trace_id IS NULL", "true"],
  },
  { rule: "nothing at all", items: [{}], counts: {}, stored: 1 },
  { rule: "2017", items: [{ timeUnixNano: YEAR_2017 }], counts: {}, stored: 1, row: ["time_ns", YEAR_2017] },
  { rule: "2200", items: [{ timeUnixNano: YEAR_2200 }], counts: {}, stored: 1, row: ["time_ns", YEAR_2200] },
  { rule: "beyond 2262", items: [{ timeUnixNano: BEYOND }], counts: { "mended clock": 1 }, stored: 1 },
  {
    rule: "an unknown severity",
    items: [{ severityNumber: 99 }],
    counts: {},
    stored: 1,
    row: ["severity_number", "0"],
  },
  {
    rule: "the same record twice is two",
    items: [{ body: { stringValue: "b" } }, { body: { stringValue: "b" } }],
    counts: {},
    stored: 2,
  },
  {
    rule: "a body of a megabyte",
    items: [{ body: { stringValue: "x".repeat(2 ** 20) } }],
    counts: { "mended text_length": 1 },
    stored: 1,
    row: ["length(body)", "262144"],
  },
  { rule: "a body that is nested deeply", items: [{ body: nested(40) }], counts: { "mended nesting": 1 }, stored: 1 },
  ...attributes((list) => ({ attributes: list })),
];

let metricSerial = 0;

function gauge(more: Item = {}, name = `hostile_${metricSerial++}`): Item {
  return {
    name,
    gauge: { dataPoints: [{ timeUnixNano: String(BigInt(Date.now()) * 1_000_000n), asInt: "1", ...more }] },
  };
}

const DELTA_NS = BigInt(Date.now()) * 1_000_000n;

function delta(seconds: number): Item {
  const timeUnixNano = String(DELTA_NS + BigInt(seconds) * 1_000_000_000n);
  return { name: "hostile_delta", sum: { aggregationTemporality: 1, dataPoints: [{ timeUnixNano, asInt: "1" }] } };
}

const METRICS: readonly Hostile[] = [
  {
    rule: "two increments of one time, and one that is older",
    items: [delta(0), delta(0), delta(-1)],
    counts: { "rejected duplicate": 1, "rejected out_of_order": 1 },
    stored: 1,
  },
  {
    rule: "unknown temporality",
    items: [{ name: "u", sum: { dataPoints: [{ asInt: "1" }] } }],
    counts: { "rejected temporality": 1 },
    stored: 0,
  },
  { rule: "no name", items: [gauge({}, "")], counts: { "rejected metric_name": 1 }, stored: 0 },
  {
    rule: "a scale too coarse",
    items: [
      { name: "e", exponentialHistogram: { aggregationTemporality: 2, dataPoints: [{ scale: -9, count: "1" }] } },
    ],
    counts: { "rejected histogram_scale": 1 },
    stored: 0,
  },
  {
    rule: "a time in 2200",
    items: [gauge({ timeUnixNano: YEAR_2200 })],
    counts: { "rejected timestamp": 1 },
    stored: 0,
  },
  {
    rule: "a name that is no name of Prometheus",
    items: [gauge({}, `日本.${randomBytes(2).toString("hex")}/x`)],
    counts: {},
    stored: 1,
  },
  {
    rule: "an attribute that is nested deeply",
    items: [gauge({ attributes: [attribute("deep", nested(40))] })],
    counts: { "mended nesting": 1 },
    stored: 1,
  },
];

/** A ring of three spans, each the parent of the next. */
function loop(): Hostile[] {
  const traceId = randomBytes(16);
  const ids = [randomBytes(8), randomBytes(8), randomBytes(8)];
  const items = ids.map((spanId, at) => span({ traceId, spanId, parentSpanId: ids[(at + 1) % ids.length] }));
  return [{ rule: "a loop of parents", items, counts: {}, stored: 3 }];
}

function shared(list: readonly Item[]): Item[] {
  const ids = { traceId: randomBytes(16), spanId: randomBytes(8) };
  return list.map((more) => span({ ...ids, ...more }));
}

/** Rules of attributes, which spans and log records share. */
function attributes(item: (list: readonly Item[]) => Item): Hostile[] {
  const many = Array.from({ length: 5_000 }, (_, at) => attribute(`k${at}`, { intValue: String(at) }));
  const value = { stringValue: "v" };
  return [
    {
      rule: "an attribute that is nested deeply",
      items: [item([attribute("deep", nested(40))])],
      counts: { "mended nesting": 1 },
      stored: 1,
    },
    {
      rule: "5,000 attributes",
      items: [item(many)],
      counts: { "mended attribute_count": 5_000 - ATTRIBUTES_MAX },
      stored: 1,
      row: ["cardinality(attributes)", String(ATTRIBUTES_MAX)],
    },
    {
      rule: "a key that comes again",
      items: [item([attribute("k", { stringValue: "first" }), attribute("k", value)])],
      counts: { "mended attribute_count": 1 },
      stored: 1,
      row: ["attributes['k']", "v"],
    },
    {
      rule: "a value of a megabyte",
      items: [item([attribute("k", { stringValue: "x".repeat(2 ** 20) })])],
      counts: { "mended text_length": 1 },
      stored: 1,
      row: ["length(attributes['k'])", "65536"],
    },
    {
      rule: "attributes without key and value",
      items: [item([{ key: "k" }, { value }])],
      counts: {},
      stored: 1,
    },
  ];
}

/** Plays all of them, each in a request of its own, against a program that is sent nothing else meanwhile. */
export async function playHostile(program: Program, report: SuiteReport): Promise<void> {
  const [traces, logs, metrics] = SIGNALS;
  for (const [face, list] of [
    [traces, SPANS],
    [logs, LOGS],
    [metrics, METRICS],
  ] as const) {
    for (const each of list)
      report.add(`hostile ${face.signal}: ${each.rule}`, await hostileFault(program, face, each));
    report.add(`hostile ${face.signal}: text that is not UTF-8`, await brokenTextFault(program, face));
  }
  report.add(`hostile traces: one of ${MANY_SPANS} spans`, await largeTraceFault(program));
  report.add("hostile: one truth", await oneTruthFault(program, { withOrphans: true }));
}

async function hostileFault(program: Program, face: SignalFace, hostile: Hostile): Promise<string> {
  const service = `hostile-${randomBytes(4).toString("hex")}`;
  const before = await countersOf(program, face);
  const answer = await send(program, face, oracleEncode(face.message, requestOf(face, service, hostile.items)));
  if (answer !== 200) return `status ${answer}`;
  const after = await countersOf(program, face);
  const grown = differences(before, after);
  const wanted = Object.entries({ stored: hostile.stored, ...hostile.counts }).filter(([, count]) => count > 0);
  const faults = [];
  if (JSON.stringify(Object.fromEntries(wanted.sort())) !== JSON.stringify(Object.fromEntries(grown.sort()))) {
    faults.push(`counted ${JSON.stringify(grown)}, expected ${JSON.stringify(wanted)}`);
  }
  if (face.signal === "metrics") return faults.join("\n");
  const table = face.signal === "traces" ? "spans" : "logs";
  const expression = hostile.row?.[0] ?? "1";
  const rows = await program.sql(`SELECT CAST(${expression} AS VARCHAR) FROM ${table} WHERE service = $1`, [service]);
  if (rows.length !== hostile.stored) faults.push(`${rows.length} rows, expected ${hostile.stored}`);
  if (hostile.row !== undefined && rows[0]?.[0] !== hostile.row[1]) faults.push(`${expression} is ${rows[0]?.[0]}`);
  return faults.join("\n");
}

function requestOf(face: SignalFace, service: string, items: readonly Item[]): Item {
  const [resources, scopes, list] = face.lists;
  const resource = { attributes: [attribute("service.name", { stringValue: service })] };
  return { [resources]: [{ resource, [scopes]: [{ scope: {}, [list]: items }] }] };
}

/** Texts in place of others of their length, with a byte that starts no character; told, counted, and answered as text. */
async function brokenTextFault(program: Program, face: SignalFace): Promise<string> {
  const mark = `mark-${randomBytes(4).toString("hex")}`;
  const item = { traces: span({ name: mark }), logs: { severityText: mark }, metrics: gauge({}, mark) }[face.signal];
  const bytes = Buffer.from(oracleEncode(face.message, requestOf(face, "broken", [item])));
  bytes[bytes.indexOf(mark) + 4] = 0xff;
  const before = await countersOf(program, face);
  const status = await send(program, face, bytes);
  const grown = new Map(differences(before, await countersOf(program, face)));
  if (status !== 200) return `status ${status}`;
  if (grown.get("mended unicode") !== 1 || grown.get("stored") !== 1) return JSON.stringify([...grown]);
  if (face.signal === "metrics") return "";
  const column = face.signal === "traces" ? "name FROM spans" : "severity_text FROM logs";
  const rows = await program.sql(`SELECT ${column} WHERE service = 'broken'`);
  return rows.some(([text]) => text === mark.replace("-", "\ufffd")) ? "" : JSON.stringify(rows);
}

async function largeTraceFault(program: Program): Promise<string> {
  const [face] = SIGNALS;
  const traceId = randomBytes(16);
  const spans = Array.from({ length: MANY_SPANS }, (_, at) => {
    const id = (number: number) => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt32BE(number + 1, 4);
      return bytes;
    };
    return span({ kind: 2, traceId, spanId: id(at), ...(at === 0 ? {} : { parentSpanId: id(at >> 1) }) });
  });
  const status = await send(program, face, oracleEncode(face.message, requestOf(face, "large", spans)));
  if (status !== 200) return `status ${status}`;
  const started = performance.now();
  const busyBefore = cpuMs(program.pid);
  const answer = await fetch(`${program.http}/api/v1/traces/${traceId.toString("hex")}`);
  const text = await answer.text();
  const found = text.match(/"spanId"/g)?.length;
  if (found !== MANY_SPANS) return `${found} spans in the answer`;
  // On a machine that works for others too, the processor time tells.
  const tookMs = Math.min(performance.now() - started, cpuMs(program.pid) - busyBefore);
  return tookMs <= ANSWER_MS_MAX ? "" : `the answer took ${Math.round(tookMs)} ms`;
}

async function send(program: Program, face: SignalFace, body: Uint8Array): Promise<number> {
  const url = `${program.otlpHttp}${face.path}`;
  return (await callHttp(url, { headers: { "content-type": PROTOBUF }, body })).status;
}

/** What was stored, left out and mended of a signal, by reason. */
async function countersOf(program: Program, face: SignalFace): Promise<Map<string, number>> {
  const text = await (await fetch(`${program.http}/metrics`)).text();
  const counters = new Map<string, number>();
  for (const line of text.split("\n")) {
    const match = /^thalweg_ingest_(stored|rejected|mended)_total\{(.*)\} (\d+)$/.exec(line);
    const [, name = "", labels = "", value = "0"] = match ?? [];
    if (match === null || !labels.includes(`signal="${face.signal}"`)) continue;
    const reason = /(?:reason|what)="([^"]*)"/.exec(labels)?.[1];
    const key = reason === undefined ? name : `${name} ${reason}`;
    counters.set(key, (counters.get(key) ?? 0) + Number(value));
  }
  return counters;
}

function differences(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): [string, number][] {
  const grown: [string, number][] = [];
  for (const [key, value] of after) {
    const more = value - (before.get(key) ?? 0);
    if (more > 0) grown.push([key, more]);
  }
  return grown;
}
