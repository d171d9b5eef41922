/**
 * Named programs whose processes end too soon for probes of their own: the kernel is told their names before the next one
 * starts.
 */

/** Processes remembered that ended soon; beyond, all are forgotten. */
const endedMax = 256;
/** Names that the kernel compares with, and their bytes. */
const namesMax = 8;
const nameBytes = 16;

/** The programs, by the names that their threads have. */
export class QuickPrograms {
  /** Programs of the processes that ended soon, by their id. */
  readonly #ended = new Map<number, string>();
  readonly #names = new Set<string>();

  /** Names of the programs so far. */
  get names(): readonly string[] {
    return [...this.#names];
  }

  has(program: string): boolean {
    return this.#names.has(nameOf(program));
  }

  /** Adds a program. @returns False where it is known already, or there are as many as may be. */
  add(program: string): boolean {
    const name = nameOf(program);
    if (this.#names.has(name) || this.#names.size >= namesMax) return false;
    this.#names.add(name);
    return true;
  }

  /** A process ended soon. What it sent may be read after its end. */
  ended(pid: number, program: string): void {
    if (this.#ended.size >= endedMax) this.#ended.clear();
    this.#ended.set(pid, program);
  }

  /** Program of a process that ended soon; undefined where it did not. */
  programOf(pid: number): string | undefined {
    return this.#ended.get(pid);
  }

  /** The id belongs to another process now. */
  forget(pid: number): void {
    this.#ended.delete(pid);
  }

  /** The names as the kernel compares them, each closed by a zero. */
  get texts(): Uint8Array {
    const texts = new Uint8Array(namesMax * nameBytes);
    for (const [at, text] of [...this.#names].flatMap(threadNames).slice(0, namesMax).entries())
      new TextEncoder().encodeInto(text, texts.subarray(at * nameBytes, (at + 1) * nameBytes));
    return texts;
  }
}

/** As the kernel keeps it. */
function nameOf(program: string): string {
  return program.slice(0, nameBytes - 1);
}

/** Names that the threads of a program have which speak TLS. */
function threadNames(program: string): string[] {
  return program === "node" ? ["MainThread", program] : [program];
}
