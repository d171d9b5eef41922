import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exchange, ProtocolParser, StreamSlice } from "./exchange.ts";
import { ServerTemplates } from "./path-template.ts";
import { isTlsHello, TLS } from "./tls.ts";

/** Bytes of a record. */
function record(type: number, content: readonly number[]): number[] {
  return [type, 3, 3, content.length >> 8, content.length & 255, ...content];
}

function sized(width: number, content: readonly number[]): number[] {
  const length = [content.length >> 16, (content.length >> 8) & 255, content.length & 255];
  return [...length.slice(3 - width), ...content];
}

function extension(type: number, content: readonly number[]): number[] {
  return [type >> 8, type & 255, ...sized(2, content)];
}

const text = (words: string): number[] => [...Buffer.from(words)];
const RANDOM = new Array<number>(32).fill(7);
const PROTOCOLS = extension(16, sized(2, [...sized(1, text("h2")), ...sized(1, text("http/1.1"))]));

function clientHello(serverName: string): number[] {
  const names = extension(0, sized(2, [0, ...sized(2, text(serverName))]));
  const body = [3, 3, ...RANDOM, 0, ...sized(2, [0x13, 1]), 1, 0, ...sized(2, [...names, ...PROTOCOLS])];
  return record(22, [1, ...sized(3, body)]);
}

function serverHello(version: number): number[] {
  const versions = version === 0x0304 ? extension(43, [3, 4]) : [];
  return record(22, [2, ...sized(3, [3, 3, ...RANDOM, 0, 0x13, 1, 0, ...sized(2, versions)])]);
}

const CHANGE = record(20, [1]);
const SEALED = record(23, new Array<number>(40).fill(1));

type Step = readonly [">" | "<", readonly number[]] | readonly ["gap>" | "gap<", number];

function play(steps: readonly Step[], pieceBytes = 1 << 20): Exchange[] {
  const finished: Exchange[] = [];
  const sink = {
    started: () => assert.fail("a handshake is told when it is over"),
    finished: (exchange: Exchange) => finished.push(exchange),
  };
  const parser: ProtocolParser = TLS.create(sink, {
    redaction: true,
    joinedLate: false,
    templates: new ServerTemplates().of("127.0.0.1:443"),
    count: () => {},
  });
  let timeNs = 0;
  for (const [way, what] of steps) {
    const direction = way.endsWith(">") ? 0 : 1;
    timeNs += 10;
    if (typeof what === "number") {
      parser.gap(direction, what, timeNs, 1);
      continue;
    }
    for (let at = 0; at < what.length; at += pieceBytes) {
      const bytes: Uint8Array = Uint8Array.from(what.slice(at, at + pieceBytes));
      const slice: StreamSlice = { bytes, timeNs, seq: at, tid: 1, pid: 2 };
      assert.equal(parser.data(direction, slice), bytes.length);
    }
  }
  parser.closed(timeNs + 10, false);
  return finished;
}

function only(exchanges: readonly Exchange[]): Exchange {
  const [exchange, ...more] = exchanges;
  assert.ok(exchange !== undefined && more.length === 0, `${exchanges.length} exchanges`);
  return exchange;
}

test("a handshake of TLS 1.3, in pieces of any size", () => {
  for (const bytes of [1, 2, 5, 7, 1000]) {
    const exchange = only(
      play(
        [
          [">", clientHello("shop.example")],
          ["<", [...serverHello(0x0304), ...CHANGE, ...SEALED]],
          [">", [...CHANGE, ...SEALED, ...SEALED]],
        ],
        bytes,
      ),
    );
    const { type, op, resource, status, version, attributes, cutShort } = exchange;
    assert.deepEqual(
      { type, op, resource, status, version, cutShort },
      { type: "exchange", op: "handshake", resource: "shop.example", status: "ok", version: "1.3", cutShort: "" },
    );
    assert.equal(attributes["tls.protocol.version"], "1.3");
    assert.equal(attributes["thalweg.tls.client_protocols"], "h2,http/1.1");
  }
});

test("TLS 1.2 is over when both have changed to secret keys", () => {
  const steps: Step[] = [
    [">", clientHello("shop.example")],
    ["<", serverHello(0x0303)],
    [">", CHANGE],
  ];
  assert.equal(only(play([...steps, ["<", CHANGE]])).version, "1.2");
});

test("an alert ends it: by the server the client's fault, by the client the server's", () => {
  const alert = record(21, [2, 40]);
  const byServer = only(
    play([
      [">", clientHello("a")],
      ["<", alert],
    ]),
  );
  assert.deepEqual([byServer.status, byServer.code], ["client_error", "handshake_failure"]);
  const byClient = only(
    play([
      [">", clientHello("a")],
      ["<", serverHello(0x0303)],
      [">", record(21, [2, 48])],
    ]),
  );
  assert.deepEqual(
    [byClient.status, byClient.code, byClient.attributes["error.type"]],
    ["server_error", "unknown_ca", "unknown_ca"],
  );
  // A warning, and a farewell, fail nothing.
  const farewell = only(
    play([
      [">", clientHello("a")],
      ["<", [...serverHello(0x0303), ...record(21, [1, 0])]],
    ]),
  );
  assert.deepEqual([farewell.status, farewell.code], ["ok", ""]);
});

test("what is not seen is not said", () => {
  const { type, status, cutShort } = only(play([[">", clientHello("a")]]));
  assert.deepEqual([type, status, cutShort], ["request", "unknown", "connection_closed"]);
  assert.deepEqual(only(play([["<", serverHello(0x0304)]])).type, "response");
  // Only records whose content is secret: a message, without names.
  assert.deepEqual(only(play([[">", SEALED]])).type, "message");
  assert.deepEqual(play([["gap>", 100]]), []);
});

test("a hello that was cut gives what was seen of it; records are found again after a loss", () => {
  const hello = clientHello("shop.example");
  const cut = only(
    play([
      [">", hello.slice(0, 90)],
      ["gap>", hello.length - 90],
      ["<", serverHello(0x0304)],
      ["gap>", -1],
      [">", SEALED],
    ]),
  );
  assert.deepEqual([cut.resource, cut.status], ["shop.example", "ok"]);
});

test("detect", () => {
  const judged = (bytes: readonly number[], direction: 0 | 1) => TLS.detect(Uint8Array.from(bytes), direction);
  assert.equal(judged(clientHello("a"), 0), "yes");
  assert.equal(judged(clientHello("a"), 1), "no");
  assert.equal(judged(serverHello(0x0303), 1), "yes");
  assert.equal(judged([22], 0), "more");
  assert.equal(judged([22, 3, 1, 0, 200], 0), "more");
  assert.equal(judged(SEALED, 0), "yes");
  assert.equal(judged([...SEALED, 9, 9, 9], 0), "no");
  assert.equal(judged(text("GET / HTTP/1.1\r\n"), 0), "no");
  assert.equal(judged([0x80, 46, 1, 3, 1, 0, 21, 0, 0, 0, 16], 0), "yes");
  assert.equal(isTlsHello(Uint8Array.from(clientHello("a"))), true);
  assert.equal(isTlsHello(Uint8Array.from(SEALED)), false);
});

test("noise never throws, and claims nothing twice", () => {
  let seed = 1;
  const random = () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return seed / 2 ** 32;
  };
  for (let round = 0; round < 300; round++) {
    const steps: Step[] = [];
    for (let step = 0; step < 12; step++) {
      const bytes = random() < 0.5 ? clientHello("noise") : serverHello(0x0304);
      for (let flips = 0; flips < 3; flips++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      if (random() < 0.2) steps.push([random() < 0.5 ? "gap>" : "gap<", Math.floor(random() * 100) - 1]);
      else steps.push([random() < 0.5 ? ">" : "<", bytes.slice(0, Math.ceil(random() * bytes.length))]);
    }
    assert.ok(play(steps, 1 + Math.floor(random() * 200)).length <= 1);
  }
});
