import assert from "node:assert/strict";
import test from "node:test";
import type { Labels } from "../model/series.ts";
import { remoteEncode } from "./remote-oracle.ts";
import { type RemoteWrite, type RemoteWriteOutcome, seriesOfWrite } from "./remote-write.ts";
import { RemoteWriteDecoder1 } from "./remote-write-1.ts";
import { RemoteWriteDecoder2 } from "./remote-write-2.ts";
import type { SeriesGate } from "./series-labels.ts";

/** A series of one sample, or of an exemplar alone. */
interface Sent {
  readonly name: string;
  readonly exemplar?: boolean;
  readonly empty?: boolean;
}

function one(sent: readonly Sent[]): Uint8Array {
  const timeseries = sent.map(({ name, exemplar, empty }) => ({
    labels: [
      { name: "job", value: "a" },
      { name: "__name__", value: name },
      { name: "none", value: "" },
    ],
    samples: exemplar || empty ? [] : [{ value: 1, timestamp: 5 }],
    exemplars: exemplar ? [{ labels: [{ name: "trace_id", value: "7" }], value: 1, timestamp: 5 }] : [],
  }));
  return remoteEncode("one", "WriteRequest", { timeseries });
}

function two(sent: readonly Sent[]): Uint8Array {
  const symbols = ["", "__name__", "job", "a", "none", "trace_id", "7", ...sent.map(({ name }) => name)];
  const timeseries = sent.map(({ name, exemplar, empty }) => ({
    labels_refs: [2, 3, 1, symbols.indexOf(name), 4, 0],
    samples: exemplar || empty ? [] : [{ value: 1, timestamp: 5 }],
    exemplars: exemplar ? [{ labels_refs: [5, 6], value: 1, timestamp: 5 }] : [],
    metadata: {},
  }));
  return remoteEncode("two", "Request", { symbols, timeseries });
}

function decoded(outcome: RemoteWriteOutcome): RemoteWrite {
  if (outcome.kind === "malformed") assert.fail(`malformed: ${outcome.reason} at ${outcome.offset}`);
  return outcome.write;
}

function nameOf(labels: Labels): string {
  return labels.find(([name]) => name === "__name__")?.[1] ?? "";
}

/** A gate with room for series of these names, and those it was asked about since `asked` was read last. */
function gateOf(room: Set<string>): { readonly gate: SeriesGate; asked(): string } {
  const names: string[] = [];
  const refusalOf = (labels: Labels) => {
    const name = nameOf(labels);
    names.push(name);
    return room.has(name) ? undefined : "it is full";
  };
  return { gate: { refusalOf }, asked: () => names.splice(0).join() };
}

for (const [version, encode, decoderOf] of [
  ["1.0", one, (gate: SeriesGate) => new RemoteWriteDecoder1(gate)],
  ["2.0", two, (gate: SeriesGate) => new RemoteWriteDecoder2(gate)],
] as const) {
  const kept = (write: RemoteWrite) =>
    seriesOfWrite(write).map(({ labels }) => labels.map((pair) => pair.join("=")).join());

  test(`${version}: series that find no room are left out as they are read, and the first is told`, () => {
    const decoder = decoderOf(gateOf(new Set(["a"])).gate);
    const write = decoded(decoder.decode(encode([{ name: "a" }, { name: "b" }, { name: "c" }])));
    assert.deepEqual(kept(write), ["__name__=a,job=a"]);
    assert.deepEqual([...write.rejected], [["series_max", 2]]);
    assert.deepEqual(write.faults, ['it is full for series {__name__="b", job="a"} (and 1 more)']);
    assert.equal(write.received.samples, 3);
    const alone = decoded(decoder.decode(encode([{ name: "c" }])));
    assert.deepEqual(alone.faults, ['it is full for series {__name__="c", job="a"}']);
  });

  test(`${version}: an exemplar without a sample is of no series where that finds no room`, () => {
    const write = decoded(decoderOf(gateOf(new Set()).gate).decode(encode([{ name: "b", exemplar: true }])));
    assert.deepEqual([kept(write), [...write.rejected], write.faults], [[], [], []]);
    assert.deepEqual([...write.rejectedExemplars], [["exemplar_series", 1]]);
  });

  test(`${version}: a series that holds nothing is not refused for want of room`, () => {
    const decode = (room: Set<string>) =>
      decoded(decoderOf(gateOf(room).gate).decode(encode([{ name: "b", empty: true }])));
    const [full, roomy] = [decode(new Set()), decode(new Set(["b"]))];
    assert.deepEqual([full.rejected.size, full.faults], [0, roomy.faults]);
  });

  test(`${version}: series are remembered once they find room, each with labels of its own`, () => {
    const room = new Set(["a"]);
    const { gate, asked } = gateOf(room);
    const decoder = decoderOf(gate);
    const body = encode([{ name: "a" }, { name: "b" }, { name: "c" }]);
    decoder.decode(body);
    assert.equal(asked(), "a,b,c");
    decoder.decode(body);
    assert.equal(asked(), "b,c");
    room.add("b").add("c");
    const write = decoded(decoder.decode(body));
    assert.equal(asked(), "b,c");
    decoder.decode(encode([{ name: "d" }]));
    assert.equal(asked(), "d");
    assert.deepEqual(kept(write), ["__name__=a,job=a", "__name__=b,job=a", "__name__=c,job=a"]);
    assert.deepEqual(kept(decoded(decoder.decode(body))), kept(write));
    assert.equal(asked(), "");
  });
}
