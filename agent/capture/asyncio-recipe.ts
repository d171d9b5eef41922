/**
 * Where CPython keeps the task of asyncio that is under way, and how a task leads to the one that awaits it.
 *
 * The module `_asyncio` has a dictionary from loops to their tasks, which is found as Python itself would: from the
 * interpreter over its modules. A task's first callback is the wake-up of the task that awaits it, or a function of `gather`
 * one of whose cells holds the future that the other task awaits. Layouts are those of CPython 3.11 to 3.13; they were read
 * from the debug information of these versions.
 *
 * @see CPython, Modules/_asynciomodule.c, Include/internal/pycore_dict.h
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

interface InterpreterLayout {
  /** From the runtime to its first interpreter, and from there to the dictionary of modules. */
  readonly interpreterAt: number;
  readonly modulesAt: number;
  /** From a string of ASCII to its characters. */
  readonly textAt: number;
}

/** By minor version of Python 3. */
const LAYOUTS: Readonly<Record<string, InterpreterLayout>> = {
  "11": { interpreterAt: 40, modulesAt: 888, textAt: 48 },
  "12": { interpreterAt: 40, modulesAt: 944, textAt: 40 },
  "13": { interpreterAt: 632, modulesAt: 7656, textAt: 40 },
};
const OBJECT = { typeAt: 8, keysAt: 32, moduleDictionaryAt: 16, callbackAt: 24, selfAt: 24, closureAt: 72 } as const;
const KEYS = { logIndexBytesAt: 9, kindAt: 10, entriesAt: 24, bytes: 32 } as const;
/** Keys of any kind are stored with their hash. */
const KIND_GENERAL = 0;
const TEXT_LENGTH_AT = 16;
const entriesMax = 65_536;
const LIBRARY = /\/libpython3\.(\d+)\.so|\/python3\.(\d+)$/;
const SYMBOLS = ["_PyRuntime", "PyDict_Type", "PyCFunction_Type", "PyFunction_Type"] as const;

/** Looks for the dictionary; undefined where the process runs no asyncio, or another version. */
export function findTasks(memory: ProcessMemory): TaskRecipe | undefined {
  const paths = [...new Set(memory.mappings.map(({ path }) => path))].filter((path) => LIBRARY.test(path));
  // A library holds the interpreter where there is one: the program then only starts it.
  const library = paths.find((path) => path.includes("/libpython")) ?? paths[0];
  if (library === undefined) return undefined;
  const [, ofLibrary, ofProgram] = LIBRARY.exec(library) ?? [];
  const layout = LAYOUTS[ofLibrary ?? ofProgram ?? ""];
  const found = memory.symbols(library, SYMBOLS);
  const [runtime, dictType, builtinType, functionType] = SYMBOLS.map((name) => found.get(name));
  if (layout === undefined || runtime === undefined || dictType === undefined) return undefined;
  if (builtinType === undefined || functionType === undefined) return undefined;
  const python = new PythonObjects(memory, layout, dictType);
  const interpreter = memory.word(runtime + layout.interpreterAt);
  const module = python.valueOf(memory.word(interpreter + layout.modulesAt), "_asyncio");
  const names = memory.word(module + OBJECT.moduleDictionaryAt);
  const dictionary = module === 0 ? 0 : python.valueOf(names, "_current_tasks");
  if (!python.isDictionary(dictionary)) return undefined;
  const { keysAt, callbackAt, selfAt, closureAt } = OBJECT;
  return { dictionary, builtinType, functionType, keysAt, callbackAt, selfAt, closureAt };
}

class PythonObjects {
  readonly #memory: ProcessMemory;
  readonly #layout: InterpreterLayout;
  readonly #dictType: number;

  constructor(memory: ProcessMemory, layout: InterpreterLayout, dictType: number) {
    this.#memory = memory;
    this.#layout = layout;
    this.#dictType = dictType;
  }

  isDictionary(address: number): boolean {
    return isAddress(address) && this.#memory.word(address + OBJECT.typeAt) === this.#dictType;
  }

  /** Value under a name; 0 where the dictionary has none, or is none. */
  valueOf(dictionary: number, name: string): number {
    const memory = this.#memory;
    if (!this.isDictionary(dictionary)) return 0;
    const keys = memory.word(dictionary + OBJECT.keysAt);
    const head = memory.bytes(keys, KEYS.bytes);
    if (head.length < KEYS.bytes) return 0;
    const count = Math.min(Number(head.readBigUInt64LE(KEYS.entriesAt)), entriesMax);
    const isGeneral = head[KEYS.kindAt] === KIND_GENERAL;
    const entryBytes = isGeneral ? 24 : 16;
    const keyAt = isGeneral ? 8 : 0;
    const entries = memory.bytes(keys + KEYS.bytes + 2 ** (head[KEYS.logIndexBytesAt] ?? 0), count * entryBytes);
    for (let at = 0; at + entryBytes <= entries.length; at += entryBytes) {
      if (this.#isText(Number(entries.readBigUInt64LE(at + keyAt)), name))
        return Number(entries.readBigUInt64LE(at + keyAt + 8));
    }
    return 0;
  }

  #isText(address: number, text: string): boolean {
    if (!isAddress(address) || this.#memory.word(address + TEXT_LENGTH_AT) !== text.length) return false;
    return this.#memory.bytes(address + this.#layout.textAt, text.length).toString("latin1") === text;
  }
}
