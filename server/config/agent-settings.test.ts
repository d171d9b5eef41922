import assert from "node:assert/strict";
import { test } from "node:test";
import { ThalwegError } from "../model/errors.ts";
import { readAgentSettings } from "./agent-settings.ts";

test("where spans are sent", () => {
  const to = (value: string) => {
    const { transport, url } = readAgentSettings(["--to", value], {}).to;
    return `${transport} ${url.href}`;
  };
  assert.equal(to("http://host:4318"), "http http://host:4318/v1/traces");
  assert.equal(to("http://host:4318/"), "http http://host:4318/v1/traces");
  assert.equal(to("https://host/otlp/v1/traces"), "http https://host/otlp/v1/traces");
  assert.equal(to("http://host:4317"), "grpc http://host:4317/");
  assert.equal(to("grpc://host:9999"), "grpc http://host:9999/");
  assert.equal(to("grpcs://[fd00::1]:4317"), "grpc https://[fd00::1]:4317/");
  assert.equal(to("http://user:s3cret@host:4318"), "http http://user:s3cret@host:4318/v1/traces");
  assert.equal(readAgentSettings([], { THALWEG_TO: "http://host:4318" }).to.url.host, "host:4318");
});

test("what an agent refuses, without a word of a password", () => {
  const refuses = (args: string[], code: string) =>
    assert.throws(
      () => readAgentSettings(args, {}),
      (error) => error instanceof ThalwegError && error.code === code && !error.message.includes("s3cret"),
    );
  refuses([], "flag_invalid");
  refuses(["--to", "ftp://user:s3cret@host"], "flag_invalid");
  refuses(["--to", "http://user:s3cret@:99999"], "flag_invalid");
  refuses(["--to", "http://host:4318", "--queue", "1KiB"], "flag_invalid");
  refuses(["--to", "http://host:4318", "--listen", "0.0.0.0:0"], "address_not_loopback");
  refuses(["--to", "http://host:4318", "--data", "here"], "flag_unknown");
  refuses(["--to", "http://host:4318", "--network-namespace", "mine"], "flag_invalid");
});
