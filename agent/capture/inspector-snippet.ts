/**
 * What is evaluated inside of a Node process that is asked whom its calls are made for: all of it, and nothing else.
 *
 * It listens on four of Node's own diagnostics channels and keeps one AsyncLocalStorage. It reads addresses, ports and the
 * clock, never a URL, header or body, changes no object of the program, and takes itself away where its listener is silent.
 */

/** Under this symbol of `globalThis` the process keeps what was injected. */
const PLACE = `Symbol.for("thalweg.inspector")`;
/** Without a beat for so long the process takes everything back by itself. */
const LEASE_MS = 15_000;
/** Calls told in a second; beyond, they are counted and not told. */
const TOLD_PER_SECOND_MAX = 2_000;

const BUILTIN = `const builtin = (name) =>
  typeof process.getBuiltinModule === "function" ? process.getBuiltinModule(name) : require(name);`;

/**
 * Has the inspector listen on another port of loopback, so that the next process finds Node's usual one free. It is closed
 * where nobody begins to listen there. What a timer throws would end the program.
 */
export function moveInspector(port: number): string {
  return `(() => {
  ${BUILTIN}
  const inspector = builtin("inspector");
  const move = () => {
    inspector.close();
    // Else the signal would open it there from now on.
    const usual = process.debugPort;
    inspector.open(${port}, "127.0.0.1");
    process.debugPort = usual;
    const url = inspector.url();
    const close = () => globalThis[${PLACE}] === undefined && inspector.url() === url && inspector.close();
    setTimeout(close, ${LEASE_MS}).unref();
  };
  setTimeout(() => {
    try {
      move();
    } catch {}
  }, 20);
})()`;
}

/**
 * Begins to tell. Each call is told once its answer begins, as text of seven words: address and port of who asked, own port,
 * time of the request; own port and other port of the call, time of its answer. Times are nanoseconds of CLOCK_MONOTONIC. A
 * call that was made for no request has `-` and three zeros in the place of one.
 *
 * @param binding Name of the function that takes the text.
 */
export function telling(binding: string): string {
  return `(() => {
  ${BUILTIN}
  const place = ${PLACE};
  if (globalThis[place] !== undefined) return "there is one already";
  const tell = globalThis[${JSON.stringify(binding)}];
  if (typeof tell !== "function") return "there is no binding";
  const channels = builtin("diagnostics_channel");
  const { AsyncLocalStorage } = builtin("async_hooks");
  const inspector = builtin("inspector");
  const requests = new AsyncLocalStorage();
  const calls = new WeakMap();
  const nowNs = () => String(process.hrtime.bigint());
  let second = 0;
  let toldInSecond = 0;
  let dropped = 0;
  let beatMs = performance.now();
  const told = (cause, socket) => {
    if (!socket || !socket.localPort) return;
    const ns = nowNs();
    const thisSecond = ns.slice(0, -9);
    if (thisSecond !== second) {
      second = thisSecond;
      toldInSecond = 0;
    }
    if (++toldInSecond > ${TOLD_PER_SECOND_MAX}) dropped++;
    else tell((cause || "- 0 0 0") + " " + socket.localPort + " " + socket.remotePort + " " + ns);
  };
  const listeners = {
    "http.server.request.start": ({ socket }) => {
      const address = String(socket.remoteAddress).replace(/^::ffff:/, "");
      requests.enterWith(address + " " + socket.remotePort + " " + socket.localPort + " " + nowNs());
    },
    "http.client.request.start": ({ request }) => calls.set(request, { cause: requests.getStore() }),
    "http.client.response.finish": ({ request }) => {
      const call = calls.get(request);
      if (call !== undefined) told(call.cause, request.socket);
    },
    "undici:request:create": ({ request }) => calls.set(request, { cause: requests.getStore() }),
    "undici:client:sendHeaders": ({ request, socket }) => {
      const call = calls.get(request);
      if (call !== undefined) call.socket = socket;
    },
    "undici:request:headers": ({ request }) => {
      const call = calls.get(request);
      if (call !== undefined) told(call.cause, call.socket);
    },
  };
  // Anybody may publish anything on these channels, and what a listener throws ends the program.
  for (const name of Object.keys(listeners)) {
    const listener = listeners[name];
    listeners[name] = (message) => {
      try {
        listener(message);
      } catch {}
    };
  }
  const undo = () => {
    clearInterval(watch);
    for (const name of Object.keys(listeners)) channels.unsubscribe(name, listeners[name]);
    requests.disable();
    delete globalThis[place];
    delete globalThis[${JSON.stringify(binding)}];
    setTimeout(() => inspector.close(), 20).unref();
    return dropped;
  };
  const watch = setInterval(() => {
    if (performance.now() - beatMs > ${LEASE_MS}) undo();
  }, ${LEASE_MS / 3});
  watch.unref();
  for (const name of Object.keys(listeners)) channels.subscribe(name, listeners[name]);
  Object.defineProperty(globalThis, place, {
    value: {
      beat: () => {
        beatMs = performance.now();
        return dropped;
      },
      undo,
    },
    configurable: true,
  });
  return "";
})()`;
}

/** Says that the listener lives. Gives the number of calls that were not told for their number. */
export const BEAT = `globalThis[${PLACE}].beat()`;

/** Takes everything back, if there is anything, and closes the inspector. */
export const UNDO = `(() => {
  ${BUILTIN}
  if (globalThis[${PLACE}] !== undefined) return globalThis[${PLACE}].undo();
  const inspector = builtin("inspector");
  setTimeout(() => inspector.close(), 20).unref();
  return 0;
})()`;
