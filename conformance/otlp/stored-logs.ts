/** Whether log records that were sent are rows of the table `logs`. */

import type { Program } from "../program.ts";
import { contentOf, hexOf, type Json, listOf, memberOf, type OtlpRequest, textOf } from "./requests.ts";

const COLUMNS = "trace_id, span_id, time_ns, observed_ns, severity_number, severity_text, body, service, event_name";

/** What is wrong with the log records of these requests, all that the program was sent. */
export async function logsFault(program: Program, requests: readonly OtlpRequest[]): Promise<string> {
  const wanted = requests.flatMap((request) => recordsOf(contentOf(request))).sort();
  const rows = await program.sql(`SELECT ${COLUMNS}, attributes FROM logs`);
  const found = rows.map((row) => JSON.stringify(row.map(attributesInOrder))).sort();
  const missing = wanted.filter((record) => !found.includes(record));
  const more = found.filter((record) => !wanted.includes(record));
  if (missing.length === 0 && more.length === 0 && wanted.length === found.length) return "";
  return [
    `${wanted.length} records sent, ${found.length} found`,
    ...missing.slice(0, 3).map((record) => `missing ${record}`),
    ...more.slice(0, 3).map((record) => `not sent ${record}`),
  ].join("\n");
}

function recordsOf(content: Json): string[] {
  return listOf(content, "resourceLogs").flatMap((group) => {
    const service = attributesOf(memberOf(group, "resource"))["service.name"] ?? "unknown_service";
    return listOf(group, "scopeLogs").flatMap((scope) =>
      listOf(scope, "logRecords").map((record) => JSON.stringify(rowOf(record, service))),
    );
  });
}

/** A record whose time is not known is found by when it was observed. */
function rowOf(record: Json, service: string): unknown[] {
  const observed = textOf(record, "observedTimeUnixNano") || "0";
  const time = textOf(record, "timeUnixNano") || "0";
  return [
    hexOf(textOf(record, "traceId")) || null,
    hexOf(textOf(record, "spanId")) || null,
    time === "0" ? observed : time,
    observed === "0" ? null : observed,
    Number(textOf(record, "severityNumber") || 0),
    textOf(record, "severityText") || null,
    "body" in record ? valueText(memberOf(record, "body")) : null,
    service,
    textOf(record, "eventName") || null,
    attributesInOrder(attributesOf(record)),
  ];
}

function attributesOf(message: Json | undefined): Record<string, string> {
  const pairs = listOf(message, "attributes").map((pair) => [textOf(pair, "key"), valueText(memberOf(pair, "value"))]);
  return Object.fromEntries(pairs) as Record<string, string>; // pairs of texts by the line above
}

/** Scalars as text, lists as OTLP JSON. */
function valueText(value: Json | undefined): string {
  if (value === undefined || Object.keys(value).length === 0) return "";
  if ("arrayValue" in value || "kvlistValue" in value) return otlpJson(value);
  const [scalar] = Object.values(value);
  return String(scalar);
}

/** OTLP JSON of a value, in the form in which we keep it: members that are lists stand there even when they are empty. */
function otlpJson(value: Json): string {
  const list = memberOf(value, "arrayValue");
  if (list !== undefined) return `{"arrayValue":{"values":[${listOf(list, "values").map(otlpJson).join(",")}]}}`;
  const pairs = memberOf(value, "kvlistValue");
  if (pairs === undefined) return JSON.stringify(value);
  const members = listOf(pairs, "values").map(
    (pair) => `{"key":${JSON.stringify(textOf(pair, "key"))},"value":${otlpJson(memberOf(pair, "value") ?? {})}}`,
  );
  return `{"kvlistValue":{"values":[${members.join(",")}]}}`;
}

function attributesInOrder(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
