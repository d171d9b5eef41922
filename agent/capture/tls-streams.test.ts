import assert from "node:assert/strict";
import { test } from "node:test";
import type { CaptureSink, SocketSlice } from "../../server/model/capture-event.ts";
import { emptyTlsCall, type TlsCall } from "./tls-event.ts";
import { TlsStreams } from "./tls-streams.ts";

const HELLO = Uint8Array.of(22, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3);

interface Told {
  readonly socket: number;
  readonly direction: 0 | 1;
  readonly text: string;
  readonly number: number;
  readonly isLate: boolean;
  readonly seq: number;
  readonly origin: number;
}

/** Plays socket calls and library calls of one process, in the order in which a ring tells of them. */
class Play {
  readonly told: Told[] = [];
  readonly layers: string[] = [];
  readonly streams: TlsStreams;
  nowNs = 1000;
  readonly #seqs = new Map<string, number>();

  constructor(isLooked = true) {
    const nothing = () => {};
    const sink: CaptureSink = {
      opened: nothing,
      slice: (event) => this.#take(event),
      owner: nothing,
      closed: nothing,
      process: nothing,
      processExited: nothing,
    };
    this.streams = new TlsStreams({ sink });
    this.streams.lookInto(7, isLooked);
  }

  opened(socket: number, joinedLate = false): void {
    this.streams.opened({
      socket,
      sight: "end",
      role: "client",
      local: { addr: "127.0.0.1", port: 4000 + socket },
      remote: { addr: "127.0.0.1", port: 443 },
      netns: 1,
      joinedLate,
      timeNs: this.nowNs,
      localOwner: undefined,
      remoteOwner: undefined,
    });
    for (const direction of [0, 1]) this.#seqs.set(`${socket}/${direction}`, 1000 * socket + 500 * direction);
  }

  /** A socket call. A number stands for a record of application data with so many bytes beside its header. */
  socket(socket: number, direction: 0 | 1, content: Uint8Array | number | readonly number[], unit = 0): void {
    this.nowNs += 10;
    const bytes = content instanceof Uint8Array ? content : records(typeof content === "number" ? [content] : content);
    const key = `${socket}/${direction}`;
    const seq = this.#seqs.get(key) ?? 0;
    this.#seqs.set(key, seq + bytes.length);
    const work = { kind: unit === 0 ? ("" as const) : ("loop" as const), unit, origin: 41 };
    this.streams.slice({
      socket,
      direction,
      timeNs: this.nowNs,
      seq,
      total: bytes.length,
      bytes,
      tid: 70,
      pid: 7,
      work,
    });
  }

  /** A library call; `inside` makes the socket calls made for it. */
  call(kind: TlsCall["kind"], session: number, text = "", inside: () => void = () => {}, unit = 0): void {
    this.nowNs += 10;
    const entryNs = this.nowNs;
    inside();
    this.nowNs += 10;
    const key = `session ${session} ${kind}`;
    const seq = this.#seqs.get(key) ?? 0;
    this.#seqs.set(key, seq + text.length);
    this.streams.call({
      ...emptyTlsCall(),
      kind,
      session,
      pid: 7,
      tid: 70,
      entryNs,
      timeNs: this.nowNs,
      seq,
      total: text.length,
      bytes: Buffer.from(text),
      room: 16384,
      work: { kind: unit === 0 ? "" : "loop", unit, origin: 43 },
    });
  }

  texts(): string[] {
    return this.told.map(({ socket, direction, text }) => `${socket}${direction === 0 ? ">" : "<"}${text}`);
  }

  /** `calls = delivered + waiting + dropped`. */
  balance(): void {
    const { calls, delivered, waiting, dropped } = this.streams.counters();
    assert.equal(calls, delivered + waiting + Object.values(dropped).reduce((sum, count) => sum + count, 0));
  }

  #take(event: SocketSlice): void {
    this.layers.push(event.tls?.kind ?? "plain");
    if (event.tls?.kind !== "clear") return;
    this.told.push({
      socket: event.socket,
      direction: event.direction,
      text: String(Buffer.from(event.bytes)),
      number: event.tls.number,
      isLate: event.tls.isLate,
      seq: event.seq,
      origin: event.work?.origin ?? 0,
    });
  }
}

function records(lengths: readonly number[]): Uint8Array {
  const bytes: number[] = [];
  for (const length of lengths) {
    bytes.push(23, 3, 3, length >> 8, length & 255, ...new Array<number>(length).fill(170));
  }
  return Uint8Array.from(bytes);
}

test("socket calls inside of library calls: handshake, write and read of a client (curl)", () => {
  const play = new Play();
  play.opened(1);
  play.call("handshake", 100, "", () => {
    play.socket(1, 0, HELLO);
    play.socket(1, 1, HELLO);
    play.socket(1, 0, 53);
  });
  play.call("write", 100, "GET /", () => play.socket(1, 0, 5 + 17));
  play.call("read", 100, "HTTP", () => {
    play.socket(1, 1, Uint8Array.of(23, 3, 3, 0, 21));
    play.socket(1, 1, new Uint8Array(21));
  });
  assert.deepEqual(play.texts(), ["1>GET /", "1<HTTP"]);
  const [write, read] = play.told;
  // 11 bytes of hello and the 58 of Finished came before; the header begins the record.
  assert.deepEqual([write?.number, write?.isLate], [1000 + 11 + 58, false]);
  assert.deepEqual([read?.number, read?.isLate], [1500 + 11, false]);
  play.balance();
});

test("memory in between (Node): the first write waits until its socket is known, reads are tied by what was read before", () => {
  const play = new Play();
  play.opened(1);
  play.call("handshake", 100, "", undefined, 1);
  play.socket(1, 0, HELLO, 1);
  play.socket(1, 1, HELLO, 2);
  play.call("read", 100, "", undefined, 2);
  play.socket(1, 0, 53, 2);
  play.call("write", 100, "GET /", undefined, 2);
  assert.deepEqual(play.texts(), []);
  play.socket(1, 0, 5 + 17, 2);
  assert.deepEqual(play.texts(), ["1>GET /"]);
  play.socket(1, 1, 4 + 17, 3);
  play.call("read", 100, "HTTP", undefined, 3);
  assert.deepEqual(play.texts(), ["1>GET /", "1<HTTP"]);
  assert.equal(play.told[0]?.number, 1000 + 11 + 58);
  // The socket's own read was counted between its slice and the library's call.
  assert.equal(play.told[1]?.origin, 41);
  play.balance();
});

test("two connections of one loop are never mixed up", () => {
  const play = new Play();
  for (const socket of [1, 2]) {
    play.opened(socket);
    play.socket(socket, 1, HELLO, socket);
    play.call("read", 100 * socket, "", undefined, socket);
    play.socket(socket, 0, HELLO, socket);
  }
  play.socket(1, 1, [53, 1 + 17], 5);
  play.call("read", 100, "a", undefined, 5);
  play.socket(2, 1, [53, 1 + 17], 5);
  play.call("read", 200, "b", undefined, 5);
  // The answer of the second goes out first; that of the first waits for its own socket.
  play.call("write", 100, "A", undefined, 6);
  play.call("write", 200, "B", undefined, 6);
  play.socket(2, 0, 1 + 17, 6);
  assert.deepEqual(play.texts(), ["1<a", "2<b", "2>B"]);
  play.socket(1, 0, 1 + 17, 6);
  assert.deepEqual(play.texts(), ["1<a", "2<b", "2>B", "1>A"]);
  assert.equal(play.streams.counters().ambiguous, 0);
  play.balance();
});

test("one neighbour alone proves nothing: what fits no record is not handed on", () => {
  const play = new Play();
  play.opened(1);
  play.socket(1, 1, HELLO, 1);
  // Another session is called after the read of this socket, with bytes that no record of it holds.
  play.socket(1, 1, 900, 2);
  play.call("read", 300, "x", undefined, 2);
  assert.deepEqual(play.texts(), []);
  play.streams.expire(play.nowNs + 3e9);
  assert.deepEqual(play.streams.counters().dropped, { unbound: 1 });
  play.balance();
});

test("attached in the midst: a read whose length fits its record ties the session, which is late", () => {
  const play = new Play();
  play.opened(1, true);
  play.socket(1, 1, 4 + 17, 9);
  play.call("read", 100, "GET ", undefined, 9);
  assert.deepEqual(play.texts(), ["1<GET "]);
  assert.equal(play.told[0]?.isLate, true);
  assert.equal(play.told[0]?.number, 1500);
});

test("a read in another turn of the loop than the socket's is no neighbour", () => {
  const play = new Play();
  play.opened(1, true);
  play.socket(1, 1, 4 + 17, 9);
  play.call("read", 100, "GET ", undefined, 10);
  assert.deepEqual(play.texts(), []);
});

test("the address of a session is given to another one: nothing goes to the socket before", () => {
  const play = new Play();
  for (const socket of [1, 2]) {
    play.opened(socket);
    play.call("handshake", 100, "", () => play.socket(socket, 0, HELLO));
    play.call("write", 100, `to ${socket}`, () => play.socket(socket, 0, 4 + 17));
    if (socket === 1) play.call("free", 100);
  }
  assert.deepEqual(play.texts(), ["1>to 1", "2>to 2"]);
  assert.ok(play.told.every(({ isLate }) => !isLate));
  assert.equal(play.streams.counters().ambiguous, 0);
});

test("one record read in pieces is numbered within, several records of one read by their own", () => {
  const play = new Play();
  play.opened(1, true);
  play.call("handshake", 100, "", () => play.socket(1, 1, [3 + 17, 4 + 17]));
  play.call("read", 100, "abc");
  play.call("read", 100, "defg");
  assert.deepEqual(
    play.told.map(({ text, number }) => [text, number]),
    [
      ["abc", 1500],
      ["defg", 1500 + 5 + 20],
    ],
  );
  assert.equal(play.streams.counters().likelyNumbers, 0);
});

test("records that were opened or sealed before anybody told of it take no number from later ones of the same size", () => {
  const play = new Play();
  play.opened(1, true);
  // Memory in between: one record was read, and one was written, before the probes came.
  play.socket(1, 1, 4 + 17, 8);
  play.socket(1, 0, 4 + 17, 8);
  play.call("read", 100, "", undefined, 8);
  play.socket(1, 1, 4 + 17, 9);
  play.call("read", 100, "GET ", undefined, 9);
  play.call("write", 100, "HTTP", undefined, 9);
  play.socket(1, 0, 4 + 17, 9);
  play.socket(1, 1, 4 + 17, 10);
  play.call("read", 100, "GET2", undefined, 10);
  play.call("read", 100, "", undefined, 10);
  assert.deepEqual(
    play.told.map(({ text, number }) => [text, number]),
    [
      ["GET ", 1500 + 26],
      ["HTTP", 1000 + 26],
      ["GET2", 1500 + 52],
    ],
  );
});

test("a read that asks its socket for more takes its number from there", () => {
  const play = new Play();
  play.opened(1, true);
  play.socket(1, 1, 4 + 17);
  play.call("read", 100, "GET ", () => play.socket(1, 1, 4 + 17));
  assert.deepEqual(
    play.told.map(({ text, number }) => [text, number]),
    [["GET ", 1500 + 26]],
  );
});

test("records are marked for what they are; a stream turns to TLS by its hello alone", () => {
  const play = new Play(false);
  play.opened(1);
  play.socket(1, 0, Buffer.from("\x00\x00\x00\x08\x04\xd2\x16\x2f"));
  play.socket(1, 1, Buffer.from("S"));
  play.socket(1, 0, HELLO);
  play.streams.lookInto(7, true);
  play.socket(1, 1, HELLO);
  assert.deepEqual(play.layers, ["plain", "plain", "opaque", "cipher"]);
  assert.equal(play.streams.counters().opaque, 1);
});

test("a socket's end gives what waits for its number; a process's end drops what waits for a socket", () => {
  const play = new Play();
  play.opened(1);
  play.call("handshake", 100, "", () => play.socket(1, 0, HELLO));
  play.call("write", 100, "last");
  play.streams.closed(1, play.nowNs, false);
  assert.deepEqual(play.texts(), ["1>last"]);
  play.call("write", 200, "lost");
  play.streams.processExited(7, play.nowNs);
  assert.deepEqual(play.streams.counters().dropped, { closed: 1 });
  play.balance();
});

test("what waits is bounded", () => {
  const play = new Play();
  for (let index = 0; index < 100; index++) play.call("write", 100, "x");
  const { waiting, dropped } = play.streams.counters();
  assert.deepEqual([waiting, dropped], [64, { held_calls_max: 36 }]);
  play.balance();
});
