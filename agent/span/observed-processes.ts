/**
 * The processes the agent saw: the resource each one's spans belong to, and its open requests.
 *
 * Invariants: one `Resource` object per process and name, since batches tell resources apart by identity. A process
 * that exited is kept for a while, because its last spans may still wait.
 */

import type { ProcessSeen } from "../../server/model/capture-event.ts";
import type { Attribute, Resource } from "../../server/model/span-batch.ts";
import type { CallParent } from "./call-parent.ts";
import type { HopSide } from "./hop.ts";
import { ProcessRequests } from "./process-requests.ts";
import { type AgentSurroundings, parseOtelResourceAttributes, serviceName } from "./service-name.ts";

/** Processes known at one time; beyond, the one known longest is forgotten. */
const processesMax = 16_384;
/** Names of owners without a process; beyond, spans go to the unnamed one. */
const fallbackNamesMax = 1024;
const KEPT_AFTER_EXIT_NS = 5e9;

interface ObservedProcess {
  resource: Resource | undefined;
  requests: ProcessRequests<HopSide, HopSide>;
  startNs: number;
}

/** What the resources of this agent have in common. */
export interface ProcessSetting extends AgentSurroundings {
  readonly hostName: string;
  readonly agentVersion: string;
}

/** Processes by id. */
export class ObservedProcesses {
  readonly #setting: ProcessSetting;
  readonly #decided: (call: HopSide, parent: CallParent<HopSide>) => void;
  readonly #byPid = new Map<number, ObservedProcess>();
  readonly #byName = new Map<string, Resource>();
  readonly #exited: { pid: number; process: ObservedProcess; forgetAtNs: number }[] = [];

  /** @param decided Is told of calls whose parent was not known when they started. */
  constructor(setting: ProcessSetting, decided: (call: HopSide, parent: CallParent<HopSide>) => void) {
    this.#setting = setting;
    this.#decided = decided;
  }

  /** Processes known now. */
  get size(): number {
    return this.#byPid.size;
  }

  /** A process appeared, or became another program by exec. */
  seen(event: ProcessSeen): void {
    const known = this.#byPid.get(event.pid);
    const same = known !== undefined && (known.startNs === 0 || known.startNs === event.startNs) ? known : undefined;
    const process = same ?? this.#add(event.pid);
    process.startNs = event.startNs;
    process.requests.allowThreadProof(event.language !== "go" && event.language !== "node");
    process.requests.allowLoops(event.language === "native");
    const resource = resourceOf(event, this.#setting);
    // The same program seen twice keeps its object.
    if (process.resource === undefined || !sameResource(process.resource, resource)) process.resource = resource;
  }

  exited(pid: number, nowNs: number): void {
    const process = this.#byPid.get(pid);
    if (process !== undefined) this.#exited.push({ pid, process, forgetAtNs: nowNs + KEPT_AFTER_EXIT_NS });
  }

  /** Forgets processes that exited a while ago. */
  tick(nowNs: number): void {
    for (let first = this.#exited[0]; first !== undefined && first.forgetAtNs <= nowNs; first = this.#exited[0]) {
      this.#exited.shift();
      if (this.#byPid.get(first.pid) === first.process) this.#byPid.delete(first.pid);
    }
  }

  /** Resource of a process; undefined while it is not known what it runs. */
  resource(pid: number): Resource | undefined {
    return this.#byPid.get(pid)?.resource;
  }

  /** Resource of an owner that has a name but no process. */
  fallbackResource(name: string): Resource {
    let resource = this.#byName.get(name);
    if (resource === undefined) {
      if (this.#byName.size >= fallbackNamesMax) return this.fallbackResource("unknown");
      resource = namedResource(name, this.#setting);
      this.#byName.set(name, resource);
    }
    return resource;
  }

  /** Open requests and calls of a process; undefined where the process is not known by id. */
  requests(pid: number): ProcessRequests<HopSide, HopSide> | undefined {
    return pid === 0 ? undefined : (this.#byPid.get(pid) ?? this.#add(pid)).requests;
  }

  /** No open request is known to be alone any more, in any process. */
  eventsLost(): void {
    for (const process of this.#byPid.values()) process.requests.eventsLost();
  }

  #add(pid: number): ObservedProcess {
    if (this.#byPid.size >= processesMax) {
      for (const oldest of this.#byPid.keys()) {
        this.#byPid.delete(oldest);
        break;
      }
    }
    const process: ObservedProcess = {
      resource: undefined,
      requests: new ProcessRequests<HopSide, HopSide>(this.#decided),
      startNs: 0,
    };
    this.#byPid.set(pid, process);
    return process;
  }
}

/** Resource of a process by OpenTelemetry's names. Its command line is not part of it. */
function resourceOf(seen: ProcessSeen, setting: ProcessSetting): Resource {
  const { service, reason } = serviceName(seen, setting);
  const values = parseOtelResourceAttributes(seen.otelResourceAttributes);
  const instance =
    values.get("service.instance.id") ??
    (seen.containerId === "" ? `${setting.hostName}:${seen.pid}` : seen.containerId.slice(0, 12));
  values.set("service.name", service);
  values.set("service.instance.id", instance);
  values.set("thalweg.service.name_from", reason);
  values.set("process.pid", String(seen.pid));
  const executable = seen.exe.split("/").pop() ?? "";
  if (executable !== "") values.set("process.executable.name", executable);
  if (seen.exe !== "") values.set("process.executable.path", seen.exe);
  const runtime = RUNTIMES[seen.language];
  if (runtime !== undefined) values.set("process.runtime.name", runtime);
  if (seen.containerId !== "") values.set("container.id", seen.containerId);
  if (seen.unit !== "") values.set("thalweg.systemd.unit", seen.unit);
  return sealed(service, instance, values, setting);
}

const RUNTIMES: Readonly<Record<ProcessSeen["language"], string | undefined>> = {
  node: "nodejs",
  python: "cpython",
  go: "go",
  java: "java",
  native: undefined,
  "": undefined,
};

function namedResource(name: string, setting: ProcessSetting): Resource {
  const instance = setting.hostName;
  const values = new Map([
    ["service.name", name],
    ["service.instance.id", instance],
  ]);
  return sealed(name, instance, values, setting);
}

function sealed(service: string, instance: string, values: Map<string, string>, setting: ProcessSetting): Resource {
  if (!values.has("host.name")) values.set("host.name", setting.hostName);
  values.set("telemetry.sdk.name", "thalweg");
  values.set("telemetry.sdk.version", setting.agentVersion);
  const attributes: Attribute[] = [];
  for (const key of [...values.keys()].sort()) {
    const value = values.get(key) as string;
    attributes.push({ key, kind: key === "process.pid" ? "i" : "s", value });
  }
  return { service, instance, attributes };
}

function sameResource(a: Resource, b: Resource): boolean {
  if (a.attributes.length !== b.attributes.length) return false;
  return a.attributes.every((attribute, at) => {
    const other = b.attributes[at];
    return other !== undefined && other.key === attribute.key && other.value === attribute.value;
  });
}
