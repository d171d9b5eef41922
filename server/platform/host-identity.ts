/** Which machine this is, and which boot of it. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

/** Names a machine and one of its boots for ever; neither tells anything about the machine. */
export interface HostIdentity {
  /** 64-bit hash of the machine id, or of the host name where there is none. */
  readonly hostId: bigint;
  /** UUID of the boot, lower-case with dashes; all zeros where the platform has none. */
  readonly bootId: string;
}

const NO_BOOT_ID = "00000000-0000-0000-0000-000000000000";

/** Reads the identity of this machine. */
export function readHostIdentity(): HostIdentity {
  const machineId = readTrimmed("/etc/machine-id") || hostname();
  const bootId = readTrimmed("/proc/sys/kernel/random/boot_id");
  return {
    hostId: createHash("sha256").update(`thalweg host ${machineId}`).digest().readBigUInt64LE(0),
    bootId: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(bootId) ? bootId : NO_BOOT_ID,
  };
}

function readTrimmed(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
