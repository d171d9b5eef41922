/**
 * The day files of a store: one per UTC day of arrival, attached under `dYYYYMMDD`, a compact one under `dYYYYMMDDc`.
 *
 * Invariants: a file gets its name only when it is laid out and checkpointed, so one that cannot be opened was damaged
 * later; a damaged file is moved to the quarantine, never deleted; the views of user SQL name exactly the attached files;
 * of a day with both files the compact one holds all, and counts where it can be opened.
 */

import { readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";
import { ThalwegError } from "../model/errors.ts";
import {
  fileBytes,
  freeBytes,
  listNames,
  makePrivateDirectory,
  renameDurably,
  syncDirectory,
} from "../platform/files.ts";
import {
  CHECKPOINT_BYTES,
  inTransaction,
  isCorruption,
  isPassingTrouble,
  numberOf,
  readRows,
  sqlText,
} from "./database.ts";
import { NO_SHAPE, readShape, type SpanShape } from "./late-columns.ts";
import {
  COMPACT_ROW_GROUP_ROWS,
  DAY_TABLES,
  layOutDayFile,
  layOutTables,
  migrationOf,
  ROW_GROUP_ROWS,
  SCHEMA_VERSION,
  type StoredColumn,
} from "./schema.ts";
import { viewStatements } from "./views.ts";
import { damagedWalSize, tornWalEnd } from "./wal-check.ts";

const DAY_MS = 86_400_000;
const FILE_NAME = /^spans-(\d{4}-\d{2}-\d{2})(-compact)?\.duckdb$/;
const UNFINISHED_NAME = /^unfinished-/;
const STORAGE_VERSION = "v1.5.0";
/**
 * Bytes of a block, a quarter of DuckDB's own. Every commit leaves the end of some blocks empty: a span takes a tenth less
 * than with blocks of 256 KiB. With blocks of 32 KiB columns are split so often that it takes more.
 */
const BLOCK_BYTES = 65_536;
/** Part of a WAL's bytes that its rows take in the file at most, compressed as they are there. */
const CHECKPOINT_PART = 0.5;
/** Size and checksum before every entry of DuckDB's WAL. */
const WAL_ENTRY_HEAD_BYTES = 16;

/** One attached file. */
export interface DayFile {
  /** `YYYY-MM-DD`. */
  readonly day: string;
  readonly alias: string;
  readonly path: string;
  /** It was written anew after its day was over. */
  readonly compact: boolean;
  /** The columns of its `span`; `DayFiles` alone sets it. */
  shape: SpanShape;
}

/** Said of a write ahead log that ends inside of an entry. */
const TORN = "its last write did not end";

/** Called for every damage that was set aside. */
export type DamageListener = (damage: ThalwegError) => void;

/** UTC day of a time. */
export function dayOf(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10);
}

/** Unix milliseconds at which a day ends. */
export function dayEndMs(day: string): number {
  return Date.parse(`${day}T00:00:00Z`) + DAY_MS;
}

/** Attaches, makes and removes day files. All calls come from the store's one writer, one at a time. */
export class DayFiles {
  readonly #directory: string;
  readonly #quarantine: string;
  readonly #connection: DuckDBConnection;
  readonly #onDamage: DamageListener;
  #files: DayFile[] = [];
  /** Bytes that are committed beside the writer's own commits; they may come to the WAL at any time. */
  besideBytes = 0;

  /**
   * @param directory Absolute path of `DIR/db`.
   * @param quarantine Absolute path of the directory that takes damaged files.
   */
  constructor(directory: string, quarantine: string, connection: DuckDBConnection, onDamage: DamageListener) {
    this.#directory = directory;
    this.#quarantine = quarantine;
    this.#connection = connection;
    this.#onDamage = onDamage;
  }

  /** Attached files, oldest day first. */
  get attached(): readonly DayFile[] {
    return this.#files;
  }

  /**
   * Attaches what the directory holds; what is damaged is set aside and reported.
   *
   * @throws What kept a file from being opened that may be whole, such as a full disk.
   */
  async attachAll(): Promise<void> {
    for (const name of await listNames(this.#directory)) {
      if (UNFINISHED_NAME.test(name)) await rm(join(this.#directory, name), { force: true });
      const [found, day, compact] = FILE_NAME.exec(name) ?? [];
      // Names are in order: a compact file comes before the one it was made of.
      if (found === undefined || day === undefined) continue;
      const file = this.#describe(day, compact !== undefined);
      if (this.#files.some((other) => other.day === day)) await this.#remove(file);
      else await this.#attachOrSetAside(file);
    }
    await this.#replaceViews();
  }

  /** Lays out a file under an unfinished name, attached as `alias`, to be filled with the rows of `file`, of which `span` has these columns. */
  async beginRewrite(file: DayFile, alias: string, spanColumns: readonly StoredColumn[]): Promise<void> {
    const unfinished = this.#unfinishedOf(file);
    await this.#remove(unfinished);
    await this.#create(unfinished, alias, COMPACT_ROW_GROUP_ROWS);
    for (const statement of layOutTables(alias, spanColumns)) await this.#connection.run(statement);
  }

  /** Removes what `beginRewrite` made. */
  async abandonRewrite(file: DayFile, alias: string): Promise<void> {
    await this.#connection.run(`DETACH ${alias}`);
    await this.#remove(this.#unfinishedOf(file));
  }

  /**
   * Puts the file that was filled and checkpointed as `alias` in the place of `file`, which stays attached until
   * `removeReplaced`: who asks at this moment may have it in hand.
   *
   * @param resume Told of the new file before anybody reads it.
   */
  async finishRewrite(file: DayFile, alias: string, resume: (compact: DayFile) => Promise<void>): Promise<void> {
    const compact = this.#describe(file.day, true);
    await this.#connection.run(`DETACH ${alias}`);
    await renameDurably(this.#unfinishedOf(file).path, compact.path);
    await this.#attach(compact);
    compact.shape = await readShape(this.#connection, compact.alias);
    await resume(compact);
    this.#files = this.#files.map((other) => (other === file ? compact : other));
    await this.#replaceViews();
  }

  /** Deletes a file whose place another one took. */
  async removeReplaced(file: DayFile): Promise<void> {
    await this.#connection.run(`DETACH ${file.alias}`);
    await this.#remove(file);
  }

  /** The attached file of a day; made where there is none. `firstSequence`: the commit that comes next. */
  async fileOf(day: string, nowUnixNano: bigint, firstSequence: number): Promise<DayFile> {
    const known = this.#files.find((file) => file.day === day);
    if (known !== undefined) return known;
    await this.#make(day, nowUnixNano, firstSequence);
    const file = this.#describe(day, false);
    await this.#attach(file);
    file.shape = await readShape(this.#connection, file.alias);
    this.#files = [...this.#files, file].sort((a, b) => (a.day < b.day ? -1 : 1));
    await this.#replaceViews();
    return file;
  }

  /**
   * Makes sure that the checkpoint which a commit may set off finds room: after one that fails, all files must be opened
   * again, which takes seconds, and again at the next commit.
   *
   * @param stagedBytes Memory of what is committed, of which about half comes to the WAL.
   * @throws Error that says so where there is too little; nothing was tried then.
   */
  async assureRoom(file: DayFile, stagedBytes: number): Promise<void> {
    const walBytes = (await fileBytes(walOf(file))) + this.besideBytes;
    if (walBytes + stagedBytes < CHECKPOINT_BYTES) return;
    const free = await freeBytes(this.#directory);
    const needed = Math.ceil((walBytes + stagedBytes / 2) * CHECKPOINT_PART);
    if (free >= needed) return;
    throw new Error(`No space left: a checkpoint is due and may need ${needed} bytes, ${free} are free`);
  }

  /** Runs statements that give the `span` of a file columns, so that readers know of them before rows have values there. */
  async widen(file: DayFile, statements: readonly string[]): Promise<void> {
    await inTransaction(this.#connection, async () => {
      for (const statement of statements) await this.#connection.run(statement);
    });
    file.shape = await readShape(this.#connection, file.alias);
    await this.#replaceViews();
  }

  /** Takes a file out of the store and deletes it. */
  async drop(file: DayFile): Promise<void> {
    await this.#detach(file);
    await this.#remove(file);
  }

  /**
   * Reads every block of every file, and sets aside those with one that fails its checksum.
   *
   * Takes seconds a gigabyte: called only after a reader met such a block.
   */
  async setDamagedAside(): Promise<void> {
    for (const file of this.#files) {
      const error = await this.#readAll(file);
      if (error === undefined) continue;
      await this.#detach(file);
      await this.#quarantineFile(file, reasonOf(error));
    }
  }

  async #readAll(file: DayFile): Promise<unknown> {
    try {
      for (const table of DAY_TABLES) {
        await this.#connection.run(`SELECT max(hash(t)) FROM ${file.alias}.${table} t`);
      }
      return undefined;
    } catch (error) {
      if (!isCorruption(error)) throw error;
      return error;
    }
  }

  async #detach(file: DayFile): Promise<void> {
    this.#files = this.#files.filter((other) => other !== file);
    await this.#replaceViews();
    await this.#connection.run(`DETACH ${file.alias}`);
  }

  #describe(day: string, compact: boolean): DayFile {
    return {
      day,
      alias: `d${day.replaceAll("-", "")}${compact ? "c" : ""}`,
      path: join(this.#directory, `spans-${day}${compact ? "-compact" : ""}.duckdb`),
      compact,
      shape: NO_SHAPE,
    };
  }

  #unfinishedOf(file: DayFile): DayFile {
    return { ...file, path: join(this.#directory, `unfinished-${file.day}.duckdb`) };
  }

  /** Attaches a file that is there, whatever the size of its blocks. */
  async #attach(file: DayFile): Promise<void> {
    await this.#connection.run(
      `ATTACH ${sqlText(file.path)} AS ${file.alias} (STORAGE_VERSION '${STORAGE_VERSION}', ROW_GROUP_SIZE ${ROW_GROUP_ROWS})`,
    );
  }

  /** Makes an empty file and attaches it. */
  async #create(file: DayFile, alias: string, rowGroupRows: number): Promise<void> {
    await this.#connection.run(
      `ATTACH ${sqlText(file.path)} AS ${alias}
       (STORAGE_VERSION '${STORAGE_VERSION}', ROW_GROUP_SIZE ${rowGroupRows}, BLOCK_SIZE ${BLOCK_BYTES})`,
    );
  }

  async #remove(file: DayFile): Promise<void> {
    await rm(walOf(file), { force: true });
    await rm(file.path, { force: true });
    await syncDirectory(this.#directory);
  }

  async #make(day: string, nowUnixNano: bigint, firstSequence: number): Promise<void> {
    const file = this.#describe(day, false);
    const unfinished = this.#unfinishedOf(file);
    await this.#remove(unfinished);
    await this.#create(unfinished, "unfinished", ROW_GROUP_ROWS);
    try {
      for (const statement of layOutDayFile("unfinished", nowUnixNano, firstSequence)) {
        await this.#connection.run(statement);
      }
      await this.#connection.run("CHECKPOINT unfinished");
    } finally {
      await this.#connection.run("DETACH unfinished");
    }
    await renameDurably(unfinished.path, file.path);
  }

  async #replaceViews(): Promise<void> {
    for (const statement of viewStatements(this.#files)) {
      await this.#connection.run(statement);
    }
  }

  async #attachOrSetAside(file: DayFile): Promise<void> {
    const wal = await readWal(file);
    try {
      await this.#attachChecked(file);
      const offset = damagedWalSize(wal);
      if (offset !== undefined) await this.#keepWal(file, wal, offset, "the size of an entry is wrong");
      else {
        // A kill tears a write that nobody was told of, a cut from outside one that somebody was: it is told either way.
        const torn = tornWalEnd(wal);
        if (torn !== undefined) await this.#keepWal(file, wal, torn, TORN);
      }
      return;
    } catch (error) {
      if (isLockedElsewhere(error) || isPassingTrouble(error)) throw error;
      const offset = badWalOffset(error);
      if (offset === undefined || !(await this.#cutWal(file, wal, offset, reasonOf(error)))) {
        await this.#quarantineFile(file, reasonOf(error));
        return;
      }
    }
    try {
      await this.#attachChecked(file);
    } catch (error) {
      if (isPassingTrouble(error)) throw error;
      await this.#quarantineFile(file, reasonOf(error));
    }
  }

  async #attachChecked(file: DayFile): Promise<void> {
    await this.#attach(file);
    try {
      await this.#migrate(file);
      file.shape = await readShape(this.#connection, file.alias);
      this.#files = [...this.#files, file];
    } catch (error) {
      await this.#connection.run(`DETACH ${file.alias}`);
      throw error;
    }
  }

  /** Brings a file to the present layout, one version a transaction. */
  async #migrate({ alias }: DayFile): Promise<void> {
    for (;;) {
      const [meta] = await readRows(this.#connection, `SELECT max(schema_version) FROM ${alias}.file_meta`);
      const version = numberOf(meta?.[0]);
      if (version === SCHEMA_VERSION) return;
      const statements = migrationOf(alias, version);
      if (statements === undefined) {
        throw new Error(`its layout has version ${version}, this program knows ${SCHEMA_VERSION}`);
      }
      await inTransaction(this.#connection, async () => {
        for (const statement of statements) await this.#connection.run(statement);
      });
    }
  }

  async #keepWal(file: DayFile, wal: Uint8Array, offset: number, why: string): Promise<void> {
    await makePrivateDirectory(this.#quarantine);
    const kept = join(this.#quarantine, `spans-${file.day}.duckdb.wal.${Date.now()}`);
    // A machine that kills it again and again must not fill its disk with copies: of a torn end the end is kept.
    const bytes = why === TORN ? wal.subarray(offset) : wal;
    await writeFile(kept, bytes, { mode: 0o600, flush: true });
    await syncDirectory(this.#quarantine);
    this.#onDamage(new ThalwegError("data_damaged", { file: walOf(file), offset, why, quarantine: kept }));
  }

  /** Keeps the WAL up to its bad entry: what was committed before is used, the whole WAL goes to the quarantine. */
  async #cutWal(file: DayFile, wal: Uint8Array, offset: number, why: string): Promise<boolean> {
    if (wal.length === 0 || offset > wal.length) return false;
    await this.#keepWal(file, wal, offset, why);
    await truncate(walOf(file), offset);
    return true;
  }

  async #quarantineFile(file: DayFile, why: string): Promise<void> {
    await makePrivateDirectory(this.#quarantine);
    const kept = join(this.#quarantine, `spans-${file.day}.duckdb.${Date.now()}`);
    if ((await fileBytes(walOf(file))) > 0) await rename(walOf(file), `${kept}.wal`);
    await renameDurably(file.path, kept);
    this.#onDamage(
      new ThalwegError("data_damaged", { file: file.path, offset: blockOffset(why), why, quarantine: kept }),
    );
  }
}

function walOf(file: DayFile): string {
  return `${file.path}.wal`;
}

async function readWal(file: DayFile): Promise<Uint8Array> {
  return (await fileBytes(walOf(file))) === 0 ? new Uint8Array(0) : await readFile(walOf(file));
}

/** Whether another process holds the file, which DuckDB finds out across pid namespaces. */
export function isLockedElsewhere(error: unknown): boolean {
  return error instanceof Error && /Could not set lock on file/i.test(error.message);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? (error.message.split("\n")[0] ?? error.message) : String(error);
}

/** Where the bad WAL entry starts; DuckDB names the byte after its size and checksum. */
function badWalOffset(error: unknown): number | undefined {
  const message = error instanceof Error ? error.message : "";
  if (!/wal/i.test(message)) return undefined;
  const found = /(?:byte position|position|offset)\s+(\d+)/i.exec(message);
  return found?.[1] === undefined ? undefined : Math.max(0, Number(found[1]) - WAL_ENTRY_HEAD_BYTES);
}

function blockOffset(why: string): number {
  const found = /(?:location|position|offset)\s+(\d+)/i.exec(why);
  return found?.[1] === undefined ? 0 : Number(found[1]);
}
