/** What each scripted conversation must give, as checks on the spans of its port. The texts are those of `reports.jsonl`. */

/** A span as the checks see it. */
export interface FieldSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: string;
  readonly status: string;
  readonly protocol: string;
  readonly durationMs: number;
  readonly attributes: Readonly<Record<string, string>>;
}

/** Names what is wrong with the spans of a conversation; empty where nothing is. */
export type FieldCheck = (spans: readonly FieldSpan[]) => string;

const METHOD = "http.request.method";
const PATH = "url.path";
const CODE = "http.response.status_code";
const SIDES = ["client", "server"];

/** `repeat` plays the conversation so often. */
export const FIELD_CASES: Readonly<Record<string, { readonly repeat: number; readonly check: FieldCheck }>> = {
  "H1-03": { repeat: 1, check: (spans) => exactly(spans, ["GET /logs 200", "PUT /note 200"]) },
  "H1-05": {
    repeat: 1,
    check: (spans) =>
      exactly(
        spans.filter(({ protocol }) => protocol !== "websocket"),
        ["GET /ws 101"],
      ) || all(spans, ({ status }) => status !== "error", "an upgrade that ended by a reset is no error"),
  },
  "H1-06": {
    repeat: 1,
    check: (spans) => {
      const first = exactly(spans, ["GET /first 200", "GET /second 404"]);
      return first === "" ? "" : exactly(spans, ["GET /first 101", "GET /second 404"]);
    },
  },
  "H1-07": {
    repeat: 1,
    check: (spans) =>
      exactly(
        spans,
        [1, 2, 3, 4, 5].map((number) => `GET /late/${number} 200`),
      ) ||
      [1, 2, 3, 4, 5]
        .map((number) => {
          const server = find(spans, "server", `/late/${number}`);
          const wanted = `5f1e1d0000000000000000000000a00${number} a1b200000000000${number}`;
          return `${server?.traceId} ${server?.parentSpanId}` === wanted
            ? ""
            : `/late/${number}: ${server?.traceId} ${server?.parentSpanId}, expected ${wanted}`;
        })
        .filter((fault) => fault !== "")
        .join("\n"),
  },
  "H1-08": {
    repeat: 3,
    check: (spans) =>
      exactly(
        spans,
        [8191, 8192, 8193, 16384].flatMap((size) => Array.from({ length: 3 }, () => `POST /size/${size} 202`)),
      ),
  },
  "H1-09": { repeat: 1, check: unusualMethods },
  "CX-02": { repeat: 1, check: carriedContexts },
  "MT-09": {
    repeat: 3,
    check: (spans) => {
      const names = new Set(spans.map((span) => span.name));
      if (names.size > 6) return `${names.size} names: ${[...names].join(", ")}`;
      const withId = [...names].find((name) => /[0-9a-f]{8}|\d{3}|\?/.test(name));
      if (withId !== undefined) return `the name '${withId}' holds an id or a query`;
      return all(
        spans,
        ({ attributes }) => attributes[PATH]?.startsWith("/") === true && !attributes[PATH].includes("{"),
        "url.path keeps the real path",
      );
    },
  },
};

function unusualMethods(spans: readonly FieldSpan[]): string {
  const faults: string[] = [];
  for (const kind of SIDES) {
    const own = spans.filter((span) => span.kind === kind);
    if (own.length !== 6) faults.push(`${own.length} ${kind} spans, expected 6`);
    for (const original of ["PROPFIND", "M-SEARCH"]) {
      const span = own.find((candidate) => candidate.attributes["http.request.method_original"] === original);
      if (span?.attributes[METHOD] !== "_OTHER" || !span.name.startsWith("HTTP"))
        faults.push(`${kind} ${original}: ${JSON.stringify(span)}`);
    }
    const lower = own.find((span) => span.attributes[PATH] === "/lower");
    if (
      lower?.attributes[METHOD] !== "GET" &&
      !(lower?.attributes[METHOD] === "_OTHER" && lower.attributes["http.request.method_original"] === "get")
    ) {
      faults.push(`${kind} get /lower: ${JSON.stringify(lower)}`);
    }
    const options = own.find((span) => span.attributes[METHOD] === "OPTIONS");
    if (options === undefined || !["*", undefined].includes(options.attributes[PATH]))
      faults.push(`${kind} OPTIONS *: ${JSON.stringify(options)}`);
    const absolute = own.find((span) => span.attributes[PATH] === "/abs/path");
    if (absolute?.attributes["server.address"] !== "proxy.example" || absolute.name.includes("?"))
      faults.push(`${kind} absolute form: ${JSON.stringify(absolute)}`);
    // Redaction keeps the keys of a query and drops its values.
    if (!/^q=[^&]*&x=[^&]*$/.test(absolute?.attributes["url.query"] ?? ""))
      faults.push(`${kind} url.query is ${absolute?.attributes["url.query"]}`);
    const patch = own.find((span) => span.attributes[METHOD] === "PATCH");
    if (patch?.attributes["network.protocol.version"] !== "1.0") faults.push(`${kind} PATCH: ${JSON.stringify(patch)}`);
  }
  return faults.join("\n");
}

function carriedContexts(spans: readonly FieldSpan[]): string {
  const faults: string[] = [];
  const sdk = find(spans, "server", "/sdk");
  if (sdk?.traceId !== "5f1e1d0000000000000000000000a384" || sdk.parentSpanId !== "a1b2000000000384")
    faults.push(`/sdk: ${JSON.stringify(sdk)}`);
  const own = find(spans, "server", "/sdk0");
  if (own !== undefined && own.traceId !== "5f1e1d0000000000000000000000a385")
    faults.push(`/sdk0: ${JSON.stringify(own)}`);
  for (const path of ["/bad", "/upper"]) {
    const server = find(spans, "server", path);
    const client = find(spans, "client", path);
    if (
      server === undefined ||
      server.traceId.toLowerCase() === "5f1e1d0000000000000000000000a387" ||
      /^0+$/.test(server.traceId)
    )
      faults.push(`${path}: ${JSON.stringify(server)}`);
    if (server?.parentSpanId !== client?.spanId) faults.push(`${path}: the server's parent is not the client's span`);
  }
  return faults.join("\n");
}

/** Each side must have exactly these `METHOD PATH CODE`. */
function exactly(spans: readonly FieldSpan[], wanted: readonly string[]): string {
  const faults: string[] = [];
  for (const kind of SIDES) {
    const found = spans
      .filter((span) => span.kind === kind)
      .map(({ attributes }) => `${attributes[METHOD]} ${attributes[PATH]} ${attributes[CODE]}`)
      .sort();
    const sorted = [...wanted].sort();
    if (found.join("\n") !== sorted.join("\n"))
      faults.push(`${kind}: found ${JSON.stringify(found)}, expected ${JSON.stringify(sorted)}`);
  }
  return faults.join("\n");
}

function all(spans: readonly FieldSpan[], holds: (span: FieldSpan) => boolean, rule: string): string {
  const broken = spans.find((span) => !holds(span));
  return broken === undefined ? "" : `${rule}: ${JSON.stringify(broken)}`;
}

function find(spans: readonly FieldSpan[], kind: string, path: string): FieldSpan | undefined {
  return spans.find((span) => span.kind === kind && span.attributes[PATH] === path);
}
