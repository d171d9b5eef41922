import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import type { NativeError } from "../../bpf/native.ts";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { missingCapabilities, refusalAfter } from "./socket-refusal.ts";

function nativeError(code: string, syscall: string, log: string): NativeError {
  return Object.assign(new Error(`${syscall}: ${code}`), { code, syscall, log });
}

test("missingCapabilities", () => {
  const missing = (effective: string) => missingCapabilities(`Name:\tnode\nCapEff:\t${effective}\nCapBnd:\t0\n`);
  assert.deepEqual(missing("0000000000000000"), ["CAP_BPF", "CAP_PERFMON"]);
  assert.deepEqual(missing("000000c000000000"), []); // both
  assert.deepEqual(missing("0000008000000000"), ["CAP_PERFMON"]); // bit 39 alone
  assert.deepEqual(missing("0000004000000000"), ["CAP_BPF"]); // bit 38 alone
  assert.deepEqual(missing("0000000000200000"), []); // CAP_SYS_ADMIN includes both
  assert.deepEqual(missingCapabilities("Name:\tnode\n"), []);
});

test("refusalAfter names what the attempt showed", () => {
  const absent = refusalAfter(
    nativeError(
      "ESRCH",
      "bpf(BPF_PROG_LOAD)",
      "libbpf: prog 'tcp_sent': failed to find kernel BTF type ID of 'sock_send_length': -3\n",
    ),
  );
  assert.match(absent.why, /has no tracepoint sock_send_length, which came with 6\.3/);
  const refused = refusalAfter(nativeError("EACCES", "bpf(BPF_PROG_LOAD)", "libbpf: try raising ulimit -l\n"));
  assert.match(refused.why, /refuses bpf\(BPF_PROG_LOAD\)/);
  assert.doesNotMatch(refused.why, /ulimit|memlock/i);
  const hooks = refusalAfter(nativeError("EPERM", "bpf(BPF_PROG_LOAD)", ""), "fexit");
  assert.match(hooks.why, /refuses programs at the ends of its functions \(bpf\(BPF_PROG_LOAD\): EPERM\)/);
  const gone = refusalAfter(
    nativeError("ESRCH", "bpf(BPF_PROG_LOAD)", "'inet_sendmsg' is not found in vmlinux BTF"),
    "fexit",
  );
  assert.match(gone.why, /has no function inet_sendmsg$/);
  assert.match(refusalAfter(nativeError("EIO", "mmap", "first\nlast words\n")).why, /mmap.*last words/);
});

const SCRIPT = `import { trySocketRung } from ${JSON.stringify(join(import.meta.dirname, "socket-rung.ts"))};
console.log(JSON.stringify(trySocketRung()));`;

/** What `trySocketRung` says in a process that `command` restricts. */
function tryUnder(command: string, args: readonly string[]): { ok: boolean; why?: string } {
  const run = spawnSync(command, [...args, process.execPath, "--input-type=module", "-e", SCRIPT], {
    encoding: "utf8",
  });
  assert.equal(run.status, 0, run.stderr);
  return JSON.parse(run.stdout);
}

test("refusals in really restricted processes", (t) => {
  const hasTools = ["setpriv", "unshare"].every((tool) => spawnSync(tool, ["--version"]).error === undefined);
  const missing = process.getuid?.() === 0 && hasTools ? undefined : "needs root, setpriv and unshare";
  if (!requireOrSkip(t, "capture", missing)) return;
  assert.match(
    tryUnder("setpriv", ["--bounding-set=-all", "--inh-caps=-all"]).why ?? "",
    /^CAP_BPF and CAP_PERFMON are/,
  );
  const bpfAlone = tryUnder("setpriv", ["--bounding-set=-all,+bpf", "--inh-caps=-all,+bpf"]);
  assert.match(bpfAlone.why ?? "", /^CAP_PERFMON is missing/);
  const both = tryUnder("setpriv", ["--bounding-set=-all,+bpf,+perfmon", "--inh-caps=-all,+bpf,+perfmon"]);
  assert.equal(both.ok, true);
  assert.match(tryUnder("unshare", ["-Ur"]).why ?? "", /user namespace of its own/);
  const noBtf = tryUnder("unshare", ["-m", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$0" "$@"']);
  assert.match(noBtf.why ?? "", /\/sys\/kernel\/btf\/vmlinux does not exist/);
  assert.equal(tryUnder("sh", ["-c", 'ulimit -l 64; exec "$0" "$@"']).ok, true);
});
