/**
 * Reading traces by their id among many: `GET /api/v1/traces/{id}`, of a server that just started and of one that runs.
 *
 * `npm run -s bench -- trace-by-id [--spans N] [--reads N] [--data DIR]`. With a directory it is filled once and kept.
 */

import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { freshen, SPANS_PER_BODY, templateBodies, traceIdOf } from "../conformance/otlp-bodies.ts";
import { encodeBodies, sendLoad } from "../conformance/otlp-senders.ts";
import { printFigure } from "./figure-kit.ts";
import { startServer } from "./otlp-run-kit.ts";

const { values: flags } = parseArgs({
  options: {
    spans: { type: "string", default: "10000000" },
    reads: { type: "string", default: "500" },
    data: { type: "string" },
  },
});

const DROP_CACHES = "/proc/sys/vm/drop_caches";

async function main(): Promise<void> {
  const spans = Number(flags.spans);
  const directory = flags.data ?? mkdtempSync(join(tmpdir(), "thalweg-bench-traces-"));
  if (!existsSync(directory) || readdirSync(directory).length === 0) await fill(directory, spans);
  const dropped = dropCaches();
  const server = await startServer(directory);
  const requests = Math.ceil(spans / SPANS_PER_BODY);
  const cold = await readTraces(server.face, requests, 1);
  const warm = await readTraces(server.face, requests, 1);
  await server.stop();
  const note = `${spans} spans; ten a trace`;
  report("cold", cold, `${note}; the server just started, the page cache ${dropped ? "empty" : "as it was"}`);
  report("warm", warm, `${note}; the same traces again`);
  if (flags.data === undefined) rmSync(directory, { recursive: true, force: true });
}

async function fill(directory: string, spans: number): Promise<void> {
  const server = await startServer(directory);
  const bodies = encodeBodies("semconv", "protobuf");
  const sent = await sendLoad({ transport: "protobuf", bodies, connections: 64, spans }, server.http);
  if (sent.refused > 0) throw new Error(`${sent.refused} of ${sent.requests} requests were refused`);
  await server.stop();
}

/** Milliseconds of each read; every trace must be whole. */
async function readTraces(face: string, requests: number, seed: number): Promise<number[]> {
  const templates = templateBodies("semconv");
  const ms: number[] = [];
  for (let read = 0; read < Number(flags.reads); read++) {
    const serial = Math.imul(read + seed, 0x9e37_79b1) >>> 0;
    const template = templates[(serial % requests) % templates.length];
    if (template === undefined) throw new Error("bench: there are no bodies");
    freshen(template, serial % requests, 0n);
    const index = read % (template.traceIds.length - 1);
    const start = performance.now();
    const answer = await fetch(`${face}/api/v1/traces/${traceIdOf(template, index)}`);
    const text = await answer.text();
    ms.push(performance.now() - start);
    const found = text.match(/"spanId"/g)?.length ?? 0;
    if (found !== template.traceIds[index]?.length) throw new Error(`a trace has ${found} spans: ${answer.status}`);
  }
  return ms;
}

function report(state: string, ms: readonly number[], note: string): void {
  const sorted = ms.toSorted((a, b) => a - b);
  for (const [measure, share] of [
    ["p50", 0.5],
    ["p99", 0.99],
  ] as const) {
    const value = sorted[Math.floor(share * sorted.length)] ?? Number.NaN;
    printFigure({ bench: "trace-by-id", measure: `${state} ${measure}`, unit: "ms", values: [value], note });
  }
}

function dropCaches(): boolean {
  try {
    writeFileSync(DROP_CACHES, "3");
    return true;
  } catch {
    // Only root may, and not in every container.
    return false;
  }
}

await main();
