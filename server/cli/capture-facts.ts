/** What `serve` and `agent` say of capture alike: its counters, and its mode as the agent's thread knows it. */

import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { AgentMode, AgentStatus, ServiceDepthChange, TlsChange } from "../../agent/agent-message.ts";
import type { CaptureMode, CoresMax } from "../config/values.ts";
import { CAPTURE_DEPTHS } from "../model/capture-event.ts";
import type { Log } from "../telemetry/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";

/** Of the processors, what capture may cost where nobody said: 0.3 cores of 2. */
const CPU_SHARE = 0.15;
/** What is captured of a process at a depth, in words. */
const DEPTH_WORDS = {
  full: "everything",
  heads: "heads of HTTP/1, and all else",
  counted: "counts of HTTP/1, and all else",
  off: "nothing",
} as const;

/** Sets the counters of capture. */
export function renderCapture(telemetry: Telemetry, status: AgentStatus): void {
  telemetry.set("thalweg_capture_seen_total", {}, status.seen);
  telemetry.set("thalweg_capture_delivered_total", {}, status.delivered);
  for (const [reason, count] of Object.entries(status.lost))
    telemetry.set("thalweg_capture_lost_total", { reason }, count);
  for (const [reason, count] of Object.entries(status.leftOut))
    telemetry.set("thalweg_capture_left_out_total", { reason }, count);
  for (const [reason, count] of Object.entries(status.spans.dropped))
    telemetry.set("thalweg_capture_exchanges_dropped_total", { reason }, count);
  if (status.tls !== undefined) renderTls(telemetry, status.tls);
  if (status.inspectors !== undefined) renderInspectors(telemetry, status.inspectors, status.spans.told);
  telemetry.set("thalweg_capture_backlog_total", {}, status.exported.backlog);
  telemetry.set("thalweg_capture_counted_calls_total", {}, status.spans.countedCalls);
  telemetry.set("thalweg_capture_cpu_cores", {}, status.budget.usedCores);
  telemetry.set("thalweg_capture_cpu_max_cores", {}, status.budget.coresMax ?? Number.POSITIVE_INFINITY);
  for (const depth of CAPTURE_DEPTHS.slice(1)) {
    const processes = status.budget.processes.filter((process) => process.depth === depth);
    telemetry.set("thalweg_capture_processes", { depth }, processes.length);
  }
}

function renderTls(telemetry: Telemetry, { probes, streams }: NonNullable<AgentStatus["tls"]>): void {
  telemetry.set("thalweg_capture_tls_calls_total", {}, streams.calls);
  for (const [reason, count] of Object.entries(streams.dropped))
    telemetry.set("thalweg_capture_tls_dropped_total", { reason }, count);
  telemetry.set("thalweg_capture_tls_opaque_total", {}, streams.opaque);
  telemetry.set("thalweg_capture_tls_over_budget_total", {}, probes?.detachedOverBudget ?? 0);
}

function renderInspectors(
  telemetry: Telemetry,
  { processes, refused, told, dropped }: NonNullable<AgentStatus["inspectors"]>,
  calls: AgentStatus["spans"]["told"],
): void {
  telemetry.set("thalweg_capture_inspected_processes", {}, processes.length);
  for (const [reason, count] of Object.entries(refused))
    telemetry.set("thalweg_capture_inspector_refused_total", { reason }, count);
  telemetry.set("thalweg_capture_inspector_calls_total", { outcome: "told" }, told);
  telemetry.set("thalweg_capture_inspector_calls_total", { outcome: "not_told" }, dropped);
  for (const [outcome, count] of Object.entries(calls))
    telemetry.set("thalweg_capture_inspector_calls_total", { outcome }, count);
}

/** Cores that capture may cost; undefined for no limit. */
export function captureCores(setting: CoresMax): number | undefined {
  if (setting === "none") return undefined;
  return setting === "auto" ? CPU_SHARE * availableParallelism() : setting;
}

/** Says in the log that a process is captured more or less deeply, and why. */
export function sayDepth(log: Log, { pid, service, from, to, usedCores, coresMax }: ServiceDepthChange): void {
  const facts = { pid, service, depth: to, was: from, cpu_cores: usedCores, cpu_max_cores: coresMax };
  const isLess = CAPTURE_DEPTHS.indexOf(to) > CAPTURE_DEPTHS.indexOf(from);
  if (isLess) log.warn(facts, `capture costs more than --capture-cpu: of this process it takes ${DEPTH_WORDS[to]}`);
  else log.info(facts, `capture costs less than --capture-cpu: of this process it takes ${DEPTH_WORDS[to]} again`);
}

/** Says in the log where `--tls` was asked for and nothing can be read. */
export function sayTlsTrouble(log: Log, { tls }: AgentStatus): void {
  if (tls !== undefined && tls.why !== "")
    log.warn({ why: tls.why }, "--tls has no effect: nothing is read inside of TLS");
}

/** Says in the log that a process is no longer looked into at its TLS library, or is again. */
export function sayTls(log: Log, { pid, name, callsPerSecond, callsPerSecondMax, isOff }: TlsChange): void {
  const facts = { pid, name, calls_per_second: callsPerSecond, calls_per_second_max: callsPerSecondMax };
  if (isOff) log.warn(facts, "too many calls of TLS: for a while nothing is read inside of this process's connections");
  else log.info(facts, "what is inside of TLS is read again for this process");
}

/** The mode in the words of the agent's thread. */
export function agentMode(mode: CaptureMode): AgentMode {
  switch (mode.kind) {
    case "auto":
    case "off":
      return mode.kind;
    case "rung":
      return mode.rung;
    case "replay":
      return `replay:${mode.file}`;
  }
}

/** Inode of the network namespace that traffic is captured of; undefined for all. */
export function onlyNetns(setting: "all" | "own"): number | undefined {
  return setting === "own" ? statSync("/proc/self/ns/net").ino : undefined;
}
