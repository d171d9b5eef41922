/**
 * Functions that SQL may call, with how long a text or list each may make.
 *
 * What is not listed is refused: functions that read files or settings, change state, run SQL from a string, or build
 * values of any length from a number (`repeat`, `lpad`, `range`, `format`), which the engine cannot interrupt.
 */

/** Bytes of a result from the bytes of the arguments. */
export type SizeRule = (args: readonly number[]) => number;

/** Bytes that a number, time or flag counts for. */
export const SMALL_BYTES = 32;

/** Bytes that a result made from many rows counts for; the engine bounds it by its memory. */
const AGGREGATE_BYTES = 65_536;

const small: SizeRule = () => SMALL_BYTES;
const first: SizeRule = (args) => (args[0] ?? 0) + SMALL_BYTES;
const longest: SizeRule = (args) => Math.max(SMALL_BYTES, ...args);
const together: SizeRule = (args) => args.reduce((sum, bytes) => sum + bytes, SMALL_BYTES);
const many: SizeRule = () => AGGREGATE_BYTES;
/** Every list entry costs its place. */
const pieces: SizeRule = (args) => (args[0] ?? 0) * 20 + SMALL_BYTES;
const doubled: SizeRule = (args) => (args[0] ?? 0) * 2 + SMALL_BYTES;
const escaped: SizeRule = (args) => (args[0] ?? 0) * 6 + SMALL_BYTES;
/** A replacement for every character of the text. */
const replaced: SizeRule = (args) => ((args[0] ?? 0) + 1) * ((args[2] ?? 0) + 1);
const separated: SizeRule = (args) => together(args) + args.length * (args[0] ?? 0);
const joined: SizeRule = (args) => (args[0] ?? 0) * (1 + (args[1] ?? 0) / 16) + SMALL_BYTES;
const formatted: SizeRule = (args) => Math.max(...args, 0) * 16 + SMALL_BYTES;

const RULES: readonly (readonly [names: string, rule: SizeRule])[] = [
  [
    `count count_if avg sum median mode stddev stddev_samp stddev_pop variance var_samp var_pop quantile quantile_cont
     quantile_disc approx_quantile approx_count_distinct bool_and bool_or corr covar_pop covar_samp regr_slope
     regr_intercept product`,
    small,
  ],
  ["min max any_value first last arg_min arg_max min_by max_by", first],
  ["string_agg listagg group_concat list array_agg", many],
  [
    `abs ceil ceiling floor round trunc sqrt cbrt ln log log2 log10 exp power pow sign mod isnan isinf isfinite pi degrees
     radians sin cos tan asin acos atan atan2`,
    small,
  ],
  ["coalesce ifnull nullif greatest least if", longest],
  [
    `date_trunc date_part datepart date_diff datediff date_sub datesub date_add time_bucket age now today epoch epoch_ms
     epoch_us epoch_ns to_timestamp make_timestamp make_timestamp_ms make_timestamp_ns make_date make_time year quarter
     month week day hour minute second millisecond microsecond nanosecond dayofweek isodow dayofmonth dayofyear yearweek
     weekofyear dayname monthname last_day to_seconds to_minutes to_hours to_days to_weeks to_milliseconds
     to_microseconds strptime try_strptime`,
    small,
  ],
  ["strftime", formatted],
  [
    `length len strlen array_length char_length character_length strpos instr position starts_with ends_with prefix suffix
     contains regexp_matches regexp_full_match list_contains list_has array_contains list_position ascii unicode md5 sha1 sha256 hash typeof map_contains cardinality`,
    small,
  ],
  ["substring substr left right trim ltrim rtrim reverse strip_accents regexp_extract split_part translate", first],
  ["lower upper lcase ucase hex to_hex", doubled],
  ["concat", together],
  ["concat_ws", separated],
  ["replace regexp_replace", replaced],
  ["to_json", escaped],
  ["string_split str_split split string_to_array regexp_split_to_array regexp_extract_all", pieces],
  ["array_to_string", joined],
  ["map_keys map_values map_extract element_at map_entries unnest list_extract list_element list_sort", first],
  ["list_distinct list_unique list_reverse list_reverse_sort list_value", together],
];

const ALLOWED: ReadonlyMap<string, SizeRule> = new Map(
  RULES.flatMap(([names, rule]) => names.split(/\s+/).map((name): [string, SizeRule] => [name, rule])),
);

/** How long the result of a function may be; undefined where it may not be called. */
export function sizeRuleOf(name: string): SizeRule | undefined {
  return ALLOWED.get(name);
}

/** Whether a function may be called. */
export function isAllowedFunction(name: string): boolean {
  return ALLOWED.has(name);
}

/** Types that a cast may name; others could be made in the engine to mean anything. */
export const ALLOWED_TYPES: ReadonlySet<string> = new Set(
  `bigint int8 long integer int int4 signed smallint int2 short tinyint int1 hugeint ubigint uinteger usmallint utinyint
   uhugeint double float8 float float4 real decimal numeric boolean bool logical varchar text string char bpchar date time
   timestamp datetime timestamp_s timestamp_ms timestamp_ns timestamptz timetz interval uuid`.split(/\s+/),
);

/** Types of text. */
export const TEXT_TYPES: ReadonlySet<string> = new Set(["varchar", "text", "string", "char", "bpchar"]);

/** Units of intervals and fields of EXTRACT. */
export const TIME_UNITS: ReadonlySet<string> = new Set(
  `microsecond microseconds millisecond milliseconds second seconds minute minutes hour hours day days week weeks month
   months quarter quarters year years epoch dow doy isodow isoyear`.split(/\s+/),
);
