/**
 * Traces by id: Thalweg's own route and Tempo's.
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { StoredSpan } from "../model/stored-span.ts";
import { normalizeTraceId, TRACE_SPANS_MAX } from "../query/trace.ts";
import { assembledSpans } from "../query/trace-assembly.ts";
import { explainedSpans } from "../query/trace-explain.ts";
import { encodeTempoTraceById, type TraceBody, traceJsonPieces, tracePieces } from "../wire/otlp-traces-encode.ts";
import type { ApiDeps } from "./api-deps.ts";
import { sendOwnError } from "./own-errors.ts";
import { addressValues } from "./prometheus-answer.ts";
import { buildInfo } from "./prometheus-status.ts";

/** Pieces of a common trace: opening, spans, closing. */
const PIECES_AT_ONCE = 3;
const PROTOBUF_TYPES = ["application/protobuf", "application/x-protobuf"];

/** Adds traces by id: our own, Tempo's v1 and v2. */
export function addTraceRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.get("/api/v1/traces/:id", async (request, reply) => ownTrace(deps, request, reply));
  app.get("/api/traces/:id", async (request, reply) => tempoTrace(deps, request, reply));
  app.get("/api/v2/traces/:id", async (request, reply) => tempoTraceById(deps, request, reply));
  app.get("/api/echo", async (_request, reply) => reply.type("text/plain").send("echo"));
  app.get("/api/status/buildinfo", async () => buildInfo(deps.version));
}

async function ownTrace(deps: ApiDeps, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const id = traceIdOf(request);
  if (id === undefined) {
    return sendOwnError(reply, {
      status: 400,
      code: "trace_id_invalid",
      message: "A trace id has 1 to 32 hex digits and is not zero.",
      hint: "SELECT trace_id FROM spans LIMIT 10 shows some.",
    });
  }
  const spans = await deps.reader.trace(id, TRACE_SPANS_MAX);
  if (spans.length === 0) {
    return sendOwnError(reply, {
      status: 404,
      code: "trace_not_found",
      message: `No spans of trace ${id} are stored.`,
      hint: "It may not have arrived yet, or be older than the retention.",
    });
  }
  const drawn = isAsked(request, "assemble") ? await inTurns(assembledSpans(spans)) : spans;
  const shown = isAsked(request, "explain") ? await inTurns(explainedSpans(drawn)) : drawn;
  if (wantsProtobuf(request)) return sendProtobuf(request, reply, await traceBytes(shown));
  return reply.type("application/json").send(await traceJson(shown, "otlp"));
}

async function tempoTrace(deps: ApiDeps, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const spans = await readTempoTrace(deps, request, reply);
  if (spans === undefined) return reply;
  if (spans.length === 0) return reply.code(404).type("text/plain").send("trace not found");
  if (wantsProtobuf(request)) return sendProtobuf(request, reply, await traceBytes(spans));
  return reply.type("application/json").send(await traceJson(spans, "tempo"));
}

/** An unknown trace is an empty one here: Grafana takes 404 for a server that has only the older route. */
async function tempoTraceById(deps: ApiDeps, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const spans = await readTempoTrace(deps, request, reply);
  if (spans === undefined) return reply;
  if (wantsProtobuf(request)) return sendProtobuf(request, reply, encodeTempoTraceById(await traceBytes(spans)));
  return reply.type("application/json").send(await traceJson(spans, "tempo_by_id"));
}

async function readTempoTrace(
  deps: ApiDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<StoredSpan[] | undefined> {
  const id = traceIdOf(request);
  if (id !== undefined) return deps.reader.trace(id, TRACE_SPANS_MAX);
  reply.code(400).type("text/plain").send("trace IDs can only contain 1 to 32 hex characters");
  return undefined;
}

/** A body as bytes, made piece by piece: a trace of 100,000 spans must not hold the loop. */
async function traceJson(spans: readonly StoredSpan[], body: TraceBody): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (const piece of traceJsonPieces(spans, body)) {
    pieces.push(Buffer.from(piece));
    if (pieces.length > PIECES_AT_ONCE) await turn();
  }
  return Buffer.concat(pieces);
}

async function traceBytes(spans: readonly StoredSpan[]): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (const piece of tracePieces(spans)) {
    pieces.push(piece);
    if (pieces.length > PIECES_AT_ONCE) await turn();
  }
  return Buffer.concat(pieces);
}

/** Does work in steps, with turns for others between them. */
async function inTurns<T>(work: Generator<void, T>): Promise<T> {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
    await turn();
  }
}

function isAsked(request: FastifyRequest, name: "assemble" | "explain"): boolean {
  const values = addressValues(request).all(name);
  return values.length === 1 && values[0] === "1";
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** The id of the path in 32 digits; undefined where it is none. */
function traceIdOf(request: FastifyRequest): string | undefined {
  // The routes have exactly one parameter.
  const { id } = request.params as { id: string };
  return normalizeTraceId(id);
}

function wantsProtobuf(request: FastifyRequest): boolean {
  return PROTOBUF_TYPES.includes(acceptedType(request));
}

function acceptedType(request: FastifyRequest): string {
  const [first = ""] = (request.headers.accept ?? "").split(/[,;]/, 1);
  return first.trim().toLowerCase();
}

function sendProtobuf(request: FastifyRequest, reply: FastifyReply, bytes: Uint8Array): FastifyReply {
  return reply.type(acceptedType(request)).send(Buffer.from(bytes));
}
