/**
 * The verb `agent`: captures on this host and sends the spans to another Thalweg, or to any receiver of OTLP.
 *
 * Order: face, sender, capture; stopped in reverse, so that what was captured is sent before the program ends.
 */

import { type Agent, startAgent } from "../../agent/agent.ts";
import type { AgentStatus, ServiceDepthChange, TlsChange } from "../../agent/agent-message.ts";
import { type SendLedger, SpanSender } from "../../agent/export/span-sender.ts";
import { type AgentFace, openAgentFace } from "../api/agent-face.ts";
import { type AgentSettings, readAgentSettings } from "../config/agent-settings.ts";
import { openOtlpClient } from "../platform/otlp-client.ts";
import { systemClock } from "../platform/system-clock.ts";
import { createLog, type Log } from "../telemetry/log.ts";
import { Telemetry } from "../telemetry/telemetry.ts";
import { agentMode, captureCores, onlyNetns, renderCapture, sayDepth, sayTls, sayTlsTrouble } from "./capture-facts.ts";
import { programFiles } from "./program-files.ts";
import { untilSignal } from "./until-signal.ts";
import { productVersion } from "./version.ts";

/** Time for what is queued to reach the receiver when the agent stops. */
const DRAIN_MS_MAX = 5_000;
/** A stop that takes longer is unclean. */
const STOP_MS_MAX = 20_000;
const UNCLEAN_STOP = 3;
/** Metrics that an agent has. */
const OWN_METRICS = /^(thalweg_(capture|export|log|loop)_|process_)/;
/** Ports of the web at large: that the receiver has one of them must not hide the traffic of others. */
const WEB_PORTS: ReadonlySet<number> = new Set([80, 443]);

/**
 * `thalweg agent --to URL FLAGS`: until SIGINT, SIGTERM or SIGHUP.
 *
 * @returns Exit status: 0 stopped cleanly, 3 where spans that were queued could not be sent any more.
 */
export async function runAgent(args: readonly string[]): Promise<number> {
  const settings = readAgentSettings(args, process.env);
  const stopped = untilSignal(["SIGINT", "SIGTERM", "SIGHUP"]);
  const running = await startSending(settings);
  process.stdout.write(`${banner(settings, running)}\n`);
  await stopped;
  process.stdout.write("Stopping …\n");
  const timer = setTimeout(() => {
    process.stderr.write(`thalweg: did not stop within ${STOP_MS_MAX / 1000} s\n`);
    process.exit(UNCLEAN_STOP);
  }, STOP_MS_MAX);
  const ledger = await running.stop();
  clearTimeout(timer);
  const lost = lostSum(ledger);
  process.stdout.write(`Sent ${ledger.sent} of ${ledger.made} spans${lost === 0 ? "" : `; ${lost} were lost`}.\n`);
  return ledger.lost.stopped === 0 ? 0 : UNCLEAN_STOP;
}

interface RunningAgent {
  readonly face: AgentFace;
  readonly agent: Agent;
  /** Sends what is queued; gives what became of all spans. */
  stop(): Promise<SendLedger>;
}

async function startSending(settings: AgentSettings): Promise<RunningAgent> {
  const telemetry = new Telemetry();
  const log = makeLog(settings, telemetry);
  const client = openOtlpClient(settings.to);
  const sender = new SpanSender({
    send: (body, timeoutMs) => client.send(body, timeoutMs),
    queueBytesMax: settings.queueBytesMax,
    version: productVersion(),
    onTrouble: (why, lost) => {
      if (lost > 0) log.warn({ why, lost }, "spans were lost on their way to the receiver");
      else log.warn({ why }, "spans wait for the receiver");
    },
  });
  let agent: Agent | undefined;
  const face = await openAgentFace({
    listen: settings.listen,
    ready: () => readiness(agent?.status(), sender.trouble),
    metricsText: () => {
      if (agent !== undefined) renderCapture(telemetry, agent.status());
      renderExport(telemetry, sender.ledger());
      return telemetry.render((name) => OWN_METRICS.test(name));
    },
    captureStatus: () => ({ ...agent?.status(), to: settings.to.url.host, export: sender.ledger() }),
  });
  try {
    agent = await startAgent(captureOptions(settings, face, sender, log));
    sayTlsTrouble(log, agent.status());
  } catch (error) {
    client.close();
    await face.close();
    throw error;
  }
  const started = agent;
  return {
    face,
    agent: started,
    async stop() {
      await started.stop();
      await sender.stop(DRAIN_MS_MAX);
      client.close();
      await face.close();
      return sender.ledger();
    },
  };
}

function captureOptions(settings: AgentSettings, face: AgentFace, sender: SpanSender, log: Log) {
  const files = programFiles();
  const receiver = Number(settings.to.url.port);
  return {
    mode: agentMode(settings.capture),
    excludePids: [process.pid],
    excludePorts: [face.address.port, ...(receiver === 0 || WEB_PORTS.has(receiver) ? [] : [receiver])],
    onlyNetns: onlyNetns(settings.networkNamespace),
    peers: true,
    tls: settings.tls,
    injectNode: settings.injectNode,
    redaction: settings.redaction === "on",
    fallbackReplay: undefined,
    nativeDirectory: files.nativeDirectory,
    version: productVersion(),
    worker: files.agentWorker,
    synThread: files.synThread,
    onSpans: (batch: Parameters<SpanSender["spans"]>[0]) => sender.spans(batch),
    cpuCoresMax: captureCores(settings.captureCpu),
    ringBytes: settings.captureRingBytes,
    onDepth: (change: ServiceDepthChange) => sayDepth(log, change),
    onTls: (change: TlsChange) => sayTls(log, change),
    onFailure: (error: Error) => log.error({ error }, "the capture thread failed; capture is off"),
  };
}

function readiness(status: AgentStatus | undefined, trouble: string) {
  const reasons: string[] = [];
  if (status === undefined) reasons.push("Capture has not started.");
  else if (status.tier === "off") reasons.push(`Nothing is captured: ${status.why}.`);
  if (trouble !== "") reasons.push(`Spans do not reach the receiver: ${trouble}.`);
  return { ready: reasons.length === 0, reasons };
}

function renderExport(telemetry: Telemetry, ledger: SendLedger): void {
  telemetry.set("thalweg_export_made_total", {}, ledger.made);
  telemetry.set("thalweg_export_sent_total", {}, ledger.sent);
  telemetry.set("thalweg_export_queued", {}, ledger.queued);
  telemetry.set("thalweg_export_queue_bytes", {}, ledger.queueBytes);
  telemetry.set("thalweg_export_requests_total", {}, ledger.requests);
  telemetry.set("thalweg_export_failures_total", {}, ledger.failures);
  for (const [reason, count] of Object.entries(ledger.lost)) {
    telemetry.set("thalweg_export_lost_total", { reason }, count);
  }
}

function lostSum({ lost }: SendLedger): number {
  return Object.values(lost).reduce((sum, count) => sum + count, 0);
}

function makeLog(settings: AgentSettings, telemetry: Telemetry): Log {
  return createLog({
    level: settings.logLevel,
    terminal: process.stderr.isTTY === true,
    write: (line) => process.stderr.write(line),
    monotonicMs: systemClock().monotonicMs,
    onSuppressed: () => telemetry.count("thalweg_log_suppressed_total", {}),
  });
}

function banner(settings: AgentSettings, { face, agent }: RunningAgent): string {
  const { host, port } = face.address;
  const own = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const { tier, why, lostByTier, fix } = agent.status();
  const { url, transport } = settings.to;
  const rows: [string, string][] = [
    ["To", `${url.host} over OTLP/${transport === "grpc" ? "gRPC" : "HTTP"}`],
    ["State", `http://${own}/readyz   /metrics   /api/v1/capture`],
    ["Capture", `${tier}: ${why}`],
  ];
  if (lostByTier !== "") rows.push(["Lost", lostByTier]);
  if (fix !== "") rows.push(["More", fix]);
  if (settings.redaction === "off")
    rows.push(["Careful", "redaction is off: query values and secrets in paths are sent"]);
  const lines = rows.map(([title, text]) => `  ${title.padEnd(9)}${text}`);
  return [`Thalweg agent ${productVersion()}`, ...lines, "Ready."].join("\n");
}
