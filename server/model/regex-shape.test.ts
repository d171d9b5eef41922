import assert from "node:assert/strict";
import { test } from "node:test";
import { RE2JS } from "re2js";
import { regexLiterals, regexShape } from "./regex-shape.ts";

test("regexShape: repetitions multiply, whatever they repeat", () => {
  const between = (pattern: string, least: number, most: number) => {
    const size = regexShape(pattern).size;
    assert.ok(size >= least && size <= most, `${pattern.slice(0, 40)}: ${size}`);
  };
  between("", 1, 1);
  between("abc", 3, 5);
  between("a{1000}", 1000, 1003);
  between("a{3,5}b{2,}", 7, 12);
  between("(?:ab|c){100}", 300, 700);
  between("((a{10}){10}){10}", 1000, 1600);
  between("[a-z]{50}\\d{50}\\p{Greek}{10}", 110, 500);
  between("(?P<name>x){20}", 20, 70);
  between("[]{9}]{3}", 3, 15); // the braces are in the class
  between("[[:alpha:]{9}]{3}", 3, 15);
  between("\\{1000}", 6, 10); // an escaped brace repeats nothing
  between("\\Qa{1000}\\E", 7, 15);
  between("a{,5}", 5, 8); // no repetition in RE2
  between("(?i)a{100}", 100, 110);
  between("(((", 3, 10);
  between("a{1000}".repeat(1000), 1e6, 1.1e6);
});

test("regexShape takes time in proportion to the text", () => {
  for (const text of ["[", "(", "\\", "{1", "[[:a:]", "[\\]", "\\Q", "(?", "a{9}", "|"]) {
    const before = process.cpuUsage();
    regexShape(text.repeat(65_536 / text.length));
    assert.ok(process.cpuUsage(before).user < 250_000, text);
  }
});

test("regexShape is no less than what RE2 makes of it", () => {
  const patterns = [
    "a{200}",
    "(a|b){50}c*",
    "((x{7}){6}y?){5}",
    "(?:foo|bar|baz\\.q){30}",
    "[a-f0-9]{8}(-[a-f0-9]{4}){3}",
  ];
  for (const pattern of patterns) {
    const program = RE2JS.compile(pattern).programSize();
    const size = regexShape(pattern).size;
    assert.ok(size * 2 >= program && size <= program * 4, `${pattern}: ${size}, RE2 ${program}`);
  }
});

test("regexShape names the repetition that RE2 refuses", () => {
  const refused = (pattern: string, repeat: string | undefined) => {
    const { invalidRepeat } = regexShape(pattern);
    assert.equal(invalidRepeat, repeat, pattern);
    if (repeat === undefined) RE2JS.compile(pattern);
    else
      assert.throws(() => RE2JS.compile(pattern), {
        message: `error parsing regexp: invalid repeat count: \`${repeat}\``,
      });
  };
  refused("(a{1000}){1000}", "{1000}");
  refused("(a{10}){101}", "{101}");
  refused("(a{10}){100}", undefined);
  refused("((a{5}){5}b{3}){41}", "{41}");
  refused("((a{5}){5}b{3}){40}", undefined);
  refused("a{1001}", "{1001}");
  refused("a{1000}b{1000}", undefined);
});

test("regexLiterals: lists of texts, and nothing that is more", () => {
  const list = (pattern: string) => {
    const literals = regexLiterals(pattern);
    return literals === undefined ? undefined : [...literals];
  };
  assert.deepEqual(list("a"), ["a"]);
  assert.deepEqual(list("a|b|"), ["a", "b", ""]);
  assert.deepEqual(list("10\\.0\\.0\\.1:9100|h-1\\.x"), ["10.0.0.1:9100", "h-1.x"]);
  assert.deepEqual(list("a\\|b\\\\"), ["a|b\\"]);
  for (const pattern of ["a.b", "a|(b)", "a*", "\\d", "\\n", "\\x41", "a\\", "[a]", "^a", "a$", "\\Qa\\E", "a{2}"]) {
    assert.equal(list(pattern), undefined, pattern);
  }
});
