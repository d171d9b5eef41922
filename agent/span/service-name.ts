/**
 * The name of a process as a service: what its owner calls it, rather than what runs it.
 *
 * Order: `OTEL_SERVICE_NAME`, `service.name` of `OTEL_RESOURCE_ATTRIBUTES`, systemd unit, container, then the program:
 * script, module or jar rather than its interpreter, executable last. Only the path of a script is taken from a command
 * line, never its other words, which may hold secrets.
 */

import type { ProcessSeen } from "../../server/model/capture-event.ts";
import { programName } from "./program-name.ts";

/** How a name was found. */
type NameReason =
  | "OTEL_SERVICE_NAME"
  | "OTEL_RESOURCE_ATTRIBUTES"
  | "unit"
  | "container"
  | "program"
  | "executable"
  | "comm"
  | "none";

/** A service's name with the reason why it is this one. */
export interface ServiceName {
  readonly service: string;
  readonly reason: NameReason;
}

/** Name where nothing at all is known, as OpenTelemetry has it. */
const UNKNOWN_SERVICE = "unknown_service";

/** Characters kept of a name. Longer ones come from broken or hostile command lines. */
const nameCharsMax = 200;
const CONTAINER_ID_SHOWN = 12;

/** Units that hold whatever a person, a login or a supervisor starts: their names say nothing of a process in them. */
const GENERIC_UNITS = [
  /^(user(@.*|-\d+)?|session-c?\d+|init|system|machine(-qemu.*)?)$/,
  /^(systemd-|dbus|getty@|serial-getty@|emergency|rescue|run-|vte-spawn-|tmux-spawn-|app-(gnome|kde|flatpak|org)[-.])/,
  /(terminal|konsole|xterm|alacritty|kitty)/i,
  /^(containerd|docker|podman|libpod|cri-|crio|kube|k3s|lxc|buildkit)/,
  /^(ssh|sshd|cron|crond|atd|gdm|gdm3|lightdm|sddm|display-manager|supervisor|supervisord|pm2-.*|jenkins)$/,
];

/** Where the agent itself runs: what it shares with a process does not tell that process from others. */
export interface AgentSurroundings {
  readonly unit: string;
  readonly containerId: string;
}

/** Names a process. Pure: the same process always gets the same name. */
export function serviceName(seen: ProcessSeen, agent: AgentSurroundings): ServiceName {
  const own = clean(seen.otelServiceName);
  if (own !== "") return { service: own, reason: "OTEL_SERVICE_NAME" };
  const attribute = clean(parseOtelResourceAttributes(seen.otelResourceAttributes).get("service.name") ?? "");
  if (attribute !== "") return { service: attribute, reason: "OTEL_RESOURCE_ATTRIBUTES" };
  const unit = seen.unit === agent.unit ? "" : clean(unitName(seen.unit));
  if (unit !== "") return { service: unit, reason: "unit" };
  if (seen.containerId !== "" && seen.containerId !== agent.containerId) {
    return { service: seen.containerId.slice(0, CONTAINER_ID_SHOWN), reason: "container" };
  }
  const program = clean(programName(seen) ?? "");
  if (program !== "") return { service: program, reason: "program" };
  const executable = clean(executableName(seen.exe));
  if (executable !== "") return { service: executable, reason: "executable" };
  const comm = clean(seen.comm);
  if (comm !== "") return { service: comm, reason: "comm" };
  return { service: UNKNOWN_SERVICE, reason: "none" };
}

/**
 * Pairs of `OTEL_RESOURCE_ATTRIBUTES`: `key=value` by commas, percent-decoded. A malformed list is ignored whole.
 *
 * @see OpenTelemetry resource SDK, "Specifying resource information via an environment variable".
 */
export function parseOtelResourceAttributes(text: string): Map<string, string> {
  const pairs = new Map<string, string>();
  for (const part of text.split(",")) {
    if (part.trim() === "") continue;
    const equals = part.indexOf("=");
    if (equals <= 0) return new Map();
    try {
      pairs.set(decodeURIComponent(part.slice(0, equals).trim()), decodeURIComponent(part.slice(equals + 1).trim()));
    } catch {
      return new Map();
    }
  }
  return pairs;
}

/** The unit where it names the service, without the instance of a template; empty for units that hold anything. */
function unitName(unit: string): string {
  const bare = unit.replace(/\.(service|scope|slice|socket)$/, "");
  for (const generic of GENERIC_UNITS) if (generic.test(bare)) return "";
  return bare.replace(/@.*$/, "");
}

function executableName(exe: string): string {
  return (
    exe
      .replace(/ \(deleted\)$/, "")
      .split("/")
      .pop() ?? ""
  );
}

function clean(name: string): string {
  // Control characters would break terminals and exposition formats.
  return name
    .replace(/\p{Cc}/gu, "")
    .trim()
    .slice(0, nameCharsMax);
}
