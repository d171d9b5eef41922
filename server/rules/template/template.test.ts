import assert from "node:assert/strict";
import { test } from "node:test";
import { formatGo } from "./template-format.ts";
import { expandTemplate } from "./template-run.ts";
import { type TemplateList, type TemplateStruct, type TemplateValue, textMap } from "./template-value.ts";

function sample(labels: readonly (readonly [string, string])[], value: number): TemplateStruct {
  const fields = new Map<string, TemplateValue>([
    ["Labels", textMap(labels)],
    ["Value", value],
  ]);
  return { kind: "struct", type: "*template.sample", fields };
}

const ANSWER: TemplateList = {
  kind: "list",
  items: [
    sample(
      [
        ["a", "z"],
        ["b", "1"],
      ],
      3,
    ),
    sample(
      [
        ["a", "y"],
        ["b", "2"],
      ],
      0.25,
    ),
  ],
};

const DATA: TemplateStruct = {
  kind: "struct",
  type: "struct { Labels map[string]string; Value interface {} }",
  fields: new Map<string, TemplateValue>([
    [
      "Labels",
      textMap([
        ["instance", "host.example:9090"],
        ["job", "api"],
      ]),
    ],
    ["Value", 1234.5678],
  ]),
};

const asked: string[] = [];

function expand(text: string): Promise<string> {
  return expandTemplate("t", text, {
    data: DATA,
    nowMs: 1_700_000_000_123,
    externalUrl: "http://ex.org/path",
    query: async (query) => {
      asked.push(query);
      if (query === "bad(") throw new Error("1:5: parse error");
      return ANSWER;
    },
  });
}

/** What Prometheus 3.16 makes of the same templates. */
test("templates give what Prometheus' do", async () => {
  const gives = async (text: string, want: string) => assert.equal(await expand(text), want, text);
  await gives("{{ .Labels.instance }} {{ .Value }} {{ .Labels.nope }}|", "host.example:9090 1234.5678 |");
  await gives("{{ .Value | humanize }} {{ humanize1024 1048576.0 }} {{ humanize 0.00012 }}", "1.235k 1Mi 120u");
  await gives("{{ humanize -1234567 }} {{ humanize 0 }} {{ humanize 1e21 }}", "-1.235M 0 1Z");
  await gives(
    "{{ humanizeDuration 3661 }} {{ humanizeDuration 0.5 }} {{ humanizeDuration -90061.5 }}",
    "1h 1m 1s 500ms -1d 1h 1m 1s",
  );
  await gives(
    "{{ humanizePercentage 0.12345 }} {{ humanizeTimestamp 1435065584.128 }}",
    "12.35% 2015-06-23 13:19:44.128 +0000 UTC",
  );
  await gives(
    '{{ printf "%.2f %5.1f|%-4s|%q %d %t %v" .Value 3.14159 "a" "b" 3 true .Value }}',
    '1234.57   3.1|a   |"b" 3 true 1234.5678',
  );
  await gives('{{ query "up" | first | value }} {{ with query "up" }}{{ . | first | label "b" }}{{ end }}', "3 1");
  await gives('{{ range query "up" | sortByLabel "a" }}{{ .Labels.a }}={{ .Value }};{{ end }}', "y=0.25;z=3;");
  await gives("{{ range $i, $e := query `up` }}{{ $i }}{{ $e.Labels.a }}{{ end }}", "0z1y");
  await gives("{{ if gt .Value 1000.0 }}big{{ else if true }}x{{ else }}small{{ end }}", "big");
  await gives('{{ if and (eq .Labels.job "web" "api") (ne .Labels.instance "x") }}y{{ end }}', "y");
  await gives('{{ reReplaceAll "(.*):(.*)" "$2-$1" .Labels.instance }}', "9090-host.example");
  await gives(
    '{{ title "hello world foo\'s" }} {{ toUpper "abc" }} {{ match "[0-9]+" "a12" }}',
    "Hello World Foo's ABC true",
  );
  await gives(
    '{{ stripPort "host:80" }} {{ stripDomain "a.b.c:80" }} {{ stripDomain "1.2.3.4:80" }}',
    "host a:80 1.2.3.4:80",
  );
  await gives(
    '{{ graphLink "sum(up)" }} {{ externalURL }} {{ pathPrefix }}',
    "/graph?g0.expr=sum%28up%29&g0.tab=0 http://ex.org/path /path",
  );
  await gives(
    '{{ parseDuration "1h30m" }} {{ toDuration 90.5 }} {{ (toTime 0).Year }} {{ now }}',
    "5400 1m30.5s 1970 1.700000000123e+09",
  );
  await gives("{{ range $k, $v := .Labels }}{{ $k }}={{ $v }},{{ end }}", "instance=host.example:9090,job=api,");
  await gives('{{ define "x" }}<{{ . }}>{{ end }}{{ template "x" .Value }}', "<1234.5678>");
  await gives('a {{- " b " -}}  c {{/* gone */}}d', "a b c d");
  await gives(
    "{{ range 4 }}{{ if eq . 1 }}{{ continue }}{{ else if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
    "02",
  );
  await gives("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2");
  await gives('{{ with .Labels.nope }}a{{ else }}b{{ end }}{{ (args 1 "b").arg1 }}', "bb");
  await gives(
    '{{ len .Labels }} {{ index .Labels "job" }} {{ slice "abcdef" 1 3 }} {{ print 1 2 "a" }}',
    "2 api bc 1 2a",
  );
  await gives('{{ html "<a>" }} {{ urlquery "a b&c" }} {{ or "" "x" }}{{ and 1 0 }}', "&lt;a&gt; a+b%26c x0");
});

test("a template that is wrong says where", async () => {
  const refused = (text: string, message: string) =>
    assert.rejects(expand(text), { name: "TemplateError", message }, text);
  const reading = "error parsing template t: template: t:1: ";
  await refused("{{ foo }}", `${reading}function "foo" not defined`);
  await refused("{{ $x }}", `${reading}undefined variable "$x"`);
  await refused("{{ if }}", `${reading}missing value for if`);
  await refused("{{ if true }}", `${reading}unexpected EOF`);
  await refused("{{ end }}", `${reading}unexpected {{end}}`);
  await refused("{{ .Value", `${reading}unclosed action`);
  await refused('{{ "abc', `${reading}unterminated quoted string`);
  await refused("{{ 1 | 2 }}", `${reading}non executable command in pipeline stage 2`);
  await refused("{{ break }}", `${reading}{{break}} outside {{range}}`);
  const running = "error executing template t: template: t:";
  await refused(
    "\n {{ .Foo }}",
    `${running}2:4: executing "t" at <.Foo>: can't evaluate field Foo in type ${DATA.type}`,
  );
  await refused(
    "{{ .Labels.a.b }}",
    `${running}1:10: executing "t" at <.Labels.a.b>: can't evaluate field b in type string`,
  );
  await refused(
    "{{ eq 1 1.0 }}",
    `${running}1:3: executing "t" at <eq 1 1.0>: error calling eq: incompatible types for comparison: int and float64`,
  );
  await refused(
    '{{ humanize "x" }}',
    `${running}1:3: executing "t" at <humanize "x">: error calling humanize: strconv.ParseFloat: parsing "x": invalid syntax`,
  );
  await refused(
    '{{ template "none" }}',
    `${running}1:12: executing "t" at <{{template "none"}}>: template "none" not defined`,
  );
  await refused(
    '{{ query "bad(" }}',
    `${running}1:3: executing "t" at <query "bad(">: error calling query: 1:5: parse error`,
  );
});

test("a template has an end, however it is written", async () => {
  await assert.rejects(
    expand('{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}'),
    /maximum template depth/,
  );
  await assert.rejects(expand("{{ range 1000000000 }}{{ range 10 }}{{ end }}{{ end }}"), /steps/);
  await assert.rejects(expand("{{ range 9000 }}0123456789{{ end }}"), /longer than/);
  await assert.rejects(expand(`${"{{ if true }}".repeat(200)}${"{{ end }}".repeat(200)}`), /nests deeper/);
  await assert.rejects(expand('{{ range 100 }}{{ query (printf "a%d" .) }}{{ end }}'), /20 queries at most/);
});

test("each query is asked once", async () => {
  asked.length = 0;
  await expand('{{ query "a" | first | value }}{{ query "b" | len }}{{ query "a" | len }}');
  assert.deepEqual(asked, ["a", "b"]);
});

test("printf formats as Go does", () => {
  const gives = (want: string, format: string, ...values: TemplateValue[]) =>
    assert.equal(formatGo(format, values), want);
  gives("1e+06 1.234567e+06 0.0001 1e-05", "%v %v %v %v", 1e6, 1_234_567, 0.0001, 0.00001);
  gives("2 0.2 1.5e+00 1.23e+05", "%.0f %.1f %.1e %.3g", 2.5, 0.25, 1.5, 123_000);
  gives("+3|00042|   42|2a|0x2a|101010", "%+d|%05d|%5d|%x|%#x|%b", 3n, 42n, 42n, 42n, 42n, 42n);
  gives("%!d(float64=1.5) %!s(int=3) %!x(bool=true)", "%d %s %x", 1.5, 3n, true);
  gives("%!d(MISSING)", "%d");
  gives("a%!(EXTRA int=1)", "a", 1n);
});
