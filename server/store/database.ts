/**
 * The one DuckDB instance: in memory, with day files attached, closed to everything outside `DIR/db`.
 *
 * Settings alone do not hold back hostile SQL; they are the last of several fences (see README).
 */

import { type DuckDBConnection, DuckDBInstance, type DuckDBValue } from "@duckdb/node-api";

/** WAL bytes at which a commit also checkpoints: larger stalls longer, smaller compresses the last row group more often. */
export const CHECKPOINT_BYTES = 64 * 1024 * 1024;
/** Disk that queries may spill to. */
const SPILL_BYTES_MAX = 1024 * 1024 * 1024;

/** How to open the instance. */
export interface DatabaseOptions {
  /** The only directory the instance may open files in; absolute. */
  readonly filesDirectory: string;
  /** Where queries spill; absolute, outside `filesDirectory`. */
  readonly spillDirectory: string;
  readonly memoryBytesMax: number;
}

/** Opens the instance and locks its configuration. */
export async function openDatabase(options: DatabaseOptions): Promise<DuckDBInstance> {
  const instance = await DuckDBInstance.create(":memory:", {
    threads: "1",
    max_vacuum_tasks: "0",
    // A row group is compressed once the next one begins, while the program works on other batches, and not with COMMIT.
    write_buffer_row_group_count: "1",
    memory_limit: `${Math.floor(options.memoryBytesMax / 1024)}KiB`,
    checkpoint_threshold: `${CHECKPOINT_BYTES}B`,
    temp_directory: options.spillDirectory,
    max_temp_directory_size: `${SPILL_BYTES_MAX}B`,
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    allow_community_extensions: "false",
    allow_persistent_secrets: "false",
    preserve_insertion_order: "true",
    // Else the memory that a commit has freed goes back to the system only at later ones, if there are any.
    allocator_background_threads: "true",
  });
  const connection = await instance.connect();
  try {
    await connection.run(`SET allowed_directories = [${sqlText(options.filesDirectory)}]`);
    await connection.run("SET enable_external_access = false");
    await connection.run("SET GLOBAL TimeZone = 'UTC'");
    await connection.run("SET lock_configuration = true");
  } finally {
    connection.disconnectSync();
  }
  return instance;
}

/** An SQL string literal. */
export function sqlText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** All rows of a trusted statement that gives few. */
export async function readRows(
  connection: DuckDBConnection,
  statement: string,
  values?: DuckDBValue[],
): Promise<DuckDBValue[][]> {
  const result = await connection.run(statement, values);
  const rows: DuckDBValue[][] = [];
  // Not `getRows`, which asks for each chunk by a thread of the pool, though all are there.
  for (let index = 0; index < result.chunkCount; index++) rows.push(...result.getChunk(index).getRows());
  return rows;
}

/** Runs `work` in a transaction of `connection`; rolls back what fails. */
export async function inTransaction<T>(connection: DuckDBConnection, work: () => Promise<T>): Promise<T> {
  await connection.run("BEGIN TRANSACTION");
  let outcome: T;
  try {
    outcome = await work();
    await connection.run("COMMIT");
  } catch (error) {
    await rollBack(connection);
    throw error;
  }
  return outcome;
}

/** Ends a transaction, also one that failed: a COMMIT that failed has ended it already, which DuckDB reports as an error. */
export async function rollBack(connection: DuckDBConnection): Promise<void> {
  await connection.run("ROLLBACK").catch((error: unknown) => {
    if (!isNoTransaction(error)) throw error;
  });
}

function isNoTransaction(error: unknown): boolean {
  return error instanceof Error && /no transaction is active|FATAL|invalidated/i.test(error.message);
}

/** Whether DuckDB refuses all further work, on a file or at all, and must be opened again. */
export function isInvalidated(error: unknown): boolean {
  return error instanceof Error && /^FATAL Error|has been invalidated/i.test(error.message);
}

/** Whether a block of a file fails its checksum, or the file ends before it. DuckDB does not always say of which file. */
export function isCorruption(error: unknown): boolean {
  return error instanceof Error && /Corrupt database file|Could not read enough bytes/i.test(error.message);
}

/** Whether the disk refused: trying again at once is of no use. */
export function isDiskTrouble(error: unknown): boolean {
  return error instanceof Error && /IO Error|No space left|Could not write|Cannot open file/i.test(error.message);
}

/**
 * Whether a file could not be opened for want of something that may come back: room, memory, handles, rights.
 *
 * The file itself says nothing of damage then. A read that fails is not among these: its bytes are gone.
 */
export function isPassingTrouble(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    /No space left|Disk quota exceeded|Too many open files|Permission denied|Read-only file system/i.test(
      error.message,
    ) || /Cannot allocate memory|^Out of Memory Error|fsync failed|Could not (write|sync|truncate)/i.test(error.message)
  );
}

/** A value that must be a number, from UBIGINT, BIGINT or smaller. */
export function numberOf(value: DuckDBValue | undefined): number {
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return Number(value);
  throw new TypeError(`store: a number was expected, not ${value === null ? "NULL" : typeof value}`);
}

/** A 64-bit value; NULL is 0. */
export function bigintOf(value: DuckDBValue | undefined): bigint {
  return typeof value === "bigint" ? value : typeof value === "number" ? BigInt(value) : 0n;
}

/** A text; NULL is empty. */
export function textOf(value: DuckDBValue | undefined): string {
  return typeof value === "string" ? value : "";
}
