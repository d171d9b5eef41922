/** Requests over HTTP/1 with secrets in every place of them, and what may be left of each. */

import { type OutgoingHttpHeaders, request } from "node:http";
import { request as requestOverTls } from "node:https";
import type { Planter } from "./planter.ts";

/** A request, and what its span may keep. */
export interface PlantedRequest {
  readonly method: string;
  /** As sent. */
  readonly target: string;
  readonly headers: OutgoingHttpHeaders;
  readonly body: string;
  readonly status: number;
  /** `url.path` and `url.query` of the span. */
  readonly path: string;
  readonly query: string;
  /** Its name without the method. */
  readonly template: string;
}

const STATUSES = [200, 200, 200, 201, 302, 401, 404, 500, 503] as const;

/** The request of number `number`; the kinds come in turn. */
export function plantRequest(number: number, planter: Planter): PlantedRequest {
  const status = STATUSES[number % STATUSES.length] ?? 200;
  const kind = KINDS[number % KINDS.length] ?? KINDS[0];
  return { body: "", ...kind(number, planter), status, headers: headersOf(number, status, planter) };
}

type Kind = (
  number: number,
  planter: Planter,
) => Omit<PlantedRequest, "headers" | "status" | "body"> & { body?: string };

/** A target whose path is one of a few. */
function plain(method: string, path: string, template: string, query = "", kept = ""): ReturnType<Kind> {
  return { method, target: query === "" ? path : `${path}?${query}`, path, template, query: kept };
}

const KINDS: readonly [Kind, ...Kind[]] = [
  (number) => plain("GET", `/orders/${1000 + number}`, "/orders/{id}"),
  (_, planter) =>
    plain(
      "GET",
      "/search",
      "/search",
      `token=${planter.plain()}&q=${planter.plain()}&page=1`,
      "token=REDACTED&q=REDACTED&page=REDACTED",
    ),
  (_, planter) => plain("GET", "/search", "/search", planter.plain(), "REDACTED"),
  (_, planter) =>
    plain(
      "GET",
      "/search",
      "/search",
      `filter[name]=${planter.plain()}&empty=&x=%20${planter.plain()}%00`,
      "filter[name]=REDACTED&empty=&x=REDACTED",
    ),
  (_, planter) =>
    plain(
      "GET",
      "/search",
      "/search",
      `${encodeURIComponent(planter.anyShape())}=1&a=2`,
      "REDACTED=REDACTED&a=REDACTED",
    ),
  (_, planter) =>
    plain("POST", "/login", "/login", `next=https%3A%2F%2Fuser%3A${planter.plain()}%40x.example`, "next=REDACTED"),
  (_, planter) => path("GET", `/reset/${planter.plain()}`, "/reset/REDACTED", "/reset/{id}"),
  (_, planter) => path("GET", `/token/${planter.plain()}/orders`, "/token/REDACTED/orders", "/token/{id}/orders"),
  (_, planter) => path("GET", `/verify/${planter.plain()}${planter.plain()}`, "/verify/REDACTED", "/verify/{id}"),
  (_, planter) => path("PUT", `/files/${planter.anyShape()}`, "/files/REDACTED", "/files/{id}"),
  (_, planter) =>
    path("GET", `/files/${escaped(planter.shaped("email"))}/raw`, "/files/REDACTED/raw", "/files/{id}/raw"),
  (_, planter) => path("GET", `/files/${escaped(planter.anyShape())}`, "/files/REDACTED", "/files/{id}"),
  (_, planter) =>
    path(
      "GET",
      `/cart;jsessionid=${planter.plain()}/lines`,
      "/cart;jsessionid=REDACTED/lines",
      "/cart;jsessionid=REDACTED/lines",
    ),
  (_, planter) => path("GET", `/proxy/user:${planter.plain()}@back.internal/x`, "/proxy/REDACTED/x", "/proxy/{id}/x"),
  (_, planter) =>
    path("GET", `/proxy/https%3A%2F%2Fuser%3A${planter.plain()}%40back%2Fx`, "/proxy/REDACTED", "/proxy/{id}"),
  (_, planter) => form("/login", `user=ann&password=${planter.plain()}&otp=${planter.plain()}`),
  (_, planter) => form("/login", JSON.stringify({ password: planter.plain(), card: planter.shaped("card") })),
  // A body that reads like requests, with their secrets.
  (_, planter) => form("/upload", `GET /orders/${planter.plain()} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(3)),
  (_, planter) => form("/upload", `${planter.plain()} ${"x".repeat(6000)} ${planter.plain()}`),
  (_, planter) =>
    form("/upload", `--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n${planter.plain()}\r\n--b--\r\n`),
  (number, planter) => ({
    ...plain("GET", `/orders/${1000 + number}`, "/orders/{id}"),
    target: `http://admin:${planter.plain()}@shop.example/orders/${1000 + number}`,
  }),
];

function path(method: string, target: string, kept: string, template: string): ReturnType<Kind> {
  return { method, target, path: kept, template, query: "" };
}

function form(target: string, body: string): ReturnType<Kind> {
  return { ...plain("POST", target, target), body };
}

/** Escaped as far as can be, which no reader minds. */
function escaped(text: string): string {
  return [...text].map((sign) => (/[a-zA-Z0-9]/.test(sign) ? sign : `%${sign.charCodeAt(0).toString(16)}`)).join("");
}

function headersOf(number: number, status: number, planter: Planter): OutgoingHttpHeaders {
  const secret = planter.plain();
  const basic = (user: string) => Buffer.from(`${user}:${planter.plain()}`).toString("base64");
  const choices: OutgoingHttpHeaders[] = [
    { authorization: `Bearer ${planter.anyShape()}` },
    { authorization: `Basic ${basic("ann")}`, "proxy-authorization": `Basic ${basic("proxy-user")}` },
    { cookie: `session=${planter.plain()}; csrf=${planter.plain()}` },
    { "x-api-key": planter.plain(), "x-amz-security-token": planter.anyShape() },
    { "x-shop-token": planter.plain(), "x-auth-request-email": planter.shaped("email") },
    { "user-agent": `shop/1.0 (key ${planter.anyShape()})`, referer: `http://x.example/?token=${planter.plain()}` },
    { authorization: `Digest username="ann", response="${planter.plain()}"`, baggage: `key=${planter.plain()}` },
    { cookie: `${"a=b; ".repeat(300)}session=${planter.plain()}` },
  ];
  return {
    ...choices[number % choices.length],
    "x-want": String(status),
    "x-secret": secret,
  };
}

/** Sends a request. @returns The status that came, 0 where none did. */
export function send(
  port: number,
  { method, target, headers, body }: PlantedRequest,
  isOverTls: boolean,
): Promise<number> {
  const ask = isOverTls ? requestOverTls : request;
  return new Promise((resolve) => {
    const asked = ask(
      {
        // The certificate is of this run alone.
        rejectUnauthorized: false,
        host: "127.0.0.1",
        port,
        path: target,
        method,
        headers: { ...headers, host: "shop.example", "content-length": Buffer.byteLength(body) },
        agent: false,
      },
      (answer) => answer.resume().on("end", () => resolve(answer.statusCode ?? 0)),
    );
    asked.on("error", () => resolve(0));
    asked.end(body);
  });
}
