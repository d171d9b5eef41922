/**
 * What crosses between the server's thread and the agent's.
 */

import type { CaptureDepth } from "../server/model/capture-event.ts";
import type { SpanBatch } from "../server/model/span-batch.ts";
import type { InspectorStatus } from "./capture/node-inspectors.ts";
import type { TlsStatus } from "./capture/tls-capture.ts";
import type { TlsPolicy } from "./capture/tls-probes.ts";
import type { DepthChange } from "./cpu-budget.ts";
import type { ExportLedger } from "./export/span-collector.ts";
import type { SpanLedger } from "./span/span-room.ts";

/** What to capture with: the first rung that works, nothing, one rung by name, or a recording. */
export type AgentMode = "auto" | "off" | "socket" | "packet" | "fexit" | "syscall" | `replay:${string}`;

/** How to capture. Plain data: it is handed to the agent's thread. */
export interface AgentSetting {
  readonly mode: AgentMode;
  /** Processes whose traffic is left out, the server's own among them. */
  readonly excludePids: readonly number[];
  /** Ports whose traffic is left out, on either end. */
  readonly excludePorts: readonly number[];
  /** Inode of the one network namespace whose traffic is captured; absent for all that the rung sees. */
  readonly onlyNetns?: number | undefined;
  /** Agents on other hosts may see the other ends of messages from the start. */
  readonly peers?: boolean | undefined;
  /** Processes whose TLS libraries are looked into. */
  readonly tls: TlsPolicy;
  /** Node processes that may be asked, by an injected listener, whom their calls are made for; absent for none. */
  readonly injectNode?: TlsPolicy | undefined;
  /** False keeps what may be secret in the spans. */
  readonly redaction: boolean;
  /** Recording to play where `auto` finds no live rung; undefined to capture nothing there. */
  readonly fallbackReplay: string | undefined;
  /** Directory of the addon and the BPF objects where they do not lie beside the program. */
  readonly nativeDirectory: string | undefined;
  /** What capture may cost in cores, hooks included; undefined for no limit. */
  readonly cpuCoresMax?: number | undefined;
  /** Bytes of the ring between the hooks and the agent, a power of two; the rung's own choice where absent. */
  readonly ringBytes?: number | undefined;
  /** Version of the program, for the resources of spans. */
  readonly version: string;
  /** Code of the packet rung's SYN thread where it does not lie beside its rung, as in bundles: a file URL, or text. */
  readonly synThread: { readonly source: string; readonly evaluate: boolean } | undefined;
}

/** One ability of the machine, tried for real. */
export interface AgentAbility {
  readonly ability: string;
  readonly ok: boolean;
  readonly why: string;
  /** What is missing without it; empty where nothing is. */
  readonly lost: string;
  /** What to do about it; empty where nothing is needed. */
  readonly fix: string;
}

/** A process that is captured less deeply than in full, for the sake of the budget. */
interface HeldProcess {
  readonly pid: number;
  /** Empty where it is not known. */
  readonly service: string;
  readonly depth: CaptureDepth;
}

/** What capture costs, in cores: the agent's thread and the hooks, on average of the last seconds. */
interface BudgetStatus {
  /** Undefined where there is no limit. */
  readonly coresMax: number | undefined;
  readonly usedCores: number;
  readonly processes: readonly HeldProcess[];
}

/** What the agent does now. */
export interface AgentStatus {
  /** The rung's name, `replay`, or `off`. */
  readonly tier: "socket" | "fexit" | "syscall" | "packet" | "replay" | "off";
  /** Why this tier and no other, in one sentence. */
  readonly why: string;
  /** What this tier cannot give; empty where it gives everything. */
  readonly lostByTier: string;
  /** What to do to get more; empty where nothing is missing. */
  readonly fix: string;
  readonly abilities: readonly AgentAbility[];
  /** Processes and connections known now. */
  readonly processes: number;
  readonly connections: number;
  /** Events of the rung, in its own unit: `seen = delivered + lost`. */
  readonly seen: number;
  readonly delivered: number;
  readonly lost: Readonly<Record<string, number>>;
  /** Exchanges read by no parser and the like, by reason. */
  readonly leftOut: Readonly<Record<string, number>>;
  /** `exchanges = spans + waiting + dropped`. */
  readonly spans: SpanLedger;
  /** `collected = delivered + held + backlog`, in spans. */
  readonly exported: ExportLedger;
  /** What is read inside of TLS; undefined where that was not asked for, or no rung can. */
  readonly tls: TlsStatus | undefined;
  /** Node processes that say themselves whom their calls are made for; undefined where none may be asked. */
  readonly inspectors: InspectorStatus | undefined;
  /** Not every request makes a span of its own: of some processes there are counts, or nothing. */
  readonly sampled: boolean;
  readonly budget: BudgetStatus;
  /** The recording that plays and when it was made, Unix milliseconds; undefined for live capture. */
  readonly replayFile: string | undefined;
  readonly recordedAtMs: number | undefined;
}

/** A process is captured more or less deeply from now on. */
export interface ServiceDepthChange extends DepthChange {
  /** Empty where it is not known. */
  readonly service: string;
  readonly coresMax: number;
}

/** A process is no longer looked into since it makes too many calls of its TLS library, or is looked into again. */
export interface TlsChange {
  readonly pid: number;
  readonly name: string;
  readonly callsPerSecond: number;
  readonly callsPerSecondMax: number;
  readonly isOff: boolean;
}

/** To the agent's thread. */
export type MessageToAgent =
  | { readonly kind: "taken" }
  | { readonly kind: "status" }
  | { readonly kind: "peers" }
  | { readonly kind: "stop-replay"; readonly reason: string }
  | { readonly kind: "stop" };

/** From the agent's thread. */
export type MessageFromAgent =
  | { readonly kind: "started"; readonly status: AgentStatus }
  | {
      readonly kind: "refused";
      readonly rung: string;
      readonly why: string;
      readonly fix: string;
    }
  | { readonly kind: "spans"; readonly batch: SpanBatch }
  | { readonly kind: "depth"; readonly change: ServiceDepthChange }
  | { readonly kind: "tls"; readonly change: TlsChange }
  | { readonly kind: "status"; readonly status: AgentStatus }
  | { readonly kind: "stopped"; readonly status: AgentStatus };
