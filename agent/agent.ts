/**
 * The agent as a worker thread of the server: starts it, receives its spans, stops it.
 *
 * Invariants: each batch is acknowledged once `onSpans` returned, which is what limits the agent's pace; `stop` resolves
 * after the last batch was handed over, or when the thread did not answer in time.
 */

import { Worker } from "node:worker_threads";
import { ThalwegError } from "../server/model/errors.ts";
import type { SpanBatch } from "../server/model/span-batch.ts";
import type {
  AgentSetting,
  AgentStatus,
  MessageFromAgent,
  MessageToAgent,
  ServiceDepthChange,
  TlsChange,
} from "./agent-message.ts";

/** A thread that does not end by itself is ended. */
const stopMsMax = 3000;

/** What the agent needs from its server. */
export interface AgentOptions extends Omit<AgentSetting, "synThread"> {
  /** Receives batches in the server's thread; returning means they are taken. */
  readonly onSpans: (batch: SpanBatch) => void;
  /** Each second, and whenever something changed. */
  readonly onStatus?: (status: AgentStatus) => void;
  /** A process is captured less deeply, since capture costs more than its budget, or more deeply again. */
  readonly onDepth?: (change: ServiceDepthChange) => void;
  /** A process is no longer looked into at its TLS library, or is again. */
  readonly onTls?: (change: TlsChange) => void;
  /** The agent's thread died by a bug; capture is off from then on. */
  readonly onFailure: (error: Error) => void;
  /** Program of the agent's thread; in a clone it lies beside this file. */
  readonly worker?: AgentWorkerSource;
  /** Program of the thread that the packet rung starts; in a clone it lies beside that. */
  readonly synThread?: AgentWorkerSource;
}

/** The code of the agent's thread: a file, or text to be evaluated. */
interface AgentWorkerSource {
  readonly source: URL | string;
  readonly evaluate: boolean;
}

/** A running agent. */
export interface Agent {
  /** What it does now, as of the last second. */
  status(): AgentStatus;
  /** Asks for a fresh status. */
  freshStatus(): Promise<AgentStatus>;
  /** Ends a recording that plays because nothing live could be captured. `reason` becomes part of the status. */
  stopReplay(reason: string): void;
  /** Agents on other hosts send their spans here too: those captured from now on carry what joins both ends of a message. */
  tellPeers(): void;
  /** Takes everything off the kernel, hands over what was captured until now, and ends the thread. */
  stop(): Promise<void>;
}

/**
 * Starts the agent in a thread of its own.
 *
 * @throws ThalwegError `capture_failed` where `mode` names a rung, or a recording, that cannot start. With `auto` a
 *   machine without rights is no error: the status says what is captured instead.
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { source, evaluate } = options.worker ?? workerOfClone();
  const worker = new Worker(source, {
    eval: evaluate,
    name: "thalweg-agent",
    workerData: settingOf(options),
    // Descriptors that the addon opened are closed by Node's own means, off the agent's thread.
    trackUnmanagedFds: false,
    // The agent's own limits bound it; this is the net below them.
    resourceLimits: { maxOldGenerationSizeMb: 512 },
  });
  const send = (message: MessageToAgent) => worker.postMessage(message);
  const started = Promise.withResolvers<AgentStatus>();
  const ended = Promise.withResolvers<void>();
  const asked: ((status: AgentStatus) => void)[] = [];
  let status: AgentStatus | undefined;
  let stopping = false;

  const learn = (next: AgentStatus) => {
    status = next;
    for (const resolve of asked.splice(0)) resolve(next);
    options.onStatus?.(next);
  };
  worker.on("message", (message: MessageFromAgent) => {
    switch (message.kind) {
      case "started":
        status = message.status;
        started.resolve(message.status);
        break;
      case "refused":
        started.reject(new ThalwegError("capture_failed", { rung: message.rung, why: message.why, fix: message.fix }));
        break;
      case "spans":
        options.onSpans(message.batch);
        send({ kind: "taken" });
        break;
      case "depth":
        options.onDepth?.(message.change);
        break;
      case "tls":
        options.onTls?.(message.change);
        break;
      case "status":
        learn(message.status);
        break;
      case "stopped":
        learn(message.status);
        ended.resolve();
        break;
    }
  });
  const failed = (error: Error) => {
    started.reject(error);
    ended.resolve();
    if (stopping) return;
    stopping = true;
    if (status !== undefined) learn(afterFailure(status, error));
    options.onFailure(error);
  };
  worker.on("error", (error) => failed(error instanceof Error ? error : new Error(String(error))));
  worker.on("exit", (code) => failed(new Error(`the agent's thread ended by itself with code ${code}`)));

  try {
    await started.promise;
  } catch (error) {
    stopping = true;
    await worker.terminate();
    throw error;
  }
  const current = () => {
    if (status === undefined) throw new Error("an agent that has started has a status");
    return status;
  };
  return {
    status: current,
    freshStatus() {
      if (stopping) return Promise.resolve(current());
      return new Promise((resolve) => {
        asked.push(resolve);
        send({ kind: "status" });
      });
    },
    tellPeers() {
      send({ kind: "peers" });
    },
    stopReplay(reason) {
      send({ kind: "stop-replay", reason });
    },
    async stop() {
      if (!stopping) {
        stopping = true;
        send({ kind: "stop" });
      }
      const timer = setTimeout(() => ended.resolve(), stopMsMax);
      await ended.promise;
      clearTimeout(timer);
      for (const resolve of asked.splice(0)) resolve(current());
      await worker.terminate();
    },
  };
}

/** Bundles know their own files and say so in the options; a clone has the program here. */
function workerOfClone(): AgentWorkerSource {
  return { source: new URL("./agent-worker.ts", import.meta.url), evaluate: false };
}

/** Only the plain data of the options: functions cannot be cloned. */
function settingOf(options: AgentOptions): AgentSetting {
  const { mode, excludePids, excludePorts, tls, redaction, fallbackReplay, nativeDirectory, version, synThread } =
    options;
  return {
    mode,
    excludePids,
    excludePorts,
    onlyNetns: options.onlyNetns,
    peers: options.peers,
    tls,
    injectNode: options.injectNode,
    redaction,
    fallbackReplay,
    nativeDirectory,
    cpuCoresMax: options.cpuCoresMax,
    ringBytes: options.ringBytes,
    version,
    synThread: synThread && { source: String(synThread.source), evaluate: synThread.evaluate },
  };
}

function afterFailure(status: AgentStatus, error: Error): AgentStatus {
  return {
    ...status,
    tier: "off",
    why: `the agent's thread failed: ${error.message}`,
    lostByTier: "no traffic is captured",
    fix: "Restart thalweg; if it fails again, report this message.",
  };
}
