import assert from "node:assert/strict";
import { test } from "node:test";
import { plainTarget, readRemoteWriteConfig } from "./remote-write-config.ts";

test("targets are read with Prometheus' defaults", () => {
  const text = `remote_write:
  - url: https://host/api/v1/write
  - url: http://other/write
    name: second
    protobuf_message: io.prometheus.write.v2.Request
    headers: { X-Scope-OrgID: tenant }
    queue_config: { max_shards: 3, sample_age_limit: 1h, retry_on_http_429: true }
    basic_auth: { username: u, password_file: pass }
`;
  const outcome = readRemoteWriteConfig("/etc/p/prometheus.yml", text, [["a", "mine"]]);
  assert.equal(outcome.kind, "targets", JSON.stringify(outcome));
  const [first, second] = outcome.kind === "targets" ? outcome.targets : [];
  assert.deepEqual(first?.queue, {
    shardsMin: 1,
    shardsMax: 50,
    samplesPerSend: 2000,
    batchDeadlineMs: 5000,
    backoffMinMs: 30,
    backoffMaxMs: 5000,
    retryOn429: false,
    sampleAgeMaxMs: 0,
  });
  assert.deepEqual(
    [first?.version, first?.timeoutMs, first?.sendNativeHistograms, first?.metadataEveryMs],
    [1, 30_000, false, 60_000],
  );
  assert.match(first?.name ?? "", /^[0-9a-f]{6}$/);
  assert.deepEqual(first?.externalLabels, [["a", "mine"]]);
  assert.deepEqual(
    [second?.name, second?.version, second?.sendNativeHistograms, second?.queue.shardsMax],
    ["second", 2, true, 3],
  );
  assert.deepEqual(second?.http.basic?.password, { file: "/etc/p/pass" });
  assert.equal(plainTarget("http://other/write", 2, []).version, 2);
});

test("what is wrong is told with its line, without a password", () => {
  const bad = (section: string, reason: RegExp) => {
    const outcome = readRemoteWriteConfig("p.yml", `remote_write:\n${section}`, []);
    assert.equal(outcome.kind, "refused", section);
    if (outcome.kind === "refused") assert.match(outcome.reasons.join("; "), reason);
  };
  bad("  - name: x", /line 2: url for remote_write is empty/);
  bad("  - url: ftp://user:hush@host/", /line 2: url "ftp:\/\/host\/" is no http/);
  bad("  - { url: http://h/, protobuf_message: x }", /unknown type for remote write protobuf message x/);
  bad("  - { url: http://h/, queue_config: { max_shards: 0 } }", /max_shards must be positive/);
  bad("  - { url: http://h/, queue_config: { min_shards: 60 } }", /min_shards must not be greater/);
  bad("  - { url: http://h/, queue_config: { min_backoff: 6s } }", /max_backoff must not be less than min_backoff/);
  bad("  - { url: http://h/, headers: { Authorization: x } }", /Authorization is a reserved header/);
  bad("  - { url: http://h/, write_relabel_configs: [{ action: hashmod }] }", /non-zero modulus/);
  bad(
    "  - { url: http://h/, name: a }\n  - { url: http://i/, name: a }",
    /line 3: found multiple remote write configs/,
  );
  bad("  - { url: http://h/, sigv4: {} }", /field sigv4 not found/);
  bad("  - { url: http://h/, round_robin_dns: true }", /not supported/);
});
