/**
 * Runs inside of the guest: an agent on each rung named, and two real processes that speak HTTP under it. Prints one
 * line of JSON a rung, behind `RUNG `, and decides nothing.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { observeAgent } from "../../agent/agent.testkit.ts";
import type { AgentMode } from "../../agent/agent-message.ts";
import { tryAbilities } from "../../agent/capture/doctor.ts";
import { REQUESTS } from "./guest-requests.ts";
import { askInTls } from "./guest-tls.ts";
import { askByPath } from "./guest-unix.ts";

const WAIT_MS = 20_000;

/** Starts busybox' web server and asks it `REQUESTS` times, each with a wget of its own. */
async function observeOn(mode: AgentMode, port: number): Promise<unknown> {
  const observed = await observeAgent({
    mode,
    // What is asked by TLS and by paths is asked by this process itself.
    excludePids: [],
    ...(mode === "auto" ? { tls: { kind: "auto" } } : {}),
    worker: { source: new URL("./agent-worker.mjs", import.meta.url), evaluate: false },
  });
  const server = spawn("/bin/httpd", ["-f", "-p", `127.0.0.1:${port}`, "-h", "/tmp"], { stdio: "inherit" });
  try {
    await listening(port);
    for (let request = 0; request < REQUESTS; request++) {
      const url = `http://127.0.0.1:${port}/page${request}.html`;
      await once(spawn("/bin/wget", ["-q", "-O", "/dev/null", url], { stdio: "inherit" }), "exit");
    }
    if (mode === "auto") await askInTls(REQUESTS);
    await askByPath(REQUESTS);
    const sides = (mode === "auto" ? 6 : 4) * REQUESTS;
    await observed.until((spans) => spans.length >= sides, WAIT_MS).catch(() => undefined);
    await observed.agent.stop();
    return { mode, status: observed.agent.status(), spans: observed.spans };
  } finally {
    server.kill();
  }
}

/** Waits until the server listens, without a connection that would be seen. */
async function listening(port: number): Promise<void> {
  const line = `:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`;
  const end = performance.now() + WAIT_MS;
  while (!readFileSync("/proc/net/tcp", "utf8").includes(line)) {
    if (performance.now() > end) throw new Error(`nothing listens on ${port}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

for (let request = 0; request < REQUESTS; request++) writeFileSync(`/tmp/page${request}.html`, `page ${request}\n`);
process.stdout.write(`ABILITIES ${JSON.stringify(tryAbilities(undefined))}\n`);
let port = 8080;
for (const mode of process.argv.slice(2)) {
  const rung = mode as AgentMode;
  const outcome = await observeOn(rung, port++).catch((error: unknown) => ({ mode, error: String(error) }));
  process.stdout.write(
    `RUNG ${JSON.stringify(outcome, (_, value) => (typeof value === "bigint" ? String(value) : value))}\n`,
  );
}
