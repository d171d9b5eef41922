/** Looks names up in DNS. */

import { Resolver } from "node:dns/promises";

/** An answer of DNS: where a target is, and the port where the record tells one. */
export interface NameRecord {
  readonly host: string;
  readonly port: number | undefined;
}

const TIMEOUT_MS = 5_000;

/** Records of a name, in the order of the answer. @throws Error where the name cannot be looked up. */
export async function resolveNames(name: string, type: "SRV" | "A" | "AAAA" | "MX" | "NS"): Promise<NameRecord[]> {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 2 });
  switch (type) {
    case "SRV":
      return (await resolver.resolveSrv(name)).map(({ name: host, port }) => ({ host, port }));
    case "MX":
      return (await resolver.resolveMx(name)).map(({ exchange }) => ({ host: exchange, port: undefined }));
    case "NS":
      return (await resolver.resolveNs(name)).map((host) => ({ host, port: undefined }));
    case "A":
      return (await resolver.resolve4(name)).map((host) => ({ host, port: undefined }));
    case "AAAA":
      return (await resolver.resolve6(name)).map((host) => ({ host: `[${host}]`, port: undefined }));
  }
}
