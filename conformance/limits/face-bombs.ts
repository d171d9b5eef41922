/** Bombs at the other faces of HTTP: forms of PromQL, statements of SQL, remote write and read, line protocol. */

import { gzipSync } from "node:zlib";
import { encodeSnappy } from "../../server/wire/snappy.ts";
import { field } from "./bodies.ts";
import { type Bomb, sendRaw } from "./http-bombs.ts";

const MIB = 2 ** 20;
const MILLION = 1_000_000;
const FORM = { "content-type": "application/x-www-form-urlencoded" };
const JSON_TYPE = { "content-type": "application/json" };
const REMOTE = { "content-type": "application/x-protobuf", "content-encoding": "snappy" };

/** A body, where it goes, and what may be answered. */
interface FaceBomb {
  readonly name: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: () => Uint8Array;
  readonly wants: readonly string[];
  /** It may be taken, in whole or in part. */
  readonly isLegal?: boolean;
  /** Series that it makes. */
  readonly series?: number;
  /** Of bodies that take long to be read at all: the time of a plain refusal of as many is not theirs. */
  readonly bytes?: number;
}

const many = (count: number, text: string | Uint8Array) => Buffer.alloc(count * text.length, text);

function promqlBombs(): FaceBomb[] {
  const at = (name: string, body: () => Uint8Array, wants: readonly string[], path = "/api/v1/query"): FaceBomb => {
    return { name: `PromQL: ${name}`, path, headers: FORM, body, wants };
  };
  // Just below what a form may have.
  const query = (repeated: string) => () =>
    Buffer.concat([Buffer.from("query="), many(Math.floor((3 * MIB) / repeated.length), repeated)]);
  const part = '--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n';
  return [
    at("a form of 65 MiB", () => Buffer.alloc(65 * MIB, "a"), ["413"]),
    at("3 MiB of ampersands", () => many(3 * MIB, "&"), ["400"]),
    at("1,500,000 names", () => many(1_500_000, "a&"), ["400"]),
    at("500,000 names, each another", () => Buffer.from(Array.from({ length: 500_000 }, (_, n) => n).join("&")), [
      "400",
    ]),
    at("3 MiB of escapes", query("%41"), ["200", "400", "422"]),
    at("3 MiB of broken escapes", query("%zz"), ["400"]),
    at("3 MiB of escaped bytes that are no text", query("%ff"), ["400"]),
    at("parentheses", query("("), ["400"]),
    at("additions", query("1%2B"), ["400", "422"]),
    at("a name of 3 MiB", query("a"), ["400", "200", "422"]),
    at("500,000 digits as a time", () => Buffer.from(`query=1&time=${"1".repeat(500_000)}!`), ["400"]),
    at("500,000 digits of base 16 as a time", () => Buffer.from(`query=1&time=0x${"1".repeat(500_000)}!`), ["400"]),
    at("500,000 digits as a limit", () => Buffer.from(`query=1&limit=${"1".repeat(500_000)}`), ["400"]),
    at("60,000 digits that are no number", () => Buffer.from(`query=${"1".repeat(60_000)}.1.1`), ["400"]),
    at("matchers", () => many(300_000, "match[]=a&"), ["200", "400", "422"], "/api/v1/series"),
    {
      ...at("a form of 50,000 parts", () => Buffer.concat([many(50_000, part), Buffer.from("--b--")]), ["400"]),
      headers: { "content-type": "multipart/form-data; boundary=b" },
    },
  ];
}

function sqlBombs(): FaceBomb[] {
  const at = (name: string, body: () => Uint8Array, wants: readonly string[]): FaceBomb => {
    return { name: `SQL: ${name}`, path: "/api/v1/sql", headers: JSON_TYPE, body, wants };
  };
  const json = (text: string) => () => Buffer.from(text);
  const quoted = (text: string) => json(JSON.stringify({ query: text }));
  return [
    at("2 MiB", () => Buffer.alloc(2 * MIB, "a"), ["413"]),
    at("half a million brackets", json("[".repeat(500_000)), ["400"]),
    at("half a million parentheses", quoted(`SELECT ${"(".repeat(500_000)}1`), ["413"]),
    at("60,000 parentheses", quoted(`SELECT ${"(".repeat(60_000)}1`), ["400"]),
    at("30,000 additions", quoted(`SELECT 1${"+1".repeat(30_000)}`), ["400", "422"]),
    at("30,000 columns", quoted(`SELECT 1${",1".repeat(30_000)}`), ["413"]),
    at("a long name", quoted(`SELECT ${"a".repeat(60_000)}`), ["400"]),
    at("a text that never ends", quoted(`SELECT '${"a".repeat(60_000)}`), ["400"]),
    at("30,000 minus signs", quoted(`SELECT ${"- ".repeat(30_000)}1`), ["400", "422"]),
    at("30,000 NOTs", quoted(`SELECT ${"NOT ".repeat(15_000)}true`), ["400", "422"]),
    at("100,000 parameters", json(`{"query":"SELECT 1","params":[${"1,".repeat(100_000)}1]}`), ["400"]),
    at("brackets in a parameter", json(`{"query":"SELECT 1","params":${"[".repeat(300_000)}${"]".repeat(300_000)}}`), [
      "400",
    ]),
  ];
}

/** A length that says so, and nothing that could fulfil it. */
function claim(bytes: number): Uint8Array {
  const head: number[] = [];
  let rest = bytes;
  for (; rest > 127; rest = Math.floor(rest / 128)) head.push((rest & 127) | 128);
  return Uint8Array.from([...head, rest, 0, 97]);
}

function remoteBombs(): FaceBomb[] {
  const at = (name: string, body: () => Uint8Array, wants: readonly string[] = ["400"], path = "write"): FaceBomb => {
    return { name: `remote ${path}: ${name}`, path: `/api/v1/${path}`, headers: REMOTE, body, wants };
  };
  const two = { ...REMOTE, "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request" };
  const snappy = (bytes: Uint8Array) => () => encodeSnappy(bytes);
  const of = (version: 1 | 2, bomb: FaceBomb): FaceBomb =>
    version === 1 ? bomb : { ...bomb, name: `${bomb.name}, 2.0`, headers: two };
  return [
    at("33 MiB told", () => Buffer.alloc(33 * MIB), ["413"]),
    at("a claim of 2 GiB", () => claim(2 ** 31), ["400", "413"]),
    at("a claim of 32 MiB", () => claim(2 ** 25)),
    at("256 MiB of zeros", snappy(Buffer.alloc(2 ** 28)), ["400", "413"]),
    at("32 MiB of zeros", snappy(Buffer.alloc(2 ** 25))),
    at("5,000,000 empty series", snappy(many(5 * MILLION, field(1)))),
    of(2, at("5,000,000 empty series", snappy(many(5 * MILLION, field(5))))),
    at("5,000,000 empty samples", snappy(field(1, many(5 * MILLION, field(2))))),
    at("5,000,000 empty labels", snappy(field(1, many(5 * MILLION, field(1))))),
    at("5,000,000 empty exemplars", snappy(field(1, many(5 * MILLION, field(3))))),
    at("5,000,000 empty histograms", snappy(field(1, many(5 * MILLION, field(4))))),
    at("5,000,000 empty spans", snappy(field(1, field(4, many(5 * MILLION, field(11)))))),
    at("10,000,000 buckets", snappy(field(1, field(4, field(12, Buffer.alloc(10 * MILLION)))))),
    at("5,000,000 metadata", snappy(many(5 * MILLION, field(3)))),
    of(2, at("5,000,000 symbols", snappy(many(5 * MILLION, field(4))))),
    of(
      2,
      at("10,000,000 references", snappy(Buffer.concat([field(4), field(5, field(1, Buffer.alloc(10 * MILLION)))]))),
    ),
    at("a label of 30 MiB", snappy(field(1, field(1, field(1, Buffer.alloc(30 * MIB, 97)))))),
    at("a claim of 2 GiB", () => claim(2 ** 31), ["400", "413"], "read"),
    at("5,000,000 empty queries", snappy(many(5 * MILLION, field(1))), ["400"], "read"),
    at("5,000,000 empty matchers", snappy(field(1, many(5 * MILLION, field(3)))), ["400"], "read"),
  ];
}

function lineBombs(): FaceBomb[] {
  const at = (name: string, body: () => Uint8Array, wants: readonly string[], isLegal = false): FaceBomb => {
    return { name: `line protocol: ${name}`, path: "/write?db=a", body, wants, isLegal };
  };
  const zipped = (bytes: Uint8Array) => () => gzipSync(bytes);
  const gzip = { "content-encoding": "gzip" };
  return [
    at("65 MiB", () => Buffer.alloc(65 * MIB, "a"), ["413"]),
    { ...at("a line of 20 MiB", () => Buffer.alloc(20 * MIB, "a"), ["400", "413"]), bytes: 20 * MIB },
    at("1,000,000 digits that are no number", () => Buffer.from(`m f=${"1".repeat(MILLION)}!`), ["400"]),
    at("10,000,000 line ends", () => Buffer.alloc(10 * MILLION, "\n"), ["400"], true),
    at("1,000,000 wrong lines", () => many(MILLION, "a\n"), ["400"], true),
    at("a million fields of a line", () => Buffer.concat([Buffer.from("m f=1"), many(MILLION, ",f=1")]), ["400"]),
    at(
      "a million tags of a line",
      () => Buffer.concat([Buffer.from("m"), many(MILLION, ",t=1"), Buffer.from(" f=1")]),
      ["400", "413"],
    ),
    at(
      "a million points of one series",
      () => many(MILLION, "m f=1 1700000000000000000\n"),
      ["204", "400", "413"],
      true,
    ),
    {
      ...at(
        "300,000 points of as many series",
        () => Buffer.from(Array.from({ length: 300_000 }, (_, at) => `m,t=${at} f=1\n`).join("")),
        ["204", "400", "413"],
        true,
      ),
      series: 300_000,
    },
    at(
      "20,000 fields of 20 lines",
      () => Buffer.from(`m ${"f=1,".repeat(20_000)}f=1\n`.repeat(20)),
      ["204", "400"],
      true,
    ),
    at(
      "many tags and fields of a line",
      () => Buffer.from(`m${Array.from({ length: 1_000 }, (_, n) => `,t${n}=v`).join("")} ${"f=1,".repeat(50_000)}f=1`),
      ["400"],
    ),
    { ...at("gzip of 256 MiB", zipped(Buffer.alloc(256 * MIB)), ["413"]), headers: gzip },
    { ...at("60 MiB of wrong lines in gzip", zipped(many(30 * MIB, "a\n")), ["400", "413"]), headers: gzip },
  ];
}

/** All bombs at other faces than those of OTLP. */
export function faceBombs(): Bomb[] {
  return [...promqlBombs(), ...sqlBombs(), ...remoteBombs(), ...lineBombs()].map((bomb) => {
    let made: Uint8Array | undefined;
    return {
      name: bomb.name,
      wants: bomb.wants,
      isLegal: bomb.isLegal === true,
      series: bomb.series ?? 0,
      bytes: bomb.bytes ?? 1,
      isAnswered: true,
      send: ({ http }) => {
        made ??= bomb.body();
        const headers = { ...bomb.headers, "content-length": String(made.length) };
        return sendRaw({ address: http, path: bomb.path, headers, body: [made] });
      },
    };
  });
}
