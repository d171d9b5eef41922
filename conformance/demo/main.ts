/**
 * `npm run demo`: a small real shop under a few requests a second, watched by Thalweg.
 *
 * Starts a server where none answers. `--rate N` requests a second, `--seconds N` ends by itself, `--url U` of the server.
 */

import { spawn } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startShop } from "./shop.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const SERVER_START_MS_MAX = 30_000;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      url: { type: "string", default: "http://127.0.0.1:8425" },
      rate: { type: "string", default: "4" },
      seconds: { type: "string", default: "0" },
    },
  });
  const ended = new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
    if (Number(values.seconds) > 0) setTimeout(resolve, Number(values.seconds) * 1000);
  });
  const server = (await answers(values.url)) ? undefined : startServer(values.url);
  if (server !== undefined && !(await untilAnswers(values.url))) {
    process.stderr.write(`demo: the server did not answer at ${values.url} within ${SERVER_START_MS_MAX / 1000} s\n`);
    process.exitCode = 1;
    server.kill("SIGTERM");
    return;
  }
  const shop = await startShop(Number(values.rate));
  process.stdout.write(
    `\nThe shop runs: ${shop.parts.join(", ")}; ${values.rate} requests a second at ${shop.front}\n`,
  );
  for (const part of shop.missing) process.stdout.write(`Left out: ${part}\n`);
  const capture = await captureLine(values.url);
  process.stdout.write(`${capture}\n`);
  process.stdout.write(`Look at ${values.url}/ for its services, live requests, traces and graph. Ctrl-C ends both.\n`);
  await ended;
  await shop.stop();
  if (server !== undefined) {
    const gone = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGTERM");
    await gone;
  }
}

function startServer(url: string) {
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

async function untilAnswers(url: string): Promise<boolean> {
  const deadline = performance.now() + SERVER_START_MS_MAX;
  while (performance.now() < deadline) {
    if (await answers(url)) return true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return false;
}

async function captureLine(url: string): Promise<string> {
  // The shape of faces.md; a server of another version would show here as `undefined`.
  const status = (await (await fetch(`${url}/api/v1/capture`)).json()) as { tier: string; why: string };
  if (status.tier === "replay" || status.tier === "off") {
    return `The server sees none of it, since it captures nothing live: ${status.why}`;
  }
  return `Captured by rung '${status.tier}'.`;
}

await main();
