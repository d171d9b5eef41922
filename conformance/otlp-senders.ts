/**
 * Sends OTLP requests as fast as a server answers, with little work of its own: bodies are ready but for their ids.
 */

import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { createConnection, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { traceJsonPieces } from "../server/wire/otlp-traces-encode.ts";
import { decodeTraces } from "../server/wire/otlp-traces-protobuf.ts";
import { spansOf } from "../server/wire/trace-oracle.ts";
import { type AttributeShape, freshen, SPANS_PER_BODY, type TemplateBody, templateBodies } from "./otlp-bodies.ts";

/** Forms in which spans are sent. */
export const TRANSPORTS = ["protobuf", "gzip", "json", "grpc"] as const;
/** One of `TRANSPORTS`. */
export type Transport = (typeof TRANSPORTS)[number];

const GRPC_SESSIONS = 4;
const GRPC_PREFIX_BYTES = 5;
const GRPC_PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/** Gives the body of request `serial`; valid until the next call. */
type BodySource = (serial: number) => Buffer;

/** What is sent. */
export interface Load {
  readonly transport: Transport;
  readonly bodies: BodySource;
  readonly connections: number;
  readonly spans: number;
}

/** What came back. */
export interface Sent {
  readonly requests: number;
  readonly seconds: number;
  readonly answerMs: readonly number[];
  /** Requests that were answered with anything but success. */
  readonly refused: number;
}

/** Bodies of a shape for a transport; traces never repeat. */
export function encodeBodies(shape: AttributeShape, transport: Transport): BodySource {
  const templates = templateBodies(shape);
  const templateOf = (serial: number): TemplateBody => {
    const template = templates[serial % templates.length];
    if (template === undefined) throw new Error("there are no bodies");
    return template;
  };
  const fresh: BodySource = (serial) => freshen(templateOf(serial), serial, BigInt(Date.now()) * 1_000_000n);
  if (transport === "json") {
    const texts = templates.map((template) => jsonTemplate(template));
    return (serial) => freshenJson(texts[serial % texts.length] ?? [], serial);
  }
  return transport === "gzip" ? (serial) => gzipSync(fresh(serial), { level: 1 }) : fresh;
}

/** Sends all of a load. */
export async function sendLoad(load: Load, address: string): Promise<Sent> {
  const requests = Math.ceil(load.spans / SPANS_PER_BODY);
  let next = 0;
  const state = { answerMs: new Float64Array(requests), answered: 0, refused: 0 };
  const take = () => (next < requests ? next++ : undefined);
  const start = performance.now();
  if (load.transport === "grpc") await sendGrpc(load, address, take, state);
  else await Promise.all(Array.from({ length: load.connections }, () => sendHttp(load, address, take, state)));
  const seconds = (performance.now() - start) / 1000;
  return { requests, seconds, answerMs: [...state.answerMs.subarray(0, state.answered)], refused: state.refused };
}

interface SendState {
  readonly answerMs: Float64Array;
  answered: number;
  refused: number;
}

type Take = () => number | undefined;

/** One connection, one request at a time. */
function sendHttp(load: Load, address: string, take: Take, state: SendState): Promise<void> {
  const [host = "", port = ""] = address.split(":");
  const type = load.transport === "json" ? "application/json" : "application/x-protobuf";
  const encoding = load.transport === "gzip" ? "content-encoding: gzip\r\n" : "";
  const head = `POST /v1/traces HTTP/1.1\r\nhost: ${address}\r\ncontent-type: ${type}\r\n${encoding}content-length: `;
  return new Promise((resolve, reject) => {
    const socket: Socket = createConnection({ host, port: Number(port), noDelay: true });
    let sentMs = 0;
    let answer = "";
    const send = () => {
      const serial = take();
      if (serial === undefined) {
        socket.end();
        resolve();
        return;
      }
      const body = load.bodies(serial);
      answer = "";
      sentMs = performance.now();
      socket.cork();
      socket.write(`${head}${body.length}\r\n\r\n`, "latin1");
      // The body is written over for the next request, which another connection may send before this one left.
      socket.write(Buffer.from(body));
      socket.uncork();
    };
    socket.on("connect", send);
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
      const end = answer.indexOf("\r\n\r\n");
      if (end < 0) return;
      const length = Number(/content-length: (\d+)/i.exec(answer)?.[1] ?? 0);
      if (answer.length < end + 4 + length) return;
      state.answerMs[state.answered++] = performance.now() - sentMs;
      if (!answer.startsWith("HTTP/1.1 200")) state.refused++;
      send();
    });
  });
}

async function sendGrpc(load: Load, address: string, take: Take, state: SendState): Promise<void> {
  const sessions = Array.from({ length: GRPC_SESSIONS }, () => connectHttp2(`http://${address}`));
  const lanes = Array.from({ length: load.connections }, async (_, lane) => {
    const session = sessions[lane % sessions.length];
    if (session === undefined) throw new Error("there are no sessions");
    for (let serial = take(); serial !== undefined; serial = take())
      await callGrpc(session, load.bodies(serial), state);
  });
  await Promise.all(lanes);
  for (const session of sessions) session.close();
}

function callGrpc(session: ClientHttp2Session, body: Buffer, state: SendState): Promise<void> {
  const framed = Buffer.allocUnsafe(GRPC_PREFIX_BYTES + body.length);
  framed[0] = 0;
  framed.writeUInt32BE(body.length, 1);
  body.copy(framed, GRPC_PREFIX_BYTES);
  return new Promise((resolve, reject) => {
    const sentMs = performance.now();
    const stream = session.request({
      ":method": "POST",
      ":path": GRPC_PATH,
      "content-type": "application/grpc",
      te: "trailers",
    });
    let status = "";
    stream.on("response", (headers) => {
      status = String(headers["grpc-status"] ?? status);
    });
    stream.on("trailers", (headers) => {
      status = String(headers["grpc-status"] ?? status);
    });
    stream.on("error", reject);
    stream.on("close", () => {
      state.answerMs[state.answered++] = performance.now() - sentMs;
      if (status !== "0") state.refused++;
      resolve();
    });
    stream.resume();
    stream.end(framed);
  });
}

/** Pieces of a JSON body; every odd one is written fresh. */
type JsonTemplate = readonly (Buffer | { readonly kind: "trace" | "start" | "end"; readonly value: string })[];

const FRESH = /"(traceId|startTimeUnixNano|endTimeUnixNano)":"([^"]*)"/g;
const START_NS = 1_700_000_000_000_000_000n;

function jsonTemplate(template: TemplateBody): JsonTemplate {
  const outcome = decodeTraces(freshen(template, 0, START_NS));
  if (outcome.kind === "malformed") throw new Error(`a body is malformed: ${outcome.reason}`);
  const text = [...traceJsonPieces(spansOf(outcome.batch), "otlp")].join("");
  const pieces: (Buffer | { kind: "trace" | "start" | "end"; value: string })[] = [];
  let from = 0;
  for (const match of text.matchAll(FRESH)) {
    const [whole, name = "", value = ""] = match;
    pieces.push(Buffer.from(`${text.slice(from, match.index)}"${name}":"`));
    pieces.push({ kind: name === "traceId" ? "trace" : name.startsWith("start") ? "start" : "end", value });
    from = match.index + whole.length - 1;
  }
  pieces.push(Buffer.from(text.slice(from)));
  return pieces;
}

function freshenJson(template: JsonTemplate, serial: number): Buffer {
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  const parts = template.map((piece) => {
    if (Buffer.isBuffer(piece)) return piece;
    if (piece.kind !== "trace") return Buffer.from(String(BigInt(piece.value) - START_NS + nowNs));
    return Buffer.from(serial.toString(16).padStart(8, "0") + piece.value.slice(8));
  });
  return Buffer.concat(parts);
}
