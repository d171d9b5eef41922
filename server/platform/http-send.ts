/** Sends bodies to services of the person's choice, over connections that are kept. */

import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { type Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { type HttpTls, passOver, tlsAgent } from "./http-get.ts";

/** Characters of an answer that are kept; the rest passes by, or is cut off. */
const ANSWER_LENGTH_MAX = 1024;

/** What to send, and how long to wait for the answer. */
export interface HttpSend {
  readonly url: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Uint8Array;
  readonly signal: AbortSignal;
}

/** An answer; of its text the start. */
export interface HttpSent {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Connections to one place. */
export class HttpSender {
  readonly #http: HttpAgent;
  readonly #https: HttpsAgent;

  /** @param socketsMax Connections that are kept at most. */
  constructor(tls: HttpTls, socketsMax: number) {
    this.#http = new HttpAgent({ keepAlive: true, maxFreeSockets: socketsMax });
    this.#https = tlsAgent(tls, socketsMax);
  }

  /** Sends a body by POST; redirects are answers. @throws Error where no answer came. */
  post({ url, headers, body, signal }: HttpSend): Promise<HttpSent> {
    const isHttps = url.startsWith("https:");
    return new Promise((resolve, reject) => {
      const all = Object.entries({ ...headers, "content-length": String(body.length) });
      const request = (isHttps ? httpsRequest : httpRequest)(
        url,
        {
          method: "POST",
          agent: isHttps ? this.#https : this.#http,
          headers: Object.fromEntries(
            all.map(([name, value]) => [name, typeof value === "string" ? value : [...value]]),
          ),
          signal,
        },
        (answer) => {
          let text = "";
          answer.setEncoding("utf8").on("data", (more: string) => {
            if (text.length < ANSWER_LENGTH_MAX) text = (text + more).slice(0, ANSWER_LENGTH_MAX);
          });
          answer.on("error", reject);
          const told = () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text });
          answer.on("end", told);
          passOver(answer, told);
        },
      );
      request.on("error", reject);
      request.end(body);
    });
  }

  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }
}
