/**
 * A web server that traces itself with the OpenTelemetry SDK, and asks the next one, if there is one, for each request.
 *
 * Run as a process of its own: `sdk-service.ts PORT OTLP_HTTP_URL [NEXT_PORT]`; it takes its name from `OTEL_SERVICE_NAME`.
 * It takes and passes on `traceparent` as instrumentation of HTTP does.
 */

import { createServer, request } from "node:http";
import { type Context, context, propagation, ROOT_CONTEXT, SpanKind, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [, , port, endpoint, nextPort] = process.argv;
/** Longer than calls of the suite are apart, so that spans come together and after those the agent saw. */
const EXPORT_EVERY_MS = 2_000;

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({
    "service.name": process.env["OTEL_SERVICE_NAME"] ?? "",
    "process.pid": process.pid,
  }),
  spanProcessors: [
    new BatchSpanProcessor(new OTLPTraceExporter({ url: `${endpoint}/v1/traces` }), {
      scheduledDelayMillis: EXPORT_EVERY_MS,
    }),
  ],
});
provider.register();
const tracer = provider.getTracer("http", "1.0.0");

createServer((incoming, response) => {
  const carried = propagation.extract(ROOT_CONTEXT, incoming.headers);
  const span = tracer.startSpan(`${incoming.method} /`, { kind: SpanKind.SERVER }, carried);
  const answer = () => {
    response.end("ok");
    span.end();
  };
  if (nextPort === undefined) answer();
  else askNext(trace.setSpan(carried, span), answer);
}).listen(Number(port), "127.0.0.1");

function askNext(inside: Context, done: () => void): void {
  const span = tracer.startSpan("GET", { kind: SpanKind.CLIENT }, inside);
  const headers: Record<string, string> = {};
  propagation.inject(trace.setSpan(inside, span), headers);
  context.with(inside, () => {
    request({ host: "127.0.0.1", port: Number(nextPort), path: "/", headers, agent: false }, (answer) => {
      answer.resume().on("end", () => {
        span.end();
        done();
      });
    }).end();
  });
}
