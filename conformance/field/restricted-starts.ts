/** OP-01: where capture in the kernel cannot be had the program starts all the same, takes spans, and says what is missing. */

import { spawnSync } from "node:child_process";
import { chownSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Program } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

const NOBODY = 65_534;

/** One environment of the report. */
interface Restriction {
  readonly name: string;
  /** Words before the program's own. */
  readonly before: readonly string[];
  /** What the status must name where capture in the kernel is off because of it; undefined where nothing is missing. */
  readonly names?: RegExp;
  readonly user?: number;
}

/** Runs a shell line, then the words behind it. */
function after(line: string): string[] {
  return ["sh", "-c", `${line}; exec "$@"`, "sh"];
}

const RESTRICTIONS: readonly Restriction[] = [
  {
    name: "no capabilities",
    before: ["setpriv", "--bounding-set=-all", "--inh-caps=-all"],
    names: /CAP_BPF and CAP_PERFMON/,
  },
  {
    name: "unprivileged user",
    before: ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"],
    names: /CAP_BPF and CAP_PERFMON/,
    user: NOBODY,
  },
  { name: "memlock 64k", before: after("ulimit -l 64") },
  {
    name: "no BTF",
    before: ["unshare", "-m", ...after("mount -t tmpfs x /sys/kernel/btf")],
    names: /\/sys\/kernel\/btf\/vmlinux/,
  },
  {
    name: "no tracefs, no bpffs",
    before: [
      "unshare",
      "-m",
      ...after(
        "umount -R /sys/kernel/tracing /sys/kernel/debug /sys/fs/bpf 2>&-; mount -t tmpfs x /sys/kernel/tracing",
      ),
    ],
  },
  { name: "new pid namespace", before: ["unshare", "-p", "-f", "--kill-child", "--mount-proc"] },
];

/** Plays OP-01; needs root to take rights away. */
export async function checkRestrictedStarts(report: SuiteReport): Promise<void> {
  if (spawnSync("unshare", ["-m", "true"]).status !== 0) {
    report.skip("OP-01", "namespaces cannot be made here", "capture");
    return;
  }
  for (const restriction of RESTRICTIONS) report.add(`OP-01 ${restriction.name}`, await startFault(restriction));
}

async function startFault({ before, names, user }: Restriction): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-restricted-"));
  if (user !== undefined) chownSync(directory, user, user);
  const program = await Program.start(["--capture", "auto"], directory, { before });
  try {
    const answer = await fetch(`${program.otlpHttp}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    });
    const capture = await program.json<{ tier: string; why: string; abilities: unknown }>("/api/v1/capture");
    const said = `${capture.why} ${JSON.stringify(capture.abilities)} ${program.output}`;
    if (answer.status !== 200) return `OTLP is answered by ${answer.status}`;
    if (/memlock/i.test(`${capture.why} ${program.output}`)) return `it blames memlock: ${said}`;
    const inKernel = ["socket", "fexit", "syscall"].includes(capture.tier);
    if (names === undefined) return inKernel ? "" : `tier ${capture.tier}: ${said}`;
    if (inKernel) return `tier ${capture.tier}, though something is missing`;
    return names.test(said) ? "" : `it does not name what is missing: ${said}`;
  } finally {
    await program.discard();
  }
}
