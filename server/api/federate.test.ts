import assert from "node:assert/strict";
import test from "node:test";
import { type Labels, type SeriesToAppend, STALE_NAN_BITS } from "../model/series.ts";
import { openIn, temporaryDirectory } from "../store/store-fixture.ts";
import { ask, startFixture } from "./api-fixture.test.ts";

/** The fixture's clock. */
const NOW_MS = 1_700_000_000_000;

function seriesOf(labels: Labels, samples: readonly (readonly [beforeMs: number, value: number])[]): SeriesToAppend {
  return {
    labels,
    timestampsMs: Float64Array.from(samples, ([beforeMs]) => NOW_MS - beforeMs),
    values: Float64Array.from(samples, ([, value]) => value),
  };
}

/** A sample, then the mark of an end; its bits get lost in a number. */
function ended(labels: Labels): SeriesToAppend {
  const values = new Float64Array(2);
  new BigUint64Array(values.buffer)[1] = STALE_NAN_BITS;
  return { labels, timestampsMs: Float64Array.of(NOW_MS - 60_000, NOW_MS - 1_000), values };
}

test("federation tells the newest sample of each chosen series once, by name", async (context) => {
  const store = await openIn(context, await temporaryDirectory(context));
  const { url } = await startFixture(context, {
    reader: store.reader,
    remoteRead: { samplesMax: 1_000, externalLabels: [["region", "north"]] },
  });
  const metric = (name: string, ...labels: [string, string][]): Labels => [["__name__", name], ...labels];
  await store.writer.appendSeries([
    seriesOf(metric("up", ["job", 'a "b"']), [
      [60_000, 1],
      [1_000, 2],
    ]),
    seriesOf(metric("up", ["instance", "here"], ["region", "south"]), [[2_000, Number.NaN]]),
    ended(metric("gone")),
    seriesOf(metric("old"), [[299_999, 1e21]]),
    seriesOf(metric("older"), [[300_000, 1]]),
    seriesOf(metric("a.b"), [[0, -1]]),
  ]);
  const answer = await ask(`${url}/federate?match[]=up&match[]=${encodeURIComponent('{__name__=~".+"}')}`);
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.text.split("\n"), [
    '# TYPE "a.b" untyped',
    `{"a.b",region="north",instance=""} -1 ${NOW_MS}`,
    "# TYPE old untyped",
    `old{region="north",instance=""} 1e+21 ${NOW_MS - 299_999}`,
    "# TYPE up untyped",
    ...[
      `up{job="a \\"b\\"",region="north",instance=""} 2 ${NOW_MS - 1_000}`,
      `up{instance="here",region="south"} NaN ${NOW_MS - 2_000}`,
    ],
    "",
  ]);
  assert.equal((await ask(`${url}/federate`)).text, "");
});

test("selectors that are wrong, too many or too long are refused by every route that takes them", async (context) => {
  const { url } = await startFixture(context);
  const many = `${"match[]=a&".repeat(1_001)}a=b`;
  for (const path of ["federate", "api/v1/series", "api/v1/labels", "api/v1/label/a/values"]) {
    const tooMany = await ask(`${url}/${path}?${many}`);
    assert.equal(tooMany.status, 400, path);
    assert.match(tooMany.text, /stands 1001 times; the limit is 1000: join selectors by regular expressions/, path);
    assert.equal((await ask(`${url}/${path}?match[]=${"%7B"}`)).status, 400, path);
  }
  const wrong = async (query: string) => {
    const { status, text, headers } = await ask(`${url}/federate?${query}`);
    assert.match(headers["content-type"] ?? "", /^text\/plain/);
    return `${status} ${text}`;
  };
  assert.match(await wrong("match[]=%7B%7D"), /^400 match\[\] must contain at least one non-empty matcher\n$/);
  assert.match(await wrong("match[]=%zz"), /^400 error parsing form values: invalid URL escape "%zz"\n$/);
  const long = { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" } };
  const tooLong = await ask(`${url}/api/v1/series`, long, `match[]=${"a".repeat(65_537)}`);
  assert.match(tooLong.text, /match\[\] has 65537 characters together; the limit is 65536/);
});
