/** Single HTTP requests with the status that must answer them, and the spans that must be stored. */

import type { Program } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

/** A case as the suite's files have it. */
export interface HttpCase {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly contentType: string;
  readonly contentEncoding: string;
  readonly bodyBase64: string;
  /** Null where the specification leaves it open; then it must be no fault of the server. */
  readonly expectStatus: number | null;
  readonly expectAcceptedSpans: number | null;
}

/** Plays each case against a program that is sent nothing else meanwhile. */
export async function playHttpCases(program: Program, cases: readonly HttpCase[], report: SuiteReport): Promise<void> {
  for (const each of cases) report.add(`HTTP: ${each.name}`, await caseFault(program, each));
}

async function caseFault(program: Program, each: HttpCase): Promise<string> {
  const before = await takenSpans(program);
  const headers: Record<string, string> = {};
  if (each.contentType !== "") headers["content-type"] = each.contentType;
  if (each.contentEncoding !== "") headers["content-encoding"] = each.contentEncoding;
  const hasBody = each.method !== "GET" && each.method !== "HEAD";
  const body = new Uint8Array(Buffer.from(each.bodyBase64, "base64"));
  const answer = await fetch(`${program.otlpHttp}${each.path}`, {
    method: each.method,
    headers,
    ...(hasBody ? { body } : {}),
  });
  const reply = Buffer.from(await answer.arrayBuffer());
  if (each.expectStatus === null ? answer.status >= 500 : answer.status !== each.expectStatus) {
    return `status ${answer.status}, expected ${each.expectStatus ?? "none of 5xx"}: ${reply.toString("latin1")}`;
  }
  const fault = formFault(answer, reply, each.contentType);
  if (fault !== "" || each.expectAcceptedSpans === null) return fault;
  const taken = (await takenSpans(program)) - before;
  return taken === each.expectAcceptedSpans ? "" : `${taken} spans taken, expected ${each.expectAcceptedSpans}`;
}

/** Success and faults of a body are answered in the request's encoding, without parameters of its type. */
function formFault(answer: Response, reply: Buffer, contentType: string): string {
  if (![200, 400, 413, 429, 503].includes(answer.status)) return "";
  const type = answer.headers.get("content-type") ?? "";
  const asked = contentType.split(";")[0]?.trim().toLowerCase() ?? "";
  if (type !== asked) return `the answer to ${asked} is of type ${type}`;
  if (asked !== "application/json") return "";
  const json: unknown = JSON.parse(reply.toString());
  if (answer.status === 200) return "";
  const isStatus = typeof json === "object" && json !== null && "code" in json && "message" in json;
  return isStatus ? "" : `no google.rpc.Status: ${reply.toString()}`;
}

/** Spans that were stored, or were there before. */
async function takenSpans(program: Program): Promise<number> {
  const stored = await program.counter("thalweg_ingest_stored_total", 'signal="traces"');
  return stored + (await program.counter("thalweg_ingest_rejected_total", 'reason="repeated"'));
}
