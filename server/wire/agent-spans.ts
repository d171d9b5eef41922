/**
 * Spans of an agent over OTLP: what OTLP has no fields for stands in attributes of the scope `thalweg`.
 *
 * A receiver that knows the scope puts these attributes back into columns, so that a span is stored as if it had been
 * captured there; every other receiver keeps them as attributes. Absent ones have the column's default. The scope is
 * believed: who may send spans may say anything of them anyway.
 */

import type { Attribute, AttributeKind, SpanBatch } from "../model/span-batch.ts";
import { SPAN_SOURCES } from "../model/span-batch.ts";
import { textReader } from "../model/text-table.ts";
import { writeKeyValue } from "./any-value.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";

/** Name of the scope whose attributes under `thalweg.` are columns. */
export const AGENT_SCOPE = "thalweg";

/** What a column travels as. Ports, pid and weight are integers, the rest text; `duplicate_of` is a span id in hex. */
export const AGENT_KEYS = {
  source: "thalweg.source",
  linkReason: "thalweg.link_reason",
  protocol: "thalweg.protocol",
  clientAddr: "thalweg.client_addr",
  clientPort: "thalweg.client_port",
  serverAddr: "thalweg.server_addr",
  serverPort: "thalweg.server_port",
  pid: "thalweg.pid",
  weight: "thalweg.weight",
  duplicateOf: "thalweg.duplicate_of",
} as const;

/** A column that travels as an attribute. */
export type AgentColumn = keyof typeof AGENT_KEYS;

/** Spans of one piece: a body of some 300 KiB. */
const PIECE_SPANS = 512;

/** Protobuf of an ExportTraceServiceRequest, and how many spans it holds. Pieces put together are one request too. */
export interface AgentPiece {
  readonly bytes: Uint8Array;
  readonly spans: number;
}

/** Encodes a batch of the agent in pieces. */
export function* encodeAgentSpans(batch: SpanBatch, version: string): Generator<AgentPiece> {
  const byResource = new Map<number, number[]>();
  for (let row = 0; row < batch.rows; row++) {
    const resource = batch.resource[row] ?? 0;
    const rows = byResource.get(resource);
    if (rows === undefined) byResource.set(resource, [row]);
    else rows.push(row);
  }
  const text = textReader(batch.text);
  const writer = new ProtobufWriter();
  let spans = 0;
  for (const [resource, rows] of byResource) {
    for (let from = 0; from < rows.length; from += PIECE_SPANS) {
      const part = rows.slice(from, from + PIECE_SPANS);
      writeResourceSpans(writer, { batch, text, version }, resource, part);
      spans += part.length;
      if (spans < PIECE_SPANS) continue;
      yield { bytes: writer.take(), spans };
      spans = 0;
    }
  }
  if (spans > 0) yield { bytes: writer.take(), spans };
}

interface Encoding {
  readonly batch: SpanBatch;
  readonly text: (index: number | undefined) => string;
  readonly version: string;
}

function writeResourceSpans(
  writer: ProtobufWriter,
  encoding: Encoding,
  resource: number,
  rows: readonly number[],
): void {
  const resourceSpans = writer.openMessage(1);
  const message = writer.openMessage(1);
  for (const attribute of encoding.batch.resources[resource]?.attributes ?? []) writeKeyValue(writer, 1, attribute);
  writer.closeMessage(message);
  const scopeSpans = writer.openMessage(2);
  const scope = writer.openMessage(1);
  writer.writeText(1, AGENT_SCOPE);
  if (encoding.version !== "") writer.writeText(2, encoding.version);
  writer.closeMessage(scope);
  for (const row of rows) writeSpan(writer, encoding, row);
  writer.closeMessage(scopeSpans);
  writer.closeMessage(resourceSpans);
}

function writeSpan(writer: ProtobufWriter, { batch, text }: Encoding, row: number): void {
  const message = writer.openMessage(2);
  writeId(writer, 1, [batch.traceId[2 * row] ?? 0n, batch.traceId[2 * row + 1] ?? 0n]);
  writeId(writer, 2, [batch.spanId[row] ?? 0n]);
  const state = text(batch.traceState[row]);
  if (state !== "") writer.writeText(3, state);
  const parent = batch.parentSpanId[row] ?? 0n;
  if (parent !== 0n) writeId(writer, 4, [parent]);
  writer.writeText(5, text(batch.name[row]));
  writer.writeUint32(6, batch.kind[row] ?? 0);
  writer.writeFixed64(7, batch.startNs[row] ?? 0n);
  writer.writeFixed64(8, batch.endNs[row] ?? 0n);
  const from = row === 0 ? 0 : (batch.attributeEnd[row - 1] ?? 0);
  for (let at = from; at < (batch.attributeEnd[row] ?? from); at++) {
    writeKeyValue(writer, 9, {
      key: text(batch.attributeKey[at]),
      // The column holds char codes of the kinds.
      kind: String.fromCharCode(batch.attributeKind[at] ?? 0) as AttributeKind,
      value: text(batch.attributeValue[at]),
    });
  }
  for (const attribute of ownAttributes(batch, text, row)) writeKeyValue(writer, 9, attribute);
  writer.writeRaw(blobOf(batch.eventsBlob, batch.eventsEnd, row));
  writer.writeRaw(blobOf(batch.linksBlob, batch.linksEnd, row));
  const status = batch.status[row] ?? 0;
  const statusMessage = text(batch.statusMessage[row]);
  if (status !== 0 || statusMessage !== "") {
    const opened = writer.openMessage(15);
    if (statusMessage !== "") writer.writeText(2, statusMessage);
    writer.writeUint32(3, status);
    writer.closeMessage(opened);
  }
  const flags = batch.flags[row] ?? 0;
  if (flags !== 0) writer.writeFixed32(16, flags);
  writer.closeMessage(message);
}

function ownAttributes(batch: SpanBatch, text: Encoding["text"], row: number): Attribute[] {
  const own: Attribute[] = [];
  const word = (column: AgentColumn, value: string) => {
    if (value !== "") own.push({ key: AGENT_KEYS[column], kind: "s", value });
  };
  const number = (column: AgentColumn, value: number | undefined, absent: number) => {
    if (value !== undefined && value !== absent) own.push({ key: AGENT_KEYS[column], kind: "i", value: String(value) });
  };
  word("source", SPAN_SOURCES[batch.source[row] ?? 0] ?? "");
  word("linkReason", text(batch.linkReason[row]));
  word("protocol", text(batch.protocol[row]));
  word("clientAddr", text(batch.clientAddr[row]));
  number("clientPort", batch.clientPort[row], 0);
  word("serverAddr", text(batch.serverAddr[row]));
  number("serverPort", batch.serverPort[row], 0);
  number("pid", batch.pid[row], 0);
  number("weight", batch.weight[row], 1);
  const duplicate = batch.duplicateOf[row] ?? 0n;
  if (duplicate !== 0n) word("duplicateOf", duplicate.toString(16).padStart(16, "0"));
  return own;
}

function writeId(writer: ProtobufWriter, field: number, words: readonly bigint[]): void {
  const bytes = Buffer.alloc(8 * words.length);
  for (const [at, word] of words.entries()) bytes.writeBigUInt64BE(word, 8 * at);
  writer.writeBytes(field, bytes);
}

function blobOf(blob: Uint8Array, ends: Uint32Array, row: number): Uint8Array {
  return blob.subarray(row === 0 ? 0 : (ends[row - 1] ?? 0), ends[row] ?? 0);
}
