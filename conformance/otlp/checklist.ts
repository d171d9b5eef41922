/**
 * What an OTLP receiver owes its senders, rule by rule, for every signal over every transport. Rules are named as in the
 * list they come from: A for all transports, G for gRPC, H for HTTP, J for JSON.
 */

import { randomBytes } from "node:crypto";
import { Agent } from "node:http";
import { gunzipSync, gzipSync } from "node:zlib";
import { oracleDecode, oracleEncode } from "../../server/wire/trace-oracle.ts";
import type { Program } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { jsonRules } from "./json-rules.ts";
import { SIGNALS, type SignalFace } from "./signals.ts";
import { COMPRESSIONS, type Compression, callHttp, GrpcWire, type HttpAnswer, refusalFault } from "./wire-call.ts";

/** An origin that the program must be started with as `--cors-origin`. */
export const ALLOWED_ORIGIN = "https://app.example";

const PROTOBUF = "application/x-protobuf";
const JSON_TYPE = "application/json";
const LIMIT_BYTES = 64 * 2 ** 20;
const IN_FLIGHT = 200;
const PINGS = 8;
const INVALID_ARGUMENT = 3;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const HEALTH = "/grpc.health.v1.Health/Check";

/** Runs all rules against a program that is sent nothing else meanwhile. */
export async function playChecklist(program: Program, report: SuiteReport): Promise<void> {
  for (const face of SIGNALS) {
    await acceptance(program, face, report);
    await refusals(program, face, report);
    await partials(program, face, report);
    await jsonRules(program, face, report);
  }
  await grpcRules(program, report);
  await limits(program, report);
}

async function acceptance(program: Program, face: SignalFace, report: SuiteReport): Promise<void> {
  const grpc = new GrpcWire(program.otlpGrpc);
  const url = `${program.otlpHttp}${face.path}`;
  for (const compression of Object.keys(COMPRESSIONS) as Compression[]) {
    const compress = COMPRESSIONS[compression];
    const name = (transport: string) => `A1 ${face.signal} over ${transport}, ${compression}`;
    const taken = async (send: (bytes: Uint8Array, json: string) => Promise<string>) => {
      const request = face.request();
      const before = await face.taken(program);
      const fault = await send(oracleEncode(face.message, request), face.json(request));
      const items = (await face.taken(program)) - before;
      return fault || (items === face.items ? "" : `${items} items taken, expected ${face.items}`);
    };
    const overHttp = (type: string, body: Uint8Array, chunked: boolean) =>
      callHttp(url, {
        headers: { "content-type": type, "content-encoding": compression },
        body: compress(body),
        chunked,
      });
    report.add(
      name("gRPC"),
      await taken(async (bytes) => {
        const { code, message } = await grpc.call(face.method, compress(bytes), { encoding: compression });
        return code === 0 && message.length === 0 ? "" : `status ${code}, ${message.length} bytes`;
      }),
    );
    for (const chunked of [false, true]) {
      const how = chunked ? " in chunks" : "";
      report.add(
        name(`HTTP protobuf${how}`),
        await taken(async (bytes) => successFault(await overHttp(PROTOBUF, bytes, chunked), PROTOBUF, "")),
      );
      report.add(
        name(`HTTP JSON${how}`),
        await taken(async (_bytes, json) =>
          successFault(await overHttp(JSON_TYPE, Buffer.from(json), chunked), JSON_TYPE, "{}"),
        ),
      );
    }
  }
  grpc.close();
  for (const [what, type, body, wanted] of [
    ["H2 charset", `${JSON_TYPE}; charset=utf-8`, "{}", "{}"],
    ["H2 upper case", "Application/JSON", "{}", "{}"],
    ["H2 upper-case protobuf with a parameter", "APPLICATION/X-PROTOBUF; a=b", "", ""],
    ["A4 no list", JSON_TYPE, "{}", "{}"],
    ["A4 an empty list", JSON_TYPE, `{"${face.lists[0]}":[]}`, "{}"],
    ["A4 lists of nothing", JSON_TYPE, `{"${face.lists[0]}":[{"${face.lists[1]}":[{"${face.lists[2]}":[]}]}]}`, "{}"],
    ["A4 empty protobuf", PROTOBUF, "", ""],
  ] as const) {
    const answer = await callHttp(url, { headers: { "content-type": type }, body: Buffer.from(body) });
    const answered = type.toLowerCase().includes("json") ? JSON_TYPE : PROTOBUF;
    report.add(`${what}: ${face.signal}`, successFault(answer, answered, wanted));
  }
  // A field of no meaning before and after, in every wire type, and a group.
  const strange = Buffer.from("f83f01f93f0102030405060708fa3f0161fb3ffc3ffd3f01020304", "hex");
  const bytes = Buffer.concat([strange, oracleEncode(face.message, face.request()), strange]);
  const before = await face.taken(program);
  const unknown = await callHttp(url, { headers: { "content-type": PROTOBUF }, body: bytes });
  const items = (await face.taken(program)) - before;
  report.add(
    `A8 unknown fields: ${face.signal}`,
    successFault(unknown, PROTOBUF, "") || (items === face.items ? "" : `${items} items taken`),
  );
}

async function refusals(program: Program, face: SignalFace, report: SuiteReport): Promise<void> {
  const url = `${program.otlpHttp}${face.path}`;
  const good = Buffer.from(oracleEncode(face.message, face.request()));
  const json = Buffer.from(face.json(face.request()));
  const cases: readonly (readonly [what: string, headers: Record<string, string>, body: Buffer, status: number])[] = [
    ["H6 cut protobuf", { "content-type": PROTOBUF }, good.subarray(0, -3), 400],
    ["H6 cut JSON", { "content-type": JSON_TYPE }, json.subarray(0, -1), 400],
    ["H6 protobuf as JSON", { "content-type": JSON_TYPE }, good, 400],
    ["H6 empty JSON", { "content-type": JSON_TYPE }, Buffer.alloc(0), 400],
    ["H6 no gzip", { "content-type": PROTOBUF, "content-encoding": "gzip" }, good, 400],
    ["H6 no gzip, JSON", { "content-type": JSON_TYPE, "content-encoding": "gzip" }, json, 400],
    ["H6 cut gzip", { "content-type": JSON_TYPE, "content-encoding": "gzip" }, gzipSync(json).subarray(0, -9), 400],
    ["H6 no zstd", { "content-type": JSON_TYPE, "content-encoding": "zstd" }, json, 400],
    ["H6 no deflate", { "content-type": PROTOBUF, "content-encoding": "deflate" }, good, 400],
    ["H6 no snappy", { "content-type": PROTOBUF, "content-encoding": "snappy" }, Buffer.alloc(20, 0xff), 400],
    ["H11 unknown encoding", { "content-type": PROTOBUF, "content-encoding": "br" }, good, 400],
    ["H11 unknown encoding, JSON", { "content-type": JSON_TYPE, "content-encoding": "compress" }, json, 400],
    ["H3 no type", {}, json, 415],
    ["H3 wrong type", { "content-type": "text/json" }, json, 415],
    ["H3 half a type", { "content-type": "application/" }, json, 415],
  ];
  const before = await face.taken(program);
  for (const [what, headers, body, status] of cases) {
    report.add(`${what}: ${face.signal}`, refusalFault(await callHttp(url, { headers, body }), headers, status));
  }
  for (const method of ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
    const { status, headers } = await callHttp(url, { method, headers: { "content-type": JSON_TYPE } });
    const fine = status === 405 && headers.allow === "POST" && headers["content-type"] === "text/plain";
    report.add(`H1 ${method}: ${face.signal}`, fine ? "" : `status ${status}, ${JSON.stringify(headers)}`);
  }
  report.add(`H6 nothing refused is stored: ${face.signal}`, (await face.taken(program)) === before ? "" : "it is");
  const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "content-type,x-key" };
  const asked = await callHttp(url, { method: "OPTIONS", headers: { origin: ALLOWED_ORIGIN, ...preflight } });
  const allowed = asked.headers["access-control-allow-origin"];
  report.add(
    `H13 preflight: ${face.signal}`,
    asked.status === 204 && allowed === ALLOWED_ORIGIN ? "" : `status ${asked.status}, allowed ${allowed}`,
  );
  const headers = { origin: ALLOWED_ORIGIN, "content-type": JSON_TYPE, "sec-fetch-site": "cross-site" };
  const sent = await callHttp(url, { headers, body: Buffer.from("{}") });
  report.add(
    `H13 a page sends: ${face.signal}`,
    sent.headers["access-control-allow-origin"] === ALLOWED_ORIGIN ? successFault(sent, JSON_TYPE, "{}") : "no leave",
  );
  const stranger = await callHttp(url, { headers: { ...headers, origin: "https://x.example" }, body: json });
  const leave = stranger.headers["access-control-allow-origin"];
  report.add(
    `H13 another page: ${face.signal}`,
    leave === undefined ? refusalFault(stranger, headers, 403) : `it may read the answer: ${leave}`,
  );
}

async function partials(program: Program, face: SignalFace, report: SuiteReport): Promise<void> {
  const url = `${program.otlpHttp}${face.path}`;
  const grpc = new GrpcWire(program.otlpGrpc);
  for (const [what, request, rejected] of [
    ...(face.rejected === undefined ? [] : [["A6 some are rejected", face.rejected(), 1] as const]),
    ["A7 all are taken with a word", face.mended(), 0] as const,
  ]) {
    const bytes = oracleEncode(face.message, request);
    const check = (response: unknown) => partialFault(face, response, rejected);
    const overJson = await callHttp(url, {
      headers: { "content-type": JSON_TYPE },
      body: Buffer.from(face.json(request)),
    });
    const overHttp = await callHttp(url, { headers: { "content-type": PROTOBUF }, body: bytes });
    const overGrpc = await grpc.call(face.method, bytes);
    report.add(`${what}, JSON: ${face.signal}`, check(JSON.parse(overJson.body.toString())));
    report.add(`${what}, protobuf: ${face.signal}`, check(oracleDecode(face.response, overHttp.body)));
    report.add(`${what}, gRPC: ${face.signal}`, check(oracleDecode(face.response, overGrpc.message)));
  }
  grpc.close();
}

function partialFault({ rejectedMember }: SignalFace, response: unknown, rejected: number): string {
  // Ours in JSON, or what the library read of ours.
  const { partialSuccess: partial } = response as { partialSuccess?: Readonly<Record<string, string>> };
  const count = Number(partial?.[rejectedMember] ?? 0);
  const hasMessage = (partial?.["errorMessage"] ?? "") !== "";
  return count === rejected && hasMessage ? "" : `expected ${rejected} with a message: ${JSON.stringify(response)}`;
}

async function grpcRules(program: Program, report: SuiteReport): Promise<void> {
  const grpc = new GrpcWire(program.otlpGrpc);
  const expect = async (what: string, code: number, call: ReturnType<GrpcWire["call"]>) => {
    const reply = await call;
    report.add(what, reply.code === code ? "" : `status ${reply.code}: ${reply.headers["grpc-message"]}`);
    return reply;
  };
  const [traces] = SIGNALS;
  for (const face of SIGNALS) {
    await expect(`G4 undecodable: ${face.signal}`, INVALID_ARGUMENT, grpc.call(face.method, Buffer.from([10, 200])));
    const broken = grpc.call(face.method, Buffer.from("plain"), { encoding: "gzip" });
    await expect(`G4 no gzip: ${face.signal}`, INVALID_ARGUMENT, broken);
    const unknown = await expect(
      `G9 unknown encoding: ${face.signal}`,
      UNIMPLEMENTED,
      grpc.call(face.method, Buffer.from("x"), { encoding: "br" }),
    );
    const named = String(unknown.headers["grpc-accept-encoding"]);
    report.add(`G9 encodings are named: ${face.signal}`, /gzip/.test(named) && /zstd/.test(named) ? "" : named);
    const large = await expect(
      `G2 too large: ${face.signal}`,
      RESOURCE_EXHAUSTED,
      grpc.call(face.method, Buffer.alloc(1), { announced: LIMIT_BYTES + 1 }),
    );
    const details = large.headers["grpc-status-details-bin"];
    report.add(`G2 it is not asked for again: ${face.signal}`, details === undefined ? "" : String(details));
    const before = await face.taken(program);
    const calls = Array.from({ length: IN_FLIGHT }, () =>
      grpc.call(face.method, oracleEncode(face.message, face.request())),
    );
    const failed = (await Promise.all(calls)).filter(({ code }) => code !== 0).length;
    const items = (await face.taken(program)) - before;
    const fine = failed === 0 && items === IN_FLIGHT * face.items;
    report.add(
      `G7 ${IN_FLIGHT} calls on one connection: ${face.signal}`,
      fine ? "" : `${failed} failed, ${items} items`,
    );
    const service = face.method.slice(1, face.method.lastIndexOf("/"));
    const asked = Buffer.from([10, service.length, ...Buffer.from(service)]);
    const health = await expect(`G11 health: ${face.signal}`, 0, grpc.call(HEALTH, asked));
    report.add(`G11 it serves: ${face.signal}`, health.message.equals(Buffer.from([8, 1])) ? "" : "it does not");
  }
  const pings = await Promise.all(Array.from({ length: PINGS }, () => grpc.ping()));
  report.add("G8 pings are answered", pings.length === PINGS ? "" : `${pings.length} were`);
  await expect("G6 unknown service", UNIMPLEMENTED, grpc.call("/no.such.Service/Export", Buffer.alloc(0)));
  await expect(
    "G6 unknown method",
    UNIMPLEMENTED,
    grpc.call(traces.method.replace("Export", "Import"), Buffer.alloc(0)),
  );
  const profiles = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
  await expect("G1 profiles are refused by name", UNIMPLEMENTED, grpc.call(profiles, Buffer.alloc(0)));
  const suffixed = grpc.call(traces.method, Buffer.alloc(0), { type: "application/grpc+proto" });
  await expect("G1 application/grpc+proto", 0, suffixed);
  grpc.close();
}

async function limits(program: Program, report: SuiteReport): Promise<void> {
  for (const face of SIGNALS) {
    const url = `${program.otlpHttp}${face.path}`;
    // White space to the last byte that is allowed, and one more.
    const request = face.json(face.request());
    const full = Buffer.alloc(LIMIT_BYTES, 0x20);
    full.write(request);
    const one = Buffer.concat([full, Buffer.from(" ")]);
    const headers = { "content-type": JSON_TYPE };
    const compressed = { ...headers, "content-encoding": "gzip" };
    report.add(
      `A2 the largest body: ${face.signal}`,
      successFault(await callHttp(url, { headers, body: full }), JSON_TYPE, "{}"),
    );
    report.add(
      `H7 one byte more: ${face.signal}`,
      refusalFault(await callHttp(url, { headers, body: one }), headers, 413),
    );
    const inside = await callHttp(url, { headers: compressed, body: gzipSync(full, { level: 1 }) });
    report.add(`A2 the largest decompressed: ${face.signal}`, successFault(inside, JSON_TYPE, "{}"));
    const bomb = await callHttp(url, { headers: compressed, body: gzipSync(one, { level: 1 }) });
    report.add(`H7 one byte more decompressed: ${face.signal}`, refusalFault(bomb, compressed, 413));
  }
  const [{ path }] = SIGNALS;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const headers = { "content-type": JSON_TYPE };
  // Whatever the answer, what follows on the connection is read as the next request.
  for (const [body, status] of [
    ["{}", 200],
    ["{", 400],
    ["{}", 200],
  ] as const) {
    const answer = await callHttp(`${program.otlpHttp}${path}`, { headers, body: Buffer.from(body), agent });
    report.add(`H12 keep-alive, ${status}`, answer.status === status ? "" : `status ${answer.status}`);
    if (body === "{") report.add("H12 the connection is kept", answer.reused ? "" : "it is not");
  }
  agent.destroy();
  // So many words for us that a browser's own limit would be in danger: the answer stays short.
  const spans = Array.from({ length: 50_000 }, () => ({ traceId: randomBytes(3) }));
  const wrong = oracleEncode("TracesData", { resourceSpans: [{ scopeSpans: [{ spans }] }] });
  const long = await callHttp(`${program.otlpHttp}${path}`, { headers: { "content-type": PROTOBUF }, body: wrong });
  report.add(
    "A3 an answer is short",
    long.status === 200 && long.body.length < 4_096 ? "" : `${long.body.length} bytes`,
  );
  const unasked = await callHttp(`${program.otlpHttp}${path}`, {
    headers: { "content-type": PROTOBUF, "accept-encoding": "identity" },
    body: wrong,
  });
  report.add(
    "H15 an answer is compressed on request alone",
    unasked.headers["content-encoding"] === undefined ? "" : "it is",
  );
}

function successFault({ status, headers, body }: HttpAnswer, type: string, wanted: string): string {
  const text = (headers["content-encoding"] === "gzip" ? gunzipSync(body) : body).toString("latin1");
  if (status !== 200) return `status ${status}: ${text}`;
  if (headers["content-type"] !== type) return `the answer to ${type} is of type ${headers["content-type"]}`;
  return text === wanted ? "" : `the answer is ${JSON.stringify(text)}`;
}
