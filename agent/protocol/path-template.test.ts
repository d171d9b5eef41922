import assert from "node:assert/strict";
import { test } from "node:test";
import {
  OVERFLOW_TEMPLATE,
  PathTemplates,
  POSITION_VALUES_MAX,
  SERVER_TEMPLATES_MAX,
  SERVERS_MAX,
  ServerTemplates,
} from "./path-template.ts";

test("templates of single paths", () => {
  const named = (path: string, want: string) => assert.equal(new PathTemplates().templateOf(path), want, path);
  named("/", "/");
  named("", "");
  named("*", "*");
  named("/users/1234/orders", "/users/{id}/orders");
  named("/orders/00000001-1111-4222-8333-000000000001", "/orders/{id}");
  named("/f/dbc1b4c900ffe48d575b5da5c6380401", "/f/{id}");
  named("/f/deadbeefdeadbeef", "/f/{id}");
  named("/f/deadbeef", "/f/deadbeef");
  named("/u/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/u/{id}");
  named("/u/alice@example.com", "/u/{id}");
  named("/u/alice%40example.com", "/u/{id}");
  named("/img/1234.png", "/img/{id}.png");
  named("/img/logo.png", "/img/logo.png");
  named("/api/v1/users", "/api/v1/users");
  named("/api/v10/users", "/api/v10/users");
  named("/oauth2/token", "/oauth2/token");
  named("/a/ab123", "/a/{id}");
  named("/internationalization-settings", "/internationalization-settings");
  named(`/x/${"long".repeat(20)}`, "/x/{id}");
  named("/reset/REDACTED", "/reset/{id}");
  named("//double//slash/", "//double//slash/");
  named("/a".repeat(20), `${"/a".repeat(16)}/*`);
});

test("a position with too many values becomes a parameter, its frequent values stay", () => {
  const templates = new PathTemplates();
  for (let turn = 0; turn < 100; turn++) templates.templateOf("/shop/cart");
  for (let user = 0; user < POSITION_VALUES_MAX; user++) templates.templateOf(`/shop/${name(user)}/view`);
  assert.equal(templates.templateOf("/shop/newcomer/view"), "/shop/{x}/view");
  assert.equal(templates.templateOf(`/shop/${name(3)}/view`), "/shop/{x}/view");
  assert.equal(templates.templateOf("/shop/cart"), "/shop/cart");
});

test("whatever is asked for, a server has a bounded number of templates", () => {
  const templates = new PathTemplates();
  const seen = new Set<string>();
  for (let a = 0; a < 40; a++) {
    for (let b = 0; b < 40; b++) {
      for (let c = 0; c < 5; c++) seen.add(templates.templateOf(`/${name(a)}/${name(b)}/${name(c)}`));
    }
  }
  assert.ok(seen.has(OVERFLOW_TEMPLATE));
  assert.ok(seen.size <= SERVER_TEMPLATES_MAX + 1, `${seen.size} templates`);
});

test("servers beyond the limit share one table", () => {
  const servers = new ServerTemplates();
  const first = servers.of("10.0.0.1:80");
  for (let index = 0; index < SERVERS_MAX; index++) servers.of(`10.0.0.2:${index}`);
  assert.equal(servers.of("10.0.0.1:80"), first);
  assert.equal(servers.of("10.0.0.3:1"), servers.of("10.0.0.3:2"));
});

/** Words without digits, all different. */
function name(index: number): string {
  return `w${String.fromCharCode(97 + (index % 26))}${String.fromCharCode(97 + Math.floor(index / 26))}`;
}
