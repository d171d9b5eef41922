/** What the program says when it has started. */

import type { AgentStatus } from "../../agent/agent-message.ts";

/** Facts the banner is made of. */
export interface BannerFacts {
  readonly version: string;
  readonly dataDirectory: string;
  readonly dataNote: string;
  readonly retentionText: string;
  readonly http: string;
  readonly otlpGrpc: string;
  readonly otlpHttp: string;
  readonly capture: AgentStatus;
  /** What to do for more capture, the complete command where there is one; empty where nothing is missing. */
  readonly moreCapture: string;
  readonly redaction: "on" | "off";
  readonly readyMs: number;
}

/** The banner as lines of text, without colour. */
export function renderBanner(facts: BannerFacts): string {
  const { capture } = facts;
  const rows: [string, string][] = [
    ["Data", `${facts.dataDirectory} (kept ${facts.retentionText})`],
    ["Page", `${facts.http}/`],
    ["Ask", `PromQL ${facts.http}/api/v1/query   SQL ${facts.http}/api/v1/sql`],
    ["OTLP", `gRPC ${facts.otlpGrpc}   HTTP ${facts.otlpHttp}/v1/traces`],
    ["Capture", `${capture.tier}: ${capture.why}`],
  ];
  if (capture.tier === "replay") rows.push(["", "What you see was recorded elsewhere; it is not from this machine."]);
  if (capture.lostByTier !== "") rows.push(["Lost", capture.lostByTier]);
  if (facts.moreCapture !== "") rows.push(["More", facts.moreCapture]);
  if (facts.dataNote !== "") rows.push(["Careful", facts.dataNote]);
  if (facts.redaction === "off")
    rows.push(["Careful", "redaction is off: query values and secrets in paths are stored"]);
  const lines = rows.map(([title, text]) => `  ${title.padEnd(9)}${text}`);
  return [`Thalweg ${facts.version}`, ...lines, `Ready in ${(facts.readyMs / 1000).toFixed(2)} s.`].join("\n");
}
