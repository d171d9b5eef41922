/** What is refused before its route is the same to a sender as what the route refuses. */

import assert from "node:assert/strict";
import { request } from "node:http";
import test from "node:test";
import { startFixture } from "./api-fixture.test.ts";

const ROOM = 300_000;
const ONE_RECORD = '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}';

interface Answer {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly body: string;
}

test("a body without room gets the answer of its route at once, is counted, and its connection goes on", async (context) => {
  const refusals: string[] = [];
  let stored = () => {};
  const storing = new Promise<void>((resolve) => {
    stored = resolve;
  });
  const fixture = await startFixture(context, {
    bodiesBytesMax: ROOM,
    countRefused: (reason) => refusals.push(reason),
    acceptLogs: async () => {
      await storing;
      return { kind: "stored", mended: new Map() };
    },
  });
  const held = await holdRoom(`${fixture.otlpUrl}/v1/logs`);
  const [refusedBefore, answersBefore] = [refusals.length, fixture.answers.length];
  for (const type of ["application/x-protobuf", "application/json; charset=utf-8"]) {
    for (const url of [fixture.otlpUrl, fixture.url]) {
      const shed = await send(`${url}/v1/logs`, { type, bytes: 50_000 });
      // A path with a query goes by the route.
      const routed = await send(`${url}/v1/logs?a=b`, { type, bytes: 50_000 });
      assert.deepEqual(shed, routed);
      assert.equal(shed.status, 503);
      assert.equal(shed.headers["retry-after"], "5");
      assert.match(shed.body, /bodies of other requests fill the 300000 bytes/);
    }
  }
  assert.equal(refusals.slice(refusedBefore).filter((reason) => reason === "no_room").length, 8);
  assert.equal(fixture.answers.slice(answersBefore).filter((answer) => answer === "/v1/logs 503").length, 8);
  const small = await send(`${fixture.otlpUrl}/v1/logs`, { type: "application/json", bytes: 2 });
  assert.equal(small.status, 200, "what has room is taken");
  const tooLarge = await send(`${fixture.otlpUrl}/v1/logs`, { type: "application/json", bytes: 2, claims: 2 ** 30 });
  assert.equal(tooLarge.status, 413, "what never has room is not told to come again");
  const unknown = await send(`${fixture.otlpUrl}/v1/logs`, { type: "text/plain", bytes: 50_000 });
  assert.equal(unknown.status, 415);
  for (const headers of [{ "content-encoding": "br" }, { host: "elsewhere.example" }]) {
    const shed = await send(`${fixture.url}/v1/logs`, { type: "application/json", bytes: 50_000, headers });
    const routed = await send(`${fixture.url}/v1/logs?a=b`, { type: "application/json", bytes: 50_000, headers });
    assert.deepEqual(shed, routed);
    assert.ok(shed.status === 400 || shed.status === 403, "what is refused for something else is told why");
  }
  stored();
  assert.equal((await held.answer).status, 200);
  const after = await send(`${fixture.otlpUrl}/v1/logs`, { type: "application/json", bytes: 50_000 });
  assert.equal(after.status, 200, "there is room again");
});

/** Sends a body that is being stored as long as the test wants, and waits until it holds its room. */
async function holdRoom(url: string): Promise<{ readonly answer: Promise<Answer> }> {
  const answer = send(url, { type: "application/json", bytes: ROOM - 1_000, text: ONE_RECORD });
  for (let tries = 0; tries < 100; tries++) {
    if ((await send(url, { type: "application/json", bytes: 2_000 })).status === 503) return { answer };
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return assert.fail("the room is not held");
}

interface Sent {
  readonly type: string;
  readonly bytes: number;
  readonly claims?: number;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends spaces and `text`, `{}` unless given, as a body; `claims` is its Content-Length, where another one. */
function send(url: string, sent: Sent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": sent.type, "content-length": sent.claims ?? sent.bytes, ...sent.headers };
    const asked = request(url, { method: "POST", headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const { date: _, ...others } = response.headers;
        resolve({ status: response.statusCode ?? 0, headers: others, body: Buffer.concat(chunks).toString("latin1") });
        if (sent.claims !== undefined) asked.destroy();
      });
    });
    asked.on("error", reject);
    const body = Buffer.alloc(sent.bytes, " ");
    const text = sent.text ?? "{}";
    body.write(text, body.length - text.length);
    if (sent.claims === undefined) asked.end(body);
    else asked.write(body);
  });
}
