import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { json as jsonOf } from "node:stream/consumers";
import test from "node:test";
import { json, listReader, startFixture } from "./api-fixture.test.ts";

test("what is too long is refused before it is decoded, and too many selectors before they are read", async (context) => {
  const { url } = await startFixture(context);
  const post = async (path: string, text: string) => {
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    return json(`${url}/api/v1/${path}`, { method: "POST", headers, body: text });
  };
  const bad = (error: string) => ({ status: "error", errorType: "bad_data", error });
  const long = await post("query", `time=1&query=${"%41".repeat(200_000)}`);
  assert.equal(long.status, 400);
  assert.deepEqual(
    long.body,
    bad('parameter "query" has more than 589824 characters as it came, the most that are read'),
  );
  const name = await post("query", "a".repeat(600_000));
  const shown = `parameter "${"a".repeat(40)}" has more than 16384 characters as it came, the most that are read`;
  assert.deepEqual(name.body, bad(shown));
  // As long as a text may be, and each letter as long as it can be.
  const most = await post("query", `query=${encodeURIComponent("€".repeat(65_530))}`);
  assert.equal(most.status, 200);
  const matches = await post("series", "match[]=a&".repeat(1_001));
  const many = "match[] stands 1001 times; the limit is 1000: join selectors by regular expressions";
  assert.deepEqual(matches.body, bad(`invalid parameter "match[]": ${many}`));
  assert.equal((await post("series", "match[]=a&".repeat(1_000))).status, 200);
});

test("a form is answered before its end once it has too many pairs or parts, or one that is too long", async (context) => {
  const { url } = await startFixture(context);
  const begin = async (type: string, text: string) => {
    const headers = { "content-type": type, "content-length": String(3 * 2 ** 20) };
    const request = http.request(`${url}/api/v1/series?limit=1`, { method: "POST", headers });
    request.on("error", () => {});
    request.write(text); // its end never comes
    const [response] = await once(request, "response");
    const body = await jsonOf(response);
    request.destroy();
    return body;
  };
  const bad = (error: string) => ({ status: "error", errorType: "bad_data", error });
  const form = "application/x-www-form-urlencoded; charset=utf-8";
  const many = "error parsing form values: number of URL query parameters exceeded limit";
  assert.deepEqual(await begin(form, "match[]=a&".repeat(20_000)), bad(many));
  const long = 'parameter "match[]" has more than 589824 characters as it came, the most that are read';
  assert.deepEqual(await begin(form, `match[]=${"a".repeat(600_000)}`), bad(long));
  const parts = '--b\r\ncontent-disposition: form-data; name="match[]"\r\n\r\na\r\n'.repeat(2_000);
  assert.deepEqual(await begin("multipart/form-data; boundary=b", parts), bad("no match[] parameter provided"));
});

test("selectors are bounded in length, and gathering series in time", async (context) => {
  const { url } = await startFixture(context, { prometheus: { queryTimeoutMs: 20 } });
  const body = new URLSearchParams([["match[]", `{a="${"x".repeat(65_536)}"}`]]);
  const long = await json(`${url}/api/v1/series`, { method: "POST", body });
  assert.deepEqual(long.body, {
    status: "error",
    errorType: "bad_data",
    error: 'invalid parameter "match[]": match[] has 65542 characters together; the limit is 65536',
  });
  const slow = await startFixture(context, {
    prometheus: { queryTimeoutMs: 20 },
    reader: {
      ...listReader(() => []),
      labelNames: async () => {
        await new Promise((resolve) => setTimeout(resolve, 30));
        return [];
      },
    },
  });
  const { status, body: timedOut } = await json(`${slow.url}/api/v1/labels?match[]=a&match[]=b`);
  assert.equal(status, 503);
  assert.equal((timedOut as { errorType: string }).errorType, "timeout");
});
