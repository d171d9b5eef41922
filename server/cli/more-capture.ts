/** The complete command that starts this program with the rights that live capture needs. */

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { isSea } from "node:sea";
import { runsFromClone } from "./surroundings.ts";

/** Empty for root: more rights are then not to be had by a command. */
export function moreCaptureCommand(): string {
  if (process.getuid?.() === 0) return "";
  const sudo = hasProgram("sudo") ? "sudo" : "as root:";
  if (isSea()) return `${sudo} ${process.execPath} start`;
  const npm = process.env["THALWEG_NPM"] ?? "";
  const node = process.env["THALWEG_LAUNCHER_NODE"] ?? process.execPath;
  if (runsFromClone() && npm !== "") {
    return `${sudo} ${node} ${npm} --prefix ${join(import.meta.dirname, "..", "..")} start`;
  }
  return `${sudo} ${node} ${process.argv[1] ?? ""} start`;
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
