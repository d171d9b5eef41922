/**
 * `npm run demo`: a small real shop under a few requests a second, watched by Thalweg.
 *
 * Starts a server where none answers. `--rate N` requests a second, `--seconds N` ends by itself, `--url U` of the server.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startShop } from "./shop.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const URL_DEFAULT = "http://127.0.0.1:8425";
const SERVER_START_MS_MAX = 30_000;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      url: { type: "string" },
      rate: { type: "string", default: "4" },
      seconds: { type: "string", default: "0" },
    },
  });
  const ended = untilEnd(Number(values.seconds));
  const url = values.url ?? runningUrl() ?? URL_DEFAULT;
  const server = (await answers(url)) ? undefined : startServer(url);
  if (server !== undefined) {
    const fault = await untilAnswers(url, server);
    if (fault !== "") {
      process.stderr.write(`demo: ${fault}\n`);
      return 1;
    }
  }
  const shop = await startShop(Number(values.rate));
  process.stdout.write(
    `\nThe shop runs: ${shop.parts.join(", ")}; ${values.rate} requests a second at ${shop.front}\n`,
  );
  for (const part of shop.missing) process.stdout.write(`Left out: ${part}\n`);
  process.stdout.write(`${await whereToLook(url)} Ctrl-C ends ${server === undefined ? "the shop" : "both"}.\n`);
  await ended;
  await shop.stop();
  if (server !== undefined && server.exitCode === null) {
    const gone = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGTERM");
    await gone;
  }
  return 0;
}

/** Ctrl-C may come twice, from the terminal and from the launcher: the handlers stay. */
function untilEnd(seconds: number): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => resolve());
    if (seconds > 0) setTimeout(resolve, seconds * 1000);
  });
}

/** A server that already runs from this clone tells its address. */
function runningUrl(): string | undefined {
  try {
    // Written by the server.
    const { http } = JSON.parse(readFileSync(join(ROOT, "data", "addresses.json"), "utf8")) as { http: string };
    return `http://${http}`;
  } catch {
    // None runs from here.
    return undefined;
  }
}

function startServer(url: string): ChildProcess {
  const { host } = new URL(url);
  return spawn(process.execPath, [join(ROOT, "bin", "thalweg.mjs"), "serve", "--listen", host], { stdio: "inherit" });
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/livez`, { signal: AbortSignal.timeout(1_000) })).ok;
  } catch {
    // Refused or silent: nobody serves there.
    return false;
  }
}

/** @returns Why the server does not answer, or an empty string. */
async function untilAnswers(url: string, server: ChildProcess): Promise<string> {
  const deadline = performance.now() + SERVER_START_MS_MAX;
  while (performance.now() < deadline) {
    if (server.exitCode !== null) return `the server ended with status ${server.exitCode}; its own words stand above`;
    if (await answers(url)) return "";
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  server.kill("SIGTERM");
  return `the server did not answer at ${url} within ${SERVER_START_MS_MAX / 1000} s`;
}

async function whereToLook(url: string): Promise<string> {
  // The shape of `GET /api/v1/capture`; a server of another version would show here as `undefined`.
  const status = (await (await fetch(`${url}/api/v1/capture`)).json()) as { tier: string; why: string };
  if (status.tier === "replay" || status.tier === "off") {
    return `The server at ${url}/ sees none of it, since it captures nothing live: ${status.why}. As root it would.`;
  }
  return `Captured by rung '${status.tier}'. Look at ${url}/ for its services, live requests, traces and graph.`;
}

process.exitCode = await main();
