/**
 * A small program on the OpenTelemetry SDK: makes orders, each a server span with two calls, a log record in it, and a
 * value in metrics of each kind, and exports them. The shop's front sends plain bodies and totals, its stock gzip and what
 * was counted since the export before.
 *
 * Run as a process of its own: `sdk-app.ts TRANSPORT ENDPOINT ORDERS`, with a transport of `SDK_TRANSPORTS`.
 */

import { type Attributes, context, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { SeverityNumber } from "@opentelemetry/api-logs";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { exportersTo, SDK_TRANSPORTS } from "./sdk-exporters.ts";
import { FAILS_EVERY, ITEMS, LATENCY_BOUNDS, latencyOf, serviceOf, sizeOf } from "./sdk-orders.ts";

const [, , wanted, endpoint = "", ordersText] = process.argv;
const transport = SDK_TRANSPORTS.find((each) => each === wanted);
if (transport === undefined) throw new Error(`the transport is none of ${SDK_TRANSPORTS.join(", ")}`);
const orders = Number(ordersText);
/** Metrics are exported after so many orders, and when the program ends. */
const ORDERS_AN_EXPORT = 64;
const NEVER_MS = 3_600_000;

function partOf(name: "front" | "stock") {
  if (transport === undefined) throw new Error("no transport");
  const exporters = exportersTo(endpoint, transport, { isCompressed: name === "stock", isDelta: name === "stock" });
  const service = serviceOf(name, transport);
  const resource = resourceFromAttributes({
    "service.name": service,
    "service.instance.id": `${service}-1`,
    "deployment.environment.name": "test",
  });
  const tracing = new NodeTracerProvider({
    resource,
    spanProcessors: [new BatchSpanProcessor(exporters.spans, { maxExportBatchSize: 64, scheduledDelayMillis: 50 })],
  });
  const logging = new LoggerProvider({
    resource,
    processors: [new BatchLogRecordProcessor({ exporter: exporters.logs, maxExportBatchSize: 64 })],
  });
  const metering = new MeterProvider({
    resource,
    readers: [new PeriodicExportingMetricReader({ exporter: exporters.metrics, exportIntervalMillis: NEVER_MS })],
    views: [
      {
        instrumentName: "order.latency",
        aggregation: {
          type: AggregationType.EXPLICIT_BUCKET_HISTOGRAM,
          options: { boundaries: [...LATENCY_BOUNDS] },
        },
      },
      { instrumentName: "order.size", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } },
    ],
  });
  const providers = [tracing, logging, metering];
  return {
    tracer: tracing.getTracer("orders", "1.0.0"),
    logger: logging.getLogger("orders", "1.0.0"),
    meter: metering.getMeter("orders", "1.0.0"),
    exportMetrics: () => metering.forceFlush(),
    async end() {
      for (const provider of providers) await provider.forceFlush();
      for (const provider of providers) await provider.shutdown();
    },
  };
}

const front = partOf("front");
const stock = partOf("stock");
const meters = [front, stock].map(({ meter }) => ({
  placed: meter.createCounter("orders.placed", { description: "Orders that were made", unit: "{order}" }),
  open: meter.createUpDownCounter("orders.open"),
  latency: meter.createHistogram("order.latency", { unit: "s" }),
  size: meter.createHistogram("order.size", { unit: "By" }),
}));
for (const { meter } of [front, stock]) {
  meter.createObservableGauge("stock.left").addCallback((result) => {
    for (let item = 0; item < ITEMS; item++) result.observe(-orders + item, { item });
  });
  meter.createObservableCounter("work.time", { unit: "s" }).addCallback((result) => result.observe(orders / 8));
}

for (let order = 0; order < orders; order++) {
  const fails = order % FAILS_EVERY === FAILS_EVERY - 1;
  const incoming = front.tracer.startSpan("POST /orders", { kind: SpanKind.SERVER, root: true });
  const inside = trace.setSpan(context.active(), incoming);
  const outgoing = front.tracer.startSpan(
    "GET",
    { kind: SpanKind.CLIENT, attributes: { "server.address": "stock" } },
    inside,
  );
  const serving = trace.setSpan(inside, outgoing);
  const served = stock.tracer.startSpan(
    "GET /stock/{id}",
    { kind: SpanKind.SERVER, attributes: { "stock.item": order } },
    serving,
  );
  if (fails) served.setStatus({ code: SpanStatusCode.ERROR, message: "out of stock" });
  const attributes: Attributes = { item: order % ITEMS };
  stock.logger.emit({
    severityNumber: fails ? SeverityNumber.ERROR : SeverityNumber.INFO,
    severityText: fails ? "ERROR" : "INFO",
    body: fails ? { text: "out of stock", order } : `took ${order}`,
    attributes,
    context: trace.setSpan(serving, served),
  });
  served.end();
  outgoing.end();
  const query = front.tracer.startSpan(
    "INSERT orders",
    { kind: SpanKind.CLIENT, attributes: { "db.system.name": "postgresql", "server.address": "db" } },
    inside,
  );
  query.end();
  front.logger.emit({ severityNumber: SeverityNumber.DEBUG2, body: order, attributes, context: inside });
  for (const { placed, open, latency, size } of meters) {
    placed.add(1, attributes);
    open.add(fails ? -1 : 1);
    latency.record(latencyOf(order));
    size.record(sizeOf(order));
  }
  incoming.end();
  if (order % ORDERS_AN_EXPORT === ORDERS_AN_EXPORT - 1)
    await Promise.all([front.exportMetrics(), stock.exportMetrics()]);
}
await Promise.all([front.end(), stock.end()]);
