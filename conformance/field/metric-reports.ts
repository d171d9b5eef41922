/** Reports about metrics: series are written and asked for by the scripts beside the reports, against a server that captures nothing. */

import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Program } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

const SCRIPT_MS_MAX = 60_000;

/** What a script printed, and how it ended. */
interface Printed {
  readonly status: number | null;
  readonly text: string;
}

/** Starts a server and plays the reports to it. */
export async function checkMetricReports(dir: string, report: SuiteReport): Promise<void> {
  const program = await Program.start(["--capture", "off"]);
  try {
    await playMetricReports(dir, program, report);
  } finally {
    await program.discard();
  }
}

/** Runs every `*.promql.json` and the scripts that have an expectation here. */
async function playMetricReports(
  dir: string,
  program: Pick<Program, "http" | "promql">,
  report: SuiteReport,
): Promise<void> {
  const inputs = join(dir, "inputs");
  const host = program.http.replace("http://", "");
  for (const file of readdirSync(inputs).filter((name) => name.endsWith(".promql.json"))) {
    const { status, text } = await run("python3", [join(dir, "prom_load.py"), join(inputs, file), host]);
    report.add(file, status === 0 ? "" : text);
  }
  for (const [file, check] of Object.entries(SCRIPTS)) {
    const path = join(inputs, file);
    if (!existsSync(path)) continue;
    const printed = file.endsWith(".sh") ? await run("sh", [path, host]) : await run("python3", [path, host]);
    report.add(file, printed.status === 0 ? check(printed.text) : printed.text);
  }
  const partial = join(inputs, "MT-06.rw.py");
  if (existsSync(partial)) report.add("MT-06.rw.py", await partialWriteFault(program, partial, host));
}

async function run(command: string, args: readonly string[]): Promise<Printed> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], timeout: SCRIPT_MS_MAX });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
  }
  const status = await new Promise<number | null>((resolve, reject) => child.on("error", reject).on("close", resolve));
  return { status, text };
}

/** Judges what a script prints; the texts are those of `reports.jsonl`. */
const SCRIPTS: Readonly<Record<string, (printed: string) => string>> = {
  "PA-01.curl.sh": (printed) =>
    lacking(printed, [
      /^label\/host\.name\/values \{"status":"success","data":\["h1"\]\}$/m,
      /^label\/U__host_2e_name\/values \{"status":"success","data":\["h1"\]\}$/m,
      /^label\/U__label_20_with_20_space\/values \{"status":"success","data":\["s","t"\]\}$/m,
      /^labels \{"status":"success","data":\[.*"host\.name".*\]\}$/m,
      /^\{"status":"success","data":\[\{[^{}]*\},\{[^{}]*\}\]\}$/m,
    ]),
  "PA-04.curl.sh": healthFault,
  "RR-01.rr.py": remoteReadFault,
};

function lacking(printed: string, wanted: readonly RegExp[]): string {
  const missing = wanted.filter((pattern) => !pattern.test(printed));
  return missing.length === 0 ? "" : `lacks ${missing.join(", ")} in\n${printed}`;
}

/** Grafana's calls on "Save & test" and on opening a panel. */
function healthFault(printed: string): string {
  const lines = printed.split("\n").filter((line) => /^\d{3} /.test(line));
  const fault = lacking(printed, [
    /^200 application\/json\S* \{"status":"success","data":\{"resultType":"scalar","result":\[4,"2"\]\}\}/m,
    /^200 application\/json\S* \{"status":"success","data":\{.*"version":/m,
    /^404 application\/json|^404 text\/plain/m,
    /^content-encoding: gzip\r?$/im,
    /^HTTP\/1\.1 20[04] /m,
  ]);
  const wrong = lines
    .filter((line) => !line.startsWith("404") && !line.startsWith("204"))
    .filter((line, index) => index < 6 && !/^200 application\/json\S* \{"status":"success"/.test(line));
  return fault || wrong.join("\n");
}

/** Three results in the order of the queries, in both forms of the answer. */
function remoteReadFault(printed: string): string {
  const [sampled = "", streamed = ""] = printed.split(/^(?=types \[1\])/m);
  const wanted = [
    [
      '{"__name__":"rr_a","job":"rrx"}',
      '{"__name__":"rr_a","job":"rrx","z":"2"}',
      '{"__name__":"rr_aa","job":"rrx"}',
      '{"__name__":"rr_c","job":"rrx"}',
    ],
    ['{"__name__":"rr_b"}', '{"__name__":"rr_b","zone":"a"}'],
    [],
  ];
  const faults: string[] = [];
  for (const [name, part] of [
    ["sampled", sampled],
    ["streamed", streamed],
  ] as const) {
    const got: string[][] = [];
    let query = 0;
    for (const line of part.split("\n")) {
      const head = /^ {2}query (\d+)/.exec(line);
      const frame = /^ {2}frame query_index (\d+)/.exec(line);
      if (head !== null || frame !== null) {
        const index = Number((head ?? frame)?.[1]);
        if (index < query) faults.push(`${name}: query ${index} after query ${query}`);
        query = index;
        got[query] ??= [];
      }
      // A series may go on in the next frame under the labels of the one before.
      for (const [labels] of line.matchAll(/\{'[^}]*\}/g)) {
        const text = labels.replaceAll("'", '"').replaceAll(/([:,]) /g, "$1");
        if (got[query]?.at(-1) !== text) got[query]?.push(text);
      }
      const times = [...line.matchAll(/\([^,()]+, (\d+)\)/g)].map(([, time]) => Number(time));
      if (times.some((time, index) => index > 0 && time <= (times[index - 1] ?? 0))) faults.push(`${name}: ${line}`);
    }
    // An empty result has no frame.
    const shown = wanted.map((_, index) => got[index] ?? (name === "streamed" ? [] : ["missing"]));
    if (JSON.stringify(shown) !== JSON.stringify(wanted)) faults.push(`${name}: ${JSON.stringify(shown)}\n${part}`);
  }
  return faults.join("\n");
}

/** Good series of a request are kept beside refused samples, which are told; a repeated request changes nothing. */
async function partialWriteFault(program: Pick<Program, "promql">, path: string, host: string): Promise<string> {
  const { text } = await run("python3", [path, "all", host]);
  const codes = new Map([...text.matchAll(/^(\d) (\d{3}) /gm)].map(([, request, code]) => [request, Number(code)]));
  const faults: string[] = [];
  for (const request of ["1", "3"]) {
    const code = codes.get(request) ?? 0;
    if (code < 200 || code > 299) faults.push(`request ${request}: ${code}`);
  }
  if (codes.get("2") !== 400) faults.push(`request 2: ${codes.get("2")}`);
  for (const name of ["fw_new1", "fw_new2", "fw_dup", "fw_old"]) {
    const [sample] = await program.promql(`count_over_time(${name}[10m])`);
    if (sample?.value !== 1) faults.push(`${name} has ${sample?.value} samples`);
  }
  // Labels in another order: refused, or one more sample of the same series.
  const ordered = await program.promql("count_over_time(fw_ord[10m])");
  const isRefused = codes.get("4") === 400;
  if (ordered.length !== 1 || ordered[0]?.value !== (isRefused ? 1 : 2))
    faults.push(`fw_ord: ${JSON.stringify(ordered)} after request 4 with ${codes.get("4")}`);
  return faults.length === 0 ? "" : `${faults.join("\n")}\n${text}`;
}
