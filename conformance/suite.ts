/** What every suite counts, and how it tells of a case. */

/** Counts of a finished suite. */
export interface SuiteOutcome {
  readonly passed: number;
  readonly failed: number;
  /** `name: why` of each case that failed. */
  readonly faults: readonly string[];
  /** `name: reason` of each case that this machine does not allow. */
  readonly skipped: readonly string[];
}

/** Counts cases and prints them as they come; quiet, only those that fail. */
export class SuiteReport {
  readonly #quiet: boolean;
  #passed = 0;
  readonly #faults: string[] = [];
  readonly #skipped: string[] = [];

  constructor({ quiet = false }: { readonly quiet?: boolean } = {}) {
    this.#quiet = quiet;
  }

  /** Counts a case as passed where `fault` is empty, else prints why it failed. */
  add(name: string, fault: string): void {
    if (fault === "") {
      this.#passed++;
      if (!this.#quiet) process.stdout.write(`ok   ${name}\n`);
    } else {
      this.#faults.push(`${name}: ${fault}`);
      process.stdout.write(`FAIL ${name}\n${fault.trimEnd().replaceAll(/^/gm, "     ")}\n`);
    }
  }

  /** Notes a case that was not run; a failure where THALWEG_REQUIRE asks for `ability`. */
  skip(name: string, reason: string, ability: "capture" | "servers" | "suites"): void {
    if ((process.env["THALWEG_REQUIRE"] ?? "").split(",").includes(ability))
      this.add(name, `required here, but ${reason}`);
    else this.#skipped.push(`${name}: ${reason}`);
  }

  get outcome(): SuiteOutcome {
    return { passed: this.#passed, failed: this.#faults.length, faults: this.#faults, skipped: this.#skipped };
  }
}

/** Runs all `parts`, at most `atOnce` of them at any time; the first that throws ends it. */
export async function runParts(parts: readonly (() => Promise<void>)[], atOnce: number): Promise<void> {
  const left = [...parts];
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let part = left.shift(); part !== undefined; part = left.shift()) await part();
    }),
  );
}
