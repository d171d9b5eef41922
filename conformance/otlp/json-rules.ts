/** JSON as OTLP maps it to protobuf: what must be taken, in every form that is allowed, and what must be refused. */

import type { Program } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import type { SignalFace } from "./signals.ts";
import { callHttp, refusalFault } from "./wire-call.ts";

const TYPE = { "content-type": "application/json" };
const REFUSED = 400;

/** Members of an item of each signal, in place of those a request has. */
const TAKEN: Readonly<Record<SignalFace["signal"] | "all", readonly string[]>> = {
  all: [
    '"future":{"a":[1,null,{"b":true}]}',
    '"future":null',
    '"start_time_unix_nano":"nonsense"',
    '"attributes":null',
    '"attributes":[]',
    '"attributes":[{"key":"k","value":{"intValue":"-9223372036854775808"}}]',
    '"attributes":[{"key":"k","value":{"intValue":-9223372036854775808}}]',
    '"attributes":[{"key":"k","value":{"intValue":1e3}},{"key":"l","value":{"intValue":"1.0"}}]',
    '"attributes":[{"key":"k","value":{"doubleValue":"NaN"}},{"key":"l","value":{"doubleValue":"-Infinity"}}]',
    '"attributes":[{"key":"k","value":{"doubleValue":"1.5"}},{"key":"l","value":{"doubleValue":3}}]',
    '"attributes":[{"key":"k","value":{"bytesValue":"-_8"}},{"key":"l","value":{"bytesValue":"+/8="}}]',
    '"attributes":[{"key":"k","value":null},{"key":"l"},{"value":{"stringValue":"no key"}}]',
    '"attributes":[{"key":"k","value":{"arrayValue":{}}},{"key":"l","value":{"kvlistValue":{"values":[]}}}]',
    '"attributes":[{"key":"\\ud83d\\ude00","value":{"stringValue":"\\u0000\\n\\/"}}]',
  ],
  traces: [
    '"kind":"SPAN_KIND_SERVER"',
    '"kind":3',
    '"kind":99',
    '"kind":null,"status":null,"events":null,"links":null,"name":null',
    '"parentSpanId":""',
    '"status":{"code":"STATUS_CODE_ERROR","message":"m"}',
    '"startTimeUnixNano":1700000000000000001,"endTimeUnixNano":1700000000000000002',
    '"startTimeUnixNano":"1700000000000000001","endTimeUnixNano":1.700000000000000002e18',
    '"droppedAttributesCount":"3","flags":"257"',
    '"events":[{},{"timeUnixNano":"1","name":"e","attributes":[{"key":"k"}]}]',
    '"links":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174"}]',
  ],
  logs: [
    '"severityNumber":"SEVERITY_NUMBER_WARN2"',
    '"severityNumber":14',
    '"severityNumber":99',
    '"body":null',
    '"body":{}',
    '"body":{"bytesValue":"AAH/"}',
    '"traceId":"","spanId":""',
    '"traceId":"5B8EFFF798038103D269b633813fc60c","spanId":"EEE19B7EC3C1B174"',
    '"observedTimeUnixNano":1700000000000000001',
    '"eventName":"e","flags":1',
  ],
  metrics: [],
};

const REFUSED_MEMBERS: Readonly<Record<SignalFace["signal"] | "all", readonly string[]>> = {
  all: [
    '"attributes":{}',
    '"attributes":[{"key":1}]',
    '"attributes":[{"key":"k","value":{"intValue":1.5}}]',
    '"attributes":[{"key":"k","value":{"intValue":"abc"}}]',
    '"attributes":[{"key":"k","value":{"intValue":"9223372036854775808"}}]',
    '"attributes":[{"key":"k","value":{"intValue":true}}]',
    '"attributes":[{"key":"k","value":{"doubleValue":"many"}}]',
    '"attributes":[{"key":"k","value":{"boolValue":"true"}}]',
    '"attributes":[{"key":"k","value":{"boolValue":1}}]',
    '"attributes":[{"key":"k","value":{"stringValue":7}}]',
    '"attributes":[{"key":"k","value":{"bytesValue":"!"}}]',
    '"attributes":[{"key":"k","value":"plain"}]',
    '"attributes":[{"key":"k","value":{"arrayValue":[]}}]',
    '"future":tru',
    '"future":01',
    '"future":"\\x41"',
    "future:1",
    '"future":1,',
  ],
  traces: [
    '"traceId":"zz8efff798038103d269b633813fc60c"',
    '"spanId":"eee19b7ec3c1b17"',
    '"parentSpanId":12',
    '"kind":"SPAN_KIND_WAITER"',
    '"kind":1.5',
    '"kind":true',
    '"startTimeUnixNano":-1',
    '"startTimeUnixNano":"18446744073709551616"',
    '"startTimeUnixNano":""',
    '"status":"ok"',
    '"flags":4294967296',
    '"links":[{"traceId":"x"}]',
  ],
  logs: [
    '"traceId":"zz8efff798038103d269b633813fc60c"',
    '"severityNumber":"LOUD"',
    '"timeUnixNano":-1',
    '"body":"plain"',
    '"body":{"stringValue":{}}',
    '"severityText":1',
  ],
  metrics: [
    '"name":1',
    '"unit":{}',
    '"gauge":[]',
    '"gauge":{"dataPoints":{}}',
    '"gauge":{"dataPoints":[{"asInt":"x"}]}',
  ],
};

/** Bodies that are no object of OTLP, whatever the signal. */
const REFUSED_BODIES = [
  "1234",
  '"text"',
  "[]",
  "true",
  "{",
  "{}{}",
  "{} x",
  '{"a"}',
  "{'a':1}",
  '{"a":1,}',
  "\u00e4",
  "{\u0000}",
];
const TAKEN_BODIES = [
  "{}",
  " \r\n\t{ } \n",
  '{"unknown":[[[]]]}',
  '{"resourceSpans":null,"resourceLogs":null,"resourceMetrics":null}',
];

/** Plays all of them for one signal. */
export async function jsonRules(program: Program, face: SignalFace, report: SuiteReport): Promise<void> {
  const url = `${program.otlpHttp}${face.path}`;
  const send = (text: string) => callHttp(url, { headers: TYPE, body: Buffer.from(text) });
  for (const members of [...(face.signal === "metrics" ? [] : TAKEN.all), ...TAKEN[face.signal]]) {
    const before = await face.taken(program);
    const { status, body } = await send(withMembers(face, members));
    const items = (await face.taken(program)) - before;
    const fine = status === 200 && items === face.items;
    report.add(`J taken, ${face.signal}: ${members}`, fine ? "" : `status ${status}, ${items} items: ${body}`);
  }
  const before = await face.taken(program);
  const lists =
    face.signal === "metrics" ? REFUSED_MEMBERS.all.filter((each) => each.startsWith('"future')) : REFUSED_MEMBERS.all;
  for (const members of [...lists, ...REFUSED_MEMBERS[face.signal]]) {
    const fault = refusalFault(await send(withMembers(face, members)), TYPE, REFUSED);
    report.add(`J refused, ${face.signal}: ${members}`, fault);
  }
  for (const text of REFUSED_BODIES) {
    report.add(`J refused, ${face.signal}: ${JSON.stringify(text)}`, refusalFault(await send(text), TYPE, REFUSED));
  }
  for (const text of TAKEN_BODIES) {
    const { status, body } = await send(text);
    report.add(
      `J taken, ${face.signal}: ${text.trim()}`,
      status === 200 && body.toString() === "{}" ? "" : `status ${status}: ${body}`,
    );
  }
  report.add(`J nothing refused is stored: ${face.signal}`, (await face.taken(program)) === before ? "" : "it is");
}

/** A request whose first item has these members behind its own; of two of one name the later counts. */
function withMembers(face: SignalFace, members: string): string {
  const text = face.json(face.request());
  const list = `"${face.lists[2]}":[{`;
  const at = text.indexOf(list) + list.length;
  const names = [...members.matchAll(/"(\w+)":/g)].slice(0, 1).map((match) => match[1]);
  // Members of its own of the same name go, where it has them: what stands twice is left open by JSON.
  const item = JSON.parse(text.slice(at - 1, endOfObject(text, at - 1)));
  for (const name of names) if (name !== undefined) delete item[name];
  const kept = JSON.stringify(item).slice(1, -1);
  return `${text.slice(0, at)}${kept},${members}${text.slice(endOfObject(text, at - 1) - 1)}`;
}

function endOfObject(text: string, from: number): number {
  let depth = 0;
  let quoted = false;
  for (let at = from; at < text.length; at++) {
    const character = text[at];
    if (quoted) {
      if (character === "\\") at++;
      else if (character === '"') quoted = false;
    } else if (character === '"') quoted = true;
    else if (character === "{") depth++;
    else if (character === "}" && --depth === 0) return at + 1;
  }
  return text.length;
}
