/** Random OTLP requests of all signals, small ones, as plain objects for the library; and damage to their bytes. */

type Random = () => number;

const TEXTS = ["", "a", "GET /x", "Grüße", "日本", "😀", "x".repeat(60), '"\\\n', "service.name", "http.method"];
/** Numbers at the edges of varints and of 64 bits. */
const LONGS = [
  "0",
  "1",
  "127",
  "128",
  "16384",
  "9007199254740993",
  "9223372036854775807",
  "-1",
  "-9223372036854775808",
];
const DOUBLES = [0, -1.5, 1e300, 0.1, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, 5e-324];
const CHANGES_MAX = 4;
const PIECE_BYTES_MAX = 40;
/** Changes of whole fields leave a request that is still one; those of bytes mostly do not. */
const FIELD_CHANGES_SHARE = 0.7;
const DESCEND_SHARE = 0.85;
/** Small, zero in more bytes than it needs, 2^32 - 1, 2^63 and 2^64 - 1. */
const VARINTS = ["00", "01", "7f", "8000", "ffffffff0f", "80808080808080808001", "ffffffffffffffffff01"];
/** Tokens that mean something to a JSON reader. */
const JSON_PIECES = [
  "null",
  "true",
  "{}",
  "[]",
  '""',
  "-0",
  "1e3",
  "1.0",
  '"1e3"',
  '"NaN"',
  '"-Infinity"',
  "18446744073709551616",
  '"9223372036854775808"',
  '"\\ud800"',
  '"\\u0041"',
  ",",
  ":",
  "}",
  "]",
  '"traceId":"00",',
  '"kind":"SPAN_KIND_SERVER",',
  '"unknown":[{"a":null}],',
  "\u2028",
];

function pick<T>(random: Random, list: readonly T[]): T {
  // In range: `random` is below 1, and no list here is empty.
  return list[Math.floor(random() * list.length)] as T;
}

function many<T>(random: Random, max: number, make: (at: number) => T): T[] {
  return Array.from({ length: Math.floor(random() * (max + 1)) }, (_, at) => make(at));
}

function bytes(random: Random, count: number): Buffer {
  return Buffer.from(Array.from({ length: count }, () => Math.floor(random() * 256)));
}

function anyValue(random: Random, depth: number): object {
  const choice = Math.floor(random() * (depth > 2 ? 6 : 8));
  if (choice === 0) return {};
  if (choice === 1) return { stringValue: pick(random, TEXTS) };
  if (choice === 2) return { boolValue: random() < 0.5 };
  if (choice === 3) return { intValue: pick(random, LONGS) };
  if (choice === 4) return { doubleValue: pick(random, DOUBLES) };
  if (choice === 5) return { bytesValue: bytes(random, Math.floor(random() * 9)) };
  if (choice === 6) return { arrayValue: { values: many(random, 3, () => anyValue(random, depth + 1)) } };
  return { kvlistValue: { values: attributes(random, depth + 1) } };
}

function attributes(random: Random, depth = 0): object[] {
  return many(random, 4, () => ({ key: pick(random, TEXTS), value: anyValue(random, depth) }));
}

function resource(random: Random): object {
  return { attributes: [...attributes(random), { key: "service.name", value: { stringValue: "shop" } }] };
}

function scope(random: Random): object {
  return { name: pick(random, TEXTS), version: pick(random, TEXTS), attributes: attributes(random) };
}

function time(random: Random): string {
  return pick(random, [
    "0",
    "1700000000000000001",
    "1485467191639875000",
    "7258118400000000000",
    "18446744073709551615",
  ]);
}

/** A request with spans. */
function randomTraces(random: Random): object {
  const id = (length: number) => bytes(random, pick(random, [length, length, length, length, length - 1, 0]));
  const dropped = () => Math.floor(random() * 3);
  const event = () => ({ timeUnixNano: time(random), name: pick(random, TEXTS), attributes: attributes(random, 1) });
  const link = () => ({
    traceId: id(16),
    spanId: id(8),
    traceState: "a=b",
    attributes: attributes(random, 1),
    flags: 1,
  });
  const span = () => ({
    traceId: id(16),
    spanId: id(8),
    traceState: pick(random, TEXTS),
    ...(random() < 0.5 ? { parentSpanId: id(8) } : {}),
    name: pick(random, TEXTS),
    kind: Math.floor(random() * 8),
    startTimeUnixNano: time(random),
    endTimeUnixNano: time(random),
    attributes: attributes(random),
    droppedAttributesCount: dropped(),
    events: many(random, 2, event),
    droppedEventsCount: dropped(),
    links: many(random, 2, link),
    droppedLinksCount: dropped(),
    status: { code: Math.floor(random() * 4), message: pick(random, TEXTS) },
    flags: Math.floor(random() * 2 ** 32),
  });
  const schemaUrl = () => pick(random, ["", "https://opentelemetry.io/schemas/1.30.0"]);
  return {
    resourceSpans: many(random, 2, () => ({
      resource: {
        ...resource(random),
        droppedAttributesCount: dropped(),
        entityRefs: many(random, 1, () => ({ schemaUrl: schemaUrl(), type: "host", idKeys: ["host.id"] })),
      },
      schemaUrl: schemaUrl(),
      scopeSpans: many(random, 2, () => ({
        scope: scope(random),
        spans: many(random, 2, span),
        schemaUrl: schemaUrl(),
      })),
    })),
  };
}

/** A request with log records. */
function randomLogs(random: Random): object {
  const record = () => ({
    timeUnixNano: time(random),
    observedTimeUnixNano: time(random),
    severityNumber: Math.floor(random() * 27),
    severityText: pick(random, TEXTS),
    ...(random() < 0.8 ? { body: anyValue(random, 0) } : {}),
    attributes: attributes(random),
    droppedAttributesCount: Math.floor(random() * 3),
    flags: Math.floor(random() * 2 ** 32),
    traceId: bytes(random, pick(random, [0, 16, 16, 16, 15])),
    spanId: bytes(random, pick(random, [0, 8, 8, 8, 7])),
    eventName: pick(random, TEXTS),
  });
  return {
    resourceLogs: many(random, 2, () => ({
      resource: resource(random),
      scopeLogs: many(random, 2, () => ({ scope: scope(random), logRecords: many(random, 3, record) })),
    })),
  };
}

/** A request with metrics of all kinds. */
function randomMetrics(random: Random): object {
  const count = () => String(Math.floor(random() * 300));
  const exemplars = () =>
    many(random, 2, () => ({
      timeUnixNano: time(random),
      ...pick(random, [{ asDouble: 1.5 }, { asInt: "-3" }, {}]),
      traceId: bytes(random, 16),
      spanId: bytes(random, 8),
      filteredAttributes: attributes(random),
    }));
  const point = () => ({
    attributes: attributes(random),
    startTimeUnixNano: time(random),
    timeUnixNano: time(random),
    flags: Math.floor(random() * 3),
  });
  const number = () => ({
    ...point(),
    ...pick(random, [{ asDouble: pick(random, DOUBLES) }, { asInt: pick(random, LONGS) }, {}]),
    exemplars: exemplars(),
  });
  const buckets = () => ({ offset: Math.floor(random() * 40) - 20, bucketCounts: many(random, 6, count) });
  const distribution = () => ({
    ...point(),
    count: count(),
    ...(random() < 0.8 ? { sum: pick(random, DOUBLES) } : {}),
  });
  const aggregationTemporality = pick(random, [2, 2, 2, 1, 0]);
  const data = (): object => {
    const dataPoints = (make: () => object) => many(random, 3, make);
    switch (Math.floor(random() * 5)) {
      case 0:
        return { gauge: { dataPoints: dataPoints(number) } };
      case 1:
        return { sum: { dataPoints: dataPoints(number), aggregationTemporality, isMonotonic: random() < 0.5 } };
      case 2: {
        const histogram = () => {
          const explicitBounds = many(random, 4, (at) => at * 2.5);
          const bucketCounts = [...explicitBounds.map(count), count()];
          return { ...distribution(), explicitBounds, bucketCounts, exemplars: exemplars() };
        };
        return { histogram: { dataPoints: dataPoints(histogram), aggregationTemporality } };
      }
      case 3: {
        const exponential = () => ({
          ...distribution(),
          scale: Math.floor(random() * 14) - 3,
          zeroCount: count(),
          zeroThreshold: random() < 0.5 ? 0 : 0.01,
          positive: buckets(),
          negative: buckets(),
          exemplars: exemplars(),
        });
        return { exponentialHistogram: { dataPoints: dataPoints(exponential), aggregationTemporality } };
      }
      default: {
        const quantiles = () => many(random, 3, (at) => ({ quantile: at / 2, value: pick(random, DOUBLES) }));
        const summary = () => ({ ...point(), count: count(), sum: 2.5, quantileValues: quantiles() });
        return { summary: { dataPoints: dataPoints(summary) } };
      }
    }
  };
  const metric = () => ({
    name: pick(random, ["http.server.duration", "up", "", "日本", "a_total", "x.y"]),
    description: pick(random, TEXTS),
    unit: pick(random, ["", "s", "By", "1", "{request}", "ms"]),
    ...data(),
  });
  return {
    resourceMetrics: many(random, 2, () => ({
      resource: resource(random),
      scopeMetrics: many(random, 2, () => ({ scope: scope(random), metrics: many(random, 2, metric) })),
    })),
  };
}

/** Random requests by signal. */
export const RANDOM_REQUESTS = { traces: randomTraces, logs: randomLogs, metrics: randomMetrics } as const;

/** A copy of `body` with one to four changes, of its fields or of its bytes; `other` lends pieces. */
export function damaged(random: Random, body: Uint8Array, other: Uint8Array, json: boolean): Uint8Array {
  let result = Buffer.from(body);
  const changes = 1 + Math.floor(random() * CHANGES_MAX);
  const ofFields = random() < FIELD_CHANGES_SHARE;
  for (let change = 0; change < changes; change++) {
    if (!ofFields) result = withBytesChanged(random, result, other, json);
    else result = json ? withMembersChanged(random, result, other) : withFieldsChanged(random, result, other);
  }
  return result;
}

function withBytesChanged(random: Random, body: Buffer, other: Uint8Array, json: boolean): Buffer<ArrayBuffer> {
  const at = Math.floor(random() * (body.length + 1));
  const length = 1 + Math.floor(random() * PIECE_BYTES_MAX);
  const put = (piece: Uint8Array, dropped = 0) =>
    Buffer.concat([body.subarray(0, at), piece, body.subarray(at + dropped)]);
  switch (Math.floor(random() * (json ? 9 : 7))) {
    case 0:
    case 1: {
      const copy = Buffer.from(body);
      if (at < body.length) copy[at] = (copy[at] ?? 0) ^ (1 << Math.floor(random() * 8));
      return copy;
    }
    case 2: {
      const copy = Buffer.from(body);
      if (at < body.length) copy[at] = pick(random, [0, 1, 0x7f, 0x80, 0xff, Math.floor(random() * 256)]);
      return copy;
    }
    case 3:
      return put(Buffer.alloc(0), length);
    case 4: {
      const from = Math.floor(random() * (body.length + 1));
      return put(body.subarray(from, from + length));
    }
    case 5: {
      const from = Math.floor(random() * (other.length + 1));
      return put(other.subarray(from, from + length), random() < 0.5 ? length : 0);
    }
    case 6:
      return Buffer.from(body.subarray(0, at));
    default:
      return put(Buffer.from(pick(random, JSON_PIECES)), random() < 0.5 ? length : 0);
  }
}

/** A field as it stands in a message: number and wire type in one, and what follows the tag, a length included. */
interface Field {
  readonly tag: number;
  readonly value: Buffer;
}

/** Changes a field somewhere in a message and keeps all lengths right, so that a decoder reads on. */
function withFieldsChanged(random: Random, message: Buffer, other: Uint8Array): Buffer<ArrayBuffer> {
  const fields = fieldsOf(message);
  if (fields === undefined || fields.length === 0) return withBytesChanged(random, message, other, false);
  const at = Math.floor(random() * fields.length);
  const field = fields[at] ?? { tag: 0, value: message };
  const isNested = (field.tag & 7) === 2 && fieldsOf(field.value) !== undefined;
  const lent = fieldsOf(Buffer.from(other)) ?? [];
  if (isNested && random() < DESCEND_SHARE) {
    // A piece for the inside comes from as deep inside the other one.
    const inner = lent.find(({ tag }) => tag === field.tag)?.value ?? other;
    fields[at] = { ...field, value: withFieldsChanged(random, field.value, inner) };
    return messageOf(fields);
  }
  switch (Math.floor(random() * 8)) {
    case 0:
      fields.splice(at, 1);
      break;
    case 1:
      fields.splice(Math.floor(random() * (fields.length + 1)), 0, field);
      break;
    case 2:
      fields.push(...fields.splice(at, 1));
      break;
    case 3:
      fields.splice(at, 0, ...lent.slice(0, 1 + Math.floor(random() * 3)));
      break;
    case 4:
      fields[at] = { tag: field.tag, value: randomValue(random, field.tag & 7) };
      break;
    case 5: {
      const wire = pick(random, [0, 1, 2, 5]);
      fields[at] = { tag: (field.tag & ~7) | wire, value: randomValue(random, wire) };
      break;
    }
    case 6: {
      const wire = pick(random, [0, 1, 2, 5]);
      fields.splice(at, 0, {
        tag: (pick(random, [1, 2, 3, 4, 7, 16, 99, 1000]) << 3) | wire,
        value: randomValue(random, wire),
      });
      break;
    }
    default:
      fields[at] =
        (field.tag & 7) === 2 ? { ...field, value: withBytesChanged(random, field.value, other, false) } : field;
  }
  return messageOf(fields);
}

function randomValue(random: Random, wire: number): Buffer {
  if (wire === 0) return Buffer.from(pick(random, VARINTS), "hex");
  if (wire === 1) return pick(random, [Buffer.alloc(8), Buffer.alloc(8, 255), bytes(random, 8)]);
  if (wire === 5) return bytes(random, 4);
  return random() < 0.5 ? Buffer.from(pick(random, TEXTS)) : bytes(random, Math.floor(random() * 20));
}

/** Fields of a message, without the lengths of those that have one; undefined where it is none. Groups are not read. */
function fieldsOf(message: Buffer): Field[] | undefined {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): number | undefined => {
    let value = 0;
    for (let shift = 0; shift < 32; shift += 7) {
      const byte = message[at++];
      if (byte === undefined) return undefined;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    return undefined;
  };
  while (at < message.length) {
    const tag = varint();
    if (tag === undefined || tag < 8 || tag > 2 ** 29) return undefined;
    let from = at;
    const wire = tag & 7;
    if (wire === 0) while ((message[at++] ?? 0) >= 0x80);
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = varint();
      if (length === undefined) return undefined;
      from = at;
      at += length;
    } else return undefined;
    if (at > message.length) return undefined;
    fields.push({ tag, value: message.subarray(from, at) });
  }
  return fields;
}

function messageOf(fields: readonly Field[]): Buffer<ArrayBuffer> {
  return Buffer.concat(
    fields.flatMap(({ tag, value }) =>
      (tag & 7) === 2 ? [varintOf(tag), varintOf(value.length), value] : [varintOf(tag), value],
    ),
  );
}

function varintOf(value: number): Buffer {
  const out: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...out, left]);
    out.push((left % 128) | 0x80);
  }
}

/** Changes a member somewhere in a JSON text that stays JSON. */
function withMembersChanged(random: Random, body: Buffer, other: Uint8Array): Buffer<ArrayBuffer> {
  try {
    const whole: unknown = JSON.parse(body.toString());
    const lent: unknown = JSON.parse(Buffer.from(other).toString());
    return Buffer.from(JSON.stringify(memberChanged(random, whole, lent)).replaceAll(RAW_MARK, ""));
  } catch {
    return withBytesChanged(random, body, other, true);
  }
}

function memberChanged(random: Random, value: unknown, lent: unknown): unknown {
  if (typeof value !== "object" || value === null || random() < 1 - DESCEND_SHARE) return replaced(random, value, lent);
  const entries = Object.entries(value);
  const at = Math.floor(random() * entries.length);
  const [key, child] = entries[at] ?? ["unknown", 1];
  const inner =
    typeof lent === "object" && lent !== null ? Object.entries(lent).find(([name]) => name === key)?.[1] : lent;
  const changed = random() < 0.1 ? undefined : memberChanged(random, child, inner);
  if (Array.isArray(value))
    return changed === undefined ? value.toSpliced(at, 1) : value.toSpliced(at, random() < 0.5 ? 1 : 0, changed);
  if (changed !== undefined) entries[at] = [random() < 0.05 ? "snake_case" : key, changed];
  else entries.splice(at, 1);
  return Object.fromEntries(entries);
}

function replaced(random: Random, value: unknown, lent: unknown): unknown {
  if (lent !== undefined && random() < 0.3) return lent;
  if (typeof value === "string" && /^-?\d+$/.test(value) && random() < 0.5) {
    // Numbers in all the forms that protobuf's JSON allows.
    return raw(pick(random, [value, `${value}.0`, `${value}e0`, `${value}0e-1`]));
  }
  if (typeof value === "number" && random() < 0.5) return String(value);
  if (typeof value === "string" && random() < 0.5)
    return pick(random, [...TEXTS, ...LONGS, "NaN", "Infinity", "00ff", "AA=="]);
  return pick(random, [null, {}, [], true, 0, -1, 1.5, 2, "", "a", raw("9223372036854775807"), raw("1e3"), "1e3"]);
}

/** Stands around text that goes into JSON as it is. */
const RAW_MARK = /"\\u0001|\\u0001"/g;

function raw(text: string): string {
  return `\u0001${text}\u0001`;
}
