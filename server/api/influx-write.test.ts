import assert from "node:assert/strict";
import test from "node:test";
import { setImmediate } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import type { RemoteWrite } from "../wire/remote-write.ts";
import { startFixture, writtenWhole } from "./api-fixture.test.ts";

test("line protocol is taken as InfluxDB 1 and 2 take it, and answered so", async (context) => {
  const writes: (readonly [RemoteWrite, string | undefined])[] = [];
  let unavailable = false;
  let stored: Promise<void> | undefined;
  const { url } = await startFixture(context, {
    acceptSeries: async (write, transport) => {
      if (unavailable) return { kind: "refused", reason: "full", retryAfterSeconds: 7 };
      writes.push([write, transport]);
      await stored;
      return writtenWhole(write);
    },
  });
  const post = (path: string, body: string | Buffer, headers: Record<string, string> = {}) =>
    fetch(`${url}${path}`, { method: "POST", body: typeof body === "string" ? body : new Uint8Array(body), headers });
  const first = await post("/write?db=telegraf&precision=s", "cpu,host=a idle=1,busy=2 1700000000\n");
  assert.equal(first.status, 204);
  const second = await post("/api/v2/write?org=o&bucket=b", gzipSync("mem used=3i 1700000000000000000\n"), {
    "content-encoding": "gzip",
  });
  assert.equal(second.status, 204);
  assert.deepEqual(
    writes.map(([{ series, received }, transport]) => [received.samples, series[0]?.timestampsMs[0], transport]),
    [
      [2, 1_700_000_000_000, "influx"],
      [1, 1_700_000_000_000, "influx"],
    ],
  );
  const partial = await post("/write", "good value=1\nbad\n");
  assert.equal(partial.status, 400);
  assert.match(await partial.text(), /partial write: unable to parse 'bad': missing fields/);
  assert.equal(writes.length, 3);
  assert.equal((await post("/write?precision=d", "a value=1")).status, 400);
  assert.equal((await post("/write", Buffer.from("no gzip"), { "content-encoding": "gzip" })).status, 400);
  writes.length = 0;
  const long = Array.from({ length: 20_000 }, (_, at) => `long value=${at} ${at}000000`);
  assert.equal((await post("/write", long.join("\n"))).status, 204);
  assert.deepEqual(
    writes.map(([{ received }]) => received.samples),
    [16_384, 3_616],
  );
  const large = `${"# a comment\n".repeat(100_000)}large value=1`;
  const storing = Promise.withResolvers<void>();
  stored = storing.promise;
  const taken = post("/write", large);
  while (writes.length < 3) await setImmediate();
  const other = await post("/write", large);
  assert.deepEqual([other.status, other.headers.get("retry-after")], [503, "5"]);
  assert.match(await other.text(), /another body of more than 1048576 bytes is being stored/);
  storing.resolve();
  assert.equal((await taken).status, 204);
  assert.equal((await post("/write", large)).status, 204);
  unavailable = true;
  const refused = await post("/write", "a value=1");
  assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "7"]);
  assert.equal((await fetch(`${url}/ping`)).status, 204);
  const made = await post("/query?q=CREATE+DATABASE+%22telegraf%22", "");
  assert.deepEqual([made.status, await made.text()], [200, '{"results":[{"statement_id":0}]}']);
  assert.equal((await post("/query", "q=SHOW+DATABASES")).status, 400);
});
