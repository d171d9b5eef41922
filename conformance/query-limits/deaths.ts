/** Queries that are meant to take a server down, and by which rule each is refused, stopped or answered. */

/** A request and what has to become of it. */
export interface DeadlyQuery {
  readonly name: string;
  readonly path: "query" | "query_range" | "series" | "label/pod/values" | "format_query" | "parse_query";
  readonly parameters: Readonly<Record<string, string>>;
  /** Answers that are right; the first that the status fits is looked at. */
  readonly wants: readonly WantedAnswer[];
}

/** An answer by its status: of an error its kind and words, of a success how many series it must have. */
export interface WantedAnswer {
  readonly status: number;
  readonly errorType?: string;
  readonly text?: RegExp;
  readonly series?: number;
}

/** When the queries ask, and how much there is. */
export interface DeadlyWorld {
  readonly nowSeconds: number;
  /** Of these, how many carry the label `pod`. */
  readonly loaded: number;
  readonly series: number;
  readonly timeoutSeconds: number;
}

const TOO_MANY_SAMPLES: WantedAnswer = {
  status: 422,
  errorType: "execution",
  text: /^query processing would load too many samples into memory in query execution/,
};
const TOO_MANY_SERIES: WantedAnswer = {
  status: 422,
  errorType: "cost_limit",
  text: /^query would load too many series into memory in query execution/,
};
const TIMED_OUT: WantedAnswer = { status: 503, errorType: "timeout", text: /^query timed out in/ };
const TOO_MANY_POINTS: WantedAnswer = {
  status: 400,
  errorType: "bad_data",
  text: /^exceeded maximum resolution of 11,000 points per timeseries/,
};
const TOO_MANY_TOKENS = refusedText(/more than 20000 names, values and operators/);
const TOO_DEEP = refusedText(/nests deeper than \d+ levels/);
const TOO_LARGE_REGEX = refusedText(/error parsing regexp: expression too large/);

const EVERYTHING = '{__name__=~".+"}';
const STEPS = 10_000;

/** All of them. */
export function deadlyQueries(world: DeadlyWorld): readonly DeadlyQuery[] {
  return [
    ...tooManyPoints(world),
    ...overEverything(world),
    ...deepTexts(world),
    ...hostileRegexes(world),
    ...growingTexts(world),
    ...hugeSubqueries(world),
    ...wideResults(world),
  ];
}

function tooManyPoints(world: DeadlyWorld): DeadlyQuery[] {
  const tenYears = { start: String(world.nowSeconds - 315_360_000), end: String(world.nowSeconds) };
  return [
    range(world, "ten years at a millisecond", "vector(1)", [TOO_MANY_POINTS], { ...tenYears, step: "0.001" }),
    range(world, "ten years at a millisecond over everything", EVERYTHING, [TOO_MANY_POINTS], {
      ...tenYears,
      step: "1ms",
    }),
    range(world, "all time", "vector(1)", [TOO_MANY_POINTS], {
      start: "-292273086-05-16T16:47:06Z",
      end: "292277025-08-18T07:12:54.999999999Z",
      step: "1",
    }),
    range(world, "a step of nothing", "vector(1)", [refusedText(/zero or negative query resolution step/)], {
      step: "1e-12",
    }),
  ];
}

function overEverything(world: DeadlyWorld): DeadlyQuery[] {
  const { series, loaded } = world;
  const whole = [{ status: 200, series }, TOO_MANY_SAMPLES, TOO_MANY_SERIES, TIMED_OUT];
  const one = [{ status: 200, series: 1 }, TOO_MANY_SAMPLES, TOO_MANY_SERIES, TIMED_OUT];
  const stopped = [TOO_MANY_SAMPLES, TOO_MANY_SERIES, TIMED_OUT];
  const metric = '{__name__=~".+",az="az-0"}';
  const twice = `${EVERYTHING} * on (pod) group_left (az) ${metric}`;
  return [
    instant(world, "everything", EVERYTHING, whole),
    instant(world, "the sum of everything", `sum(${EVERYTHING})`, one),
    instant(world, "everything sorted", `sort(${EVERYTHING})`, whole),
    instant(world, "everything sorted by label", `sort_by_label_desc(${EVERYTHING}, "pod", "instance")`, whole),
    instant(world, "topk(1e9)", `topk(1e9, ${EVERYTHING})`, whole),
    instant(world, "bottomk by pod", `bottomk by (pod) (1e9, ${EVERYTHING})`, whole),
    // The writer's own series have neither pod nor instance: they are one group.
    instant(world, "a group for each series", `stddev by (pod, instance, __name__) (${EVERYTHING})`, [
      { status: 200, series: loaded + 1 },
      ...stopped,
    ]),
    instant(world, "everything matched with itself", twice, [{ status: 200 }, ...stopped]),
    instant(world, "everything times everything", `${EVERYTHING} * on () group_left () ${EVERYTHING}`, [
      { status: 422, errorType: "execution", text: /^found duplicate series for the match group/ },
      ...stopped,
    ]),
    range(world, "everything at ten thousand steps", EVERYTHING, stopped),
    range(world, "the sum of everything at ten thousand steps", `sum(${EVERYTHING})`, one),
    range(
      world,
      "a rate of everything by pod at ten thousand steps",
      `sum by (pod) (rate(${EVERYTHING}[5m]))`,
      stopped,
    ),
    range(world, "quantiles of everything", `quantile_over_time(0.99, ${EVERYTHING}[1h])`, stopped),
    {
      name: "series that everything selects, a thousand times over",
      path: "series",
      parameters: { "match[]": `{${Array.from({ length: 1000 }, (_, i) => `pod!="p${i}"`).join(",")},pod!=""}` },
      wants: [{ status: 200 }, { status: 503, errorType: "timeout" }],
    },
    {
      name: "values of a label with as many values as series",
      path: "label/pod/values",
      parameters: {},
      wants: [{ status: 200, series: loaded }],
    },
  ];
}

function deepTexts(world: DeadlyWorld): DeadlyQuery[] {
  const around = (open: string, inner: string, close: string, times: number) =>
    open.repeat(times) + inner + close.repeat(times);
  const chain = (operator: string, operand: string, length: number) =>
    Array.from({ length: Math.floor(length / (operator.length + operand.length)) }, () => operand).join(operator);
  const answered = { status: 200, series: 1 };
  const parentheses = around("(", "1", ")", 10_000);
  return [
    instant(world, "10,000 parentheses", parentheses, [TOO_DEEP]),
    {
      name: "10,000 parentheses to format",
      path: "format_query",
      parameters: { query: parentheses },
      wants: [TOO_DEEP],
    },
    {
      name: "10,000 parentheses as a tree",
      path: "parse_query",
      parameters: { query: parentheses },
      wants: [TOO_DEEP],
    },
    instant(world, "10,000 open parentheses", "(".repeat(10_000), [refusedText(/parse error/)]),
    instant(world, "10,000 calls", around("abs(", "up", ")", 10_000), [TOO_DEEP]),
    instant(world, "10,000 sums", around("sum(", "up", ")", 10_000), [TOO_DEEP]),
    instant(world, "30,000 signs", `${"-".repeat(30_000)}1`, [TOO_DEEP, answered]),
    instant(world, "20,000 powers", chain("^", "1", 40_000), [TOO_DEEP]),
    instant(world, "sub-queries inside each other", around("max_over_time(", "up", "[2m:1m])", 2500), [TOO_DEEP]),
    instant(world, "64 KiB of sums of numbers", chain("+", "1", 65_000), [TOO_MANY_TOKENS]),
    instant(world, "64 KiB of sums of vectors", chain("+", "vector(1)", 65_000), [TOO_MANY_TOKENS]),
    instant(world, "64 KiB of or", chain(" or ", "vector(1)", 65_000), [TOO_MANY_TOKENS]),
    instant(world, "64 KiB of selectors", chain("+", "up", 65_000), [TOO_MANY_TOKENS]),
    instant(world, "9,500 numbers in a sum", chain("+", "1", 19_000), [{ status: 200 }, TIMED_OUT]),
    instant(world, "3,900 vectors in a sum", chain("+", "vector(1)", 39_000), [answered, TIMED_OUT]),
    instant(world, "3,900 vectors in an or", chain(" or ", "vector(1)", 50_700), [answered, TIMED_OUT]),
    instant(world, "9,500 selectors in a sum", chain("+", "up", 28_500), [
      { status: 422, errorType: "execution", text: /selectors; the limit is/ },
    ]),
    instant(world, "more than 64 KiB", chain("+", "1", 200_000), [refusedText(/characters; the limit is 65536/)]),
    instant(world, "a name of 60,000 characters", "a".repeat(60_000), [{ status: 200, series: 0 }]),
    instant(world, "10,000 matchers", `{${chain(",", 'a!="b"', 60_000)},a="c"}`, [TOO_MANY_TOKENS]),
    instant(world, "4,900 matchers", `{${chain(",", 'a!="b"', 34_300)},a="c"}`, [{ status: 200, series: 0 }]),
  ];
}

function hostileRegexes(world: DeadlyWorld): DeadlyQuery[] {
  const selects = (pattern: string) => `{__name__=~".+",pod=~"${pattern}"}`;
  const refusedRepeat = refusedText(/invalid repeat count/);
  const quick = [{ status: 200 }, TIMED_OUT, TOO_MANY_SAMPLES];
  return [
    instant(world, "(a{1000}){1000}", selects("(a{1000}){1000}"), [refusedRepeat]),
    instant(world, "a{1000} six hundred times", selects("a{1000}".repeat(600)), [TOO_LARGE_REGEX]),
    instant(world, "20,000 groups", selects("(".repeat(20_000) + ")".repeat(20_000)), [refusedText(/parsing regexp/)]),
    instant(world, "(x+x+)+y", selects("(x+x+)+y"), [{ status: 200, series: 0 }, TIMED_OUT]),
    instant(world, "(.*)*(.*)*z", selects("(.*)*(.*)*z"), [{ status: 200, series: 0 }, TIMED_OUT]),
    instant(world, "a thousand times .*", selects(`${".*-".repeat(1000)}z`), [{ status: 200, series: 0 }, TIMED_OUT]),
    instant(world, "ten thousand alternatives", selects(Array.from({ length: 9000 }, (_, i) => `p${i}`).join("|")), [
      { status: 200, series: 0 },
    ]),
    instant(
      world,
      "a hundred regular expressions",
      `{${Array.from({ length: 100 }, (_, i) => `pod=~".*${i}.*|.*"`).join(",")},az=~".+"}`,
      quick,
    ),
    instant(
      world,
      "all but what a costly expression matches",
      `count({__name__=~".+",pod!~"(.*a.*b.*c.*){5}"})`,
      quick,
    ),
    {
      name: "series by a costly expression",
      path: "series",
      parameters: { "match[]": selects("(.*a.*b.*c.*d.*e.*){9}") },
      wants: [
        { status: 200, series: 0 },
        { status: 503, errorType: "timeout" },
      ],
    },
  ];
}

function growingTexts(world: DeadlyWorld): DeadlyQuery[] {
  const nested = (call: string, inner: string, rest: string, times: number) =>
    call.repeat(times) + inner + rest.repeat(times);
  const seed = `label_replace(vector(1), "a", "${"x".repeat(100)}", "", "")`;
  return [
    instant(
      world,
      "a label that doubles forty times",
      nested("label_replace(", seed, ', "a", "$1$1", "a", "(.*)")', 40),
      [TOO_MANY_SAMPLES, TIMED_OUT],
    ),
    instant(
      world,
      "a label of a thousand copies, again and again",
      nested("label_replace(", seed, `, "a", "${"$1".repeat(1000)}", "a", "(.*)")`, 6),
      [TOO_MANY_SAMPLES],
    ),
    instant(
      world,
      "labels joined with themselves",
      nested("label_join(", seed, `, "a", "${"-".repeat(50)}"${', "a"'.repeat(100)})`, 20),
      [TOO_MANY_SAMPLES],
    ),
    instant(
      world,
      "long labels on everything",
      `label_replace(${EVERYTHING}, "b", "${"$0".repeat(1000)}", "pod", ".*")`,
      [{ status: 200 }, TOO_MANY_SAMPLES, TOO_MANY_SERIES, TIMED_OUT],
    ),
  ];
}

function hugeSubqueries(world: DeadlyWorld): DeadlyQuery[] {
  const steps = { status: 422, errorType: "execution", text: /sub-query has \d+ steps; the limit is/ };
  const clock = "time() + vector(1)";
  return [
    instant(world, "ten years at a millisecond in a sub-query", "max_over_time(vector(1)[10y:1ms])", [steps]),
    instant(world, "a sub-query over everything", `max_over_time(${EVERYTHING}[1h:1s])`, [
      TOO_MANY_SAMPLES,
      TOO_MANY_SERIES,
      TIMED_OUT,
    ]),
    instant(
      world,
      "windows of windows of windows",
      `sum_over_time(stddev_over_time(quantile_over_time(0.5, (${clock})[30000s:1s])[30000s:1s])[30000s:1s])`,
      [TIMED_OUT],
    ),
    range(world, "a sub-query at every step", `quantile_over_time(0.9, (${clock})[1d:1s])`, [
      TIMED_OUT,
      TOO_MANY_SAMPLES,
    ]),
  ];
}

function wideResults(world: DeadlyWorld): DeadlyQuery[] {
  const stopped = [TOO_MANY_SAMPLES, TOO_MANY_SERIES, TIMED_OUT];
  const doubled = Array.from({ length: 40 }, () => EVERYTHING).join(" or ");
  return [
    range(world, "a series for each value", `count_values("v", ${EVERYTHING} * (time() + 0.5))`, stopped),
    range(world, "a series for each second", 'count_values("v", vector(time()))', [TOO_MANY_SAMPLES, TIMED_OUT], {
      step: "1",
    }),
    instant(world, "everything or everything, forty times", doubled, [
      { status: 200, series: world.series },
      ...stopped,
    ]),
    instant(world, "a histogram from everything", `histogram_quantile(0.9, ${EVERYTHING})`, [
      { status: 200 },
      ...stopped,
    ]),
    instant(world, "absent of everything at once", `absent(${EVERYTHING})`, [{ status: 200, series: 0 }, ...stopped]),
  ];
}

function refusedText(text: RegExp): WantedAnswer {
  return { status: 400, errorType: "bad_data", text };
}

function instant(world: DeadlyWorld, name: string, query: string, wants: readonly WantedAnswer[]): DeadlyQuery {
  const time = String(world.nowSeconds);
  return { name, path: "query", parameters: { query, time, timeout: `${world.timeoutSeconds}` }, wants };
}

function range(
  world: DeadlyWorld,
  name: string,
  query: string,
  wants: readonly WantedAnswer[],
  more: Readonly<Record<string, string>> = {},
): DeadlyQuery {
  const times = { start: String(world.nowSeconds - STEPS), end: String(world.nowSeconds), step: "1" };
  return {
    name,
    path: "query_range",
    parameters: { query, timeout: `${world.timeoutSeconds}`, ...times, ...more },
    wants,
  };
}
