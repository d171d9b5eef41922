/** Messages of PostgreSQL, as its ends send them, for tests and benchmarks. */

/** A message with a type; texts end with a zero, numbers stand for themselves. */
export function pg(type: string, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(`${part}\0`) : part)));
  return Buffer.concat([Buffer.from(type, "latin1"), int32(body.length + 4), body]);
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

/** A message without a type, such as SSLRequest. */
export function untyped(code: number, rest: Uint8Array = Buffer.alloc(0)): Buffer {
  return Buffer.concat([int32(rest.length + 8), int32(code), rest]);
}

export const startup = (user: string, database: string, code = 0x0003_0000) =>
  untyped(code, Buffer.from(`user\0${user}\0database\0${database}\0\0`));
export const query = (sql: string) => pg("Q", sql);
export const parse = (name: string, sql: string) => pg("P", name, sql, int16(0));
export const bind = (portal: string, name: string, value = "7") =>
  pg("B", portal, name, int16(0), int16(1), int32(value.length), Buffer.from(value), int16(0));
export const execute = (portal = "") => pg("E", portal, int32(0));
export const describe = (kind: "S" | "P", name: string) => pg("D", Buffer.from(kind), name);
export const close = (kind: "S" | "P", name: string) => pg("C", Buffer.from(kind), name);
export const sync = () => pg("S");
export const ready = (status = "I") => pg("Z", Buffer.from(status));
export const complete = (tag: string) => pg("C", tag);
export const row = (value: string) => pg("D", int16(1), int32(value.length), Buffer.from(value));
export const columns = () => pg("T", int16(1), "a", Buffer.alloc(18));
export const failure = (code: string, message = "no", severity = "ERROR") =>
  pg("E", `S${severity}`, `V${severity}`, `C${code}`, `M${message}`, Buffer.alloc(1));
/** What a server says after a startup without password. */
export const welcome = () =>
  Buffer.concat([pg("R", int32(0)), pg("S", "server_version", "16.3"), pg("K", int32(1), int32(2)), ready()]);
export const join = (...messages: readonly Uint8Array[]) => Buffer.concat(messages);
