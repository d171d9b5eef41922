/**
 * Where CPython keeps the task of asyncio that is under way, and how a task leads to the one that awaits it.
 *
 * `_asyncio` has a dictionary from loops to their tasks. A task's first callback is the wake-up of the task that awaits it,
 * or a function of `gather` one of whose cells holds the future that the other task awaits. The layouts of the objects are
 * those of CPython 3.11, the names are the library's own symbols.
 *
 * @see CPython 3.11, Modules/_asynciomodule.c, Objects/dict-common.h
 */

import { isAddress, type ProcessMemory } from "./process-memory.ts";

/** Addresses in one process. */
export interface TaskRecipe {
  readonly dictionary: number;
  /** Types of built-in functions and of functions. */
  readonly builtinType: number;
  readonly functionType: number;
  readonly keysAt: number;
  readonly callbackAt: number;
  readonly selfAt: number;
  readonly closureAt: number;
}

const LAYOUT_3_11 = { keysAt: 32, callbackAt: 24, selfAt: 24, closureAt: 72 } as const;

/** Looks for the dictionary; undefined where the process runs no asyncio, or another version. */
export function findTasks(memory: ProcessMemory): TaskRecipe | undefined {
  const paths = [...new Set(memory.mappings.map(({ path }) => path))];
  const library = paths.find((path) => /\/_asyncio\.cpython-311-/.test(path));
  const interpreter = paths.find((path) => /\/(libpython3\.11\.so|python3\.11$)/.test(path));
  if (library === undefined) return undefined;
  const types = ["PyDict_Type", "PyCFunction_Type", "PyFunction_Type"];
  const found = new Map<string, number>();
  for (const path of paths.filter((path) => /libpython3\.11\.so/.test(path) || path === interpreter)) {
    for (const [name, address] of memory.symbols(path, types)) found.set(name, address);
  }
  const place = memory.symbols(library, ["current_tasks"]).get("current_tasks");
  const builtinType = found.get("PyCFunction_Type");
  const functionType = found.get("PyFunction_Type");
  if (place === undefined || builtinType === undefined || functionType === undefined) return undefined;
  const dictionary = memory.word(place);
  if (!isAddress(dictionary) || memory.word(dictionary + 8) !== found.get("PyDict_Type")) return undefined;
  return { dictionary, builtinType, functionType, ...LAYOUT_3_11 };
}
