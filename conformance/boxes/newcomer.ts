/** What a newcomer does in a box: `npm start`, look, stop, start again; and `npm test`. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type BoxedClone, endGroup } from "./box.ts";

const START_MS_MAX = 240_000;
const READY_LINE = /Ready in/;
const SHOWN_LINE = /^(This call was just made|Recorded shop|No call is shown)/m;
const SECOND_START_MS_MAX = 2_000;
const FIRST_START_WITHOUT_DOWNLOAD_MS_MAX = 20_000;

/** What `npm start` gave in a box. */
export interface StartOutcome {
  readonly fault: string;
  readonly tier: string;
  readonly totalMs: number;
  readonly installMs: number;
  readonly text: string;
}

/** Starts with port 0 for every face, waits until the first call is shown, checks the answers, stops. */
export async function startOnce(clone: BoxedClone, tiers: readonly string[], second: boolean): Promise<StartOutcome> {
  const startedMs = performance.now();
  let text = "";
  const child = clone.start(
    ["npm", "start", "--", "--listen", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"],
    (more) => {
      text += more;
    },
  );
  let readyMs = 0;
  let ended = false;
  child.once("exit", () => {
    ended = true;
  });
  while (!SHOWN_LINE.test(text) && !ended && performance.now() - startedMs < START_MS_MAX) {
    if (readyMs === 0 && READY_LINE.test(text)) readyMs = performance.now() - startedMs;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (readyMs === 0) readyMs = performance.now() - startedMs;
  const installMs = 1000 * Number(/Installed in ([\d.]+) s/.exec(text)?.[1] ?? "0");
  const outcome = { tier: "", totalMs: readyMs, installMs, text };
  if (!SHOWN_LINE.test(text)) return { ...outcome, fault: `no first call was shown:\n${text}` };
  const fault = await answersFault(clone, tiers);
  const tier = fault.tier;
  await endGroup(child);
  const slow = second ? readyMs > SECOND_START_MS_MAX : readyMs - installMs > FIRST_START_WITHOUT_DOWNLOAD_MS_MAX;
  if (fault.text === "" && slow) {
    return {
      ...outcome,
      tier,
      fault: `ready after ${readyMs.toFixed(0)} ms, of which the download took ${installMs.toFixed(0)} ms`,
    };
  }
  return { ...outcome, tier, fault: fault.text === "" ? "" : `${fault.text}\n${text}` };
}

async function answersFault(clone: BoxedClone, tiers: readonly string[]): Promise<{ text: string; tier: string }> {
  // Written by the server under test.
  const addresses = JSON.parse(readFileSync(join(clone.clone, "data", "addresses.json"), "utf8")) as { http: string };
  const base = `http://${addresses.http.replace(/^https?:\/\//, "")}`;
  const capture = (await (await fetch(`${base}/api/v1/capture`)).json()) as { tier: string };
  if (!tiers.includes(capture.tier))
    return { tier: capture.tier, text: `rung ${capture.tier}, expected ${tiers.join(" or ")}` };
  const asked = await fetch(`${base}/api/v1/sql`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: "SELECT service, count(*) AS n FROM spans GROUP BY service ORDER BY service" }),
  });
  const answer = (await asked.json()) as { rows?: unknown[][] };
  if ((answer.rows?.length ?? 0) < 2) return { tier: capture.tier, text: `SQL knows ${JSON.stringify(answer)}` };
  return { tier: capture.tier, text: "" };
}

/** Runs `npm test` and gives its last line, or why it failed. */
export async function testOnce(clone: BoxedClone, timeoutMs: number): Promise<{ fault: string; lastLine: string }> {
  let text = "";
  const child = clone.start(["npm", "test"], (more) => {
    text += more;
  });
  const status = await new Promise<number | null>((resolve) => {
    const timer = setTimeout(() => void endGroup(child), timeoutMs);
    child.once("exit", (code) => {
      clearTimeout(timer);
      resolve(code);
    });
  });
  const lastLine = text.trimEnd().split("\n").at(-1) ?? "";
  if (status !== 0) return { fault: `npm test ended with ${status}:\n${failuresOf(text)}`, lastLine };
  return {
    fault: /\d+ passed, 0 failed, \d+ skipped/.test(lastLine) ? "" : `its last line is '${lastLine}'`,
    lastLine,
  };
}

/** What failed, in the words of `npm test`: passed and skipped ones are left out. */
function failuresOf(text: string): string {
  const told = text.split("\n").filter((line) => !/^skipped: |: \d+ passed/.test(line));
  return told.join("\n").slice(-6_000);
}
