/** Commands with secrets in every place of them, and what may be left of each. */

import { connect, type Socket } from "node:net";
import type { Planter } from "./planter.ts";

/** A command, and what its span may keep. */
export interface PlantedCommand {
  readonly words: readonly string[];
  /** Sent as a line, as one would type it. */
  readonly isInline?: boolean;
  readonly name: string;
  /** `db.query.text` of the span. */
  readonly text: string;
}

/** The command of number `number`; the kinds come in turn. */
export function plantCommand(number: number, planter: Planter): PlantedCommand {
  const kind = KINDS[number % KINDS.length] ?? KINDS[0];
  return kind(planter, number);
}

type Kind = (planter: Planter, number: number) => PlantedCommand;

function one(words: readonly string[], text: string, name = String(words[0])): PlantedCommand {
  return { words, text, name };
}

const KINDS: readonly [Kind, ...Kind[]] = [
  (p, n) => one(["SET", `key:${n}`, p.plain()], `SET key:${n} ?`),
  (p, n) => one(["SET", `key:${n}`, `${p.plain()} ${"x".repeat(5000)} ${p.plain()}`, "EX", "9"], `SET key:${n} ? ? ?`),
  (_, n) => one(["GET", `key:${n - 2}`], `GET key:${n - 2}`),
  (p) => one(["MSET", "a", p.plain(), "b", p.plain()], "MSET a ? b ?"),
  (p) => one(["HSET", "h", "password", p.plain(), "mail", p.shaped("email")], "HSET h password ? mail ?"),
  (p) => one(["LPUSH", "list", p.plain(), p.anyShape()], "LPUSH list ? ?"),
  (p) => one(["SADD", "set", p.plain()], "SADD set ?"),
  (p) => one(["ZADD", "zset", "1", p.plain()], "ZADD zset ? ?"),
  (p) => one(["GETSET", "a", p.plain()], "GETSET a ?"),
  (p) => one(["SETEX", "a", "100", p.plain()], "SETEX a ? ?"),
  (p) => one(["APPEND", "a", p.plain()], "APPEND a ?"),
  (p) => one(["PUBLISH", "news", p.plain()], "PUBLISH news ?"),
  (p) => one(["XADD", "stream", "*", "token", p.plain()], "XADD stream ? ? ?"),
  (p) => one(["GET", `session:${p.plain()}`], "GET REDACTED"),
  (p) => one(["DEL", `user:${p.shaped("email")}`, "a"], "DEL REDACTED a"),
  (p) => one(["GET", `cache:${p.anyShape()}:page`], "GET REDACTED"),
  (p) => one(["EVAL", `return '${p.plain()}'`, "1", "a", p.plain()], "EVAL ? ? a ?"),
  (p) => one(["EVAL", `return redis.error_reply('OOPS ${p.plain()}')`, "0"], "EVAL ? ?"),
  (p) => one(["EVAL", `return redis.error_reply('${p.shaped("aws")} is wrong')`, "0"], "EVAL ? ?"),
  (p) => one(["SCRIPT", "LOAD", `return '${p.plain()}'`], "SCRIPT LOAD ?", "SCRIPT LOAD"),
  (p) =>
    one(
      [
        "FUNCTION",
        "LOAD",
        "REPLACE",
        `#!lua name=lib\nredis.register_function('f', function() return '${p.plain()}' end)`,
      ],
      "FUNCTION LOAD ? ?",
      "FUNCTION LOAD",
    ),
  (p) => one(["CONFIG", "SET", "masterauth", p.plain()], "CONFIG SET masterauth ?", "CONFIG SET"),
  (p) => one(["CONFIG", "SET", "maxmemory", "0", "masterauth", p.plain()], "CONFIG SET maxmemory ? ? ?", "CONFIG SET"),
  (p) => one(["CONFIG", p.plain()], "CONFIG ?", "CONFIG"),
  (p) => one(["ACL", "SETUSER", "joe", "on", `>${p.plain()}`, "~*"], "ACL SETUSER ? ? ? ?", "ACL SETUSER"),
  (p) => one(["AUTH", "joe", p.plain()], "AUTH ? ?"),
  (p) => one(["AUTH", p.plain()], "AUTH ?"),
  (p) => one(["HELLO", "3", "AUTH", "joe", p.plain(), "SETNAME", "x"], "HELLO ? ? ? ? ? ?"),
  (p) => one(["MIGRATE", "127.0.0.1", "1", "nokey", "0", "10", "AUTH", p.plain()], "MIGRATE ? ? ? ? ? ? ?"),
  (p) => one(["MIGRATE", "127.0.0.1", "1", "nokey", "0", "10", "AUTH2", "joe", p.plain()], "MIGRATE ? ? ? ? ? ? ? ?"),
  (p) => one(["CLIENT", "SETNAME", p.plain()], "CLIENT SETNAME ?", "CLIENT SETNAME"),
  (p) => one(["ECHO", p.plain()], "ECHO ?"),
  (p) => one(["PING", p.plain()], "PING ?"),
  // Errors whose texts quote what was sent.
  (p) => one(["NOSUCH", p.plain(), p.plain()], "NOSUCH ? ?"),
  (p) => one([p.plain()], "_OTHER", "_OTHER"),
  () => one(["HUNTER2", "x"], "_OTHER ?", "_OTHER"),
  (p) => one(["LPUSH", "set", p.plain()], "LPUSH set ?"),
  (p) => one(["RESTORE", "dumped", "0", p.plain()], "RESTORE dumped ? ?"),
  (p) => one(["INCRBY", "a", p.plain()], "INCRBY a ?"),
  (p, n) => ({ ...one(["SET", `key:${n}`, p.plain()], `SET key:${n} ?`), isInline: true }),
  (p) => ({ ...one(["AUTH", p.plain()], "AUTH ?"), isInline: true }),
];

/** A connection to a Redis that asks for a password. Commands go `depth` at a time. */
export async function sendCommands(
  port: number,
  password: string,
  commands: readonly PlantedCommand[],
  depth: number,
): Promise<string[]> {
  const socket = connect(port, "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  const replies = readReplies(socket);
  const all: PlantedCommand[] = [{ words: ["AUTH", password], name: "AUTH", text: "AUTH ?" }, ...commands];
  const codes: string[] = [];
  for (let at = 0; at < all.length; at += depth) {
    const batch = all.slice(at, at + depth);
    socket.write(batch.map(encode).join(""));
    for (const _ of batch) codes.push(await replies());
  }
  socket.end();
  return codes.slice(1);
}

function encode({ words, isInline }: PlantedCommand): string {
  if (isInline) return `${words.join(" ")}\r\n`;
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
}

/** Gives the replies one after the other: the code of an error, empty for all others. */
function readReplies(socket: Socket): () => Promise<string> {
  let text = "";
  let wake: (() => void) | undefined;
  socket.setEncoding("latin1").on("data", (more: string) => {
    text += more;
    wake?.();
  });
  return async () => {
    for (;;) {
      const end = endOfReply(text, 0);
      if (end >= 0) {
        const reply = text.slice(0, end);
        text = text.slice(end);
        return reply.startsWith("-") ? (/^-(\S+)/.exec(reply)?.[1] ?? "") : "";
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
}

/** Where the reply at `at` ends; -1 where it is not whole. */
function endOfReply(text: string, at: number): number {
  const line = text.indexOf("\r\n", at);
  if (line < 0) return -1;
  const count = Number(text.slice(at + 1, line));
  const type = text[at] ?? "";
  if ("$=!".includes(type)) {
    const end = count < 0 ? line + 2 : line + 2 + count + 2;
    return end <= text.length ? end : -1;
  }
  let end = line + 2;
  const elements = "*~>".includes(type) ? count : type === "%" ? 2 * count : 0;
  for (let element = 0; element < elements && end >= 0; element++) end = endOfReply(text, end);
  return end;
}
