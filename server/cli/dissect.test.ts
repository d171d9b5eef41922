import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { after, test } from "node:test";
import { runDissect } from "./dissect.ts";

const DIRECTORY = mkdtempSync(join(tmpdir(), "thalweg-dissect-"));
after(() => rmSync(DIRECTORY, { recursive: true }));

async function dissect(...argv: string[]): Promise<{ status: number; out: string; err: string }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const texts = { out: "", err: "" };
  stdout.on("data", (chunk: Buffer) => {
    texts.out += chunk.toString();
  });
  stderr.on("data", (chunk: Buffer) => {
    texts.err += chunk.toString();
  });
  const status = await runDissect(argv, stdout, stderr);
  return { status, ...texts };
}

/** A file of segments: payloads of one connection, one millisecond apart. */
function segments(name: string, payloads: readonly (readonly ["c2s" | "s2c", string])[]): string {
  const flow = { id: 0, proto: "tcp", client: "::1", cport: 40_000, server: "::1", sport: 8080 };
  const seq = { c2s: 0, s2c: 0 };
  const lines = payloads.map(([dir, text], index) => {
    const payload = Buffer.from(text);
    const line = { ts: 1_700_000_000_000_001 + 1000 * index, flow, dir, seq: seq[dir], len: payload.length };
    seq[dir] += payload.length;
    return JSON.stringify({ ...line, payload: payload.toString("base64") });
  });
  const path = join(DIRECTORY, name);
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
}

test("an exchange a line, with times that no number of JavaScript holds", async () => {
  const file = segments("one.segments.jsonl", [
    ["c2s", "GET /users/7?token=hunter2 HTTP/1.1\r\nHost: shop.example\r\n\r\n"],
    ["s2c", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"],
  ]);
  const { status, out, err } = await dissect(file);
  assert.equal(status, 0);
  assert.equal(err, "");
  assert.match(out, /"start_ns":1700000000000001000,"end_ns":1700000000001001000,/);
  assert.ok(!out.includes("hunter2"));
  const { attributes, start_ns: _start, end_ns: _end, ...line } = JSON.parse(out);
  assert.equal(attributes["http.response.status_code"], 404);
  assert.deepEqual(line, {
    protocol: "http1",
    type: "exchange",
    op: "GET",
    resource: "/users/7?token=REDACTED",
    endpoint: "GET /users/{id}",
    status: "client_error",
    code: "404",
    id: "",
    client: "[::1]:40000",
    server: "[::1]:8080",
    request_bytes: 59,
    response_bytes: 47,
    stream: 0,
    version: "1.1",
  });
});

test("an unknown protocol prints nothing; one without a parser says so once", async () => {
  const file = segments("unknown.segments.jsonl", [
    ["c2s", "\u0001\u0002\u0003"],
    ["s2c", "\u0001\u0002\u0003"],
  ]);
  assert.deepEqual(await dissect(file), { status: 0, out: "", err: "" });
  assert.deepEqual(await dissect(file, "--protocol", "smoke-signals"), {
    status: 0,
    out: '{"type":"unsupported","protocol":"smoke-signals"}\n',
    err: "",
  });
  assert.deepEqual(await dissect("--protocol=http1", file, "--perspective=client"), { status: 0, out: "", err: "" });
  const empty = join(DIRECTORY, "empty");
  writeFileSync(empty, "");
  assert.deepEqual(await dissect(empty), { status: 0, out: "", err: "" });
});

test("wrong usage is status 2, a file that cannot be read 4, each with one line that says what is wrong", async () => {
  const usage = async (...argv: string[]) => {
    const { status, out, err } = await dissect(...argv);
    assert.equal(status, 2, argv.join(" "));
    assert.equal(out, "");
    assert.match(err, /^thalweg dissect: .+\nUsage: /);
  };
  await usage();
  await usage("a", "b");
  await usage("a", "--frobnicate");
  await usage("a", "--protocol");
  await usage("a", "--perspective", "sideways");
  for (const file of [join(DIRECTORY, "missing"), DIRECTORY]) {
    const { status, out, err } = await dissect(file);
    assert.equal(status, 4);
    assert.equal(out, "");
    assert.match(err, /^thalweg dissect: .+\n$/);
  }
});
