/** Bodies of log records and of samples in which every item tells which body it came with. */

import { ProtobufWriter } from "../../server/wire/protobuf-writer.ts";
import { writeTextAttribute } from "../otlp-bodies.ts";
import { encodeWrite } from "../remote-write.ts";
import type { Transport } from "./send-body.ts";

/** Log records of one body. */
export const RECORDS_PER_BODY = 100;
/** Series of one lane, each with one sample in every body. */
export const SERIES_PER_LANE = 100;
/** Service of all log records. */
export const LOG_SERVICE = "ledger-logs";
/** Label that tells the lane, and label that tells the series of a lane. */
export const LANE_LABEL = "lane";
export const SERIES_LABEL = "place";
const SERIAL_DIGITS = 8;
const SEVERITY_INFO = 9;
/** Temporality of samples that count since the one before. */
const DELTA = 1;

/** Where a text of a log record tells its body's serial number, for `substr` of SQL. */
export const LOG_SERIAL_AT = { from: 8, digits: SERIAL_DIGITS } as const;

/** A body of log records with the texts `ledger SERIAL PLACE`. */
export function logsBody(transport: Transport, serial: number, timeMs: number): Buffer {
  const textOf = (place: number) => `ledger ${serial.toString(16).padStart(SERIAL_DIGITS, "0")} ${place}`;
  const places = Array.from({ length: RECORDS_PER_BODY }, (_, place) => place);
  if (transport === "json") {
    const timeUnixNano = `${timeMs}000000`;
    const logRecords = places.map((place) => ({
      timeUnixNano,
      severityNumber: SEVERITY_INFO,
      body: { stringValue: textOf(place) },
      attributes: [{ key: "place", value: { intValue: String(place) } }],
    }));
    return Buffer.from(JSON.stringify({ resourceLogs: [{ resource: jsonResource(), scopeLogs: [{ logRecords }] }] }));
  }
  const writer = new ProtobufWriter();
  const group = writer.openMessage(1);
  writeResource(writer);
  const scope = writer.openMessage(2);
  for (const place of places) {
    const record = writer.openMessage(2);
    writer.writeFixed64(1, BigInt(timeMs) * 1_000_000n);
    writer.writeUint32(2, SEVERITY_INFO);
    const body = writer.openMessage(5);
    writer.writeText(1, textOf(place));
    writer.closeMessage(body);
    writeTextAttribute(writer, 6, "place", String(place));
    writer.closeMessage(record);
  }
  writer.closeMessage(scope);
  writer.closeMessage(group);
  return Buffer.from(writer.take());
}

/**
 * A body with one sample for each series of a lane: its value is the body's place in the lane. Of odd lanes over OTLP it is an
 * increment of delta temporality, so that the value is what all bodies up to this one come to.
 */
export function samplesBody(
  transport: Transport,
  metric: string,
  lane: number,
  sample: { readonly timeMs: number; readonly value: number },
): Buffer {
  if (transport.startsWith("remote write")) return remoteWriteBody(transport, metric, lane, sample);
  const { timeMs } = sample;
  const isDelta = lane % 2 === 1;
  const value = isDelta ? 1 : sample.value;
  if (transport === "json") {
    const dataPoints = Array.from({ length: SERIES_PER_LANE }, (_, place) => ({
      timeUnixNano: `${timeMs}000000`,
      asDouble: value,
      attributes: [
        { key: LANE_LABEL, value: { stringValue: String(lane) } },
        { key: SERIES_LABEL, value: { stringValue: String(place) } },
      ],
    }));
    const data = isDelta ? { sum: { aggregationTemporality: DELTA, dataPoints } } : { gauge: { dataPoints } };
    const metrics = [{ name: metric, ...data }];
    return Buffer.from(
      JSON.stringify({ resourceMetrics: [{ resource: jsonResource(), scopeMetrics: [{ metrics }] }] }),
    );
  }
  const writer = new ProtobufWriter();
  const group = writer.openMessage(1);
  writeResource(writer);
  const scope = writer.openMessage(2);
  const message = writer.openMessage(2);
  writer.writeText(1, metric);
  const data = writer.openMessage(isDelta ? 7 : 5);
  for (let place = 0; place < SERIES_PER_LANE; place++) {
    const point = writer.openMessage(1);
    writer.writeFixed64(3, BigInt(timeMs) * 1_000_000n);
    writer.writeDouble(4, value);
    writeTextAttribute(writer, 7, LANE_LABEL, String(lane));
    writeTextAttribute(writer, 7, SERIES_LABEL, String(place));
    writer.closeMessage(point);
  }
  if (isDelta) writer.writeUint32(2, DELTA);
  for (const opened of [data, message, scope, group]) writer.closeMessage(opened);
  return Buffer.from(writer.take());
}

function remoteWriteBody(
  transport: Transport,
  metric: string,
  lane: number,
  { timeMs, value }: { readonly timeMs: number; readonly value: number },
): Buffer {
  const series = Array.from({ length: SERIES_PER_LANE }, (_, place) => ({
    labels: [
      ["__name__", metric],
      [LANE_LABEL, String(lane)],
      [SERIES_LABEL, String(place)],
    ] as const,
    samples: [{ timestampMs: timeMs, startMs: 0, value }],
  }));
  return Buffer.from(encodeWrite(series, transport === "remote write 1" ? 1 : 2));
}

function jsonResource() {
  return { attributes: [{ key: "service.name", value: { stringValue: LOG_SERVICE } }] };
}

function writeResource(writer: ProtobufWriter): void {
  const resource = writer.openMessage(1);
  writeTextAttribute(writer, 1, "service.name", LOG_SERVICE);
  writer.closeMessage(resource);
}
