/** The middle service: asks the one behind it with all that it was sent, and writes down what it answered. */

import { appendFileSync } from "node:fs";
import { Agent, request as ask, createServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { shortRoute } from "../routes.ts";

const [, , ownPort = "", http2Port = "", behind = "", ledger = ""] = process.argv;
const agent = new Agent({ keepAlive: true, maxSockets: 16 });

createServer((request, response) => {
  const { host: _, connection: __, ...headers } = request.headers;
  const method = request.method ?? "";
  const asked = ask(
    { host: "127.0.0.1", port: Number(behind), path: request.url ?? "/", method, headers, agent },
    (answer) => {
      const status = answer.statusCode ?? 0;
      response.writeHead(status, answer.statusMessage ?? "", answer.rawHeaders);
      answer.pipe(response);
      appendFileSync(ledger, `${method} ${shortRoute(request.url ?? "")} ${status}\n`);
    },
  );
  request.pipe(asked);
}).listen(Number(ownPort), "127.0.0.1");

createHttp2Server()
  .on("stream", (stream, headers) => {
    const path = String(headers[":path"]);
    const status = Number(headers["x-want"] ?? 200);
    const secret = String(headers["x-secret"] ?? "");
    const isGrpc = String(headers["content-type"]).startsWith("application/grpc");
    const line = isGrpc ? `${path} ${status}` : `${headers[":method"]} ${shortRoute(path)} ${status}`;
    appendFileSync(`${ledger}.h2`, `${line}\n`);
    stream.resume();
    if (!isGrpc) {
      stream.respond({ ":status": status, "set-cookie": [`session=${secret}`], "x-token": secret });
      stream.end(secret.repeat(3));
      return;
    }
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () =>
      stream.sendTrailers({ "grpc-status": String(status), "grpc-message": `${secret} is wrong`, "x-secret": secret }),
    );
    stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, secret.length]), Buffer.from(secret)]));
  })
  .listen(Number(http2Port), "127.0.0.1");
