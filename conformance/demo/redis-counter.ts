/** The one Redis command the cart needs, over a plain socket. */

import { connect } from "node:net";

/** A counter kept in Redis; `increment` resolves to the value after it. */
export interface RedisCounter {
  increment(key: string): Promise<number>;
}

/** Connects to a Redis on loopback; answers come back in the order of their commands. */
export function connectRedis(port: number): Promise<RedisCounter> {
  return new Promise((resolve, reject) => {
    const waiting: ((value: number) => void)[] = [];
    let text = "";
    const socket = connect(port, "127.0.0.1", () => {
      resolve({
        increment: (key) =>
          new Promise((answer) => {
            waiting.push(answer);
            socket.write(`*2\r\n$4\r\nINCR\r\n$${Buffer.byteLength(key)}\r\n${key}\r\n`);
          }),
      });
    });
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      for (let end = text.indexOf("\r\n"); end >= 0; end = text.indexOf("\r\n")) {
        waiting.shift()?.(Number(text.slice(1, end)));
        text = text.slice(end + 2);
      }
    });
  });
}
