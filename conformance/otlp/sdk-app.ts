/**
 * A small traced program on the OpenTelemetry SDK: makes orders, each a server span with two calls, and exports them.
 *
 * Run as a process of its own: `sdk-app.ts grpc|http ENDPOINT ORDERS`.
 */

import { context, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as HttpExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [, , transport, endpoint, ordersText] = process.argv;
const orders = Number(ordersText);
/** Every fifth order fails. */
const FAILS_EVERY = 5;

function provider(service: string): NodeTracerProvider {
  const exporter =
    transport === "grpc"
      ? new GrpcExporter({ url: `http://${endpoint}` })
      : new HttpExporter({ url: `${endpoint}/v1/traces` });
  return new NodeTracerProvider({
    resource: resourceFromAttributes({ "service.name": service, "service.instance.id": `${service}-1` }),
    spanProcessors: [new BatchSpanProcessor(exporter, { maxExportBatchSize: 64, scheduledDelayMillis: 50 })],
  });
}

const front = provider(`front-${transport}`);
const stock = provider(`stock-${transport}`);
const frontTracer = front.getTracer("orders", "1.0.0");
const stockTracer = stock.getTracer("stock", "1.0.0");

for (let order = 0; order < orders; order++) {
  const fails = order % FAILS_EVERY === FAILS_EVERY - 1;
  const incoming = frontTracer.startSpan("POST /orders", { kind: SpanKind.SERVER, root: true });
  const inside = trace.setSpan(context.active(), incoming);
  const outgoing = frontTracer.startSpan(
    "GET",
    { kind: SpanKind.CLIENT, attributes: { "server.address": "stock" } },
    inside,
  );
  const served = stockTracer.startSpan(
    "GET /stock/{id}",
    { kind: SpanKind.SERVER, attributes: { "stock.item": order } },
    trace.setSpan(inside, outgoing),
  );
  if (fails) served.setStatus({ code: SpanStatusCode.ERROR, message: "out of stock" });
  served.end();
  outgoing.end();
  const query = frontTracer.startSpan(
    "INSERT orders",
    { kind: SpanKind.CLIENT, attributes: { "db.system.name": "postgresql", "server.address": "db" } },
    inside,
  );
  query.end();
  incoming.end();
}
await Promise.all([front.forceFlush(), stock.forceFlush()]);
await Promise.all([front.shutdown(), stock.shutdown()]);
