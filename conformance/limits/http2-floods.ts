/** Floods of HTTP/2 frames, written by hand, against the gRPC port. */

import { createConnection, type Socket } from "node:net";
import { type Bomb, drained, type Refusal, type Target } from "./http-bombs.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const FRAME_HEAD_BYTES = 9;
/** How long a flood goes on that the server neither ends nor refuses. */
const FLOOD_MS_MAX = 2_000;
const PIECE_BYTES = 64 * 1024;
const TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
const END_HEADERS = 4;
const END_STREAM = 1;

/** A frame. */
export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header in HPACK, spelled out and not to be remembered; `index` is its name in the static table. */
function named(index: number, value: string): Buffer {
  const first = index < 15 ? Buffer.from([index]) : Buffer.from([15, index - 15]);
  return Buffer.concat([first, Buffer.from([value.length]), Buffer.from(value)]);
}

function literal(first: number, name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([first]), stringOf(name), stringOf(value)]);
}

function stringOf(text: string): Buffer {
  const bytes: number[] = [];
  let rest = text.length;
  if (rest < 127) bytes.push(rest);
  else {
    bytes.push(127);
    rest -= 127;
    for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
    bytes.push(rest);
  }
  return Buffer.concat([Buffer.from(bytes), Buffer.from(text)]);
}

const PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/** POST, http, path, authority, content-type. */
const REQUEST = Buffer.concat([
  Buffer.from([0x83, 0x86]),
  named(4, PATH),
  named(1, "localhost"),
  named(31, "application/grpc"),
]);

/** A flood: pieces that are written again and again until the connection ends. */
interface Flood {
  readonly name: string;
  /** Written once. */
  readonly first?: Buffer;
  /** The piece of round `round`; undefined where there is no more. */
  piece(round: number): Buffer | undefined;
}

function repeated(count: number, make: (index: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
}

/** Odd numbers, as a client gives its streams. */
const streamOf = (index: number) => 2 * index + 1;

function floods(): Flood[] {
  const cookie = literal(0, "x-flood", "a".repeat(4_000));
  const settings = frame(TYPE.settings, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0]));
  const ping = frame(TYPE.ping, 0, 0, Buffer.alloc(8));
  return [
    {
      name: "headers without end",
      first: frame(TYPE.headers, END_STREAM, 1, REQUEST),
      piece: () => frame(TYPE.continuation, 0, 1, Buffer.concat([cookie, cookie, cookie, cookie])),
    },
    {
      name: "empty CONTINUATION frames",
      first: frame(TYPE.headers, END_STREAM, 1, REQUEST),
      piece: () => repeated(1_000, () => frame(TYPE.continuation, 0, 1)),
    },
    {
      name: "calls that are reset at once",
      piece: (round) =>
        repeated(500, (index) => {
          const stream = streamOf(round * 500 + index);
          return Buffer.concat([
            frame(TYPE.headers, END_HEADERS, stream, REQUEST),
            frame(TYPE.reset, 0, stream, Buffer.from([0, 0, 0, 8])),
          ]);
        }),
    },
    {
      name: "calls without end that are never answered",
      piece: (round) =>
        repeated(500, (index) => frame(TYPE.headers, END_HEADERS, streamOf(round * 500 + index), REQUEST)),
    },
    { name: "SETTINGS", piece: () => repeated(1_000, () => settings) },
    { name: "PING", piece: () => repeated(1_000, () => ping) },
    {
      name: "empty DATA",
      first: frame(TYPE.headers, END_HEADERS, 1, REQUEST),
      piece: () => repeated(1_000, () => frame(TYPE.data, 0, 1)),
    },
    {
      name: "PRIORITY",
      piece: (round) =>
        repeated(1_000, (index) =>
          frame(TYPE.priority, 0, streamOf(round * 1_000 + index), Buffer.from([0, 0, 0, 0, 1])),
        ),
    },
    { name: "unknown frames", piece: () => repeated(1_000, () => frame(0x42, 0, 0, Buffer.alloc(16))) },
    {
      name: "headers that the table repeats",
      // A header of 4 KB goes to the table, then a byte each time gives it again.
      piece: (round) =>
        repeated(20, (index) => {
          const stream = streamOf(round * 20 + index);
          const block = Buffer.concat([REQUEST, literal(0x40, "x-bomb", "a".repeat(3_900)), Buffer.alloc(8_000, 0xbe)]);
          return frame(TYPE.headers, END_HEADERS | END_STREAM, stream, block);
        }),
    },
    {
      name: "a table of 4 GiB",
      first: frame(TYPE.settings, 0, 0, Buffer.from([0, 1, 0xff, 0xff, 0xff, 0xff])),
      piece: (round) =>
        round > 200
          ? undefined
          : repeated(50, (index) =>
              frame(
                TYPE.headers,
                END_HEADERS | END_STREAM,
                streamOf(round * 50 + index),
                Buffer.concat([Buffer.from([0x3f, 0xe1, 0xff, 0xff, 0xff, 0x0f]), REQUEST]),
              ),
            ),
    },
    { name: "a frame of 16 MiB", piece: () => frame(TYPE.data, 0, 1, Buffer.alloc(2 ** 24 - 1)) },
    { name: "no HTTP/2 at all", piece: () => Buffer.alloc(PIECE_BYTES, "GET / ") },
    {
      name: "windows that overflow",
      first: frame(TYPE.headers, END_HEADERS, 1, REQUEST),
      piece: () => frame(TYPE.windowUpdate, 0, 1, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
    },
  ];
}

/**
 * Floods of frames. Each either ends with the connection, closed by the server, or is answered frame by frame for as long
 * as it lasts, a few seconds; what counts is what it costs others.
 */
export function http2Floods(): Bomb[] {
  return floods().map((flood) => ({
    name: `HTTP/2: ${flood.name}`,
    wants: ["closed", "goaway", "endured"],
    send: (target) => pour(target, flood),
  }));
}

function pour(target: Target, flood: Flood): Promise<Refusal> {
  const [host = "", port = ""] = target.otlpGrpc.split(":");
  return new Promise((resolve) => {
    const socket = createConnection({ host, port: Number(port), noDelay: true });
    const frames = new FrameReader();
    let isOpen = true;
    const end = (outcome: string) => {
      if (!isOpen) return;
      isOpen = false;
      clearTimeout(timer);
      socket.destroy();
      resolve({ outcome, tookMs: 0, fault: "", text: frames.goaway });
    };
    const timer = setTimeout(() => end("endured"), FLOOD_MS_MAX);
    // The peer may close while there is more on its way.
    socket.on("error", () => end("closed"));
    socket.on("close", () => end("closed"));
    socket.on("data", (chunk: Buffer) => {
      frames.add(chunk);
      if (frames.goaway !== "") end("goaway");
    });
    socket.on("connect", () => void pourOver(socket, flood, () => end("endured")));
  });
}

async function pourOver(socket: Socket, flood: Flood, done: () => void): Promise<void> {
  socket.write(Buffer.concat([PREFACE, frame(TYPE.settings, 0, 0), flood.first ?? Buffer.alloc(0)]));
  for (let round = 0; !socket.destroyed; round++) {
    const piece = flood.piece(round);
    if (piece === undefined) return done();
    if (!socket.write(piece)) await drained(socket);
  }
}

/** Looks for GOAWAY among the frames that the server sends. */
class FrameReader {
  #rest = Buffer.alloc(0);
  /** Code of the error that the server named; empty until then. */
  goaway = "";

  add(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= FRAME_HEAD_BYTES) {
      const length = bytes.readUIntBE(0, 3) + FRAME_HEAD_BYTES;
      if (bytes.length < length) break;
      if (bytes[3] === TYPE.goaway) this.goaway = `GOAWAY ${bytes.readUInt32BE(FRAME_HEAD_BYTES + 4)}`;
      bytes = bytes.subarray(length);
    }
    this.#rest = Buffer.from(bytes);
  }
}
