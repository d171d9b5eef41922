import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { loadNative, type Native } from "../../bpf/native.ts";
import type { CaptureSink } from "../../server/model/capture-event.ts";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { bootClock } from "./boot-clock.ts";
import { type SocketRung, startSocketRung, trySocketRung } from "./socket-rung.ts";

/** The rung leaves calls of up to 40 ms in the ring; those of a little more are late. */
const LEFT_MS_MAX = 45;

/** Calls on a connection within this process, and how those the rung left in the ring were at the end of each turn. */
interface Waits {
  /** Bytes of the calls received, as they were handed on. */
  bytes: number;
  /** The longest that a call had waited at the end of a turn that left it. */
  leftMsMax: number;
  /** The most bytes that a turn left. */
  leftBytesMax: number;
}

/** Sends `calls` calls of `size` bytes each `everyMs` over one connection while the rung drains by its own clock. */
async function waits(t: TestContext, native: Native, ringBytes: number, load: Load): Promise<Waits> {
  const clock = bootClock(native);
  const seen: Waits = { bytes: 0, leftMsMax: 0, leftBytesMax: 0 };
  const nothing = () => {};
  let port = -1;
  let lastTurnNs = 0;
  let left: { timeNs: number; bytes: number }[] = [];
  const receivers = new Set<number>();
  const sink: CaptureSink = {
    opened: ({ socket, local }) => {
      if (local.port === port) receivers.add(socket);
    },
    slice: ({ socket, timeNs, direction, total, bytes, pid }) => {
      if (receivers.has(socket) && direction === 1) seen.bytes += total;
      // Others make calls in the midst of a turn, this thread does not.
      if (pid === process.pid && timeNs < lastTurnNs) left.push({ timeNs, bytes: bytes.length });
    },
    owner: nothing,
    closed: nothing,
    process: nothing,
    processExited: nothing,
  };
  const rung: SocketRung = startSocketRung({ sink, native, excludePids: [], excludePorts: [], ringBytes });
  t.after(() => rung.stop());
  rung.afterTurns(() => {
    let sum = 0;
    for (const { timeNs, bytes } of left) {
      seen.leftMsMax = Math.max(seen.leftMsMax, (lastTurnNs - timeNs) / 1e6);
      sum += bytes;
    }
    seen.leftBytesMax = Math.max(seen.leftBytesMax, sum);
    left = [];
    lastTurnNs = clock.nowNs();
  });
  const server = createServer((socket) => socket.resume()).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  port = address.port;
  const client = connect(port, "127.0.0.1");
  t.after(() => client.destroy());
  await once(client, "connect");
  for (let round = 0; round < load.rounds; round++) {
    for (let call = 0; call < load.calls; call++) client.write(Buffer.alloc(load.size, round));
    await sleep(load.everyMs);
  }
  // What came last is younger than the wait.
  client.write(Buffer.alloc(load.size));
  await sleep(1);
  await rung.stop();
  const { seen: kernelSeen, delivered, lost } = rung.counters();
  assert.deepEqual([kernelSeen - delivered, Object.values(lost).filter((count) => count > 0)], [0, []]);
  return seen;
}

interface Load {
  readonly rounds: number;
  readonly calls: number;
  readonly size: number;
  readonly everyMs: number;
}

/** The addon, or a skipped test. */
function nativeOrSkip(t: TestContext): Native | undefined {
  const tried = trySocketRung();
  if (!requireOrSkip(t, "capture", tried.ok ? undefined : `needs CAP_BPF and CAP_PERFMON: ${tried.why}`))
    return undefined;
  const outcome = loadNative();
  assert.ok(outcome.ok);
  return outcome.native;
}

test("no call lies in the ring longer than the wait, and none stays there at the end", async (t) => {
  const native = nativeOrSkip(t);
  if (native === undefined) return;
  const load = { rounds: 120, calls: 1, size: 100, everyMs: 4 };
  const seen = await waits(t, native, 16 << 20, load);
  assert.equal(seen.bytes, (load.rounds * load.calls + 1) * load.size);
  assert.ok(seen.leftMsMax <= LEFT_MS_MAX, `a turn left a call of ${seen.leftMsMax} ms in the ring`);
});

test("calls that fill more than a sixteenth of the ring are read by the next turn", async (t) => {
  const native = nativeOrSkip(t);
  if (native === undefined) return;
  const ringBytes = 4 << 20;
  // A turn's worth is about a tenth of the ring.
  const load = { rounds: 60, calls: 64, size: 1000, everyMs: 4 };
  const seen = await waits(t, native, ringBytes, load);
  assert.equal(seen.bytes, (load.rounds * load.calls + 1) * load.size);
  assert.ok(seen.leftBytesMax <= ringBytes / 16, `a turn left ${seen.leftBytesMax} bytes in the ring`);
});
