import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { type CaptureFileOptions, readCaptureFile } from "./capture-file.ts";
import { Collector, ipPacket, type PacketSpec, pcapFile, randomOf } from "./packets.testkit.ts";

const directory = mkdtempSync(join(tmpdir(), "thalweg-capture-file-"));
after(() => rmSync(directory, { recursive: true }));

const SUITE = join(import.meta.dirname, "../../../shared/conformance/protocols");
const START = 1_700_000_000_123_456_789n;
const [FIN, SYN, ACK] = [1, 2, 16];
const DIALOGUE: readonly PacketSpec[] = [
  { seq: 10, flags: SYN },
  { fromClient: false, seq: 50, ack: 11, flags: SYN | ACK },
  { seq: 11, ack: 51, payload: "ask" },
  { fromClient: false, seq: 51, ack: 14, payload: "answer" },
  { seq: 14, ack: 57, flags: FIN | ACK },
  { fromClient: false, seq: 57, ack: 15, flags: FIN | ACK },
];

function read(bytes: Uint8Array | string, options: CaptureFileOptions = { perspective: undefined }) {
  const path = join(directory, "file");
  writeFileSync(path, bytes);
  const collector = new Collector();
  return { ...readCaptureFile(path, collector, options), sockets: collector.list() };
}

function frames(specs: readonly PacketSpec[] = DIALOGUE) {
  return specs.map((spec, index) => ({ timeUnixNano: START + BigInt(index) * 1_000_000n, bytes: ipPacket(spec) }));
}

test("pcap of both byte orders and both resolutions", () => {
  for (const littleEndian of [true, false]) {
    for (const nanoseconds of [true, false]) {
      const got = read(pcapFile(frames(), { littleEndian, nanoseconds }));
      const [socket] = got.sockets;
      assert.deepEqual(socket?.text, ["ask", "answer"]);
      assert.equal(socket?.closed, "closed");
      assert.deepEqual([got.packets, got.lost], [6, {}]);
      const unixNano = BigInt(Math.round(socket?.timesNs[0] ?? 0)) + got.bootToUnixNano;
      const want = START + 2_000_000n;
      assert.equal(unixNano, nanoseconds ? want : (want / 1000n) * 1000n);
    }
  }
});

test("the clock is told before the first event", () => {
  let told = 0n;
  const got = read(pcapFile(frames()), { perspective: undefined, clock: (offset) => (told = offset.bootToUnixNano) });
  assert.equal(told, got.bootToUnixNano);
});

test("gzipped, cut by a snap length, cut at the end, or no capture at all", () => {
  assert.deepEqual(read(gzipSync(pcapFile(frames()))).sockets[0]?.text, ["ask", "answer"]);
  assert.deepEqual(read(pcapFile(frames(), { snapBytes: 42 })).sockets[0]?.text, ["as<cut 1>", "an<cut 4>"]);
  const whole = pcapFile(frames());
  const cut = read(whole.subarray(0, whole.length - 3));
  assert.deepEqual(cut.lost, { file_cut: 1, header_cut: 1 });
  assert.throws(() => read("hello"), /no capture: it is neither pcap/);
  assert.throws(() => read(""), /no capture/);
});

test("fragments, UDP and unknown links are counted", () => {
  const [first, ...rest] = frames();
  assert.ok(first !== undefined);
  const fragment = Buffer.from(first.bytes);
  fragment[6] = 0x20;
  const datagram = Buffer.from(first.bytes);
  datagram[9] = 17;
  const odd = [fragment, datagram].map((bytes) => ({ timeUnixNano: START, bytes }));
  assert.deepEqual(read(pcapFile([first, ...odd, ...rest])).lost, { fragment: 1, udp: 1 });
  assert.deepEqual(read(pcapFile(frames(), { linkType: 147 })).lost, { link_type_unknown: 6 });
});

test("pcapng with two interfaces, resolutions and an offset", () => {
  const block = (kind: number, body: Buffer) => {
    const padded = Buffer.concat([body, Buffer.alloc(-body.length & 3)]);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(padded.length + 12);
    const head = Buffer.alloc(4);
    head.writeUInt32LE(kind);
    return Buffer.concat([head, length, padded, length]);
  };
  const words = (...values: number[]) => {
    const bytes = Buffer.alloc(values.length * 4);
    for (const [index, value] of values.entries()) bytes.writeUInt32LE(value >>> 0, index * 4);
    return bytes;
  };
  const option = (code: number, value: Buffer) => {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(code);
    head.writeUInt16LE(value.length, 2);
    return Buffer.concat([head, value, Buffer.alloc(-value.length & 3)]);
  };
  const offsetSeconds = Buffer.alloc(8);
  offsetSeconds.writeBigInt64LE(1_700_000_000n);
  const nanos = block(1, Buffer.concat([words(101, 0), option(9, Buffer.from([9])), option(14, offsetSeconds)]));
  const binary = block(1, Buffer.concat([words(1, 0), option(9, Buffer.from([0x80 | 10]))]));
  const packet = (which: number, ticks: bigint, bytes: Buffer) => {
    const head = words(which, Number(ticks >> 32n), Number(ticks & 0xffffffffn), bytes.length, bytes.length);
    return block(6, Buffer.concat([head, bytes]));
  };
  const ether = Buffer.concat([Buffer.alloc(12), Buffer.from([8, 0])]);
  const specs = DIALOGUE.map(ipPacket);
  const [syn, synAck, ask, answer, ...ends] = specs as [Buffer, Buffer, Buffer, Buffer, ...Buffer[]];
  const ticks = (nanoseconds: bigint) => ((1_700_000_000n * 1_000_000_000n + nanoseconds) * 1024n) / 1_000_000_000n;
  const file = Buffer.concat([
    block(0x0a0d0d0a, words(0x1a2b3c4d, 1, 0xffffffff, 0xffffffff)),
    nanos,
    binary,
    packet(0, 500_000_000n, syn),
    packet(1, ticks(500_000_000n), Buffer.concat([ether, synAck])),
    packet(0, 750_000_001n, ask),
    packet(1, ticks(1_000_000_000n), Buffer.concat([ether, answer])),
    block(5, words(0, 0, 0)),
    ...ends.map((bytes) => packet(0, 2_000_000_000n, bytes)),
  ]);
  const got = read(file);
  assert.deepEqual(got.sockets[0]?.text, ["ask", "answer"]);
  const times = got.sockets[0]?.timesNs.map((timeNs) => BigInt(Math.round(timeNs)) + got.bootToUnixNano);
  assert.deepEqual(times, [1_700_000_000_750_000_001n, 1_700_000_001_000_000_000n]);
  assert.deepEqual(read(file.subarray(0, file.length - 8)).lost, { file_cut: 1 });
});

const FLOW = { id: 0, proto: "tcp", client: "10.0.0.1", cport: 40_000, server: "10.0.0.2", sport: 80 };
const segment = (fields: Record<string, unknown>) =>
  JSON.stringify({ ts: 1_700_000_000_000_000, flow: FLOW, ...fields });
const payload = (text: string) => ({ len: text.length, payload: Buffer.from(text).toString("base64") });

test("segments: sight by op, by perspective, or of both ends", () => {
  const ask = (fields: Record<string, unknown>) => segment({ dir: "c2s", n: 0, seq: 0, ...payload("ask"), ...fields });
  const opened = (text: string, perspective: "client" | "server" | undefined) => {
    const { sight, role, local } = read(text, { perspective }).sockets[0]?.opened ?? assert.fail();
    return [sight, role, local.port];
  };
  assert.deepEqual(opened(ask({}), undefined), ["both", "client", 40_000]);
  assert.deepEqual(opened(ask({}), "server"), ["end", "server", 80]);
  assert.deepEqual(opened(ask({}), "client"), ["end", "client", 40_000]);
  assert.deepEqual(opened(ask({ op: "read" }), "client"), ["end", "server", 80], "the line knows better");
  assert.deepEqual(opened(ask({ op: "write" }), undefined), ["end", "client", 40_000]);
});

test("segments: gaps, cuts, events, damage", () => {
  const got = read(
    [
      segment({ dir: "c2s", ev: "open" }),
      segment({ dir: "c2s", n: 0, seq: 0, ...payload("ask"), len: 5, lost: 2 }),
      segment({ dir: "c2s", n: 1, seq: 5, len: 0, payload: "", gap: 4 }),
      "not json",
      segment({ dir: "c2s", n: 2, seq: 9, ...payload("end") }),
      segment({ dir: "s2c", n: 0, seq: 0, flow: { ...FLOW, id: 1, proto: "udp" }, ...payload("x") }),
      segment({ dir: "c2s", ev: "close" }),
      segment({ ts: 1_700_000_000_000_500.5, dir: "s2c", n: 3, seq: 0, ...payload("answer") }),
      segment({ dir: "s2c", ev: "close" }),
      segment({ dir: "s2c", n: 4, seq: 6, ...payload("!") }),
      "",
    ].join("\n"),
  );
  assert.deepEqual(got.sockets[0]?.text, ["ask<cut 2><cut 4>end", "answer"]);
  assert.deepEqual(got.lost, { malformed: 1, udp: 1, after_close: 1 });
  assert.equal(got.packets, 10);
  assert.equal(got.sockets[0]?.opened.joinedLate, false);
  const unixNano = BigInt(Math.round(got.sockets[0]?.timesNs[3] ?? 0)) + got.bootToUnixNano;
  assert.equal(unixNano, 1_700_000_000_000_500_500n);
});

test("segments that begin in mid-stream are joined late", () => {
  const isLate = (...lines: string[]) => read(lines.join("\n")).sockets[0]?.opened.joinedLate;
  const ask = segment({ dir: "c2s", n: 0, seq: 0, ...payload("ask") });
  assert.equal(isLate(ask), false);
  assert.equal(isLate(segment({ dir: "c2s", n: 0, seq: 7, ...payload("ask") })), true);
  const other = segment({ dir: "c2s", flow: { ...FLOW, id: 9 }, ev: "open" });
  assert.equal(isLate(other, ask), true, "this file tells openings, and none of this flow");
});

test("property: damaged files never throw anything but a name for what they are not", () => {
  const random = randomOf(3);
  const whole = pcapFile(frames());
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(whole).subarray(0, Math.floor(random() * (whole.length + 1)));
    for (let flips = 0; flips < 3; flips++) {
      const at = Math.floor(random() * bytes.length);
      if (at < bytes.length) bytes[at] = Math.floor(random() * 256);
    }
    try {
      read(bytes);
    } catch (error) {
      assert.match(String(error), /is no capture/);
    }
  }
});

test("every capture of the protocol suite is read whole", (t) => {
  if (!requireOrSkip(t, "suites", existsSync(SUITE) ? undefined : `${SUITE} does not exist`)) return;
  const unknown: string[] = [];
  let files = 0;
  for (const folder of readdirSync(SUITE, { withFileTypes: true })) {
    if (!folder.isDirectory()) continue;
    for (const name of readdirSync(join(SUITE, folder.name))) {
      if (!/\.(pcap|pcapng|segments\.jsonl)$/.test(name)) continue;
      files++;
      const { lost, packets } = read(readFileSync(join(SUITE, folder.name, name)));
      assert.ok(packets > 0, name);
      if ("link_type_unknown" in lost) unknown.push(name);
    }
  }
  assert.ok(files > 100, `${files} files`);
  assert.deepEqual(unknown, []);
});
