/** What to do so that this program captures more: the complete command where there is one. */

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { isSea } from "node:sea";
import type { AgentStatus } from "../../agent/agent-message.ts";
import type { Settings } from "../config/settings.ts";
import { runsFromClone } from "./surroundings.ts";

/** One line; empty where nothing is missing, or where the person chose the rung. */
export function moreCapture(capture: AgentStatus, settings: Settings): string {
  if (capture.tier === "socket" || settings.capture.kind === "off" || settings.capture.kind === "replay") return "";
  if (settings.capture.kind === "rung") return "leave out --capture to use the richest rung that works here";
  if (process.getuid?.() !== 0) return `stop this one, then: ${asRoot(startAgain())}`;
  if (!/CAP_/.test(capture.fix)) return capture.fix;
  return "this root lacks rights, as in a container: start the container with --cap-add=BPF --cap-add=PERFMON --pid=host";
}

/** The start command with the words it was given, by absolute paths. */
function startAgain(): string {
  const words = process.argv.slice(2).filter((word, at) => !(at === 0 && (word === "start" || word === "serve")));
  const given = words.map(quoted).join(" ");
  if (isSea()) return `${quoted(process.execPath)} start ${given}`.trimEnd();
  const npm = process.env["THALWEG_NPM"] ?? "";
  const node = process.env["THALWEG_LAUNCHER_NODE"] ?? process.execPath;
  if (runsFromClone() && npm !== "") {
    const root = join(import.meta.dirname, "..", "..");
    return `${quoted(node)} ${quoted(npm)} --prefix ${quoted(root)} start${given === "" ? "" : ` -- ${given}`}`;
  }
  return `${quoted(node)} ${quoted(process.argv[1] ?? "")} start ${given}`.trimEnd();
}

/** Without sudo, `su` does it; the caller's ids go along, so that files stay theirs. */
function asRoot(command: string): string {
  if (hasProgram("sudo")) return `sudo ${command}`;
  return `su root -c ${quoted(`SUDO_UID=${process.getuid?.()} SUDO_GID=${process.getgid?.()} ${command}`)}`;
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function hasProgram(name: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      // Not there, or not to be run: the next directory may have it.
      return false;
    }
  });
}
