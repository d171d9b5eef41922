/** What `serve` and `agent` say of capture alike: its counters, and its mode as the agent's thread knows it. */

import type { AgentMode, AgentStatus } from "../../agent/agent-message.ts";
import type { CaptureMode } from "../config/values.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";

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
  telemetry.set("thalweg_capture_backlog_total", {}, status.exported.backlog);
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
