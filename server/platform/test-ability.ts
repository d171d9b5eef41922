/**
 * What a test needs of the machine, and what happens where it is not there.
 */

import assert from "node:assert/strict";
import type { TestContext } from "node:test";

/** `capture`: BPF or packet sockets. `servers`: programs such as nginx. `suites`: the shared conformance material. */
export type TestAbility = "capture" | "servers" | "suites";

/**
 * Skips a test by name, with its reason; where `THALWEG_REQUIRE` (a list with commas) names the ability, fails it.
 *
 * ```ts
 * if (!requireOrSkip(t, "capture", missingCapture())) return;
 * ```
 *
 * @param missing What is missing, as in `needs CAP_BPF and CAP_PERFMON`; undefined or empty where all is there.
 * @returns Whether the test can go on.
 */
export function requireOrSkip(t: TestContext, ability: TestAbility, missing: string | undefined): boolean {
  if (missing === undefined || missing === "") return true;
  const required = (process.env["THALWEG_REQUIRE"] ?? "").split(",").map((word) => word.trim());
  assert.ok(
    !required.includes(ability),
    `THALWEG_REQUIRE asks for ${ability}, and this machine has it not: ${missing}`,
  );
  t.skip(missing);
  return false;
}
