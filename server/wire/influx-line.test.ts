import assert from "node:assert/strict";
import { test } from "node:test";
import { InfluxDecoder, type InfluxPrecision, lineText } from "./influx-line.ts";
import type { RemoteWrite } from "./remote-write.ts";

const NOW_MS = 1_700_000_000_000;

/** All portions of a request. */
function portionsOf(text: string, { decoder = new InfluxDecoder(), precision = "ns" as InfluxPrecision } = {}) {
  const turns = decoder.decodeInPortions(text, precision, NOW_MS);
  const portions: RemoteWrite[] = [];
  let yields = 0;
  for (;;) {
    const { value, done } = turns.next();
    if (value !== undefined) portions.push(value);
    if (done === true) break;
    yields++;
  }
  const samples = portions.map(({ series }) => series.reduce((sum, { values }) => sum + values.length, 0));
  const received = portions.reduce((sum, portion) => sum + portion.received.samples, 0);
  const rejected = new Map<string, number>();
  for (const portion of portions)
    for (const [reason, count] of portion.rejected) rejected.set(reason, (rejected.get(reason) ?? 0) + count);
  return { portions, yields, samples, received, rejected };
}

function decoded(text: string, precision: InfluxPrecision = "ns") {
  const { portions, received, rejected } = portionsOf(text, { precision });
  return {
    series: portions.flatMap(({ series }) =>
      series.flatMap(({ labels, timestampsMs, values }) =>
        Array.from(values, (value, at) => {
          return `${labels.map(([name, text]) => `${name}=${text}`).join(",")} ${value} ${timestampsMs[at]}`;
        }),
      ),
    ),
    received,
    rejected: Object.fromEntries(rejected),
    faults: portions.flatMap(({ faults }) => faults),
  };
}

test("fields become series, tags labels, times milliseconds", () => {
  const { series, rejected, received, faults } = decoded(
    [
      "# a comment",
      "cpu,cpu=cpu0,host=a.b usage_idle=98.5,usage_user=1i 1700000000123456789",
      'weather,location=us\\ west,a\\,b=c\\=d temperature=82,on=t,off=F,text="a, \\"b\\" c=1" 1700000000000000000',
      "mem value=5u",
      "dis.k-io,1st=x read-bytes=-1.5e3 0",
      "",
    ].join("\n"),
  );
  assert.deepEqual(series, [
    "__name__=cpu_usage_idle,cpu=cpu0,host=a.b 98.5 1700000000123",
    "__name__=cpu_usage_user,cpu=cpu0,host=a.b 1 1700000000123",
    "__name__=weather_temperature,a_b=c=d,location=us west 82 1700000000000",
    "__name__=weather_on,a_b=c=d,location=us west 1 1700000000000",
    "__name__=weather_off,a_b=c=d,location=us west 0 1700000000000",
    `__name__=mem 5 ${NOW_MS}`,
    "_1st=x,__name__=dis_k_io_read_bytes -1500 0",
  ]);
  assert.deepEqual([received, rejected, faults], [8, { text_value: 1 }, []]);
});

test("times in other units, texts over several lines", () => {
  assert.deepEqual(decoded("a value=1 1700000000", "s").series, ["__name__=a 1 1700000000000"]);
  assert.deepEqual(decoded("a value=1 28333333", "m").series, ["__name__=a 1 1699999980000"]);
  assert.deepEqual(decoded("a value=1 1500", "us").series, ["__name__=a 1 1"]);
  const { series, rejected } = decoded('a text="x\ny 1",value=2 5000000\nb value=3 5000000');
  assert.deepEqual(series, ["__name__=a 2 5", "__name__=b 3 5"]);
  assert.deepEqual(rejected, { text_value: 1 });
});

test("a wrong line is told and left out, those beside it stand", () => {
  const wrong = [
    "a",
    ",tag=b value=1",
    "a,tag= value=1",
    "a,=b value=1",
    "a value=",
    "a =1",
    "a value=1.5i",
    "a value=x",
    "a value=1 12x",
    'a value="open',
    "a value=1e999",
    "a,t=1,t=1 value=1",
    "a,t=1,b=2,t=3 value=1",
    "a,b=1,c\\ d=1,c\\ d=2 value=1",
    "a value=9223372036854775808i",
    "a value=-9223372036854775809i",
    "a value=18446744073709551616u",
    "a value=-1u",
  ];
  for (const line of wrong) {
    const { series, received, rejected, faults } = decoded(`before value=1 1\n${line}\nafter value=2 1`);
    assert.deepEqual(series, ["__name__=before 1 0", "__name__=after 2 0"], line);
    assert.deepEqual([received, rejected], [3, { malformed: 1 }], line);
    assert.match(faults[0] ?? "", /^unable to parse/, line);
  }
});

test("integers of 64 bits are taken to both ends, others and tags that come twice are told as InfluxDB tells them", () => {
  const integers = "a=9223372036854775807i,b=-9223372036854775808i,c=18446744073709551615u,d=00000000000000000000001i";
  assert.deepEqual(decoded(`m,b=1,a=2 ${integers} 0`).series, [
    "__name__=m_a,a=2,b=1 9223372036854776000 0",
    "__name__=m_b,a=2,b=1 -9223372036854776000 0",
    "__name__=m_c,a=2,b=1 18446744073709552000 0",
    "__name__=m_d,a=2,b=1 1 0",
  ]);
  const faultOf = (line: string) => decoded(line).faults[0]?.replace(/^.*': /, "");
  assert.equal(faultOf("m a=9223372036854775808i"), "unable to parse integer 9223372036854775808: value out of range");
  assert.equal(
    faultOf("m a=18446744073709551616u"),
    "unable to parse unsigned 18446744073709551616: value out of range",
  );
  const long = "9".repeat(24);
  assert.equal(faultOf(`m a=${"9".repeat(10_000)}i`), `unable to parse integer ${long}: value out of range`);
  assert.equal(faultOf("m,a=1,a=2 a=1"), "duplicate tags");
});

test("hostile texts take time in proportion to their length, and no more memory than is told", () => {
  const decoder = new InfluxDecoder();
  const tags = Array.from({ length: 1_000 }, (_, at) => `,t${at}=v`).join("");
  const hostile = {
    "line ends": "\n".repeat(900_000),
    "quotes that are never closed": 'a="\n'.repeat(100_000),
    "pairs of quotes over two lines": 'a="\n"\n'.repeat(60_000),
    "quotes and escapes": '\\"a"\n'.repeat(60_000),
    "a line without end": "a".repeat(8_000_000),
    "tags without end": `m${",t=1".repeat(1_000_000)} f=1`,
    "many tags, each once a field": `m${tags} ${"f=1,".repeat(50_000)}f=1`,
    "series, each another": Array.from({ length: 200_000 }, (_, at) => `m,t=${at} f=1\n`).join(""),
    "digits that are no number": `m f=${"1".repeat(1_000_000)}!`,
    "digits that are no time": `m f=1 ${"1".repeat(1_000_000)}!`,
    "many fields": `m ${"f=1,".repeat(60_000)}f=1\n`.repeat(4),
  };
  for (const [name, text] of Object.entries(hostile)) {
    const before = process.threadCpuUsage();
    const { samples } = portionsOf(text, { decoder });
    const tookMs = process.threadCpuUsage(before).user / 1_000;
    // Some hundred milliseconds at most; what takes time in proportion to the square takes tens of seconds.
    assert.ok(tookMs < 5_000, `${name}: ${tookMs} ms`);
    for (const count of samples) assert.ok(count <= 16_384, name);
  }
  const { samples, rejected } = portionsOf(`m ${"f=1,".repeat(60_000)}f=1\n`.repeat(10), { decoder });
  const stored = samples.reduce((sum, count) => sum + count, 0);
  assert.deepEqual([stored, [...rejected]], [500_000, [["lines_max", 1]]]);
});

test("of a line that is too long only its beginning becomes text, and those beside it stand", () => {
  const mib = 2 ** 20;
  for (const letter of ["a", '"', "\\", "€", "😀"]) {
    const long = letter.repeat((4 * mib) / Buffer.byteLength(letter));
    const whole = `m f=1\n${long}\nm f=2\n${long}\n${long}\nm f=3`;
    const text = lineText(Buffer.from(whole));
    assert.ok(text.length < 3 * mib, `${letter}: ${text.length} of ${whole.length}`);
    const { series, rejected } = decoded(text);
    assert.deepEqual(
      series,
      [1, 2, 3].map((value) => `__name__=m_f ${value} ${NOW_MS}`),
      letter,
    );
    assert.deepEqual(rejected, { malformed: 3 }, letter);
    assert.ok(lineText(Buffer.from(long)).length < mib, letter);
  }
  const short = "über,t=€ f=1\n".repeat(200_000);
  assert.equal(lineText(Buffer.from(short)), short);
});

test("a quote that is closed only behind what a line may hold is closed never", () => {
  const { series, rejected } = decoded(`m f="a\n${"m f=1\n".repeat(60_000)}m f="\nm f=2`);
  assert.equal(series.length, 60_001);
  assert.deepEqual(rejected, { malformed: 2 });
});

test("a wrong line takes no longer than one that is right", () => {
  const cpuMs = (line: string) => {
    const before = process.threadCpuUsage();
    portionsOf(line.repeat(200_000));
    return process.threadCpuUsage(before).user / 1_000;
  };
  const right = cpuMs("a f=1 1700000000000000000\n");
  for (const line of ["a\n", "a f=x\n", "a,b f=1\n"]) {
    const wrong = cpuMs(line);
    assert.ok(wrong < 2 * right + 100, `${line.trim()}: ${wrong} ms, a right one ${right} ms`);
  }
});

test("a long request is decoded in turns", () => {
  const { yields, samples } = portionsOf("a v=1\n".repeat(10_000));
  assert.ok(yields > 10);
  assert.deepEqual(samples, [10_000]);
});

test("a long request comes in portions, each with the samples of a series together, and all of it is counted once", () => {
  const text = Array.from({ length: 20_000 }, (_, at) => `a,t=${at % 3} v=${at} ${at}000000\nwrong\n`).join("");
  const { portions, samples, received, rejected } = portionsOf(text);
  assert.deepEqual([received, [...rejected]], [40_000, [["malformed", 20_000]]]);
  assert.deepEqual(samples, [8_192, 8_192, 3_616]);
  assert.deepEqual(
    portions.map(({ series }) => series.length),
    [3, 3, 3],
  );
  assert.deepEqual([...(portions[1]?.series[0]?.timestampsMs ?? [])].slice(0, 2), [8_192, 8_195]);
  assert.equal(portions.flatMap(({ faults }) => faults).length, 10);
});

test("random lines never throw, and are counted whole", () => {
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const letters = ['"', "\\", ",", "=", " ", "\n", "a", "1", "i", "t", "#", "é", "\r", "-", "."];
  const decoder = new InfluxDecoder();
  for (let round = 0; round < 30_000; round++) {
    const text = Array.from({ length: random(30) }, () => letters[random(letters.length)]).join("");
    const { samples, received, rejected } = portionsOf(text, { decoder });
    const left = [...rejected.values()].reduce((sum, count) => sum + count, 0);
    assert.equal(received, (samples[0] ?? 0) + left, JSON.stringify(text));
  }
});

test("fields beyond the samples of a request are told, also where no line follows", () => {
  const fields = (count: number) => Array.from({ length: count }, (_, k) => `f${k}=1`).join(",");
  const full = Array.from({ length: 4_999 }, (_, at) => `m ${fields(100)} ${at}`);
  const faultsOf = (lines: readonly string[]) => {
    const { portions, received, samples, rejected } = portionsOf(lines.join("\n"), { precision: "s" });
    const stored = samples.reduce((sum, count) => sum + count, 0);
    assert.equal(received, stored + [...rejected.values()].reduce((sum, count) => sum + count, 0));
    return portions.flatMap(({ faults }) => faults);
  };
  assert.deepEqual(faultsOf([...full, `m ${fields(100)} 5000`]), []);
  assert.equal(faultsOf([...full, `m ${fields(150)} 5000`]).length, 1);
  assert.equal(faultsOf([...full, `m ${fields(150)} 5000`, `m ${fields(1)} 5001`]).length, 1);
});
