// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables look like that.
import assert from "node:assert/strict";
import { test } from "node:test";
import { mergeExternalLabels } from "./external-labels.ts";

test("labels of the file take variables, those of other settings win", () => {
  const fromFile: [string, string][] = [
    ["zone", "${ZONE}-$HOST_1/$1 $$ ${} $"],
    ["gone", "$NOTHING"],
    ["cluster", "file"],
    ["a", ""],
  ];
  const variables = new Map([
    ["ZONE", "eu"],
    ["HOST_1", "box"],
  ]);
  const { labels, missing } = mergeExternalLabels(fromFile, [["cluster", "flag"]], (name) => variables.get(name));
  assert.deepEqual(labels, [
    ["cluster", "flag"],
    ["zone", "eu-box/ $  $"],
  ]);
  assert.deepEqual(missing, ["1", "", "NOTHING"]);
});
