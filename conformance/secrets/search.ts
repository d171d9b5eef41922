/** Looks for planted secrets wherever a running program keeps or tells something. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import { SQL_TABLES } from "../../server/model/sql-tables.ts";
import type { Program } from "../program.ts";
import type { Planter } from "./planter.ts";

const TABLES = Object.keys(SQL_TABLES);
const ASKED_AT_ONCE = 8;
/** What stands around a find, to tell where it came from. */
const AROUND_CHARS = 60;

/** Judges bytes and texts; keeps at most some of its finds. */
export class SecretSearch {
  readonly #needles: readonly string[];
  readonly #exact: readonly string[];
  readonly #finds: string[] = [];
  #bytes = 0;

  constructor(planter: Planter) {
    this.#needles = planter.needles();
    this.#exact = planter.exactNeedles();
  }

  /** Bytes looked at so far. */
  get bytes(): number {
    return this.#bytes;
  }

  get finds(): readonly string[] {
    return this.#finds;
  }

  look(place: string, text: string): void {
    this.#bytes += text.length;
    const small = text.toLowerCase();
    for (const needle of this.#needles) this.#note(place, text, small.indexOf(needle));
    for (const needle of this.#exact) this.#note(place, text, text.indexOf(needle));
  }

  #note(place: string, text: string, at: number): void {
    if (at < 0 || this.#finds.length >= 20) return;
    const around = text.slice(Math.max(0, at - AROUND_CHARS), at + AROUND_CHARS).replaceAll(/[^ -~]/g, ".");
    this.#finds.push(`${place}: …${around}…`);
  }
}

/** Every file under a directory, as it lies there. */
export function lookIntoFiles(directory: string, search: SecretSearch): void {
  for (const file of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(file.parentPath, file.name);
    if (file.isFile()) search.look(path, readFileSync(path, "latin1"));
  }
}

/** Every table of every database of a stopped program, since its files are compressed. */
export async function lookIntoTables(directory: string, search: SecretSearch): Promise<number> {
  let rows = 0;
  for (const file of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!file.isFile() || !file.name.endsWith(".duckdb")) continue;
    const path = join(file.parentPath, file.name);
    const instance = await DuckDBInstance.create(path);
    const connection = await instance.connect();
    const tables = await connection.runAndReadAll("SELECT schema_name, table_name FROM duckdb_tables()");
    for (const [schema, table] of tables.getRows()) {
      const all = await connection.runAndReadAll(`SELECT * FROM "${schema}"."${table}"`);
      const found = all.getRowsJson();
      rows += found.length;
      search.look(`${path} ${table}`, JSON.stringify(found));
    }
    connection.closeSync();
    instance.closeSync();
  }
  return rows;
}

/**
 * Every answer that the program gives: SQL, each trace in each form, PromQL, graph, search, status.
 *
 * @param ports Of the servers: spans of what else this machine does are looked at in the tables alone.
 */
export async function lookIntoAnswers(program: Program, search: SecretSearch, ports: readonly number[]): Promise<void> {
  const own = `server_port IN (${ports.join(", ")})`;
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const answer = await fetch(`${program.http}${path}`, { headers });
    search.look(path, Buffer.from(await answer.arrayBuffer()).toString("latin1"));
  };
  for (const table of TABLES) {
    const rows = await program.sql(`SELECT * FROM ${table} ${table === "spans" ? `WHERE ${own}` : "LIMIT 10000"}`);
    search.look(`SQL ${table}`, JSON.stringify(rows));
  }
  const everything = encodeURIComponent('{__name__=~".+"}');
  const paths = [
    ...["/api/v1/graph?window=60m", "/api/v1/capture", "/metrics", "/api/v1/labels", "/api/v1/metadata", "/federate"],
    ...["/api/v1/status/tsdb", "/api/v1/status/config", "/api/v1/status/flags", "/api/v1/targets", "/api/v1/requests"],
    `/api/v1/series?match[]=${everything}`,
    `/api/v1/query?query=${everything}`,
    `/federate?match[]=${everything}`,
    `/api/v1/query_exemplars?query=${everything}&start=${Date.now() / 1000 - 3600}&end=${Date.now() / 1000 + 60}`,
  ];
  for (const path of paths) await ask(path);
  const labels: { data: string[] } = await program.json("/api/v1/labels");
  for (const label of labels.data) await ask(`/api/v1/label/${encodeURIComponent(label)}/values`);
  const traces = (await program.sql(`SELECT DISTINCT trace_id FROM spans WHERE ${own}`)).map(([id]) => String(id));
  let next = 0;
  const visitor = async () => {
    for (let id = traces[next++]; id !== undefined; id = traces[next++]) {
      await ask(`/api/v1/traces/${id}?explain=1`);
      await ask(`/api/v1/traces/${id}`, { accept: "application/x-protobuf" });
      await ask(`/api/traces/${id}`);
      await ask(`/api/v2/traces/${id}`, { accept: "application/json" });
    }
  };
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, visitor));
}
