import assert from "node:assert/strict";
import { test } from "node:test";
import { type Played, type PlayOptions, play as playAny, randomFrom, type Step, timeless } from "./http1.testkit.ts";
import {
  bind,
  close,
  columns,
  complete,
  describe,
  execute,
  failure,
  int16,
  int32,
  join,
  parse,
  pg,
  query,
  ready,
  row,
  startup,
  sync,
  untyped,
  welcome,
} from "./postgresql.testkit.ts";
import { POSTGRESQL } from "./postgresql.ts";
import { WAITING_MAX } from "./postgresql-queue.ts";

const play = (steps: readonly Step[], options: PlayOptions = {}) =>
  playAny(steps, { ...options, protocol: POSTGRESQL });

const CONNECTED: readonly Step[] = [
  [">", startup("app", "shop")],
  ["<", welcome()],
];
const PARSED = pg("1");
const BOUND = pg("2");
const CLOSED = pg("3");
const SSL = 80_877_103;
const GSSENC = 80_877_104;
const CANCEL = 80_877_102;

/** One line an exchange, without those of the session. */
function lines({ exchanges }: Played): string[] {
  return exchanges
    .filter(({ op }) => op !== "startup")
    .map(({ type, endpoint, status, code, cutShort }) =>
      [type, endpoint, status, code, cutShort].filter((word) => word !== "").join(" "),
    );
}

test("simple queries: one exchange each, with rows, tags, errors and notices", () => {
  const played = play([
    ...CONNECTED,
    [">", query("SELECT name FROM items WHERE id = 7")],
    ["<", join(columns(), row("a"), pg("N", "SNOTICE", "C00000", Buffer.alloc(1)), row("b"), complete("SELECT 2"))],
    ["<", ready()],
    [">", query("UPDATE items SET n = 1")],
    ["<", join(failure("40001"), ready("E"))],
    [">", query("SELECT 1; SELECT 2")],
    ["<", join(columns(), row("1"), complete("SELECT 1"), columns(), row("2"), complete("SELECT 1"), ready())],
    [">", query("")],
    ["<", join(pg("I"), ready())],
    [">", pg("X")],
  ]);
  assert.deepEqual(lines(played), [
    "exchange SELECT items ok",
    "exchange UPDATE items server_error 40001",
    "exchange SELECT SELECT ok",
    "exchange postgresql ok",
    "message terminate unknown",
  ]);
  assert.deepEqual(played.exchanges[1]?.attributes, {
    "db.system.name": "postgresql",
    "db.namespace": "shop",
    "db.query.text": "SELECT name FROM items WHERE id = ?",
    "db.query.summary": "SELECT items",
    "db.operation.name": "SELECT",
    "db.collection.name": "items",
    "db.response.returned_rows": 2,
  });
  assert.equal(played.exchanges[1]?.response?.startNs, 4e6);
  assert.equal(played.exchanges[1]?.response?.endNs, 5e6);
  assert.deepEqual(played.counts, []);
});

test("encryption refused, cancel, protocol 3.2, passwords and failed logins", () => {
  const played = play([
    [">", untyped(SSL)],
    ["<", "N"],
    [">", untyped(GSSENC)],
    ["<", "N"],
    [">", startup("app", "shop", 0x0003_0002)],
    ["<", join(pg("v", int32(0), int32(0)), pg("R", int32(5), Buffer.from("salt")))],
    [">", pg("p", "md5hunter2")],
    ["<", join(pg("R", int32(0)), pg("K", int32(1), Buffer.alloc(64)), ready())],
    [">", query("SELECT 1")],
    ["<", join(failure("57014"), ready())],
  ]);
  assert.deepEqual(
    played.exchanges.map(({ type, op, code }) => `${type} ${op} ${code}`),
    ["message ssl_request N", "message gssenc_request N", "message startup ", "exchange SELECT 57014"],
  );
  assert.doesNotMatch(JSON.stringify(played.exchanges), /hunter2/);
  assert.deepEqual(lines(play([[">", untyped(CANCEL, Buffer.alloc(260))]])), ["message cancel unknown"]);
  const refused = play([
    [">", startup("app", "")],
    ["<", pg("R", int32(3))],
    [">", pg("p", "wrong")],
    ["<", failure("28P01", "no", "FATAL")],
  ]);
  assert.deepEqual(
    refused.exchanges.map(({ type, op, status, code, attributes }) => [
      type,
      op,
      status,
      code,
      attributes["db.namespace"],
    ]),
    [["exchange", "startup", "client_error", "28P01", "app"]],
  );
  const old = play([
    [">", untyped(SSL)],
    ["<", failure("08P01")],
    [">", startup("a", "b")],
    ["<", welcome()],
    [">", query("SELECT 1")],
    ["<", join(complete("SELECT 1"), ready())],
  ]);
  assert.equal(lines(old).at(-1), "exchange SELECT ok");
});

test("encryption granted: the parser lets go, with what follows unread", () => {
  const tls = play([
    [">", untyped(SSL)],
    ["<", "S"],
    [">", Buffer.from([0x16, 3, 1, 0, 5])],
  ]);
  assert.equal(tls.parser.detached, "upgrade");
  assert.equal(tls.parser.detachedTo, "tls");
  assert.equal(tls.unused, 5);
  assert.equal(
    play([
      [">", untyped(GSSENC)],
      ["<", "G"],
    ]).parser.detachedTo,
    "gssenc",
  );
});

test("prepared statements have their own SQL, and a batch its own results", () => {
  const played = play([
    ...CONNECTED,
    [">", join(parse("s1", "SELECT name FROM items WHERE id = $1"), parse("s2", "UPDATE stock SET n = n - 1"), sync())],
    ["<", join(PARSED, PARSED, ready())],
    [">", join(bind("", "s1"), execute(), sync())],
    ["<", join(BOUND, row("pen"), complete("SELECT 1"), ready())],
    [">", join(bind("", "s2"), execute(), bind("", "s2", "x"), execute(), bind("", "s1"), execute(), sync())],
    ["<", join(BOUND, complete("UPDATE 1"), failure("22P02"), ready())],
    [">", join(close("S", "s1"), parse("s1", "DELETE FROM carts WHERE id = $1"), bind("", "s1"), execute(), sync())],
    ["<", join(CLOSED, PARSED, BOUND, complete("DELETE 1"), ready())],
  ]);
  assert.deepEqual(lines(played), [
    "message PREPARE ok",
    "exchange SELECT items ok",
    "exchange UPDATE stock ok",
    "message SELECT items unknown",
    "exchange UPDATE stock client_error 22P02",
    "exchange DELETE carts ok",
  ]);
});

test("what the server skips after an error is not executed, also where the client still sends it", () => {
  const played = play([
    ...CONNECTED,
    [">", join(parse("", "SELECT a FROM t"), bind("", ""), execute())],
    ["<", failure("42P01")],
    [">", join(parse("s", "SELECT b FROM u"), bind("", "s"), execute())],
    [">", sync()],
    ["<", ready()],
    [">", join(bind("", "s"), execute(), sync())],
    ["<", join(BOUND, complete("SELECT 0"), ready())],
  ]);
  assert.deepEqual(lines(played), ["exchange SELECT t client_error 42P01", "exchange SELECT ok"]);
  assert.equal(played.exchanges.at(-1)?.resource, "?s");
});

test("a definition that is refused leaves the name what it was", () => {
  const played = play([
    ...CONNECTED,
    [">", join(parse("s", "SELECT a FROM t"), sync())],
    ["<", join(PARSED, ready())],
    [">", join(parse("s", "SELECT b FROM u"), sync())],
    ["<", join(failure("42P05"), ready())],
    [">", join(bind("", "s"), execute(), sync())],
    ["<", join(BOUND, complete("SELECT 0"), ready())],
  ]);
  assert.deepEqual(lines(played), [
    "message PREPARE ok",
    "exchange SELECT u client_error 42P05",
    "exchange SELECT t ok",
  ]);
});

test("describe, flush, portals that are fetched in parts, statements that stand alone", () => {
  const played = play([
    ...CONNECTED,
    [">", join(parse("s", "SELECT a FROM t"), describe("S", "s"), pg("H"))],
    ["<", join(PARSED, pg("t", int16(0)), columns())],
    [">", join(bind("p", "s"), execute("p"), pg("H"))],
    ["<", join(BOUND, row("1"), pg("s"))],
    [">", join(execute("p"), close("P", "p"), sync())],
    ["<", join(row("2"), complete("SELECT 1"), CLOSED, ready())],
    [">", sync()],
    ["<", ready()],
    [">", query("SELECT 1")],
    ["<", join(complete("SELECT 1"), ready())],
  ]);
  assert.deepEqual(lines(played), [
    "message PREPARE ok",
    "exchange SELECT t ok",
    "exchange SELECT t ok",
    "exchange SELECT ok",
  ]);
});

test("copies in both protocols, function calls, notifications, replication", () => {
  const copied = play([
    ...CONNECTED,
    [">", query("COPY tmp FROM STDIN")],
    ["<", pg("G", Buffer.alloc(3))],
    [">", join(pg("d", Buffer.alloc(100)), pg("d", Buffer.alloc(100)))],
    [">", pg("c")],
    ["<", join(complete("COPY 5"), ready())],
    [">", join(parse("", "COPY tmp FROM STDIN"), bind("", ""), execute(), sync())],
    ["<", join(PARSED, BOUND, pg("G", Buffer.alloc(3)))],
    [">", join(pg("f", "stopped"), sync())],
    ["<", join(failure("57014"), ready())],
    [">", query("COPY t TO STDOUT")],
    ["<", join(pg("H", Buffer.alloc(3)), pg("d", Buffer.alloc(50)), pg("c"), complete("COPY 1"), ready())],
    ["<", pg("A", int32(9), "channel", "payload")],
    [">", pg("F", int32(1), int16(0), int16(0), int16(0))],
    ["<", join(pg("V", int32(0)), ready())],
  ]);
  assert.deepEqual(lines(copied), [
    "exchange COPY tmp ok",
    "exchange COPY tmp server_error 57014",
    "exchange COPY t ok",
    "exchange FUNCTION_CALL ok",
  ]);
  assert.equal(copied.exchanges[1]?.request?.bytes, 25 + 210 + 5);
  const replica = play([
    ...CONNECTED,
    [">", query("START_REPLICATION SLOT s LOGICAL 0/0")],
    ["<", pg("W", Buffer.alloc(3))],
    ["<", pg("d", Buffer.alloc(30))],
    [">", pg("d", Buffer.alloc(34))],
  ]);
  assert.deepEqual(lines(replica), ["exchange START_REPLICATION ok"]);
});

test("a pipeline keeps each result with its own statement", () => {
  const steps: Step[] = [...CONNECTED];
  const sent: Buffer[] = [];
  const answered: Buffer[] = [];
  for (let at = 0; at < 20; at++) {
    sent.push(join(parse("", `SELECT a FROM t${at}`), bind("", ""), execute(), sync()));
    answered.push(
      at % 5 === 4 ? join(PARSED, failure("22012"), ready()) : join(PARSED, BOUND, complete("SELECT 0"), ready()),
    );
  }
  steps.push([">", join(...sent.slice(0, 10))], ["<", join(...answered.slice(0, 3))]);
  steps.push([">", join(...sent.slice(10))], ["<", join(...answered.slice(3))]);
  const wanted = sent.map((_, at) => `exchange SELECT t${at} ${at % 5 === 4 ? "client_error 22012" : "ok"}`);
  assert.deepEqual(lines(play(steps)), wanted);
});

test("strings with backslashes are read as the server reads them", () => {
  const steps: Step[] = [
    [">", startup("app", "shop")],
    ["<", join(pg("R", int32(0)), pg("S", "standard_conforming_strings", "off"), ready())],
    [">", query("SELECT 'it\\'s secret' FROM t")],
    ["<", join(complete("SELECT 0"), ready())],
  ];
  assert.equal(play(steps).exchanges.at(-1)?.resource, "SELECT ? FROM t");
});

test("joined late: what is in flight is left out, names are unknown, and verbs come from the tag", () => {
  const played = play(
    [
      ["<", join(row("x"), complete("SELECT 3"), ready())],
      [">", join(bind("", "S_18"), execute(), sync())],
      ["<", join(BOUND, row("x"), complete("SELECT 1"), ready())],
      [">", join(bind("", "S_19"), execute(), sync())],
      ["<", join(BOUND, failure("23505"), ready())],
    ],
    { joinedLate: true },
  );
  assert.deepEqual(lines(played), ["response SELECT ok", "exchange SELECT ok", "exchange EXECUTE client_error 23505"]);
  assert.equal(played.exchanges[1]?.resource, "?S_18");
});

test("gaps: in rows and parameters nothing is lost; elsewhere no result is paired by guess", () => {
  const wide = pg("D", int16(1), int32(1000), Buffer.alloc(1000));
  const inside = play([
    ...CONNECTED,
    [">", query("SELECT a FROM t")],
    ["<", join(columns(), wide.subarray(0, 100))],
    ["<", 907],
    ["<", join(wide.subarray(1007), complete("SELECT 1"), ready())],
  ]);
  assert.deepEqual(lines(inside), ["exchange SELECT t ok"]);
  const lost = play([
    ...CONNECTED,
    [">", query("SELECT a FROM t")],
    ["<", 500],
    [">", query("SELECT b FROM u")],
    ["<", join(failure("42703"), ready())],
    [">", query("SELECT c FROM v")],
    ["<", columns()],
    ["<", 70],
    ["<", ready()],
    [">", query("SELECT d FROM w")],
    ["<", join(complete("SELECT 0"), ready())],
  ]);
  assert.deepEqual(lines(lost), [
    "request SELECT t unknown gap",
    "exchange SELECT u client_error 42703",
    "exchange SELECT v unknown",
    "exchange SELECT w ok",
  ]);
  const asked = play([
    ...CONNECTED,
    [">", join(parse("s", "SELECT a FROM t"), sync())],
    ["<", join(PARSED, ready())],
    [">", 60],
    ["<", join(BOUND, complete("SELECT 1"), ready())],
    [">", join(bind("", "s"), execute(), sync())],
    ["<", join(BOUND, complete("SELECT 1"), ready())],
  ]);
  assert.deepEqual(lines(asked), ["message PREPARE ok", "exchange SELECT t ok"]);
});

test("a result whose end was lost is over when the client goes on, and how it ended is not known", () => {
  const played = play([
    [">", startup("app", "shop")],
    ["<", welcome()],
    [">", query("SELECT a FROM t")],
    ["<", join(columns(), row("one"))],
    ["<", 5000],
    [">", query("SELECT b FROM u")],
    ["<", join(columns(), row("x"), complete("SELECT 1"), ready())],
  ]);
  assert.deepEqual(lines(played), ["exchange SELECT t unknown", "exchange SELECT u ok"]);
});

test("a connection that ends leaves what was open to it", () => {
  const open: Step[] = [...CONNECTED, [">", query("SELECT a FROM t")]];
  assert.deepEqual(lines(play(open)), ["request SELECT t unknown connection_closed"]);
  assert.deepEqual(lines(play(open, { end: "reset" })), ["request SELECT t unknown reset"]);
  assert.deepEqual(lines(play([...open, ["<", failure("57P01", "bye", "FATAL")]])), [
    "exchange SELECT t server_error 57P01",
  ]);
});

test("bounds: what waits", () => {
  const many = play([...CONNECTED, [">", join(...Array.from({ length: WAITING_MAX + 10 }, () => query("SELECT 1")))]]);
  assert.ok(many.counts.includes("postgresql_waiting_max"));
});

test("detection does not take other protocols", () => {
  const judge = (bytes: Uint8Array | string, direction: 0 | 1) =>
    POSTGRESQL.detect(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes, direction);
  for (const bytes of [
    startup("a", "b"),
    untyped(SSL),
    untyped(CANCEL, Buffer.alloc(8)),
    query("SELECT 1"),
    sync(),
    join(bind("", "s"), execute(), sync()),
  ])
    assert.equal(judge(bytes, 0), "yes", bytes.toString("latin1"));
  for (const bytes of [welcome(), ready(), failure("22012"), join(BOUND, complete("SELECT 1"), ready())])
    assert.equal(judge(bytes, 1), "yes", bytes.toString("latin1"));
  for (const text of [
    "POST / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "*1\r\n$4\r\nPING\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16\x03\x01\x00\x05hello",
    "\x00\x00\x00\x16\x00\x03\x00\x01\x00\x00\x00\x07client-1",
    "\x00\x00\x00\x10\x00\x03\x00\x00abcdefgh",
    "Q\x00\x00\x00\x04",
    "\x10\x11\x00\x04MQTT\x04\x02\x00<\x00\x05Bus41",
    ":3l33t.server.org\x01\n",
    "ceph v027",
  ])
    for (const direction of [0, 1] as const) assert.notEqual(judge(text, direction), "yes", text);
});

const CONVERSATION: readonly Step[] = [
  [">", untyped(SSL)],
  ["<", "N"],
  ...CONNECTED,
  [">", query("SELECT a FROM t WHERE b IN (1, 2)")],
  ["<", join(columns(), row("a"), complete("SELECT 1"), ready())],
  [
    ">",
    join(
      parse("s", "UPDATE u SET a = $1"),
      bind("", "s"),
      describe("P", ""),
      execute(),
      bind("", "s"),
      execute(),
      sync(),
    ),
  ],
  ["<", join(PARSED, BOUND, pg("n"), complete("UPDATE 1"), BOUND, failure("23505"), ready())],
  [">", query("COPY tmp FROM STDIN")],
  ["<", pg("G", Buffer.alloc(3))],
  [">", join(pg("d", Buffer.alloc(30)), pg("c"))],
  ["<", join(complete("COPY 5"), ready())],
  [">", pg("X")],
];
const WHOLE = timeless(play(CONVERSATION).exchanges);

test("a cut at any place, and one byte at a time, change nothing", () => {
  assert.equal(play(CONVERSATION).exchanges.length, 7);
  for (let index = 0; index < CONVERSATION.length; index++) {
    const [arrow, bytes] = CONVERSATION[index] as Step;
    const whole = Buffer.from(bytes as Uint8Array | string);
    for (let cut = 1; cut < whole.length; cut++) {
      const pieces: Step[] = [
        [arrow, whole.subarray(0, cut)],
        [arrow, whole.subarray(cut)],
      ];
      const steps = [...CONVERSATION.slice(0, index), ...pieces, ...CONVERSATION.slice(index + 1)];
      assert.deepEqual(timeless(play(steps).exchanges), WHOLE, `step ${index} cut at ${cut}`);
    }
  }
  const single = CONVERSATION.flatMap(([arrow, bytes]) =>
    [...Buffer.from(bytes as Uint8Array | string)].map((byte): Step => [arrow, Buffer.from([byte])]),
  );
  assert.deepEqual(timeless(play(single).exchanges), WHOLE);
});

test("mutated bytes: no exception, each exchange finished once", () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = randomFrom(seed);
    const steps = CONVERSATION.map(([arrow, bytes]): Step => {
      const damaged = Buffer.from(bytes as Uint8Array | string);
      if (random() < 0.2) return [arrow, Math.floor(random() * 40) - 1];
      for (let at = 0; at < damaged.length; at++) if (random() < 0.03) damaged[at] = Math.floor(random() * 256);
      return [arrow, random() < 0.2 ? damaged.subarray(0, Math.floor(random() * damaged.length)) : damaged];
    });
    const played = play(steps, { joinedLate: seed % 2 === 0 });
    assert.equal(new Set(played.exchanges).size, played.exchanges.length, `seed ${seed}`);
    for (const exchange of played.started) assert.ok(played.exchanges.includes(exchange), `seed ${seed}`);
  }
});
