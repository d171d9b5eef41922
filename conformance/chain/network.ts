/**
 * Two hosts as network namespaces, each with a way to the other and one to this process' own namespace.
 *
 * Host `a` is 10.79.1.1 and `b` 10.79.1.2; this process is 10.79.0.1 for both.
 */

import { spawnSync } from "node:child_process";

/** Where each host is for the other. */
export const ADDRESS = { a: "10.79.1.1", b: "10.79.1.2", here: "10.79.0.1" } as const;

/** Names of the hosts. */
export type HostName = "a" | "b";

/** The two hosts. */
export interface Network {
  /** Words that run a command on a host. */
  on(host: HostName): readonly string[];
  /** Rules for nftables on a host, in its own language. */
  nft(host: HostName, rules: string): void;
  close(): void;
}

/** Makes the hosts. @throws Error where a command fails, with its words. */
export function openNetwork(): Network {
  const name = (host: HostName) => `thalweg-${process.pid}-${host}`;
  const hosts: readonly HostName[] = ["a", "b"];
  const close = () => {
    for (const host of hosts) spawnSync("ip", ["netns", "delete", name(host)]);
  };
  const ip = (...words: string[]) => run("ip", words);
  try {
    ip("link", "set", "lo", "up");
    for (const host of hosts) {
      ip("netns", "add", name(host));
      ip("-n", name(host), "link", "set", "lo", "up");
    }
    ip("link", "add", "to-b", "netns", name("a"), "type", "veth", "peer", "name", "to-a", "netns", name("b"));
    ip("-n", name("a"), "address", "add", `${ADDRESS.a}/24`, "dev", "to-b");
    ip("-n", name("b"), "address", "add", `${ADDRESS.b}/24`, "dev", "to-a");
    ip("-n", name("a"), "link", "set", "to-b", "up");
    ip("-n", name("b"), "link", "set", "to-a", "up");
    for (const [host, near, far] of [
      ["a", ADDRESS.here, "10.79.0.2"],
      ["b", "10.79.0.5", "10.79.0.6"],
    ] as const) {
      ip("link", "add", `here-${host}`, "type", "veth", "peer", "name", "to-here", "netns", name(host));
      ip("address", "add", `${near}/30`, "dev", `here-${host}`);
      ip("link", "set", `here-${host}`, "up");
      ip("-n", name(host), "address", "add", `${far}/30`, "dev", "to-here");
      ip("-n", name(host), "link", "set", "to-here", "up");
      if (host === "b") ip("-n", name(host), "route", "add", ADDRESS.here, "via", near);
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    on: (host) => ["nsenter", `--net=/run/netns/${name(host)}`],
    nft: (host, rules) => run("nsenter", [`--net=/run/netns/${name(host)}`, "nft", "-f", "-"], rules),
    close,
  };
}

function run(command: string, words: readonly string[], input = ""): void {
  const ran = spawnSync(command, words, { input, encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`${command} ${words.join(" ")}: ${ran.error?.message ?? ran.stderr}`);
}
