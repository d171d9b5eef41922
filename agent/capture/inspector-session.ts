/**
 * A session with the inspector of a Node process, by the Chrome DevTools Protocol over Node's own WebSocket.
 *
 * Invariants: nothing of the program is asked for but the answers to `call` and what `binding` is called with; a call that is
 * not answered in time fails; once closed, by either side, every call fails and `closed` was told once.
 *
 * @see https://chromedevtools.github.io/devtools-protocol/v8/Runtime/ and Node's own domain, NodeRuntime.
 */

const ANSWER_MS_MAX = 5_000;

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
  readonly #asked = new Map<number, PromiseWithResolvers<Answer>>();
  #lastId = 0;
  #isClosed = false;

  private constructor(socket: WebSocket, owner: SessionOwner) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      // Text frames alone, each of them an object of this shape.
      const answer = JSON.parse(String(data)) as Answer;
      if (answer.method === "Runtime.bindingCalled") owner.told(answer.params?.payload ?? "");
      // The program wants to end, and waits for nothing but this.
      else if (answer.method === "NodeRuntime.waitingForDisconnect") this.close();
      else if (answer.id !== undefined) this.#asked.get(answer.id)?.resolve(answer);
    });
    socket.addEventListener("close", () => {
      this.#isClosed = true;
      for (const { reject } of this.#asked.values()) reject(new Error("the inspector closed the session"));
      owner.closed();
    });
  }

  /**
   * Opens a session with what listens on a port of loopback.
   *
   * @throws Error where no inspector of Node answers there.
   */
  static async open(port: number, owner: SessionOwner): Promise<InspectorSession> {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    const answer = await fetch(`http://127.0.0.1:${port}/json/list`, { signal });
    // What the inspector answers; anything else has no such field.
    const [target] = (await answer.json()) as { webSocketDebuggerUrl?: string }[];
    const url = target?.webSocketDebuggerUrl;
    if (url === undefined) throw new Error("its inspector is in use");
    const socket = new WebSocket(url);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("error", () => reject(new Error("its inspector takes no session")));
      signal.addEventListener("abort", () => reject(new Error("its inspector does not answer")));
    });
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
  }
}
