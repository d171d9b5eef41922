/**
 * The addresses of this host (of the agent's network namespace), and its user names.
 */

import { readFileSync, readlinkSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { addressWords, MAPPED_WORD } from "./packet-decode.ts";

/** Addresses as four words; see `TcpPacket`. */
export interface LocalAddresses {
  has(word0: number, word1: number, word2: number, word3: number): boolean;
  /** Reads them again where the last reading is older than a few seconds. */
  refresh(nowNs: number): void;
}

const refreshNs = 5e9;

/** The addresses of all interfaces, and the whole of 127.0.0.0/8. */
export function localAddresses(): LocalAddresses {
  let ipv4 = new Set<number>();
  let ipv6 = new Set<string>();
  let readNs = Number.NEGATIVE_INFINITY;
  return {
    has(word0, word1, word2, word3) {
      if (word0 === 0 && word1 === 0 && word2 === MAPPED_WORD) return word3 >>> 24 === 127 || ipv4.has(word3);
      if (word0 === 0 && word1 === 0 && word2 === 0 && word3 === 1) return true;
      return ipv6.has(`${word0},${word1},${word2},${word3}`);
    },
    refresh(nowNs) {
      if (nowNs - readNs < refreshNs) return;
      readNs = nowNs;
      ipv4 = new Set();
      ipv6 = new Set();
      for (const addresses of Object.values(networkInterfaces())) {
        for (const { address } of addresses ?? []) {
          const words = addressWords(address);
          if (words === undefined) continue;
          if (words[2] === MAPPED_WORD && words[0] === 0 && words[1] === 0) ipv4.add(words[3]);
          else ipv6.add(words.join(","));
        }
      }
    },
  };
}

/** Inode of the agent's network namespace; 0 where `/proc` does not tell. */
export function ownNetns(): number {
  try {
    return Number(/\[(\d+)\]/.exec(readlinkSync("/proc/self/ns/net"))?.[1] ?? 0);
  } catch {
    return 0; // No /proc, or a kernel without namespaces: unknown, as the model has it.
  }
}

/** User names by uid, of `/etc/passwd`; empty where there is none. */
export function readUserNames(): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  let text = "";
  try {
    text = readFileSync("/etc/passwd", "utf8");
  } catch {
    return names; // Minimal containers have none: uids are shown as numbers.
  }
  for (const line of text.split("\n")) {
    const [name, , uid] = line.split(":");
    if (name !== undefined && uid !== undefined && !names.has(Number(uid))) names.set(Number(uid), name);
  }
  return names;
}
