/** Statements with secrets in every place of them, and what may be left of each. */

import type { Planter } from "./planter.ts";
import type { PgClient } from "./postgresql-client.ts";

/** A statement, and what its span may keep. */
export interface PlantedStatement {
  readonly sql: string;
  /** Of the extended protocol; undefined for a simple query. */
  readonly parameters?: readonly Buffer[];
  readonly isBinary?: boolean;
  /** Copied in. */
  readonly rows?: readonly Buffer[];
  readonly name: string;
  /** `db.query.text` of the span. */
  readonly text: string;
}

/** The statement of number `number`; the kinds come in turn. */
export function plantStatement(number: number, planter: Planter): PlantedStatement {
  const kind = KINDS[number % KINDS.length] ?? KINDS[0];
  return kind(planter, number);
}

/** Tables that the statements work on. */
export const SECRETS_SCHEMA =
  "CREATE TABLE people (id serial, name text UNIQUE, pass bytea); CREATE ROLE joe LOGIN; CREATE TABLE notes (body text)";

type Kind = (planter: Planter, number: number) => PlantedStatement;

function one(sql: string, text: string, name: string): PlantedStatement {
  return { sql, text, name };
}

const KINDS: readonly [Kind, ...Kind[]] = [
  (p) =>
    one(
      `SELECT name FROM people WHERE name = '${p.plain()}'`,
      "SELECT name FROM people WHERE name = ?",
      "SELECT people",
    ),
  (p) => one(`SELECT E'it\\'s ${p.plain()}\\n' FROM people LIMIT 1`, "SELECT ? FROM people LIMIT ?", "SELECT people"),
  (p) =>
    one(
      `SELECT $$${p.plain()}$$, $tag$ '${p.plain()} $$ "$tag$ FROM people`,
      "SELECT ?, ? FROM people",
      "SELECT people",
    ),
  (p) =>
    one(
      `SELECT '${p.plain()}'::text, CAST('${p.plain()}' AS text), text '${p.plain()}'`,
      "SELECT ?::text, CAST(? AS text), text ?",
      "SELECT",
    ),
  (p) =>
    one(
      `SELECT U&'${p.plain()}\\0041', N'${p.plain()}', B'0101', X'${Buffer.from(p.plain()).toString("hex")}'`,
      "SELECT ?, ?, ?, ?",
      "SELECT",
    ),
  (p) =>
    one(
      `SELECT name FROM people WHERE name IN ('${p.plain()}', '${p.plain()}') OR name LIKE '%${p.plain()}!%' ESCAPE '!'`,
      "SELECT name FROM people WHERE name IN (?) OR name LIKE ? ESCAPE ?",
      "SELECT people",
    ),
  (p) =>
    one(
      `INSERT INTO people (name, pass) VALUES ('${p.plain()}', '\\x01'), ('${p.shaped("email")}', decode('${Buffer.from(p.plain()).toString("base64")}', 'base64'))`,
      "INSERT INTO people (name, pass) VALUES (?, ?), (?, decode(?, ?))",
      "INSERT people",
    ),
  // Errors whose texts quote values: a key that is there, a wrong number, a name of no column.
  (p) => {
    const secret = p.plain();
    return one(
      `INSERT INTO people (name) VALUES ('${secret}'), ('${secret}')`,
      "INSERT INTO people (name) VALUES (?)",
      "INSERT people",
    );
  },
  (p) => one(`SELECT '${p.plain()}'::int`, "SELECT ?::int", "SELECT"),
  (p) =>
    one(
      `SELECT id FROM people WHERE id = '${p.shaped("card")}'`,
      "SELECT id FROM people WHERE id = ?",
      "SELECT people",
    ),
  (p) => one(`SELECT '${p.plain()}`, "SELECT ?", "SELECT"),
  (p) => one(`ALTER ROLE joe PASSWORD '${p.plain()}'`, "ALTER ROLE joe PASSWORD ?", "ALTER ROLE"),
  (p, n) =>
    one(
      `CREATE USER u${n} WITH LOGIN PASSWORD '${p.plain()}'`,
      `CREATE USER u${n} WITH LOGIN PASSWORD ?`,
      "CREATE USER",
    ),
  // Not quoted: the server refuses it, but it was sent.
  (p) => one(`ALTER USER joe WITH PASSWORD ${p.plain()}`, "ALTER USER joe WITH PASSWORD ?", "ALTER USER"),
  (p) => one(`SET app.token = '${p.plain()}'`, "SET app.token = ?", "SET"),
  (p) => one(`SET app.token TO ${p.plain()}`, "SET app.token TO ?", "SET"),
  (p) => one(`ALTER ROLE joe SET app.token TO ${p.plain()}`, "ALTER ROLE joe SET app.token TO ?", "ALTER ROLE"),
  (p) => one(`SELECT set_config('app.token', '${p.plain()}', false)`, "SELECT set_config(?, ?, false)", "SELECT"),
  (p) => one(`/* ${p.plain()} */ SELECT 1 -- ${p.plain()}`, "SELECT ?", "SELECT"),
  (p) => ({
    ...one("COPY notes FROM STDIN", "COPY notes FROM STDIN", "COPY notes"),
    rows: [Buffer.from(`${p.plain()}\n`), Buffer.from(`${p.plain()}\n`)],
  }),
  (p) => ({
    ...one(
      "COPY notes FROM STDIN (FORMAT csv, DELIMITER ';')",
      "COPY notes FROM STDIN (FORMAT csv, DELIMITER ?)",
      "COPY notes",
    ),
    rows: [Buffer.from(`"${p.plain()}"\n`)],
  }),
  (p) => ({
    ...one("COPY notes FROM STDIN (FORMAT binary)", "COPY notes FROM STDIN (FORMAT binary)", "COPY notes"),
    rows: [binaryCopy(p.plain())],
  }),
  (p) => one(`COPY (SELECT '${p.plain()}') TO STDOUT`, "COPY (SELECT ?) TO STDOUT", "COPY SELECT"),
  () => one("COPY notes TO STDOUT", "COPY notes TO STDOUT", "COPY notes"),
  (p) => one(`DO $body$ BEGIN RAISE NOTICE '%', '${p.plain()}'; END $body$`, "DO ?", "DO"),
  (p) => one(`DO $$ BEGIN RAISE EXCEPTION '${p.plain()}'; END $$`, "DO ?", "DO"),
  (p, n) =>
    one(
      `PREPARE p${n} AS SELECT $1::text; EXECUTE p${n}('${p.plain()}')`,
      `PREPARE p${n} AS SELECT $1::text; EXECUTE p${n}(?)`,
      `PREPARE SELECT EXECUTE p${n}`,
    ),
  (p) => one(`NOTIFY news, '${p.plain()}'`, "NOTIFY news, ?", "NOTIFY"),
  // Longer than what is copied of a call, with literals on both sides of each cut.
  (p) =>
    one(
      `SELECT '${p.plain()}', '${`${p.plain()} `.repeat(200)}', '${p.plain()}' FROM people`,
      "SELECT ?, ?, ? FROM people",
      "SELECT people",
    ),
  (p) =>
    one(
      `SELECT '{"password":"${p.plain()}"}'::jsonb ->> 'password', ARRAY['${p.plain()}', 'x'], '{${p.plain()}}'::text[]`,
      "SELECT ?::jsonb ->> ?, ARRAY[?], ?::text[]",
      "SELECT",
    ),
  (p) => one(`SELECT 1 AS "${p.shaped("jwt")}"`, 'SELECT ? AS "REDACTED"', "SELECT"),
  // What somebody typed into the wrong window.
  (p) => one(p.plain(), "?", "postgresql"),
  (p) => one(`SELECT upper('${p.plain()}'\n  '${p.plain()}')`, "SELECT upper(?)", "SELECT"),
  (p) => one(`COMMENT ON TABLE notes IS '${p.plain()}'`, "COMMENT ON TABLE notes IS ?", "COMMENT"),
  (p, n) =>
    one(
      `CREATE FUNCTION f${n}() RETURNS text LANGUAGE sql AS $f$ SELECT '${p.plain()}'::text $f$`,
      `CREATE FUNCTION f${n}() RETURNS text LANGUAGE sql AS ?`,
      `CREATE FUNCTION f${n}`,
    ),
  (p, n) =>
    one(
      `CREATE SUBSCRIPTION s${n} CONNECTION 'host=127.0.0.1 password=${p.plain()}' PUBLICATION p WITH (connect = false, slot_name = NONE)`,
      `CREATE SUBSCRIPTION s${n} CONNECTION ? PUBLICATION p WITH (connect = false, slot_name = NONE)`,
      `CREATE SUBSCRIPTION s${n}`,
    ),
  (p) => extended("SELECT name FROM people WHERE name = $1", "SELECT people", [Buffer.from(p.plain())]),
  (p) => extended("SELECT $1::bytea, $2::text", "SELECT", [Buffer.from(p.plain()), Buffer.from(p.plain())], true),
  (p) => extended("SELECT $1::int", "SELECT", [Buffer.from(p.plain())]),
  (p) =>
    extended("UPDATE notes SET body = $1 WHERE body = $2", "UPDATE notes", [
      Buffer.from(p.plain()),
      Buffer.from(p.plain()),
    ]),
  (p) => ({
    ...extended(`SELECT '${p.plain()}', $1::text FROM notes`, "SELECT notes", [Buffer.from(p.plain())]),
    text: "SELECT ?, $1::text FROM notes",
  }),
];

function extended(sql: string, name: string, parameters: readonly Buffer[], isBinary = false): PlantedStatement {
  return { sql, text: sql, name, parameters, isBinary };
}

/** A row of one field, as `COPY … (FORMAT binary)` has it. */
function binaryCopy(text: string): Buffer {
  const head = Buffer.from("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0", "latin1");
  head.writeUInt32BE(text.length, head.length - 4);
  return Buffer.concat([head, Buffer.from(text), Buffer.from([0xff, 0xff])]);
}

/** Sends a statement. @returns The SQLSTATE that came, empty where it went well. */
export async function runStatement(client: PgClient, planted: PlantedStatement): Promise<string> {
  const { sql, parameters, isBinary, rows } = planted;
  const answer = await (parameters === undefined ? client.query(sql, rows) : client.execute(sql, parameters, isBinary));
  return answer.sqlstate;
}
