import assert from "node:assert/strict";
import { test } from "node:test";
import { type Played, type PlayOptions, play as playAny, randomFrom, type Step, timeless } from "./http1.testkit.ts";
import { REDIS, WAITING_MAX } from "./redis.ts";

const play = (steps: readonly Step[], options: PlayOptions = {}) => playAny(steps, { ...options, protocol: REDIS });

/** A command as clients send it. */
function cmd(...words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
}

/** One line an exchange: type, endpoint, status, code and why it was cut short. */
function lines({ exchanges }: Played): string[] {
  return exchanges.map(({ type, endpoint, status, code, cutShort }) =>
    [type, endpoint, status, code, cutShort].filter((word) => word !== "").join(" "),
  );
}

const texts = ({ exchanges }: Played) => exchanges.map(({ attributes }) => attributes["db.query.text"]);

test("commands are paired with replies in order, each of its own kind", () => {
  const played = play([
    [">", cmd("SET", "k", "v")],
    ["<", "+OK\r\n"],
    [">", cmd("get", "k") + cmd("GET", "none") + cmd("INCR", "k") + cmd("LRANGE", "l", "0", "-1")],
    ["<", "$1\r\nv\r\n$-1\r\n-ERR value is not an integer or out of range\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n"],
    [">", cmd("HGETALL", "h")],
    ["<", "%1\r\n+a\r\n|1\r\n+ttl\r\n:3\r\n,1.5\r\n"],
    [">", "PING\r\nSET a 'b c'\r\n"],
    ["<", "+PONG\r\n+OK\r\n"],
  ]);
  assert.deepEqual(lines(played), [
    "exchange SET ok",
    "exchange GET ok",
    "exchange GET ok",
    "exchange INCR client_error ERR",
    "exchange LRANGE ok",
    "exchange HGETALL ok",
    "exchange PING ok",
    "exchange SET ok",
  ]);
  assert.deepEqual(played.counts, []);
});

test("words of inline commands are read without their quotes", () => {
  const played = play([
    [">", `PING\r\nGET "my key"\r\nGET 'it\\'s'\r\nGET "a\\"b"\r\nGET in"side"\r\n`],
    ["<", "+PONG\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n"],
  ]);
  const wanted = ["PING", 'GET "my key"', "GET it's", 'GET "a\\"b"', "GET inside"];
  assert.deepEqual(
    played.exchanges.map(({ resource }) => resource),
    wanted,
  );
});

test("errors: state of the server, fault of the command, redirects that are none", () => {
  for (const [line, wanted] of [
    ["-OOM command not allowed", "server_error OOM"],
    ["-LOADING Redis is loading", "server_error LOADING"],
    ["-WRONGTYPE Operation against a key", "client_error WRONGTYPE"],
    ["-MOVED 3999 127.0.0.1:6381", "ok MOVED"],
    ["-ASK 3999 127.0.0.1:6381", "ok ASK"],
    ["-something odd", "client_error ERR"],
    ["!21\r\nSYNTAX invalid syntax", "client_error SYNTAX"],
  ] as const) {
    assert.deepEqual(
      lines(
        play([
          [">", cmd("GET", "k")],
          ["<", `${line}\r\n`],
        ]),
      ),
      [`exchange GET ${wanted}`],
      line,
    );
  }
});

test("pushes neither answer, open nor fail a command", () => {
  const played = play([
    [">", cmd("HELLO", "3", "AUTH", "user", "secret")],
    ["<", "%1\r\n$5\r\nproto\r\n:3\r\n"],
    [">", cmd("SUBSCRIBE", "a", "b")],
    ["<", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"],
    ["<", ">3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"],
    [">", cmd("GET", "k")],
    ["<", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"],
    ["<", "$1\r\nv\r\n"],
    ["<", ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nlater\r\n"],
    [">", cmd("GET", "nope")],
    ["<", "_\r\n"],
  ]);
  assert.deepEqual(lines(played), ["exchange HELLO ok", "exchange SUBSCRIBE ok", "exchange GET ok", "exchange GET ok"]);
  assert.equal(played.exchanges[1]?.response?.bytes, 60);
  assert.equal(played.exchanges[2]?.response?.startNs, 8e6);
});

test("subscriptions of RESP2: messages are no replies, RESET ends them", () => {
  const played = play([
    [">", cmd("SUBSCRIBE", "a")],
    ["<", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"],
    [">", cmd("PING")],
    ["<", "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\ny\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n"],
    [">", cmd("UNSUBSCRIBE")],
    ["<", "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n"],
    [">", cmd("RESET")],
    ["<", "+RESET\r\n"],
    [">", cmd("LRANGE", "message", "0", "2")],
    ["<", "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\ny\r\n"],
  ]);
  assert.deepEqual(lines(played), [
    "exchange SUBSCRIBE ok",
    "exchange PING ok",
    "exchange UNSUBSCRIBE ok",
    "exchange RESET ok",
    "exchange LRANGE ok",
  ]);
});

test("CLIENT REPLY: what gets no reply is one-way, and nothing is shifted", () => {
  const played = play([
    [">", "PING\r\nCLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\nGET a\r\n"],
    ["<", "+PONG\r\n+OK\r\n$1\r\nx\r\n"],
    [">", "CLIENT REPLY SKIP\r\nDEL a\r\nGET b\r\n"],
    ["<", "$-1\r\n"],
  ]);
  assert.deepEqual(lines(played), [
    "message CLIENT REPLY unknown",
    "message PING unknown",
    "message CLIENT REPLY unknown",
    "exchange PING ok",
    "exchange CLIENT REPLY ok",
    "exchange GET ok",
    "message CLIENT REPLY unknown",
    "message DEL unknown",
    "exchange GET ok",
  ]);
});

test("MULTI, MONITOR, replication, blocking commands, shutdown", () => {
  const multi = play([
    [">", cmd("MULTI") + cmd("SET", "a", "1") + cmd("SUBSCRIBE", "c", "d") + cmd("EXEC")],
    ["<", "+OK\r\n+QUEUED\r\n+QUEUED\r\n*1\r\n+OK\r\n"],
    [">", cmd("EXEC")],
    ["<", "-EXECABORT Transaction discarded because of previous errors.\r\n"],
  ]);
  assert.deepEqual(lines(multi), [
    "exchange MULTI ok",
    "exchange SET ok",
    "exchange SUBSCRIBE ok",
    "exchange EXEC ok",
    "exchange EXEC client_error EXECABORT",
  ]);
  const monitor = play([
    [">", cmd("MONITOR")],
    ["<", '+OK\r\n+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"\r\n'],
    [">", cmd("QUIT")],
    ["<", '+1339518087.877697 [0 127.0.0.1:60866] "dbsize"\r\n+OK\r\n'],
  ]);
  assert.deepEqual(lines(monitor), ["exchange MONITOR ok", "exchange QUIT ok"]);
  const replica = play([
    [">", cmd("PSYNC", "?", "-1")],
    ["<", "+FULLRESYNC 0123 1\r\n$176\r\nREDIS0010"],
  ]);
  assert.deepEqual(lines(replica), ["exchange PSYNC ok"]);
  assert.equal(replica.parser.detachedTo, "redis-replication");
  const blocked = play([[">", cmd("BLPOP", "q", "0") + cmd("GET", "a")]], { end: "open" });
  blocked.parser.expire(3600e9);
  assert.deepEqual(lines(blocked), ["request GET timeout timeout"]);
  assert.deepEqual(lines(play([[">", cmd("SHUTDOWN", "NOSAVE")]])), ["message SHUTDOWN unknown"]);
  assert.deepEqual(lines(play([[">", cmd("GET", "a")]])), ["request GET unknown connection_closed"]);
});

test("names of keys and fields are kept, values never", () => {
  const text = (...words: string[]) => String(texts(play([[">", cmd(...words)]]))[0]);
  assert.equal(text("set", "user:7", "hunter2", "EX", "10"), "SET user:7 ? ? ?");
  assert.equal(text("HMSET", "myhash", "field1", "a", "field2", "b"), "HMSET myhash field1 ? field2 ?");
  assert.equal(text("MSET", "a", "1", "b", "2"), "MSET a ? b ?");
  assert.equal(text("DEL", "a", "b"), "DEL a b");
  assert.equal(text("BLPOP", "a", "b", "5"), "BLPOP a b ?");
  assert.equal(text("EVAL", "return 'secret'", "1", "k", "v"), "EVAL ? ? k ?");
  assert.equal(text("EVALSHA", "abcdef", "1", "k", "v"), "EVALSHA abcdef ? k ?");
  assert.equal(text("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s1", "s2", ">", ">"), "XREADGROUP ? ? ? ? s1 s2 ? ?");
  assert.equal(text("CONFIG", "SET", "requirepass", "hunter2"), "CONFIG SET requirepass ?");
  assert.equal(text("AUTH", "hunter2"), "AUTH ?");
  assert.equal(text("ACL", "SETUSER", "joe", ">hunter2"), "ACL SETUSER ? ?");
  assert.equal(text("MIGRATE", "h", "1", "k", "0", "9", "AUTH", "hunter2"), "MIGRATE ? ? ? ? ? ? ?");
  assert.equal(text("UNHEARDOF", "hunter2"), "UNHEARDOF ?");
  assert.equal(text("GET", "token:4f9ab2c1d0"), "GET REDACTED");
  assert.equal(text("GET", "two words"), 'GET "two words"');
  assert.equal(text("DEL", ...Array.from({ length: 100 }, (_, at) => `k${at}`)).endsWith("k14 ..."), true);
  assert.equal(texts(play([[">", cmd("SET", "k", "v")]], { redaction: false }))[0], "SET k v");
});

test("what may be a password names nothing", () => {
  const steps: Step[] = [
    [">", cmd("HUNTER2", "x") + cmd("FAKE2") + cmd("CONFIG", "hunter2") + cmd("GET", "k")],
    ["<", "-ERR unknown command\r\n+OK\r\n-ERR unknown subcommand\r\n-AKIAABCDEFGHIJKLMNOP is wrong\r\n"],
  ];
  const played = play(steps);
  assert.deepEqual(lines(played), [
    "exchange _OTHER client_error ERR",
    "exchange FAKE2 ok",
    "exchange CONFIG client_error ERR",
    "exchange GET client_error ERR",
  ]);
  assert.deepEqual(texts(played), ["_OTHER ?", "FAKE2", "CONFIG ?", "GET k"]);
});

test("the database is the one that was selected", () => {
  const played = play([
    [">", cmd("GET", "a")],
    ["<", "$-1\r\n"],
    [">", cmd("SELECT", "5")],
    ["<", "+OK\r\n"],
    [">", cmd("SELECT", "99")],
    ["<", "-ERR DB index is out of range\r\n"],
    [">", cmd("GET", "a")],
  ]);
  assert.deepEqual(
    played.exchanges.map(({ attributes }) => attributes["db.namespace"]),
    ["0", "0", "5", "5"],
  );
  assert.deepEqual(Object.keys(played.exchanges[0]?.attributes ?? {}).sort(), [
    "db.namespace",
    "db.operation.name",
    "db.query.text",
    "db.system.name",
  ]);
  const late = play([[">", cmd("GET", "a")]], { joinedLate: true });
  assert.equal(late.exchanges[0]?.attributes["db.namespace"], undefined);
});

test("joined late: a reply without command is one, and a client that does not wait is never paired by guess", () => {
  const plain = play(
    [
      ["<", "llo\r\n"],
      ["<", "$5\r\nhello\r\n"],
      [">", cmd("GET", "a")],
      ["<", "$1\r\na\r\n"],
    ],
    { joinedLate: true },
  );
  assert.deepEqual(lines(plain), ["response redis ok", "exchange GET ok"]);
  // Two commands are always under way; the first two replies belong to commands before.
  const steps: Step[] = [[">", cmd("GET", "0")]];
  for (let at = 1; at < 9; at++) steps.push(["<", `$1\r\n${at}\r\n`], [">", cmd("GET", String(at))]);
  const shifted = play([[">", cmd("GET", "x")], ...steps], { joinedLate: true, end: "stopped" });
  assert.equal(shifted.exchanges.filter(({ type }) => type === "exchange").length <= 1, true, lines(shifted).join());
});

test("gaps: inside a value nothing is lost, elsewhere what waits is given up and the next command is sure", () => {
  const inside = play([
    [">", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nabc"],
    [">", 97],
    [">", "\r\n"],
    ["<", "+OK\r\n"],
    [">", cmd("GET", "k")],
    ["<", "$100\r\nabc"],
    ["<", 97],
    ["<", "\r\n"],
  ]);
  assert.deepEqual(lines(inside), ["exchange SET ok", "exchange GET ok"]);
  assert.equal(inside.exchanges[1]?.response?.bytes, 108);
  const lost = play([
    [">", cmd("GET", "a") + cmd("GET", "b")],
    ["<", 7],
    ["<", "$1\r\nb\r\n"],
    [">", cmd("GET", "c")],
    ["<", "$1\r\nc\r\n"],
  ]);
  assert.deepEqual(lines(lost), ["request GET unknown gap", "request GET unknown gap", "exchange GET ok"]);
  const asked = play([
    [">", cmd("GET", "a")],
    ["<", "$1\r\na\r\n"],
    [">", 20],
    ["<", "$1\r\nb\r\n"],
    [">", cmd("GET", "c")],
    ["<", "$1\r\nc\r\n"],
  ]);
  assert.deepEqual(lines(asked), ["exchange GET ok", "exchange GET ok"]);
});

test("bounds: commands that wait, words, depth", () => {
  const many = play([
    [">", cmd("GET", "k").repeat(WAITING_MAX + 3)],
    ["<", ":1\r\n".repeat(WAITING_MAX + 3)],
    [">", cmd("PING")],
    ["<", "+PONG\r\n"],
  ]);
  assert.equal(many.exchanges.length, WAITING_MAX + 1);
  assert.deepEqual(many.counts, ["redis_waiting_max", "redis_waiting_max", "redis_waiting_max"]);
  assert.equal(many.exchanges.at(-1)?.op, "PING");
  const deep = play([
    [">", cmd("GET", "k")],
    ["<", "*1\r\n".repeat(100_000)],
  ]);
  assert.deepEqual(lines(deep), ["exchange GET ok"]);
});

test("detection does not take other protocols", () => {
  const judge = (text: string, direction: 0 | 1) => REDIS.detect(Buffer.from(text), direction);
  assert.equal(judge(cmd("GET", "k"), 0), "yes");
  assert.equal(judge("PUBLISH a b\r\n", 0), "yes");
  assert.equal(judge("SET k 'v w'\r\n", 0), "yes");
  assert.equal(judge(cmd("GET", "k"), 1), "more");
  assert.equal(judge("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", 1), "yes");
  assert.equal(judge("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", 0), "more");
  assert.equal(judge("$5\r\nhello\r\n", 1), "yes");
  assert.equal(judge("-WRONGTYPE x\r\n", 1), "yes");
  assert.equal(judge("*2\r\n$6\r\nasking\r\n*1\r\n$1\r\na\r\n", 0), "no");
  assert.equal(judge("*2\r\n$6\r\nasking\r\n*1\r\n$1\r\na\r\n", 1), "yes");
  for (const text of [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "set key 0 0 5\r\nhello\r\n",
    "get key\r\n",
    "AUTH PLAIN AGE=\r\n",
    "PING\r\n",
    "HELO mail.example\r\n",
    "USER joe\r\n",
    'CONNECT {"verbose":false}\r\n',
    "ASKING\r\n$5\r\nreply\r\n",
    "SUBSCRIBE\nid:0\ndestination:/q\n\n",
  ])
    assert.notEqual(judge(text, 0), "yes", text);
  for (const text of [
    "+OK\r\n",
    "+OK POP3 ready\r\n",
    "-ERR 'Unknown Protocol'\r\n",
    "* OK IMAP4rev1\r\n",
    "220 ftp\r\n",
    "HTTP/1.1 200 OK\r\n",
  ])
    assert.notEqual(judge(text, 1), "yes", text);
});

const CONVERSATION: readonly Step[] = [
  [">", cmd("HELLO", "3")],
  ["<", "%1\r\n$5\r\nproto\r\n:3\r\n"],
  [">", cmd("MULTI") + cmd("SET", "k", "a\r\nb") + cmd("EXEC")],
  ["<", "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"],
  [">", "PING\r\nSET a 'b c'\r\n\r\n*0\r\n"],
  ["<", "+PONG\r\n+OK\r\n"],
  [">", cmd("SUBSCRIBE", "a", "b")],
  ["<", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"],
  [">", cmd("LRANGE", "l", "0", "-1")],
  ["<", ">2\r\n+invalidate\r\n_\r\n*?\r\n$3\r\na\r\n\r\n$?\r\n;4\r\nabcd\r\n;0\r\n|1\r\n+x\r\n~0\r\n*-1\r\n.\r\n"],
  [">", cmd("INCR", "k")],
  ["<", "-WRONGTYPE no\r\n"],
];
const WHOLE = timeless(play(CONVERSATION).exchanges);

test("a cut at any place, and one byte at a time, change nothing", () => {
  assert.deepEqual(lines(play(CONVERSATION)), [
    "exchange HELLO ok",
    "exchange MULTI ok",
    "exchange SET ok",
    "exchange EXEC ok",
    "exchange PING ok",
    "exchange SET ok",
    "exchange SUBSCRIBE ok",
    "exchange LRANGE ok",
    "exchange INCR client_error WRONGTYPE",
  ]);
  for (let index = 0; index < CONVERSATION.length; index++) {
    const [arrow, bytes] = CONVERSATION[index] as Step;
    const text = String(bytes);
    for (let cut = 1; cut < text.length; cut++) {
      const pieces: Step[] = [
        [arrow, text.slice(0, cut)],
        [arrow, text.slice(cut)],
      ];
      const steps = [...CONVERSATION.slice(0, index), ...pieces, ...CONVERSATION.slice(index + 1)];
      assert.deepEqual(timeless(play(steps).exchanges), WHOLE, `step ${index} cut at ${cut}`);
    }
  }
  const single = CONVERSATION.flatMap(([arrow, bytes]) => [...String(bytes)].map((char): Step => [arrow, char]));
  assert.deepEqual(timeless(play(single).exchanges), WHOLE);
});

test("mutated bytes: no exception, each exchange finished once", () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = randomFrom(seed);
    const steps = CONVERSATION.map(([arrow, bytes]): Step => {
      const damaged = Buffer.from(String(bytes));
      if (random() < 0.2) return [arrow, Math.floor(random() * 40) - 1];
      for (let at = 0; at < damaged.length; at++) if (random() < 0.05) damaged[at] = Math.floor(random() * 256);
      return [arrow, random() < 0.2 ? damaged.subarray(0, Math.floor(random() * damaged.length)) : damaged];
    });
    const played = play([...steps, [">", -1], ["<", -1], ["<", "x"], [">", cmd("GET", "end")], ["<", "$1\r\nv\r\n"]], {
      joinedLate: seed % 2 === 0,
    });
    assert.equal(new Set(played.exchanges).size, played.exchanges.length, `seed ${seed}`);
    for (const exchange of played.started) assert.ok(played.exchanges.includes(exchange), `seed ${seed}`);
  }
});
