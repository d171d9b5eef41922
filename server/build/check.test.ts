/** Every gate of `npm run check` is shown a planted fault, and must see it. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { checkRooms } from "./rooms.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const BIN = join(ROOT, "node_modules", ".bin");

/** A directory with the project's own configuration and the given files; commands run in it. */
function planted(files: Readonly<Record<string, string>>, use: (directory: string) => void): void {
  // Inside the project, so that the tools find the same packages; `build/` is ignored by git.
  mkdirSync(join(ROOT, "build"), { recursive: true });
  const directory = mkdtempSync(join(ROOT, "build", "planted-"));
  try {
    for (const name of ["biome.json", "tsconfig.json", "knip.json", ".jscpd.json", "package.json"])
      cpSync(join(ROOT, name), join(directory, name));
    symlinkSync(join(ROOT, "node_modules"), join(directory, "node_modules"));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), text);
    }
    use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function output(directory: string, program: string, args: readonly string[]): { status: number | null; text: string } {
  const ran = spawnSync(program, args, { cwd: directory, encoding: "utf8" });
  return { status: ran.status, text: `${ran.stdout}${ran.stderr}` };
}

const LINT_ARGS = ["lint", "--vcs-enabled=false", "."];

test("lint sees a floating promise, a misused promise and an any", () => {
  const source = `async function work(): Promise<void> {}
export function start(names: string[]): unknown {
  work();
  names.forEach(async () => work());
  const loose: any = names;
  return loose;
}
`;
  planted({ "server/cli/planted.ts": source }, (directory) => {
    const { status, text } = output(directory, join(BIN, "biome"), LINT_ARGS);
    assert.notEqual(status, 0);
    for (const rule of ["noFloatingPromises", "noMisusedPromises", "noExplicitAny"])
      assert.match(text, new RegExp(rule));
  });
});

test("lint sees types that import each other", () => {
  planted(
    {
      "server/model/a.ts": 'import type { B } from "./b.ts";\nexport interface A { readonly b: B }\n',
      "server/model/b.ts": 'import type { A } from "./a.ts";\nexport interface B { readonly a?: A }\n',
    },
    (directory) => assert.match(output(directory, join(BIN, "biome"), LINT_ARGS).text, /noImportCycles/),
  );
});

test("lint sees an import cycle and a barrel", () => {
  planted(
    {
      "server/model/a.ts": 'import { b } from "./b.ts";\nexport const a = (): unknown => b;\n',
      "server/model/b.ts": 'import { a } from "./a.ts";\nexport const b = (): unknown => a;\n',
      "server/model/barrel.ts": 'export * from "./a.ts";\nexport * from "./b.ts";\n',
    },
    (directory) => {
      const { text } = output(directory, join(BIN, "biome"), LINT_ARGS);
      assert.match(text, /noImportCycles/);
      assert.match(text, /noBarrelFile/);
    },
  );
});

test("format sees a line that the formatter would write otherwise", () => {
  planted({ "server/model/a.ts": "export const a   = 1\n" }, (directory) => {
    assert.notEqual(output(directory, join(BIN, "biome"), ["format", "--vcs-enabled=false", "server"]).status, 0);
  });
});

test("rooms see an import past a door, an impure room, a package that has another owner", () => {
  planted(
    {
      "server/api/a.ts": 'import { openStore } from "../store/store.ts";\nexport const a = openStore;\n',
      "agent/protocol/b.ts": 'import type { Clock } from "../../server/model/clock.ts";\nexport type B = Clock;\n',
      "server/derive/c.ts": 'import { readFileSync } from "node:fs";\nexport const c = readFileSync;\n',
      "server/query/d.ts": 'import fastify from "fastify";\nexport const d = fastify;\n',
      "server/store/store.ts": "export const openStore = 1;\n",
      "server/model/clock.ts": "export type Clock = number;\n",
    },
    (directory) => {
      const files = [
        "server/api/a.ts",
        "agent/protocol/b.ts",
        "server/derive/c.ts",
        "server/query/d.ts",
        "server/store/store.ts",
      ];
      const { faults, importsSeen } = checkRooms(directory, files);
      assert.equal(importsSeen, 4);
      assert.deepEqual(
        faults.map((fault) => fault.file),
        files.slice(0, 4),
      );
    },
  );
});

test("types see an unchecked index", () => {
  planted({ "server/model/a.ts": "export const first = (names: string[]): string => names[0];\n" }, (directory) => {
    const { status, text } = output(directory, process.execPath, [
      join(ROOT, "node_modules", "typescript", "bin", "tsc"),
      "-p",
      ".",
    ]);
    assert.notEqual(status, 0);
    assert.match(text, /TS2322/);
  });
});

test("dead code is seen", () => {
  planted(
    {
      "server/cli/main.ts": 'import { used } from "../model/a.ts";\nused();\n',
      "server/model/a.ts": "export function used(): void {}\nexport function unusedExport(): void {}\n",
    },
    (directory) => {
      const { status, text } = output(directory, process.execPath, [
        join(ROOT, "node_modules", "knip", "bin", "knip.js"),
      ]);
      assert.notEqual(status, 0);
      assert.match(text, /unusedExport/);
    },
  );
});

test("duplication is seen", () => {
  const block = Array.from(
    { length: 14 },
    (_, line) => `  const value${line} = input.charCodeAt(${line}) * ${line} + offset;`,
  ).join("\n");
  const copy = (name: string) =>
    `export function ${name}(input: string, offset: number): number {\n${block}\n  return value0 + value13;\n}\n`;
  planted({ "server/model/a.ts": copy("first"), "server/model/b.ts": copy("second") }, (directory) => {
    const { status, text } = output(directory, join(BIN, "jscpd"), [
      "--config",
      ".jscpd.json",
      "--no-gitignore",
      "--exit-code",
      "1",
      "server",
    ]);
    assert.notEqual(status, 0);
    assert.match(text, /[Cc]lone/);
  });
});
