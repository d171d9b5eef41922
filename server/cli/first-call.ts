/**
 * Shows the program working: starts two processes that make one call, and reads that call back from the store.
 */

import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { treeSpanOf } from "./ask.ts";
import { renderSpanTree } from "./span-tree.ts";

const CLIENT_NAME = "hello-client";
const SERVER_NAME = "hello-server";
const WAIT_FOR_SPANS_MS = 3_000;
const POLL_MS = 50;
const SPANS_OF_A_CALL = 2;

/** The call as a tree, or why there is none. */
export type FirstCallOutcome =
  | { readonly kind: "shown"; readonly tree: string; readonly traceId: string; readonly tookMs: number }
  | { readonly kind: "missing"; readonly why: string };

/** Runs a statement of our own against the store and gives its rows. */
export type AskStore = (text: string, params: readonly string[]) => Promise<readonly (readonly (string | null)[])[]>;

/**
 * Makes the call and waits for both its spans; once more where none came, since a rung that has just started may still
 * be learning whose connections are whose.
 *
 * @param self Program and arguments that start this program again, such as Node and `main.ts`.
 */
export async function showFirstCall(self: readonly string[], ask: AskStore): Promise<FirstCallOutcome> {
  const first = await makeCall(self, ask);
  return first.kind === "shown" ? first : makeCall(self, ask);
}

async function makeCall(self: readonly string[], ask: AskStore): Promise<FirstCallOutcome> {
  const [program, ...before] = self;
  if (program === undefined) throw new Error("no program to start");
  const path = `/hello/${randomInt(1_000_000, 10_000_000)}`;
  const startedMs = performance.now();
  const server = spawn(program, [...before, "first-call", "server"], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, OTEL_SERVICE_NAME: SERVER_NAME },
  });
  try {
    const port = await firstLine(server.stdout);
    if (port === undefined) return { kind: "missing", why: "the server process of the call did not start" };
    const asked = await exitOf(program, [...before, "first-call", "client", port, path], CLIENT_NAME);
    if (asked !== 0) return { kind: "missing", why: "the call over loopback failed: is the loopback interface up?" };
    return await waitForSpans(path, startedMs, ask);
  } finally {
    server.kill("SIGTERM");
  }
}

async function waitForSpans(path: string, startedMs: number, ask: AskStore): Promise<FirstCallOutcome> {
  const deadline = performance.now() + WAIT_FOR_SPANS_MS;
  let found = 0;
  while (performance.now() < deadline) {
    const traces = await ask(
      "SELECT DISTINCT trace_id FROM spans WHERE service IN ($1, $2) AND attributes['url.path'] = $3",
      [CLIENT_NAME, SERVER_NAME, path],
    );
    const traceId = traces[0]?.[0];
    if (traceId !== undefined && traceId !== null) {
      const rows = await ask(
        "SELECT span_id, parent_span_id, service, name, kind, status, CAST(start_ns AS VARCHAR), CAST(duration_ns AS VARCHAR), link_reason FROM spans WHERE trace_id = $1",
        [traceId],
      );
      found = rows.length;
      if (found >= SPANS_OF_A_CALL) {
        return {
          kind: "shown",
          tree: renderSpanTree(rows.map(treeSpanOf)),
          traceId,
          tookMs: performance.now() - startedMs,
        };
      }
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return {
    kind: "missing",
    why:
      found === 0
        ? `the call was made, but no span of it arrived within ${WAIT_FOR_SPANS_MS / 1000} s; 'thalweg doctor' tells what works here`
        : `only ${found} of its ${SPANS_OF_A_CALL} spans arrived within ${WAIT_FOR_SPANS_MS / 1000} s`,
  };
}

function firstLine(stream: NodeJS.ReadableStream): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = "";
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      text += chunk;
      const end = text.indexOf("\n");
      if (end >= 0) resolve(text.slice(0, end));
    });
    stream.on("end", () => resolve(undefined));
  });
}

function exitOf(program: string, args: readonly string[], service: string): Promise<number | null> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: "ignore", env: { ...process.env, OTEL_SERVICE_NAME: service } });
    child.on("exit", (code) => resolve(code));
    child.on("error", () => resolve(1));
  });
}
