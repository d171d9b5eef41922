/** The programs that read inside of TLS libraries: loaded for the first way that works here, and attached by it. */

import { close, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Attached, type Native, nativeDirectory } from "../../bpf/native.ts";
import { fdOf } from "./socket-probes.ts";
import type { TlsLibrary } from "./tls-libraries.ts";
import { attachByTracefs, removeEvent, removeLeftEvents, type TracedLink } from "./tls-tracefs.ts";

/** Ways of attaching, in the order in which they are tried. */
export type TlsWay = "uprobe_multi" | "perf" | "tracefs";

const WAYS: readonly TlsWay[] = ["uprobe_multi", "perf", "tracefs"];
const OBJECT_FILE = "tls.bpf.o";

/** Bytes of the object with the programs. @throws the system's error where it is not there. */
export function readTlsObject(directory: string | undefined): Uint8Array {
  return readFileSync(join(nativeDirectory(directory), OBJECT_FILE));
}

/** The first way that works here, by trying it; the kernel's own words where none does. */
export function tryTls(
  native: Native,
  directory: string | undefined,
): { readonly way: TlsWay } | { readonly why: string } {
  try {
    const { attached, way } = loadPrograms(native, readTlsObject(directory), {}, 0);
    native.detach(attached);
    return { way };
  } catch (error) {
    return { why: error instanceof Error ? error.message : String(error) };
  }
}

/** Loads the programs for the first way that works, by trying it on this process. */
export function loadPrograms(
  native: Native,
  object: Uint8Array,
  shared: Readonly<Record<string, number>>,
  pidNamespace: number,
): { attached: Attached; way: TlsWay } {
  let refusal: unknown;
  for (const way of WAYS) {
    let attached: Attached | undefined;
    try {
      if (way === "tracefs") removeLeftEvents();
      attached = native.uprobeLoad(object, { agent_pidns: pidNamespace }, shared, way === "uprobe_multi" ? 1 : 0);
      tryWay(native, way, attached.programs);
      return { attached, way };
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error;
      refusal ??= error;
      if (attached !== undefined) native.detach(attached);
    }
  }
  throw refusal;
}

/** Attaches to the beginning of this process's own program, which nothing calls. */
function tryWay(native: Native, way: TlsWay, programs: Attached["programs"]): void {
  const library = {
    key: "",
    path: process.execPath,
    name: "",
    entries: [{ offset: 4096, cookie: 1 }],
    returns: [4096],
  };
  closeAll(attachLibrary(native, way, programs, library, process.pid));
}

/** Attaches the programs to one file. @param pid Of the process whose calls are read; 0 for all. @throws NativeError */
export function attachLibrary(
  native: Native,
  way: TlsWay,
  programs: Attached["programs"],
  { path, entries, returns }: TlsLibrary,
  pid: number,
): TracedLink[] {
  const enter = fdOf(programs, "tls_enter");
  const leave = fdOf(programs, "tls_leave");
  const links: TracedLink[] = [];
  const add = (fd: number) => links.push({ fd, event: "" });
  try {
    // Returns first: a call that was entered unseen is left out, one whose return is missed would stay.
    if (way === "uprobe_multi") {
      const none = returns.map(() => 0);
      add(native.uprobeMulti(leave, path, pid, returns, none, 1));
      const offsets = entries.map(({ offset }) => offset);
      const cookies = entries.map(({ cookie }) => cookie);
      add(native.uprobeMulti(enter, path, pid, offsets, cookies, 0));
    } else if (way === "perf") {
      for (const offset of returns) add(native.uprobePerf(leave, path, pid, [offset], [0], 1));
      for (const { offset, cookie } of entries) add(native.uprobePerf(enter, path, pid, [offset], [cookie], 0));
    } else {
      const place = { path, pid };
      for (const offset of returns)
        links.push(attachByTracefs(native, { ...place, program: leave, offset, cookie: 0, isReturn: true }));
      for (const entry of entries)
        links.push(attachByTracefs(native, { ...place, ...entry, program: enter, isReturn: false }));
    }
    return links;
  } catch (error) {
    closeAll(links);
    throw error;
  }
}

/** Takes probes off, in the background. */
export function closeAll(links: readonly TracedLink[]): void {
  // The kernel waits until no processor runs the program: some ten milliseconds, not on this thread.
  for (const { fd, event } of links) {
    close(fd, () => {
      if (event !== "") removeEvent(event);
    });
  }
}
