import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type BlockOutcome, HpackDecoder, TABLE_BYTES_DEFAULT, TABLE_BYTES_MAX } from "./hpack.ts";
import { decodeHuffman } from "./hpack-huffman.ts";
import { randomFrom } from "./http1.testkit.ts";
import { literal } from "./http2.testkit.ts";

const STORIES = join(import.meta.dirname, "..", "..", "..", "shared", "conformance", "protocols", "http2");

interface Decoded {
  readonly outcome: BlockOutcome;
  readonly fields: string[];
}

function decode(decoder: HpackDecoder, block: string | Uint8Array): Decoded {
  const bytes = typeof block === "string" ? Buffer.from(block.replaceAll(" ", ""), "hex") : block;
  const fields: string[] = [];
  const outcome = decoder.decode(bytes, 0, bytes.length, (name, value) => fields.push(`${name}: ${value}`));
  return { outcome, fields };
}

const GET_HTTP = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
const CUSTOM = [":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com"];
const MOVED = ["cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT", "location: https://www.example.com"];
const COOKIE = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";

/** Blocks of RFC 7541 appendix C by section, with what they hold and the entries of the table behind them. */
const APPENDIX: Readonly<Record<string, readonly (readonly [hex: string, fields: string[], entries: number])[]>> = {
  "C.2.1": [["400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", ["custom-key: custom-header"], 1]],
  "C.2.2": [["040c 2f73 616d 706c 652f 7061 7468", [":path: /sample/path"], 0]],
  "C.2.3": [["1008 7061 7373 776f 7264 0673 6563 7265 74", ["password: secret"], 0]],
  "C.2.4": [["82", [":method: GET"], 0]],
  "C.3": [
    ["8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", GET_HTTP, 1],
    ["8286 84be 5808 6e6f 2d63 6163 6865", [...GET_HTTP, "cache-control: no-cache"], 2],
    [
      "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      [...CUSTOM, "custom-key: custom-value"],
      3,
    ],
  ],
  "C.4": [
    ["8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", GET_HTTP, 1],
    ["8286 84be 5886 a8eb 1064 9cbf", [...GET_HTTP, "cache-control: no-cache"], 2],
    ["8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", [...CUSTOM, "custom-key: custom-value"], 3],
  ],
  "C.5": [
    [
      "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      [":status: 302", ...MOVED],
      4,
    ],
    ["4803 3330 37c1 c0bf", [":status: 307", ...MOVED], 4],
    [
      "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
      [
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        COOKIE,
      ],
      3,
    ],
  ],
  "C.6": [
    [
      "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
      [":status: 302", ...MOVED],
      4,
    ],
    ["4883 640e ffc1 c0bf", [":status: 307", ...MOVED], 4],
    [
      "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
      [
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        COOKIE,
      ],
      3,
    ],
  ],
};

test("the examples of RFC 7541 appendix C", () => {
  for (const [section, blocks] of Object.entries(APPENDIX)) {
    const decoder = new HpackDecoder(false);
    // The examples with responses are for a table of 256 bytes.
    if (section === "C.5" || section === "C.6") decoder.resize(256);
    for (const [hex, fields, entries] of blocks) {
      assert.deepEqual(decode(decoder, hex), { outcome: "whole", fields }, section);
      assert.equal(decoder.entries, entries, section);
    }
  }
});

test("stories of other encoders", { skip: existsSync(STORIES) ? false : "../shared is not there" }, async (t) => {
  for (const file of readdirSync(STORIES).filter((name) => name.endsWith(".hpack.json"))) {
    await t.test(file, () => {
      const story: { cases: { wire: string; headers: Record<string, string>[]; header_table_size?: number | null }[] } =
        JSON.parse(readFileSync(join(STORIES, file), "utf8"));
      const decoder = new HpackDecoder(false);
      for (const one of story.cases) {
        if (typeof one.header_table_size === "number") decoder.resize(one.header_table_size);
        const wanted = one.headers.flatMap((field) =>
          Object.entries(field).map(([name, value]) => `${name}: ${value}`),
        );
        assert.deepEqual(decode(decoder, one.wire), { outcome: "whole", fields: wanted });
      }
    });
  }
});

test("Huffman codes, and what is none", () => {
  const codes = (hex: string) => {
    const bytes = Buffer.from(hex, "hex");
    const out = new Uint8Array(64);
    const length = decodeHuffman(bytes, 0, bytes.length, out);
    return length < 0 ? "damaged" : Buffer.from(out.subarray(0, length)).toString("latin1");
  };
  assert.equal(codes(""), "");
  assert.equal(codes("1f"), "a");
  // 'a' and eleven ones: padding of a byte and more.
  assert.equal(codes("1fff"), "damaged");
  // Padding that is not all ones.
  assert.equal(codes("18"), "damaged");
  // End of string.
  assert.equal(codes("ffffffff"), "damaged");
  // 0xff0 is no code of its own: '!' (3f8) is, ten bits long, here with six ones behind it.
  assert.equal(codes("fe3f"), "!");
});

test("a table that was joined late knows what was added since, and no more", () => {
  const decoder = new HpackDecoder(true);
  const added = Buffer.concat([literal("a", "1", true), literal("b", "2", true)]);
  assert.equal(decode(decoder, added).outcome, "whole");
  assert.deepEqual(decode(decoder, "be bf c0 82").fields, ["b: 2", "a: 1", "undefined: undefined", ":method: GET"]);
  // A value under a name that is not known may be a secret: it is not told.
  assert.deepEqual(decode(decoder, Buffer.concat([Buffer.of(0x7f, 0x10), Buffer.from("\x01x", "latin1")])).fields, [
    "undefined: undefined",
  ]);
  assert.deepEqual(decode(decoder, "be bf").fields, ["undefined: undefined", "b: 2"]);
  decoder.lose();
  assert.deepEqual(decode(decoder, "be 83").fields, ["undefined: undefined", ":method: POST"]);
});

test("a table seen from its beginning has no unknown entries", () => {
  const decoder = new HpackDecoder(false);
  assert.deepEqual(decode(decoder, "82 be"), { outcome: "damaged", fields: [":method: GET"] });
  // What was added meanwhile is lost: from here on the table is as one that was joined late.
  assert.deepEqual(decode(decoder, "82 be"), { outcome: "whole", fields: [":method: GET", "undefined: undefined"] });
});

test("blocks that end early, and what is no block", () => {
  const outcome = (hex: string) => decode(new HpackDecoder(false), hex).outcome;
  assert.equal(outcome("80"), "damaged"); // index 0
  assert.equal(outcome("40 0a 63"), "cut"); // a name of ten bytes
  assert.equal(outcome("40"), "cut");
  assert.equal(outcome("ff"), "cut");
  assert.equal(outcome("ff 80 80 80 80 80 80"), "damaged"); // an integer that does not end
  assert.equal(outcome("3f ff ff ff ff 7f"), "damaged"); // and one that is too large
  assert.equal(outcome("00 81 18 81 18"), "damaged"); // padding that is none
});

test("size updates", () => {
  const decoder = new HpackDecoder(false);
  decode(decoder, literal("a", "x".repeat(100), true));
  decode(decoder, literal("b", "x".repeat(100), true));
  assert.equal(decoder.entries, 2);
  decode(decoder, "3f 79"); // 152 bytes
  assert.equal(decoder.entries, 1);
  decode(decoder, "20"); // 0 bytes
  assert.equal(decoder.entries, 0);
  decode(decoder, literal("a", "1", true));
  assert.equal(decoder.entries, 0);
  decode(decoder, Buffer.concat([Buffer.of(0x3f, 0xe1, 0x1f), literal("c", "x".repeat(TABLE_BYTES_DEFAULT), true)]));
  assert.equal(decoder.entries, 0, "an entry larger than the table empties it");
});

test("the table stays within its bounds whatever its sender allows itself", () => {
  const decoder = new HpackDecoder(false);
  decode(decoder, "3f ff ff ff 3f");
  for (let count = 0; count < 200; count++) decode(decoder, literal(`name-${count}`, "x".repeat(1000), true));
  assert.ok(decoder.entries <= TABLE_BYTES_MAX / 1000, `${decoder.entries} entries`);
  assert.deepEqual(decode(decoder, "ff 50").fields, ["undefined: undefined"], "an entry that had no room is unknown");
});

test("fields that nobody reads are not kept", () => {
  const decoder = new HpackDecoder(false, (name) => name === ":path");
  const block = Buffer.concat([literal("cookie", "secret", true), literal(":path", "/a", true), Buffer.of(0xbf, 0xbe)]);
  assert.deepEqual(decode(decoder, block).fields, [":path: /a", ":path: /a"]);
  assert.equal(decoder.entries, 2);
});

test("hostile blocks never throw, and take linear time", () => {
  const random = randomFrom(7541);
  const valid = Buffer.from(
    "828684418cf1e3c2e5f23a6ba0ab90f4ff408825a849e95ba97d7f8925a849e95bb8e8b4bf5886a8eb10649cbfbebfc0",
    "hex",
  );
  for (let run = 0; run < 20_000; run++) {
    const bytes = run % 2 === 0 ? Buffer.from(valid) : Buffer.alloc(1 + Math.floor(random() * 80));
    const changes = run % 2 === 0 ? 1 + Math.floor(random() * 4) : bytes.length;
    for (let change = 0; change < changes; change++) {
      bytes[run % 2 === 0 ? Math.floor(random() * bytes.length) : change] = Math.floor(random() * 256);
    }
    const decoder = new HpackDecoder(random() < 0.5, random() < 0.5 ? undefined : (name) => name.startsWith(":"));
    decode(decoder, bytes);
    decode(decoder, valid);
    assert.ok(decoder.entries <= TABLE_BYTES_MAX / 32);
  }
  const took = (repeat: number) => {
    const block = Buffer.concat([literal("a", "x".repeat(4000), true), Buffer.alloc(repeat, 0xbe)]);
    const startMs = performance.now();
    new HpackDecoder(false).decode(block, 0, block.length, () => {});
    return performance.now() - startMs;
  };
  took(60_000);
  assert.ok(took(60_000) < 500, "one small block that names a long field many times");
});
