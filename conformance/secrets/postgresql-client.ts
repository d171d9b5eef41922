/** A client of PostgreSQL's protocol, which says what was asked and what came, byte by byte. */

import { connect, type Socket } from "node:net";

/** What ended a request: the tag or the SQLSTATE; each of those that came. */
export interface PgAnswer {
  readonly tags: readonly string[];
  readonly sqlstate: string;
}

/** One connection; one request at a time. */
export class PgClient {
  readonly #socket: Socket;
  #bytes = Buffer.alloc(0);
  #tags: string[] = [];
  #sqlstate = "";
  #settle: ((answer: PgAnswer) => void) | undefined;
  #copyRows: readonly Buffer[] = [];
  readonly #password: string;

  private constructor(socket: Socket, password: string) {
    this.#socket = socket;
    this.#password = password;
    socket.on("data", (bytes) => this.#read(bytes));
    socket.on("error", () => this.#done("08006"));
    socket.on("close", () => this.#done("08006"));
  }

  /** Connects and logs in; the password goes as clear text where the server asks for that. */
  static async open(port: number, user: string, password: string): Promise<{ client: PgClient; answer: PgAnswer }> {
    const socket = connect(port, "127.0.0.1");
    await new Promise((resolve) => socket.once("connect", resolve));
    const client = new PgClient(socket, password);
    const words = Buffer.from(`user\0${user}\0database\0postgres\0application_name\0secrets\0\0`);
    const answer = client.#ask(Buffer.concat([u32(words.length + 8), u32(196_608), words]));
    return { client, answer: await answer };
  }

  /** A simple query; `rows` go out where it copies in. */
  query(sql: string, rows: readonly Buffer[] = []): Promise<PgAnswer> {
    this.#copyRows = rows;
    return this.#ask(message("Q", Buffer.from(`${sql}\0`)));
  }

  /** Parse, Bind, Describe, Execute and Sync in one write. `isBinary` sends the parameters as bytes. */
  execute(sql: string, parameters: readonly Buffer[], isBinary = false, name = ""): Promise<PgAnswer> {
    const values = parameters.flatMap((value) => [u32(value.length), value]);
    const bind = Buffer.concat([
      Buffer.from(`\0${name}\0`),
      ...[u16(1), u16(isBinary ? 1 : 0), u16(parameters.length), ...values, u16(0)],
    ]);
    return this.#ask(
      Buffer.concat([
        message("P", Buffer.concat([Buffer.from(`${name}\0${sql}\0`), u16(0)])),
        message("B", bind),
        message("D", Buffer.from("P\0")),
        message("E", Buffer.concat([Buffer.from("\0"), u32(0)])),
        message("S", Buffer.alloc(0)),
      ]),
    );
  }

  close(): void {
    this.#socket.end(message("X", Buffer.alloc(0)));
  }

  #ask(bytes: Buffer): Promise<PgAnswer> {
    this.#tags = [];
    this.#sqlstate = "";
    const answer = new Promise<PgAnswer>((resolve) => {
      this.#settle = resolve;
    });
    this.#socket.write(bytes);
    return answer;
  }

  /** @param without What to say where the server said nothing. */
  #done(without = ""): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.({ tags: this.#tags, sqlstate: this.#sqlstate === "" ? without : this.#sqlstate });
  }

  #read(more: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, more]);
    while (this.#bytes.length >= 5) {
      const length = this.#bytes.readUInt32BE(1);
      if (this.#bytes.length <= length) return;
      const type = String.fromCharCode(this.#bytes[0] ?? 0);
      const body = this.#bytes.subarray(5, length + 1);
      this.#bytes = this.#bytes.subarray(length + 1);
      this.#take(type, body);
    }
  }

  #take(type: string, body: Buffer): void {
    if (type === "R" && body.readUInt32BE(0) === 3)
      this.#socket.write(message("p", Buffer.from(`${this.#password}\0`)));
    else if (type === "C") this.#tags.push(body.toString("latin1", 0, body.length - 1));
    else if (type === "E") this.#sqlstate = /(?:^|\0)C([0-9A-Z]{5})\0/.exec(body.toString("latin1"))?.[1] ?? "?";
    else if (type === "G") {
      for (const row of this.#copyRows) this.#socket.write(message("d", row));
      this.#socket.write(message("c", Buffer.alloc(0)));
    } else if (type === "Z") this.#done();
  }
}

function message(type: string, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(type), u32(body.length + 4), body]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
