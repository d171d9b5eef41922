/**
 * What one call of Redis or PostgreSQL costs from slices to a finished exchange, the connection room included.
 *
 * Run: `node bench/database-parse.ts`
 */

import { bench, run, summary } from "mitata";
import {
  bind,
  columns,
  complete,
  execute,
  join,
  parse,
  pg,
  query,
  ready,
  row,
  startup,
  sync,
  welcome,
} from "../agent/protocol/postgresql.testkit.ts";
import { ParsePlayer } from "./parse-kit.ts";

const CALLS = 1000;
const REDIS_PORT = 6379;
const POSTGRESQL_PORT = 5432;

function redis(valueBytes: number): readonly Uint8Array[] {
  const value = "x".repeat(valueBytes);
  return Array.from({ length: CALLS }, (_unused, at) => {
    const key = `user:${at}`;
    return at % 2 === 0
      ? [`*2\r\n$3\r\nGET\r\n$${key.length}\r\n${key}\r\n`, `$${valueBytes}\r\n${value}\r\n`]
      : [`*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${valueBytes}\r\n${value}\r\n`, "+OK\r\n"];
  })
    .flat()
    .map((text) => Buffer.from(text));
}

/** `simple`: another literal each time, so that no text was read before. `prepared`: a statement that is bound again. */
function postgresql(kind: "simple" | "prepared", rows: number): readonly Uint8Array[] {
  const result = join(
    ...Array.from({ length: rows }, () => row("some text of a row")),
    complete(`SELECT ${rows}`),
    ready(),
  );
  const messages: Uint8Array[] = [startup("app", "shop"), welcome()];
  if (kind === "prepared") {
    messages.push(
      join(parse("s1", "SELECT name FROM items WHERE id = $1 AND owner = $2"), sync()),
      join(pg("1"), ready()),
    );
  }
  for (let at = 0; at < CALLS; at++) {
    if (kind === "prepared") messages.push(join(bind("", "s1"), execute(), sync()), join(pg("2"), result));
    else messages.push(query(`SELECT name FROM items WHERE id = ${at} AND owner = 'joe'`), join(columns(), result));
  }
  return messages;
}

const player = new ParsePlayer();
summary(() => {
  for (const valueBytes of [64, 4096]) {
    const messages = redis(valueBytes);
    bench(`${CALLS} commands of Redis, values of ${valueBytes} bytes`, () => player.play(messages, REDIS_PORT));
  }
  for (const kind of ["simple", "prepared"] as const) {
    const messages = postgresql(kind, 5);
    bench(`${CALLS} ${kind} queries of PostgreSQL, 5 rows`, () => player.play(messages, POSTGRESQL_PORT));
  }
});
await run();
if (player.finished === 0) throw new Error("no exchange was finished");
