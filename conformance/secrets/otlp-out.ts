/** `thalweg agent --to URL` beside the server, and a receiver that keeps what it is sent. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";

const READY_MS_MAX = 20_000;

/** What an agent sends. */
export interface OtlpOut {
  /** Those of the texts that it has not sent yet. */
  missing(texts: readonly string[]): string[];
  /** Stops the agent. @returns Everything that it sent, decompressed, and what it printed. */
  stop(): Promise<{ bodies: readonly Buffer[]; output: string }>;
}

/** Starts both. @param words The command line of `thalweg agent` up to its flags. */
export async function startOtlpOut(words: readonly string[], rung: string): Promise<OtlpOut> {
  const bodies: Buffer[] = [];
  const receiver = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      bodies.push(request.headers["content-encoding"] === "gzip" ? gunzipSync(body) : body);
      response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
    });
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  // A server over TCP has an address of this form.
  const { port } = receiver.address() as AddressInfo;
  const flags = [
    "--to",
    `http://127.0.0.1:${port}`,
    "--capture",
    rung,
    "--capture-cpu",
    "none",
    "--listen",
    "127.0.0.1:0",
  ];
  const agent = spawn(process.execPath, [...words, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [agent.stdout, agent.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  try {
    await untilSaid(agent, () => output);
  } catch (error) {
    agent.kill("SIGKILL");
    receiver.close();
    throw error;
  }
  return {
    missing: (texts) => {
      const sent = Buffer.concat(bodies).toString("latin1");
      return texts.filter((text) => !sent.includes(text));
    },
    stop: async () => {
      if (agent.exitCode === null && agent.signalCode === null) {
        const ended = once(agent, "exit");
        agent.kill("SIGTERM");
        await ended;
      }
      receiver.closeAllConnections();
      receiver.close();
      return { bodies, output };
    },
  };
}

async function untilSaid(agent: ChildProcess, output: () => string): Promise<void> {
  const deadline = performance.now() + READY_MS_MAX;
  while (output() === "" && agent.exitCode === null && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  if (agent.exitCode !== null || output() === "") throw new Error(`thalweg agent did not start: ${output()}`);
}
