import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseFeatures } from "./features.ts";

test("names of features are switches, always on, or told to be ignored", () => {
  const names = ["promql-experimental-functions", "use-start-timestamps", "native-histograms", "agent", "nonsense"];
  assert.deepEqual(chooseFeatures(names), {
    settings: { experimentalFunctions: true, useStartTimestamps: true },
    ignored: ["agent", "nonsense"],
  });
  assert.deepEqual(chooseFeatures([]), { settings: {}, ignored: [] });
});
