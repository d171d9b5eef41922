/** Targets to scrape: every format, what is wrong with some, and what changes between scrapes. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";

const TEXT = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8";

interface Page {
  readonly type: string;
  readonly body: string;
  readonly status?: number;
}

/** Bodies by path. */
const PAGES = new Map<string, (scrape: number) => Page>([
  [
    "/text",
    () => ({
      type: TEXT,
      body: [
        "# HELP requests_total All \\\\ of\\nthem.",
        "# TYPE requests_total counter",
        'requests_total{code="200",method="get"} 7',
        'requests_total{code="500",method="get",} 1e3',
        "# TYPE wait_seconds histogram",
        'wait_seconds_bucket{le="0.5"} 1',
        'wait_seconds_bucket{le="+Inf"} 2',
        "wait_seconds_sum 1.25",
        "wait_seconds_count 2",
        "# TYPE answer_seconds summary",
        'answer_seconds{quantile="0.5"} 0.25',
        'odd{path="C:\\\\x",quote="\\"q\\"",line="a\\nb",empty=""} -Inf',
        "missing NaN",
        'spaced { a = "1" , b = "2" }   3.5',
      ].join("\n"),
    }),
  ],
  [
    "/open-metrics",
    () => ({
      type: OPEN_METRICS,
      body: [
        "# TYPE hits counter",
        "# HELP hits All.",
        'hits_total{a="b"} 5.0 # {trace_id="0af7651916cd43dd8448eb211c80319c"} 0.5',
        "# TYPE room_celsius gauge",
        "# UNIT room_celsius celsius",
        "room_celsius 21.5",
        "# EOF",
      ].join("\n"),
    }),
  ],
  [
    "/labels",
    () => ({
      type: TEXT,
      body: 'own{job="mine",instance="here",exported_job="old",__tmp="x"} 1\nother{a="1",b="2"} 2\ndrop_me 3\n',
    }),
  ],
  ["/comes-and-goes", (scrape) => ({ type: TEXT, body: scrape < 3 ? "stays 1\ngoes 2\n" : "stays 1\n" })],
  ["/breaks", (scrape) => ({ type: TEXT, body: scrape < 3 ? "breaks_later 1\n" : "breaks_later 1\nbreaks_later{\n" })],
  ["/many", () => ({ type: TEXT, body: Array.from({ length: 20 }, (_, each) => `many{n="${each}"} 1\n`).join("") })],
  ["/repeats", () => ({ type: TEXT, body: "twice 1\ntwice 2\nonce 1\n" })],
  ["/fails", () => ({ type: TEXT, body: "never 1\n", status: 503 })],
  ["/empty", () => ({ type: TEXT, body: "" })],
  ["/query", () => ({ type: TEXT, body: "" })],
]);

/** A server with all pages. */
export class Targets {
  readonly #server: Server;
  readonly #scrapes = new Map<string, number>();
  /** `HOST:PORT`. */
  readonly address: string;

  private constructor(server: Server, address: string) {
    this.#server = server;
    this.address = address;
  }

  static async start(): Promise<Targets> {
    const holder: { targets: Targets | undefined } = { targets: undefined };
    const server = createServer((request, response) => holder.targets?.answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the server has no port");
    holder.targets = new Targets(server, `127.0.0.1:${address.port}`);
    return holder.targets;
  }

  /** Answers a request; whoever asks has pages of its own, that change as it scrapes. */
  answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://localhost");
    const page = PAGES.get(url.pathname);
    const who = `${request.headers["user-agent"]?.split("/")[0]}${url.pathname}`;
    const scrape = (this.#scrapes.get(who) ?? 0) + 1;
    this.#scrapes.set(who, scrape);
    if (page === undefined) {
      response.writeHead(404).end("none\n");
      return;
    }
    if (url.pathname === "/query") {
      const user = Buffer.from(request.headers.authorization?.replace("Basic ", "") ?? "", "base64");
      const told = [...url.searchParams].map(([name, value], at) => `${name}${at}="${value}"`).join(",");
      const timeout = request.headers["x-prometheus-scrape-timeout-seconds"];
      response.writeHead(200, { "content-type": TEXT }).end(`asked{${told},user="${user}",timeout="${timeout}"} 1\n`);
      return;
    }
    const { type, body, status = 200 } = page(scrape);
    const isGzip = url.pathname === "/text" && request.headers["accept-encoding"] === "gzip";
    response.writeHead(status, { "content-type": type, ...(isGzip ? { "content-encoding": "gzip" } : {}) });
    response.end(isGzip ? gzipSync(body) : body);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Jobs over all pages, in Prometheus' form. */
export function scrapeConfig(address: string, targetsFile: string): string {
  const job = (name: string, path: string, more = "") => `
  - job_name: ${name}
    metrics_path: ${path}
    static_configs:
      - targets: ["${address}"]
        labels: {zone: a}
${more}`;
  return `global:
  scrape_interval: 1s
  scrape_timeout: 500ms
  external_labels: {from: here}
rule_files: []
scrape_configs:${[
    job("text", "/text"),
    job("open-metrics", "/open-metrics"),
    job(
      "labels",
      "/labels",
      `    metric_relabel_configs:
      - {source_labels: [__name__], regex: drop_.*, action: drop}
      - {source_labels: [a, b], separator: "-", target_label: both}
      - {source_labels: [a], regex: "(.)", target_label: "x_$1", replacement: "v$\{1}w"}
      - {regex: b, action: labeldrop}
      - {source_labels: [both], modulus: 7, target_label: shard, action: hashmod}
`,
    ),
    job("honest", "/labels", "    honor_labels: true\n"),
    job(
      "relabelled",
      "/text",
      `    relabel_configs:
      - {source_labels: [__address__], regex: "(.*):.*", target_label: host, replacement: "$1"}
      - {source_labels: [zone], target_label: instance, action: uppercase}
      - {regex: "__(scheme)__", action: labelmap, replacement: "label_$1"}
      - {target_label: fixed, replacement: value}
`,
    ),
    job("dropped", "/text", "    relabel_configs: [{source_labels: [zone], regex: a, action: drop}]\n"),
    job("comes-and-goes", "/comes-and-goes"),
    job("breaks", "/breaks"),
    job("many", "/many", "    sample_limit: 10\n"),
    job("wide", "/text", "    label_limit: 3\n"),
    job("big", "/many", "    body_size_limit: 50B\n"),
    job("repeats", "/repeats"),
    job("fails", "/fails"),
    job("absent", "/nowhere"),
    job("empty", "/empty"),
    job("asked", "/query", '    params: {q: [x, y], r: ["a b"]}\n    basic_auth: {username: me, password: secret}\n'),
    `
  - job_name: nobody
    static_configs: [{targets: ["127.0.0.1:1"]}]
  - job_name: files
    metrics_path: /text
    file_sd_configs: [{files: ["${targetsFile}"], refresh_interval: 1s}]
`,
  ].join("")}`;
}
