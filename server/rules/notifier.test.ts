import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { postJson } from "../platform/http-post.ts";
import type { Alert } from "./alert-state.ts";
import { type NotificationDrop, Notifier } from "./notifier.ts";

const NOW_MS = 1_700_000_000_000;

function alert(name: string, more: Partial<Alert> = {}): Alert {
  return {
    labels: [["alertname", name]],
    annotations: [["text", `about ${name}`]],
    value: 1,
    state: "firing",
    activeAtMs: NOW_MS - 60_000,
    firedAtMs: NOW_MS,
    resolvedAtMs: undefined,
    lastSentMs: NOW_MS,
    validUntilMs: NOW_MS + 240_000,
    keepFiringSinceMs: undefined,
    ...more,
  };
}

interface Posted {
  readonly labels: Readonly<Record<string, string>>;
  readonly startsAt: string;
  readonly endsAt: string;
}

/** A receiver that answers with the statuses in turn, then with the last one for ever. */
async function receiver(t: TestContext, ...statuses: number[]) {
  const requests: Posted[][] = [];
  const headers: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      requests.push(JSON.parse(Buffer.concat(parts).toString("utf8")));
      headers.push(`${request.method} ${request.url} ${request.headers.authorization ?? ""}`.trim());
      response.writeHead(statuses.length > 1 ? (statuses.shift() ?? 200) : (statuses[0] ?? 200)).end("x");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  // A server that listens on a port has an address of this shape.
  const { port } = server.address() as AddressInfo;
  return { port, requests, headers };
}

function notifierTo(url: string, counts: string[] = []) {
  const dropped = new Map<NotificationDrop, number>();
  const notifier = new Notifier({
    alertmanagers: [url, url],
    externalUrl: "http://rules.example",
    externalLabels: [
      ["region", "eu"],
      ["alertname", "never"],
    ],
    clock: { nowMs: () => NOW_MS },
    post: postJson,
    onSent: (_, count) => counts.push(`sent ${count}`),
    onFailure: (_, count, why) => counts.push(`failed ${count}: ${why}`),
    onDropped: (_, reason, count) => dropped.set(reason, (dropped.get(reason) ?? 0) + count),
  });
  return { notifier, dropped, counts };
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !condition(); tries++) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(condition());
}

test("alerts are posted as Alertmanager's API takes them", async (t) => {
  const { port, requests, headers } = await receiver(t);
  const { notifier } = notifierTo(`http://me:se%20cret@127.0.0.1:${port}/prefix`);
  notifier.send('up == 0 and x{a="b"}', [alert("A"), alert("B", { state: "inactive", resolvedAtMs: NOW_MS + 5000 })]);
  await until(() => requests.length === 1);
  assert.deepEqual(headers, ["POST /prefix/api/v2/alerts Basic bWU6c2UgY3JldA=="]);
  assert.deepEqual(requests[0], [
    {
      labels: { alertname: "A", region: "eu" },
      annotations: { text: "about A" },
      startsAt: "2023-11-14T22:13:20.000Z",
      endsAt: "2023-11-14T22:17:20.000Z",
      generatorURL: "http://rules.example/graph?g0.expr=up+%3D%3D+0+and+x%7Ba%3D%22b%22%7D&g0.tab=1",
    },
    {
      labels: { alertname: "B", region: "eu" },
      annotations: { text: "about B" },
      startsAt: "2023-11-14T22:13:20.000Z",
      endsAt: "2023-11-14T22:13:25.000Z",
      generatorURL: "http://rules.example/graph?g0.expr=up+%3D%3D+0+and+x%7Ba%3D%22b%22%7D&g0.tab=1",
    },
  ]);
  await notifier.stop();
});

test("many alerts go in several requests", async (t) => {
  const { port, requests } = await receiver(t);
  const { notifier, counts } = notifierTo(`http://127.0.0.1:${port}`);
  notifier.send(
    "up",
    Array.from({ length: 600 }, (_, index) => alert(String(index))),
  );
  await until(() => requests.length === 3);
  assert.deepEqual(
    requests.map((request) => request.length),
    [256, 256, 88],
  );
  await notifier.stop();
  assert.deepEqual(counts, ["sent 256", "sent 256", "sent 88"]);
});

test("an Alertmanager that fails is tried again, and hears of the present state", async (t) => {
  const { port, requests } = await receiver(t, 503, 200);
  const { notifier, counts, dropped } = notifierTo(`http://127.0.0.1:${port}`);
  notifier.send("up", [alert("A"), alert("B")]);
  await until(() => requests.length === 1);
  notifier.send("up", [alert("A", { state: "inactive", resolvedAtMs: NOW_MS })]);
  await until(() => counts.includes("sent 2"));
  assert.deepEqual(
    requests[1]?.map(({ labels, endsAt }) => `${labels["alertname"]} ${endsAt}`),
    ["B 2023-11-14T22:17:20.000Z", "A 2023-11-14T22:13:20.000Z"],
  );
  assert.deepEqual(counts, ["failed 2: bad response status 503", "sent 2"]);
  assert.equal(dropped.size, 0);
  await notifier.stop();
});

test("what an Alertmanager refuses is not sent again", async (t) => {
  const { port, requests } = await receiver(t, 400, 200);
  const { notifier, dropped } = notifierTo(`http://127.0.0.1:${port}`);
  notifier.send("up", [alert("A")]);
  await until(() => dropped.get("refused") === 1);
  notifier.send("up", [alert("B")]);
  await until(() => requests.length === 2);
  assert.equal(requests[1]?.[0]?.labels["alertname"], "B");
  await notifier.stop();
});

test("a queue holds so many alerts and no more, and those that are old news go", async () => {
  const { notifier, dropped, counts } = notifierTo("http://127.0.0.1:1");
  notifier.send(
    "up",
    Array.from({ length: 10_500 }, (_, index) => alert(String(index))),
  );
  assert.equal([...notifier.queueLengths().values()][0], 10_000);
  assert.equal(dropped.get("queue_full"), 500);
  await until(() => counts.length === 1);
  await notifier.stop();
  assert.equal(dropped.get("stopping"), 10_000);
  const old = notifierTo("http://127.0.0.1:1");
  old.notifier.send("up", [alert("A", { state: "inactive", resolvedAtMs: NOW_MS - 16 * 60_000 }), alert("B")]);
  await until(() => old.dropped.get("expired") === 1);
  assert.equal([...old.notifier.queueLengths().values()][0], 1);
  await old.notifier.stop();
});
