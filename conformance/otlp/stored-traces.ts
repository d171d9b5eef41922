/** Whether spans that were sent come back as they were, by their trace ids. */

import type { Program } from "../program.ts";
import { contentOf, hexOf, type Json, listOf, memberOf, type OtlpRequest, textOf, tracesContent } from "./requests.ts";

/** What is wrong with the traces of these requests; a span that was sent twice is there once. */
export async function tracesFault(program: Program, requests: readonly OtlpRequest[]): Promise<string> {
  const sent = new Map<string, Map<string, Set<string>>>();
  for (const request of requests) {
    for (const { traceId, key, text } of spansOf(contentOf(request))) {
      const trace = sent.get(traceId) ?? new Map<string, Set<string>>();
      sent.set(traceId, trace);
      trace.set(key, (trace.get(key) ?? new Set()).add(text));
    }
  }
  const faults: string[] = [];
  for (const [traceId, wanted] of sent) {
    const answer = await fetch(`${program.http}/api/v1/traces/${traceId}`);
    if (answer.status !== 200) faults.push(`${traceId}: status ${answer.status}`);
    else faults.push(...differences(traceId, wanted, spansOf(tracesContent(await answer.text()))));
  }
  return faults.slice(0, 5).join("\n");
}

interface Span {
  readonly traceId: string;
  /** Ids, kind and times: what tells spans apart. */
  readonly key: string;
  /** All of it, with its resource and scope. */
  readonly text: string;
}

function differences(traceId: string, wanted: ReadonlyMap<string, Set<string>>, found: readonly Span[]): string[] {
  const faults: string[] = [];
  const seen = new Set<string>();
  for (const { key, text } of found) {
    if (seen.has(key)) faults.push(`${traceId}: ${key} is there twice`);
    seen.add(key);
    const sent = wanted.get(key);
    if (sent === undefined) faults.push(`${traceId}: ${key} was not sent`);
    else if (!sent.has(text)) faults.push(`${traceId}: sent ${[...sent].join(" or ")}\n  found ${text}`);
  }
  for (const key of wanted.keys()) if (!seen.has(key)) faults.push(`${traceId}: ${key} is missing`);
  return faults;
}

function spansOf(content: Json): Span[] {
  return listOf(content, "resourceSpans").flatMap((group) =>
    listOf(group, "scopeSpans").flatMap((scope) => {
      const origin = {
        resource: sorted(memberOf(group, "resource")),
        resourceSchema: textOf(group, "schemaUrl"),
        scope: sorted(memberOf(scope, "scope")),
        scopeSchema: textOf(scope, "schemaUrl"),
      };
      return listOf(scope, "spans").map((span) => spanOf(origin, span));
    }),
  );
}

function spanOf(origin: object, span: Json): Span {
  const start = BigInt(textOf(span, "startTimeUnixNano") || "0");
  const end = BigInt(textOf(span, "endTimeUnixNano") || "0");
  const key = [textOf(span, "spanId"), textOf(span, "kind") || "0", start, end].join(" ");
  return { traceId: hexOf(textOf(span, "traceId")), key, text: JSON.stringify(ordered({ ...origin, span })) };
}

/** A resource or scope with its attributes in order of their keys. */
function sorted(message: Json | undefined): Json {
  const attributes = [...listOf(message, "attributes")].sort((a, b) => (textOf(a, "key") < textOf(b, "key") ? -1 : 1));
  return { ...message, attributes };
}

/** Members in order of their names, without defaults. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value)
    .map(([name, child]) => [name, ordered(child)] as const)
    .filter(([name, child]) => name === "value" || !isDefault(child))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(members);
}

function isDefault(value: unknown): boolean {
  if (value === "" || value === 0 || value === "0" || value === null) return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
