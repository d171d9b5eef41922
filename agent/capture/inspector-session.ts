/**
 * A session with the inspector of a Node process, by the Chrome DevTools Protocol over Node's own WebSocket.
 *
 * Invariants: nothing of the program is asked for but the answers to `call` and what `binding` is called with; a call that is
 * not answered in time fails; once closed, by either side, every call fails and `closed` was told once. What answers is a
 * program of somebody else: whatever it says, no other address than its own is connected to, and nothing throws.
 *
 * @see https://chromedevtools.github.io/devtools-protocol/v8/Runtime/ and Node's own domain, NodeRuntime.
 */

import { get } from "node:http";

const ANSWER_MS_MAX = 5_000;
/** Of the list of targets, which is one of a few hundred bytes, and of what is told: seven words. */
const LIST_BYTES_MAX = 16_384;
const TOLD_CHARS_MAX = 256;
const TARGET_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Who hears of the session. */
export interface SessionOwner {
  /** The program called the binding. */
  told(text: string): void;
  /** The session ended. */
  closed(): void;
}

interface Answer {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly payload?: string };
  readonly result?: { readonly result?: { readonly value?: unknown }; readonly exceptionDetails?: object };
  readonly error?: { readonly message?: string };
}

/** See the file's head. */
export class InspectorSession {
  readonly #socket: WebSocket;
  readonly #owner: SessionOwner;
  readonly #asked = new Map<number, PromiseWithResolvers<Answer>>();
  #lastId = 0;
  #isClosed = false;

  private constructor(socket: WebSocket, owner: SessionOwner) {
    this.#socket = socket;
    this.#owner = owner;
    socket.addEventListener("message", ({ data }) => {
      if (this.#isClosed) return;
      const answer = answerOf(data);
      if (answer === undefined) this.close();
      else if (answer.method === "Runtime.bindingCalled") {
        const { payload } = answer.params ?? {};
        if (typeof payload === "string" && payload.length <= TOLD_CHARS_MAX) owner.told(payload);
      }
      // The program wants to end, and waits for nothing but this.
      else if (answer.method === "NodeRuntime.waitingForDisconnect") this.close();
      else if (answer.id !== undefined) this.#asked.get(answer.id)?.resolve(answer);
    });
    socket.addEventListener("close", () => this.#end());
  }

  /**
   * Opens a session with what listens on a port of loopback.
   *
   * @throws Error where no inspector of Node answers there.
   */
  static async open(port: number, owner: SessionOwner): Promise<InspectorSession> {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    // Its own list alone, never the address in it.
    const socket = new WebSocket(`ws://127.0.0.1:${port}/${await targetAt(port, signal)}`);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.addEventListener("open", () => resolve());
        socket.addEventListener("error", () => reject(new Error("its inspector takes no session")));
        signal.addEventListener("abort", () => reject(new Error("its inspector does not answer")));
      });
    } catch (error) {
      socket.close();
      throw error;
    }
    return new InspectorSession(socket, owner);
  }

  /** @throws Error where the inspector refuses it, or does not answer in time. */
  async call(method: string, params: object = {}): Promise<Answer> {
    if (this.#isClosed) throw new Error("the session is closed");
    const id = ++this.#lastId;
    const asked = Promise.withResolvers<Answer>();
    this.#asked.set(id, asked);
    const timer = setTimeout(() => asked.reject(new Error(`${method} was not answered`)), ANSWER_MS_MAX);
    this.#socket.send(JSON.stringify({ id, method, params }));
    try {
      const answer = await asked.promise;
      if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`);
      return answer;
    } finally {
      clearTimeout(timer);
      this.#asked.delete(id);
    }
  }

  /** Value of an expression of ours. @throws Error where it throws. */
  async evaluate(expression: string): Promise<unknown> {
    const params = { expression, includeCommandLineAPI: true, returnByValue: true, silent: true };
    const { result } = await this.call("Runtime.evaluate", params);
    if (result?.exceptionDetails !== undefined) throw new Error("what was injected threw");
    return result?.result?.value;
  }

  close(): void {
    this.#socket.close();
    // The other side may never say that it closes, too.
    this.#end();
  }

  #end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const { reject } of this.#asked.values()) reject(new Error("the session is closed"));
    this.#owner.closed();
  }
}

/** The one target of the inspector on a port. @throws Error where no inspector of Node answers there that is free. */
async function targetAt(port: number, signal: AbortSignal): Promise<string> {
  const text = await new Promise<string>((resolve, reject) => {
    // Neither a proxy of this process's environment nor a connection kept for later.
    const request = get({ host: "127.0.0.1", port, path: "/json/list", agent: false, signal }, (answer) => {
      let body = "";
      answer.setEncoding("utf8").on("data", (part: string) => {
        body += part;
        if (body.length > LIST_BYTES_MAX) request.destroy(new Error("what answers is no inspector"));
      });
      answer.on("end", () => resolve(body)).on("error", reject);
    });
    request.on("error", reject);
  });
  // What the inspector answers; anything else has no such fields.
  const [target] = JSON.parse(text) as { id?: unknown; webSocketDebuggerUrl?: string }[];
  if (target?.webSocketDebuggerUrl === undefined) throw new Error("its inspector is in use");
  const { id } = target;
  if (typeof id !== "string" || !TARGET_ID.test(id)) throw new Error("what answers is no inspector");
  return id;
}

/** Undefined where it is not a text frame with an object in it. */
function answerOf(data: unknown): Answer | undefined {
  if (typeof data !== "string") return undefined;
  try {
    const answer: unknown = JSON.parse(data);
    // Objects of the protocol are of this shape.
    return typeof answer === "object" && answer !== null ? (answer as Answer) : undefined;
  } catch {
    return undefined;
  }
}
