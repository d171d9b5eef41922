/** Bombs over HTTP, byte by byte where a client would not send them so. */

import { createConnection, type Socket } from "node:net";
import { deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { encodeSnappy } from "../../server/wire/snappy.ts";
import { BODY_BYTES_MAX, jsonBombs, protobufBombs, type SignalBody } from "./bodies.ts";

const MIB = 2 ** 20;
const ANSWER_MS_MAX = 30_000;
const PIECE_BYTES = 256 * 1024;
const CHUNKS = 2_000_000;
const LONG_BYTES = 256 * MIB;

/** Where a program listens: `HOST:PORT`. */
export interface Target {
  readonly http: string;
  readonly otlpHttp: string;
  readonly otlpGrpc: string;
}

/** What a bomb came to. */
export interface Refusal {
  /** HTTP status, `grpc N`, or how the connection ended. */
  readonly outcome: string;
  /** From the moment the server had what is wrong with it. */
  readonly tookMs: number;
  /** What is wrong with the form of the answer; empty where nothing is. */
  readonly fault: string;
  readonly text: string;
}

/** Something to be refused. */
export interface Bomb {
  readonly name: string;
  /** Outcomes that are right. */
  readonly wants: readonly string[];
  /** For what may be taken, whole or in part: it is answered once all of it was looked at. */
  readonly isLegal?: boolean;
  /** Series that it makes: what is taken of them stays. */
  readonly series?: number;
  /** Refused for what it says, and so counted among the answers alone. */
  readonly isAnswered?: boolean;
  /** Bytes that are sent; a plain refusal of as many is what its time is compared with. */
  readonly bytes?: number;
  send(target: Target): Promise<Refusal>;
}

/** A request as bytes. */
export interface RawRequest {
  readonly address: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Pieces of the body as they go over the wire; the last bytes that the server needs to refuse are its end. */
  readonly body: Iterable<Uint8Array>;
}

/** Sends a request as it is and reads the answer. */
export function sendRaw({ address, path, headers, body }: RawRequest): Promise<Refusal> {
  const [host = "", port = ""] = address.split(":");
  const head = Object.entries({ host: address, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  return new Promise((resolve) => {
    const socket = createConnection({ host, port: Number(port), noDelay: true });
    let sentMs: number | undefined;
    let answer = "";
    const end = (outcome: string, fault: string) => {
      clearTimeout(timer);
      socket.destroy();
      const tookMs = sentMs === undefined ? 0 : performance.now() - sentMs;
      resolve({ outcome, tookMs, fault, text: answer.slice(answer.indexOf("\r\n\r\n") + 4) });
    };
    const timer = setTimeout(() => end("no answer", ""), ANSWER_MS_MAX);
    socket.on("error", (error) => (answer === "" ? end(`error ${error.message}`, "") : undefined));
    socket.on("close", () => end("closed", ""));
    socket.on("data", (chunk: Buffer) => {
      answer += chunk.toString("latin1");
      const bodyAt = answer.indexOf("\r\n\r\n") + 4;
      if (bodyAt < 4) return;
      const length = Number(/^content-length: (\d+)/im.exec(answer)?.[1] ?? "0");
      if (answer.length < bodyAt + length) return;
      end(
        /^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? answer.slice(0, 20),
        answerFault(answer.slice(0, bodyAt), answer.slice(bodyAt), headers),
      );
    });
    socket.on("connect", async () => {
      socket.write(`POST ${path} HTTP/1.1\r\n${head.join("")}\r\n`);
      for (const piece of body) {
        for (let from = 0; from < piece.length; from += PIECE_BYTES) {
          if (socket.destroyed) return;
          const isRoom = socket.write(piece.subarray(from, from + PIECE_BYTES));
          if (!isRoom) await drained(socket);
        }
      }
      sentMs = performance.now();
    });
  });
}

/** An answer is in the request's encoding and says that it is. */
function answerFault(head: string, text: string, headers: Readonly<Record<string, string>>): string {
  const status = /^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? "";
  const type = /^content-type: ([^\r]*)/im.exec(head)?.[1] ?? "none";
  const asked = headers["content-type"] ?? "";
  if ((status === "503" || status === "429") && !/^retry-after: \d+/im.test(head))
    return `${status} without Retry-After`;
  // What cannot be read as HTTP has no encoding yet.
  if (/is not valid HTTP/.test(text) && type === "application/json") return "";
  if (headers["x-form"] === "otlp" && type !== asked && status !== "415") return `the answer to ${asked} is ${type}`;
  return "";
}

const OTLP = { "content-type": "application/x-protobuf", "x-form": "otlp" };

/** A body with its length told. */
function told(
  body: Uint8Array,
  headers: Readonly<Record<string, string>>,
  path = "/v1/traces",
): Omit<RawRequest, "address"> {
  return { path, headers: { ...headers, "content-length": String(body.length) }, body: [body] };
}

function chunked(
  pieces: () => Iterable<Uint8Array>,
  headers: Readonly<Record<string, string>>,
): Omit<RawRequest, "address"> {
  const framed = function* () {
    for (const piece of pieces()) {
      yield Buffer.from(`${piece.length.toString(16)}\r\n`);
      yield piece;
      yield Buffer.from("\r\n");
    }
  };
  return {
    path: "/v1/traces",
    headers: { ...headers, "transfer-encoding": "chunked" },
    body: { [Symbol.iterator]: framed },
  };
}

/** Compressed bodies that are more than a body may be, or lie, by the name of their encoding. */
export function compressedBombs(): readonly CompressedBomb[] {
  made ??= makeCompressed();
  return made;
}

interface CompressedBomb {
  readonly name: string;
  readonly encoding: string;
  readonly bytes: Buffer;
  readonly wants: "too_large" | "broken";
}

/** Made once: they take some seconds. */
let made: readonly CompressedBomb[] | undefined;

function makeCompressed(): CompressedBomb[] {
  const over = Buffer.alloc(BODY_BYTES_MAX + MIB);
  const gzip = gzipSync(over);
  const zstd = zstdCompressSync(over);
  const lying = Buffer.from(gzip);
  lying.writeUInt32LE(1_000, lying.length - 4);
  const long = gzipSync(Buffer.alloc(LONG_BYTES));
  const nested = gzipSync(long);
  // A frame without its size: written by a stream.
  const untold = zstdWithoutSize(over.length);
  const members = Buffer.concat(Array.from({ length: 80 }, () => gzipSync(Buffer.alloc(MIB))));
  const frames = Buffer.concat(Array.from({ length: 900 }, () => zstdCompressSync(Buffer.alloc(128 * 1024))));
  return [
    { name: "gzip of 65 MiB", encoding: "gzip", bytes: gzip, wants: "too_large" },
    { name: "gzip of 256 MiB", encoding: "gzip", bytes: long, wants: "too_large" },
    { name: "gzip that tells of a thousand bytes", encoding: "gzip", bytes: lying, wants: "too_large" },
    { name: "gzip of 80 members", encoding: "gzip", bytes: members, wants: "too_large" },
    { name: "gzip in gzip", encoding: "gzip", bytes: nested, wants: "broken" },
    { name: "gzip cut short", encoding: "gzip", bytes: gzip.subarray(0, gzip.length - 20), wants: "too_large" },
    { name: "zstd of 65 MiB", encoding: "zstd", bytes: zstd, wants: "too_large" },
    {
      name: "zstd of 256 MiB",
      encoding: "zstd",
      bytes: zstdCompressSync(Buffer.alloc(LONG_BYTES)),
      wants: "too_large",
    },
    { name: "zstd that tells nothing", encoding: "zstd", bytes: untold, wants: "too_large" },
    { name: "zstd of 900 frames", encoding: "zstd", bytes: frames, wants: "too_large" },
    { name: "zstd with a window of 2 GiB", encoding: "zstd", bytes: zstdWindow(), wants: "broken" },
    { name: "deflate of 65 MiB", encoding: "deflate", bytes: deflateSync(over), wants: "too_large" },
    {
      name: "deflate of 256 MiB",
      encoding: "deflate",
      bytes: deflateSync(Buffer.alloc(LONG_BYTES)),
      wants: "too_large",
    },
    { name: "snappy of 65 MiB", encoding: "snappy", bytes: Buffer.from(encodeSnappy(over)), wants: "too_large" },
    {
      name: "snappy that tells of 2 GiB",
      encoding: "snappy",
      bytes: Buffer.from([0x80, 0x80, 0x80, 0x80, 0x08, 0, 97]),
      wants: "too_large",
    },
    {
      name: "snappy that tells of 10 MiB",
      encoding: "snappy",
      bytes: Buffer.from([0x80, 0x80, 0x80, 0x05, 0, 97]),
      wants: "broken",
    },
    { name: "noise as gzip", encoding: "gzip", bytes: Buffer.alloc(MIB, 0x5a), wants: "broken" },
    { name: "noise as zstd", encoding: "zstd", bytes: Buffer.alloc(MIB, 0x5a), wants: "broken" },
  ];
}

/** Frame without content size, of RLE blocks of 128 KiB: 4 bytes each. @see RFC 8878 */
function zstdWithoutSize(bytes: number): Buffer {
  const blocks = Math.ceil(bytes / 131_072);
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x40]);
  const parts: Buffer[] = [head];
  for (let block = 0; block < blocks; block++) {
    const header = (131_072 << 3) | 2 | (block === blocks - 1 ? 1 : 0);
    parts.push(Buffer.from([header & 255, (header >> 8) & 255, (header >> 16) & 255, 0]));
  }
  return Buffer.concat(parts);
}

/** Asks for a window of 2 GiB, for one block. */
function zstdWindow(): Buffer {
  const header = (131_072 << 3) | 2 | 1;
  return Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, header & 255, (header >> 8) & 255, (header >> 16) & 255, 0]);
}

function wanted(body: SignalBody): readonly string[] {
  if (body.wants === "malformed") return ["400"];
  return body.wants === "partial" ? ["200"] : ["200", "400"];
}

/** All bombs over HTTP. With others at once, a body may find the room for bodies full. */
export function httpBombs(): Bomb[] {
  const otlp = (name: string, wants: readonly string[], request: Omit<RawRequest, "address">): Bomb => ({
    name: `HTTP: ${name}`,
    wants,
    send: ({ otlpHttp }) => sendRaw({ ...request, address: otlpHttp }),
  });
  const over = Buffer.alloc(BODY_BYTES_MAX + 1);
  const bombs: Bomb[] = [
    otlp("65 MiB told", ["413"], told(over, OTLP)),
    otlp("a length of 100 GB", ["413"], {
      path: "/v1/traces",
      headers: { ...OTLP, "content-length": "100000000000" },
      body: [],
    }),
    otlp(
      "65 MiB in chunks",
      ["413"],
      chunked(() => [over], OTLP),
    ),
    otlp("chunks without end", ["413"], chunked(endless, OTLP)),
    otlp("2,000,000 chunks of a byte", ["400"], {
      path: "/v1/traces",
      headers: { ...OTLP, "transfer-encoding": "chunked" },
      body: [Buffer.alloc(6 * CHUNKS, "1\r\na\r\n"), Buffer.from("0\r\n\r\n")],
    }),
    otlp("two lengths", ["400"], {
      path: "/v1/traces",
      headers: { ...OTLP, "content-length": "5\r\ncontent-length: 6" },
      body: [Buffer.alloc(6)],
    }),
    otlp("a length and chunks", ["400"], {
      path: "/v1/traces",
      headers: { ...OTLP, "content-length": "5", "transfer-encoding": "chunked" },
      body: [Buffer.from("5\r\nabcde\r\n0\r\n\r\n")],
    }),
    otlp("a negative length", ["400"], {
      path: "/v1/traces",
      headers: { ...OTLP, "content-length": "-1" },
      body: [Buffer.alloc(6)],
    }),
    otlp("a chunk of 2^64 bytes", ["400", "413"], {
      path: "/v1/traces",
      headers: { ...OTLP, "transfer-encoding": "chunked" },
      body: [Buffer.from("FFFFFFFFFFFFFFFFF\r\nabc")],
    }),
    otlp("an extension of a chunk of a mebibyte", ["413", "400"], {
      path: "/v1/traces",
      headers: { ...OTLP, "transfer-encoding": "chunked" },
      body: [Buffer.from(`5;${"a".repeat(MIB)}`)],
    }),
    otlp("a header of a mebibyte", ["431"], {
      path: "/v1/traces",
      headers: { ...OTLP, "x-long": "a".repeat(MIB) },
      body: [],
    }),
    otlp("100,000 headers", ["431"], {
      path: "/v1/traces",
      headers: { ...OTLP, "x-many": `a\r\n${"x: y\r\n".repeat(100_000)}z: z` },
      body: [],
    }),
    otlp(
      "an encoding in an encoding",
      ["400", "415"],
      told(gzipSync(Buffer.alloc(100)), { ...OTLP, "content-encoding": "gzip, gzip" }),
    ),
  ];
  for (const { name, encoding, bytes, wants } of compressedBombs()) {
    const statuses = wants === "broken" ? ["400"] : ["413"];
    bombs.push(otlp(name, statuses, told(bytes, { ...OTLP, "content-encoding": encoding })));
  }
  for (const body of [...protobufBombs(), ...jsonBombs()]) {
    const type = body.encoding === "json" ? "application/json" : "application/x-protobuf";
    const request = told(body.bytes, { "content-type": type, "x-form": "otlp" }, `/v1/${body.signal}`);
    bombs.push({
      ...otlp(body.name, wanted(body), request),
      isLegal: body.wants !== "malformed",
      bytes: body.bytes.length,
    });
  }
  const zipped = gzipSync(protobufBombs()[0]?.bytes ?? "");
  const request = told(zipped, { ...OTLP, "content-encoding": "gzip" });
  bombs.push({ ...otlp("5,000,000 empty spans in gzip", ["200", "400"], request), isLegal: true });
  return bombs;
}

function* endless(): Iterable<Uint8Array> {
  const piece = Buffer.alloc(MIB);
  for (let sent = 0; sent < 2_048; sent++) yield piece;
}

/** Resolves when a socket takes more, or is gone. */
export function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      socket.off("drain", go).off("close", go);
      resolve();
    };
    socket.once("drain", go).once("close", go);
  });
}
