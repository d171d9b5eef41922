import assert from "node:assert/strict";
import net from "node:net";
import test from "node:test";
import { gunzipSync } from "node:zlib";
import { takeSharedBytes } from "../model/shared-bytes.ts";
import { ask, promqlDoor, startFixture } from "./api-fixture.test.ts";

/** More than the buffers of a connection hold. */
const ANSWER_BYTES = 8_000_000;
const PATH = "/api/v1/query?query=1";

test("bytes that threads share are sent whole, also to who reads late, and come back when they are", async (context) => {
  const letters: number[] = [];
  const buffers = new Set<ArrayBufferLike>();
  const { url } = await startFixture(context, {
    promql: promqlDoor({
      instant: async () => {
        const letter = 0x41 + letters.length;
        letters.push(letter);
        const body = takeSharedBytes(ANSWER_BYTES).fill(letter);
        buffers.add(body.buffer);
        return { status: 200, body };
      },
    }),
  });
  const { hostname, port } = new URL(url);
  const late = net.connect(Number(port), hostname);
  context.after(() => late.destroy());
  late.write(`GET ${PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`);
  while (letters.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const wanted = (letter: number) => Buffer.alloc(ANSWER_BYTES, letter);
  for (let times = 0; times < 8; times++) {
    const { headers, bytes } = await ask(`${url}${PATH}`);
    assert.equal(bytes.equals(wanted(letters.at(-1) ?? 0)), true);
    assert.equal(headers["content-length"], `${ANSWER_BYTES}`);
    assert.equal(headers["content-type"], "application/json");
  }
  const { headers, bytes } = await ask(`${url}${PATH}`, { headers: { "accept-encoding": "gzip" } });
  assert.equal(headers["content-encoding"], "gzip");
  assert.equal(gunzipSync(bytes).equals(wanted(letters.at(-1) ?? 0)), true);
  const pieces: Buffer[] = [];
  for await (const piece of late) pieces.push(piece);
  assert.equal(
    Buffer.concat(pieces)
      .subarray(-ANSWER_BYTES)
      .equals(wanted(letters[0] ?? 0)),
    true,
  );
  assert.ok(buffers.size < letters.length, `${buffers.size} buffers for ${letters.length} answers`);
});
