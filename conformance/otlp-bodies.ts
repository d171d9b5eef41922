/**
 * Bodies of OTLP exports whose traces never repeat: the data shape of Jaeger's benchmark.
 *
 * 512 spans a request, ten a trace over three services, 50 services, 40 names each, 11 attributes. A fixed set of bodies is
 * encoded once; each use writes fresh trace ids and times over the old ones, so that sending costs next to nothing.
 */

import { ProtobufWriter } from "../server/wire/protobuf-writer.ts";

/** Spans of one export. */
export const SPANS_PER_BODY = 512;
const SPANS_PER_TRACE = 10;
const SERVICES_PER_TRACE = 3;
const SERVICES = 50;
const NAMES_PER_SERVICE = 40;
const BODIES = 64;
const KIND_SERVER = 2;
const KIND_CLIENT = 3;

/** `semconv`: seven attributes with columns of their own and four without; `tracegen`: eleven without, 97 keys. */
export type AttributeShape = "semconv" | "tracegen";

/** An encoded request and where its ids and times stand. */
export interface TemplateBody {
  readonly bytes: Buffer;
  /** Offsets of 16-byte trace ids, by trace of the body. */
  readonly traceIds: readonly (readonly number[])[];
  /** Offsets of 8-byte start times, with the duration that the end, 9 bytes later, lies behind. */
  readonly times: readonly { readonly at: number; readonly durationNs: number }[];
}

/** Makes the set of bodies, each of `spans` spans. */
export function templateBodies(shape: AttributeShape, spans: number = SPANS_PER_BODY): TemplateBody[] {
  return Array.from({ length: BODIES }, (_, body) => templateBody(body, shape, spans));
}

/** Gives a body trace ids that depend on `serial` alone, and times from `startNs` on. */
export function freshen(body: TemplateBody, serial: number, startNs: bigint): Buffer {
  const { bytes } = body;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (const [index, offsets] of body.traceIds.entries()) {
    const trace = serial * body.traceIds.length + index + 1;
    for (const at of offsets) {
      view.setUint32(at, Math.imul(trace, 0x9e37_79b1));
      view.setUint32(at + 4, trace);
      view.setUint32(at + 8, Math.imul(trace, 0x85eb_ca6b));
    }
  }
  const startLow = Number(startNs & 0xffff_ffffn);
  const startHigh = Number(startNs >> 32n);
  for (const { at, durationNs } of body.times) {
    const endLow = startLow + durationNs;
    view.setUint32(at, startLow, true);
    view.setUint32(at + 4, startHigh, true);
    view.setUint32(at + 9, endLow, true);
    view.setUint32(at + 13, startHigh + (endLow >= 2 ** 32 ? 1 : 0), true);
  }
  return bytes;
}

/** Trace id that `freshen` gives to a trace of a body, as 32 hex digits. */
export function traceIdOf(body: TemplateBody, index: number): string {
  const at = body.traceIds[index]?.[0] ?? 0;
  return body.bytes.toString("hex", at, at + 16);
}

const TRACE_MARK = 0xa5;

function templateBody(body: number, shape: AttributeShape, spans: number): TemplateBody {
  const traces = Math.ceil(spans / SPANS_PER_TRACE);
  const writer = new ProtobufWriter();
  const durations: number[] = [];
  // A body holds the spans of three services: an exporter sends those of one process, a collector those of many.
  for (let service = 0; service < SERVICES_PER_TRACE; service++) {
    const resourceSpans = writer.openMessage(1);
    writeResource(writer, (body * SERVICES_PER_TRACE + service) % SERVICES);
    const scopeSpans = writer.openMessage(2);
    const scope = writer.openMessage(1);
    writer.writeText(1, "@opentelemetry/instrumentation-http");
    writer.writeText(2, "0.223.0");
    writer.closeMessage(scope);
    for (let index = 0; index < spans; index++) {
      const inTrace = index % SPANS_PER_TRACE;
      if (inTrace % SERVICES_PER_TRACE !== service) continue;
      durations.push(writeSpan(writer, body, index, shape));
    }
    writer.closeMessage(scopeSpans);
    writer.closeMessage(resourceSpans);
  }
  const bytes = Buffer.from(writer.take());
  const traceIds: number[][] = Array.from({ length: traces }, () => []);
  const times: { at: number; durationNs: number }[] = [];
  const marker = Buffer.alloc(12, TRACE_MARK);
  for (let at = bytes.indexOf(marker); at >= 0; at = bytes.indexOf(marker, at + 16)) {
    traceIds[bytes.readUInt32BE(at + 12)]?.push(at);
  }
  const startMark = Buffer.alloc(8, TRACE_MARK - 1);
  for (let at = bytes.indexOf(startMark); at >= 0; at = bytes.indexOf(startMark, at + 8)) {
    times.push({ at, durationNs: durations[times.length] ?? 0 });
  }
  return { bytes, traceIds, times };
}

function writeResource(writer: ProtobufWriter, service: number): void {
  const resource = writer.openMessage(1);
  for (const [key, value] of [
    ["service.name", `service-${service}`],
    ["service.instance.id", `service-${service}-0`],
    ["host.name", `host-${service % 10}.example`],
    ["telemetry.sdk.language", "nodejs"],
  ] as const) {
    writeTextAttribute(writer, 1, key, value);
  }
  writer.closeMessage(resource);
}

/** Field order of the OpenTelemetry SDKs. @returns the duration in ns. */
function writeSpan(writer: ProtobufWriter, body: number, index: number, shape: AttributeShape): number {
  const inTrace = index % SPANS_PER_TRACE;
  const number = body * SPANS_PER_BODY + index;
  const durationNs = 100_000 + ((number * 7919) % 50_000_000);
  // Each service has names of its own.
  const service = (body * SERVICES_PER_TRACE + (inTrace % SERVICES_PER_TRACE)) % SERVICES;
  const name = service * NAMES_PER_SERVICE + ((number * 31) % NAMES_PER_SERVICE);
  const span = writer.openMessage(2);
  const traceId = Buffer.alloc(16, TRACE_MARK);
  traceId.writeUInt32BE(Math.floor(index / SPANS_PER_TRACE), 12);
  writer.writeBytes(1, traceId);
  writer.writeBytes(2, spanId(number));
  if (inTrace > 0) writer.writeBytes(4, spanId(number - 1));
  writer.writeText(5, `GET /api/resource-${name}`);
  writer.writeUint32(6, inTrace % 2 === 0 ? KIND_SERVER : KIND_CLIENT);
  writer.writeFixed64(7, BigInt(`0x${(TRACE_MARK - 1).toString(16).repeat(8)}`));
  writer.writeFixed64(8, 0n);
  if (shape === "semconv") writeSemconv(writer, number, name);
  else writeTracegen(writer, number);
  const status = writer.openMessage(15);
  if (number % 50 === 0) writer.writeUint32(3, 2);
  writer.closeMessage(status);
  writer.closeMessage(span);
  return durationNs;
}

function spanId(number: number): Buffer {
  const id = Buffer.alloc(8);
  id.writeUInt32BE(Math.imul(number + 1, 0xbf58_476d) >>> 0, 0);
  id.writeUInt32BE(number + 1, 4);
  return id;
}

function writeSemconv(writer: ProtobufWriter, number: number, name: number): void {
  writeTextAttribute(writer, 9, "http.request.method", "GET");
  writeInteger(writer, 9, "http.response.status_code", number % 50 === 0 ? 500 : 200);
  writeTextAttribute(writer, 9, "http.route", `/api/resource-${name}`);
  writeTextAttribute(writer, 9, "url.path", `/api/resource-${name}/${number}`);
  writeTextAttribute(writer, 9, "server.address", "shop.internal.example");
  writeInteger(writer, 9, "server.port", 8080);
  writeTextAttribute(writer, 9, "user_agent.original", `agent/${number % 20}.0 (linux; x86-64)`);
  writeTextAttribute(writer, 9, "network.peer.address", `10.0.${number % 8}.${number % 250}`);
  writeInteger(writer, 9, "network.peer.port", 30_000 + (number % 1000));
  writeTextAttribute(writer, 9, "app.customer", `customer-${number % 1000}`);
  writeTextAttribute(writer, 9, "thread.name", `worker-${number % 16}`);
}

function writeTracegen(writer: ProtobufWriter, number: number): void {
  for (let at = 0; at < 11; at++) {
    writeTextAttribute(writer, 9, `attribute.key.${(number + at * 9) % 97}`, `value-${(number * 13 + at) % 1000}`);
  }
}

/** An attribute whose value is a text, under field `field` of its owner. */
export function writeTextAttribute(writer: ProtobufWriter, field: number, key: string, value: string): void {
  const pair = writer.openMessage(field);
  writer.writeText(1, key);
  const any = writer.openMessage(2);
  writer.writeText(1, value);
  writer.closeMessage(any);
  writer.closeMessage(pair);
}

function writeInteger(writer: ProtobufWriter, field: number, key: string, value: number): void {
  const pair = writer.openMessage(field);
  writer.writeText(1, key);
  const any = writer.openMessage(2);
  writer.writeInt64(3, BigInt(value));
  writer.closeMessage(any);
  writer.closeMessage(pair);
}
