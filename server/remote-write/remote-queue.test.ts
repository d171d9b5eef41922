import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { HttpSender } from "../platform/http-send.ts";
import { labels, metricDirectory, openMetrics, START_MS, seriesOf } from "../store/metric-fixture.ts";
import { decodeSnappy } from "../wire/snappy.ts";
import { RemoteQueue } from "./remote-queue.ts";
import { readRemoteWriteConfig } from "./remote-write-config.ts";

interface Answer {
  readonly status: number;
  readonly retryAfter?: string;
}

/** A receiver that answers as told, and what it was sent. */
async function receiver(t: TestContext, answers: Answer[]) {
  const sent: { readonly bytes: number; readonly atMs: number; readonly attempt: string | undefined }[] = [];
  const server = createServer((request, answer) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const body = decodeSnappy(Buffer.concat(parts));
      const attempt = request.headers["retry-attempt"];
      sent.push({
        bytes: body?.length ?? 0,
        atMs: performance.now(),
        attempt: typeof attempt === "string" ? attempt : undefined,
      });
      const { status, retryAfter } = answers.shift() ?? { status: 204 };
      if (retryAfter !== undefined) answer.setHeader("retry-after", retryAfter);
      answer.writeHead(status);
      answer.end("because");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return { sent, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/write` };
}

/** A queue over a store in which `samples` samples wait. */
async function open(
  t: TestContext,
  answers: Answer[],
  options: { readonly more?: string; readonly samples?: number; readonly ageMs?: number } = {},
) {
  const { sent, url } = await receiver(t, answers);
  const text = `remote_write: [{ url: "${url}", metadata_config: { send: false }, queue_config: { batch_send_deadline: 10ms, min_backoff: 5ms, max_backoff: 20ms, max_samples_per_send: 10 }${options.more ?? ""} }]`;
  const outcome = readRemoteWriteConfig(
    "prometheus.yml",
    text.replace(
      "queue_config: {",
      `queue_config: { ${options.ageMs === undefined ? "" : `sample_age_limit: ${options.ageMs}ms, `}`,
    ),
    [],
  );
  assert.equal(outcome.kind, "targets", JSON.stringify(outcome));
  const [target] = outcome.kind === "targets" ? outcome.targets : [];
  assert.ok(target);
  const metrics = await openMetrics(await metricDirectory(t));
  const [tail] = await metrics.openTails(["a"]);
  assert.ok(tail);
  const count = options.samples ?? 10;
  await metrics.appendSeries([
    seriesOf(
      labels("m"),
      Array.from({ length: count }, (_, i) => [START_MS + i, i] as const),
    ),
  ]);
  const counts = { sent: 0, failed: 0, retried: 0, dropped: [] as string[], why: "" };
  const sender = new HttpSender(
    { ca: undefined, cert: undefined, key: undefined, serverName: "", insecureSkipVerify: false },
    4,
  );
  const queue = new RemoteQueue({
    target,
    tail,
    nowMs: () => Date.now(),
    post: async (body, headers, signal) => {
      const { status, headers: answered, text: said } = await sender.post({ url, headers, body, signal });
      return { status, retryAfter: answered["retry-after"] ?? "", text: said };
    },
    metadata: () => [],
    events: {
      sent: (samples) => {
        counts.sent += samples;
      },
      failed: (samples, why) => {
        counts.failed += samples;
        counts.why = why;
      },
      retried: (samples) => {
        counts.retried += samples;
      },
      dropped: (reason) => counts.dropped.push(reason),
      shards: () => undefined,
    },
  });
  queue.start((error) => assert.fail(String(error)));
  const settled = async () => {
    const deadline = performance.now() + 10_000;
    while (counts.sent + counts.failed + counts.dropped.length < count && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const stop = async () => {
    await queue.stop();
    sender.close();
    await metrics.close();
  };
  return { sent, counts, settled, stop };
}

test("what is refused with a retryable status is tried again, no sooner than the target says", async (t) => {
  const { sent, counts, settled, stop } = await open(t, [{ status: 503 }, { status: 500, retryAfter: "1" }]);
  await settled();
  await stop();
  assert.deepEqual([counts.sent, counts.failed, counts.retried], [10, 0, 20]);
  assert.deepEqual(
    sent.map(({ attempt }) => attempt),
    [undefined, "1", "2"],
  );
  assert.ok((sent[2]?.atMs ?? 0) - (sent[1]?.atMs ?? 0) >= 990);
});

test("what is refused for good is counted and not sent again; 429 is tried again only where that is asked for", async (t) => {
  const refused = await open(t, [{ status: 400 }], { samples: 20 });
  await refused.settled();
  await refused.stop();
  assert.deepEqual([refused.counts.sent, refused.counts.failed, refused.counts.retried], [10, 10, 0]);
  assert.equal(refused.counts.why, "server returned HTTP status 400: because");
  const limited = await open(t, [{ status: 429 }]);
  await limited.settled();
  await limited.stop();
  assert.deepEqual([limited.counts.sent, limited.counts.failed], [0, 10]);
});

test("requests hold no more samples than they may", async (t) => {
  const { sent, counts, settled, stop } = await open(t, [], { samples: 95 });
  await settled();
  await stop();
  assert.equal(counts.sent, 95);
  assert.equal(sent.length, 10);
});

test("samples that are too old are dropped and counted", async (t) => {
  const { sent, counts, settled, stop } = await open(t, [], { ageMs: 1000 });
  await settled();
  await stop();
  assert.deepEqual([counts.sent, counts.dropped.length, counts.dropped[0], sent.length], [0, 10, "too_old", 0]);
});
