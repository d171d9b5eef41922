/**
 * A thread of its own that sees each client's SYN at once and looks up who is behind it.
 *
 * A short-lived client (curl) is gone a few milliseconds later: the socket is found in 98 % of cases now and in 5 %
 * at the next drain of the packet ring. So the process is read here too, while it lives.
 */

import { setPriority } from "node:os";
import { workerData } from "node:worker_threads";
import { loadNative, type Native, type PacketHandle } from "../../bpf/native.ts";
import type { Endpoint, Owner, ProcessSeen } from "../../server/model/capture-event.ts";
import { bootClock } from "./boot-clock.ts";
import { localAddresses } from "./local-addresses.ts";
import { OwnerLookup } from "./owner-lookup.ts";
import { addressText, type TcpPacket } from "./packet-decode.ts";
import { makePacketBuffer, readPacketRecords, recordClock } from "./packet-records.ts";
import { ProcessTable } from "./process-table.ts";
import type { SynReport, SynThreadSettings } from "./syn-report.ts";

const SYN_OPTIONS = { filter: "syn", snapBytes: 128, blockBytes: 65_536, blockCount: 8, retireMs: 1 } as const;
/** How long a stop may be noticed late. */
const waitMs = 200;
const bufferBytes = 65_536;
const sweepNs = 5e9;

/** The model's sink, of which this thread only hears processes. */
function processCollector(into: ProcessSeen[]) {
  return {
    opened() {},
    slice() {},
    owner() {},
    closed() {},
    process(seen: ProcessSeen) {
      into.push(seen);
    },
    processExited() {},
  };
}

function run(native: Native, settings: SynThreadSettings, packets: PacketHandle): void {
  const stop = new Int32Array(settings.stop);
  const clock = bootClock(native);
  const addresses = localAddresses();
  const owners = new OwnerLookup(native);
  let processes: ProcessSeen[] = [];
  const table = new ProcessTable(processCollector(processes));
  const buffer = makePacketBuffer(bufferBytes);
  let reports: SynReport[] = [];
  let sweptNs = clock.nowNs();

  const known = (owner: Owner | undefined, nowNs: number): Owner | undefined => {
    if (owner !== undefined && owner.pid !== 0) table.processOf(owner.pid, nowNs);
    return owner;
  };
  const receive = (packet: TcpPacket, _bytes: Uint8Array, timeNs: number) => {
    const { source0, source1, source2, source3, target0, target1, target2, target3 } = packet;
    const client: Endpoint = { addr: addressText(source0, source1, source2, source3), port: packet.sourcePort };
    const server: Endpoint = { addr: addressText(target0, target1, target2, target3), port: packet.targetPort };
    const nowNs = clock.nowNs();
    const clientIsLocal = addresses.has(source0, source1, source2, source3);
    const serverIsLocal = addresses.has(target0, target1, target2, target3);
    if (!clientIsLocal && !serverIsLocal) return;
    const clientOwner = clientIsLocal ? known(owners.ofClient(client, server, nowNs), nowNs) : undefined;
    const serverOwner = serverIsLocal ? known(owners.ofServer(server, nowNs), nowNs) : undefined;
    reports.push({ client, server, timeNs, clientOwner, serverOwner, processes: processes.splice(0) });
  };

  owners.prepare(clock.nowNs());
  settings.reports.postMessage([]);
  while (Atomics.load(stop, 0) === 0) {
    native.packetWait(packets, waitMs);
    const nowNs = clock.nowNs();
    addresses.refresh(nowNs);
    for (let length = native.packetDrain(packets, buffer.buffer); length > 0; ) {
      const times = recordClock(clock.offset().bootToUnixNano, nowNs);
      readPacketRecords(buffer, length, times, receive, () => {});
      if (reports.length > 0) settings.reports.postMessage(reports);
      reports = [];
      length = length > bufferBytes / 2 ? native.packetDrain(packets, buffer.buffer) : 0;
    }
    if (nowNs - sweptNs < sweepNs) continue;
    sweptNs = nowNs;
    table.sweep(nowNs);
  }
  processes = [];
  native.packetClose(packets);
}

/** A client may be gone in a millisecond, so this thread (and no other) should not wait its turn behind busy ones. */
function hurry(): void {
  try {
    setPriority(0, -15);
  } catch {
    // Needs CAP_SYS_NICE. Without it some more owners on a busy machine are found too late, which is told of each.
  }
}

function main(): void {
  // What the rung that starts this thread passes, and nobody else does.
  const settings = workerData as SynThreadSettings;
  const loaded = loadNative(settings.nativeDirectory);
  if (!loaded.ok) throw new Error(loaded.why);
  hurry();
  run(loaded.native, settings, loaded.native.packetOpen(SYN_OPTIONS));
}

main();
