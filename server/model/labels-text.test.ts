import assert from "node:assert/strict";
import { test } from "node:test";
import { labelsText } from "./labels-text.ts";

test("labelsText: names that need it and all values are quoted as Go quotes", () => {
  assert.equal(labelsText([]), "{}");
  assert.equal(
    labelsText([
      ["__name__", "up"],
      ["host.name", 'a "b"\\'],
      ["ü", "tab\t, bell\x07, nul\0, del\x7f, nbsp\u00a0, ünïcode 😀, \u{e0001}"],
    ]),
    '{__name__="up", "host.name"="a \\"b\\"\\\\", "ü"="tab\\t, bell\\a, nul\\x00, del\\x7f, nbsp\\u00a0, ünïcode 😀, \\U000e0001"}',
  );
});
