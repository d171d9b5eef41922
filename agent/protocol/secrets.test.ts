/** No secret of the corpus may stand in any field of any exchange. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Exchange } from "./exchange.ts";
import { play, randomFrom, type Step } from "./http1.testkit.ts";
import { looksSecret } from "./secrets.ts";
import { redactPath, redactQuery } from "./target.ts";

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** Makes a text of random letters that holds all three kinds. */
function letters(random: () => number, length: number): string {
  let text = "aZ9";
  while (text.length < length) text += LETTERS[Math.floor(random() * LETTERS.length)];
  return text;
}

/** Secrets whose shape tells them, of each kind one. */
function shapedSecrets(random: () => number): string[] {
  const jwtPart = () => letters(random, 30);
  return [
    `eyJ${jwtPart()}.eyJ${jwtPart()}.${jwtPart()}`,
    `ghp_${letters(random, 36)}`,
    `github_pat_${letters(random, 40)}`,
    `glpat-${letters(random, 20)}`,
    `xoxb-${letters(random, 24)}`,
    `sk_live_${letters(random, 24)}`,
    `AKIA${letters(random, 16).toUpperCase()}`,
    `AIza${letters(random, 35)}`,
    letters(random, 43),
    `user.${letters(random, 6)}@mail.example.com`,
    "4111111111111111",
    "5500-0000-0000-0004",
  ];
}

/** What is secret by where it stands, whatever it looks like. */
function plainSecret(random: () => number): string {
  return `hunter${letters(random, 8)}`;
}

function textsOf(exchange: Exchange): string {
  return JSON.stringify(exchange);
}

test("a corpus of secrets in every place of a request and an answer", () => {
  for (let seed = 1; seed <= 160; seed++) {
    const random = randomFrom(seed);
    for (const secret of shapedSecrets(random)) {
      const plain = plainSecret(random);
      const encoded = secret.replace("@", random() < 0.5 ? "%40" : "@");
      const lines = [
        `GET /reset/${encoded}/confirm?token=${plain}&q=${encoded} HTTP/1.1`,
        `GET http://admin:${plain}@back.example/a;jsessionid=${plain}/${encoded}.json?${encoded}=1&${encoded} HTTP/1.1`,
        `GET /v1/token/${plain}/x HTTP/1.1`,
        `GET /a?${plain} HTTP/1.1`,
        `CONNECT ${plain}:${plain}@db.example:443 HTTP/1.1`,
      ];
      for (const line of lines) {
        const steps: Step[] = [
          [
            ">",
            `${line}\r\nHost: u:${plain}@shop.example\r\nAuthorization: Bearer ${secret}\r\nCookie: s=${plain}\r\n` +
              `X-Api-Key: ${plain}\r\nUser-Agent: tool/1 (${secret}) key=${secret}\r\nReferer: /?t=${plain}\r\n\r\n`,
          ],
          [
            "<",
            `HTTP/1.1 200 ${plain}\r\nSet-Cookie: s=${secret}\r\nContent-Length: ${secret.length}\r\n\r\n${secret}`,
          ],
        ];
        const { exchanges } = play(steps);
        assert.equal(exchanges.length, 1, line);
        for (const exchange of exchanges) {
          const text = textsOf(exchange);
          assert.ok(!text.includes(secret), `${line}: ${text}`);
          assert.ok(!text.includes(encoded), `${line}: ${text}`);
          assert.ok(!text.includes(plain), `${line}: ${text}`);
        }
      }
    }
  }
});

test("with redaction off everything of the target is kept", () => {
  const [exchange] = play([[">", "GET /u/a@b.example?q=a%20b&x=1 HTTP/1.1\r\n\r\n"]], { redaction: false }).exchanges;
  assert.equal(exchange?.resource, "/u/a@b.example?q=a%20b&x=1");
  assert.equal(exchange?.attributes["url.query"], "q=a%20b&x=1");
});

test("looksSecret leaves ordinary words and identifiers alone", () => {
  for (const text of [
    "orders",
    "00000001-1111-4222-8333-000000000001",
    "dbc1b4c900ffe48d575b5da5c6380401",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "internationalization-of-settings-and-preferences",
    "1699999999999",
    "@scope",
    "a@b",
    "task-2024-01-01",
    "jquery-3.7.1.min.js",
  ]) {
    assert.equal(looksSecret(text), false, text);
  }
});

test("redactPath", () => {
  const same = (path: string) => assert.equal(redactPath(path), path);
  same("/");
  same("/users/1000");
  same("/f/dbc1b4c900ffe48d575b5da5c6380401");
  same("/a;v=2/b");
  assert.equal(redactPath("/a;jsessionid=0123ABC/b"), "/a;jsessionid=REDACTED/b");
  assert.equal(redactPath("/u/alice@example.com/x"), "/u/REDACTED/x");
  assert.equal(redactPath("/tokens/abc12345/x"), "/tokens/REDACTED/x");
  assert.equal(redactPath("/verify/0123456789abcdef0"), "/verify/REDACTED");
  assert.equal(redactPath("/u/alice%40example%2Ecom/x"), "/u/REDACTED/x");
  assert.equal(redactPath("/proxy/http://bob:hunter2@back/x"), "/proxy/http://REDACTED/x");
  assert.equal(redactPath("/proxy/http%3A%2F%2Fbob%3Ahunter2%40back"), "/proxy/REDACTED");
  same("/npm:@scope/a%20b");
});

test("redactQuery", () => {
  assert.equal(redactQuery("q=a%20b&x=1"), "q=REDACTED&x=REDACTED");
  assert.equal(redactQuery("a=&b&&c=d=e"), "a=&b&&c=REDACTED");
  assert.equal(redactQuery("1590632942"), "REDACTED");
  assert.equal(redactQuery("CorrectHorseBatteryStapleAndMore"), "REDACTED");
  assert.equal(redactQuery("filter[name]=x"), "filter[name]=REDACTED");
});
