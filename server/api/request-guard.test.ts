import assert from "node:assert/strict";
import test from "node:test";
import { isLoopbackName, refuseHost, refuseOrigin } from "./request-guard.ts";

test("isLoopbackName", () => {
  for (const name of ["localhost", "a.localhost", "127.0.0.1", "127.255.0.9", "::1"])
    assert.ok(isLoopbackName(name), name);
  for (const name of ["localhost.evil.example", "128.0.0.1", "127.evil.example", "127.1", "::2", ""]) {
    assert.ok(!isLoopbackName(name), name);
  }
});

test("refuseHost on loopback and on an address that others reach", () => {
  const loopback = { bound: "127.0.0.1", allowed: ["proxy.example"] };
  const open = { bound: "0.0.0.0", allowed: [] };
  const passes = (host: string | undefined, rule: typeof loopback | typeof open) =>
    refuseHost(host, rule) === undefined;
  assert.ok(passes(undefined, loopback));
  assert.ok(passes("LOCALHOST:8425", loopback));
  assert.ok(passes("localhost.", loopback));
  assert.ok(passes("proxy.example:443", loopback));
  assert.ok(!passes("192.168.1.5:8425", loopback));
  assert.ok(passes("192.168.1.5:8425", open));
  assert.ok(passes("[fe80::1]:8425", open));
  assert.ok(!passes("evil.example", open));
  assert.ok(!passes("localhost@evil.example", loopback));
  assert.ok(!passes("localhost:99999999", loopback));
});

test("refuseOrigin", () => {
  const host = "127.0.0.1:8425";
  const cors = { allows: (origin: string) => origin === "http://friend.example" };
  const refused = (method: string, headers: Record<string, string>) => refuseOrigin(method, headers, cors);
  assert.equal(refused("POST", { host }), undefined);
  assert.equal(refused("POST", { host, origin: "http://127.0.0.1:8425" }), undefined);
  assert.equal(refused("POST", { host: "shop.example", origin: "https://shop.example" }), undefined);
  assert.equal(refused("GET", { host, origin: "http://evil.example" }), undefined);
  assert.notEqual(refused("POST", { host, origin: "http://127.0.0.1:9999" }), undefined);
  assert.notEqual(refused("DELETE", { host, origin: "null" }), undefined);
  assert.notEqual(refused("GET", { host, "sec-fetch-site": "cross-site" }), undefined);
  const friend = { host, origin: "http://friend.example", "sec-fetch-site": "cross-site" };
  assert.equal(refused("POST", friend), undefined);
  assert.equal(refused("OPTIONS", { ...friend, origin: "http://evil.example" }), undefined);
});
