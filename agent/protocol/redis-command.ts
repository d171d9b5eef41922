/**
 * What is known of Redis' commands: which have a second word in their name, which arguments are names that may be kept
 * (keys, fields, channels), which never get an answer, and which may wait long for one.
 *
 * Arguments that are not known to be names are values, and values are never kept while redaction is on.
 *
 * @see https://redis.io/docs/latest/commands/
 */

import { looksSecretName, REDACTED } from "./secrets.ts";

/** Which arguments of a command are names. */
type ArgumentRule =
  /** None. */
  | "none"
  /** The first, or the first two. */
  | "key"
  | "two"
  /** All, or all but the last. */
  | "keys"
  | "keys-timeout"
  /** Key and value in turn. */
  | "pairs"
  /** A key and its fields; a key, then field and value in turn. */
  | "fields"
  | "field-values"
  /** A number of keys, and the keys; behind a first argument that is no name, one that is, or two of which one is. */
  | "count"
  | "value-count"
  | "key-count"
  /** Keys stand behind the word STREAMS, as many as ids behind them. */
  | "streams";

const NAMES: Readonly<Record<ArgumentRule, string>> = {
  none: `AUTH HELLO ECHO PING QUIT RESET SELECT SWAPDB MULTI EXEC DISCARD UNWATCH MONITOR SYNC PSYNC REPLCONF REPLICAOF SLAVEOF
    SAVE BGSAVE BGREWRITEAOF LASTSAVE DBSIZE FLUSHALL FLUSHDB INFO TIME ROLE SHUTDOWN SCAN RANDOMKEY WAIT WAITAOF
    READONLY READWRITE ASKING FAILOVER LOLWUT MIGRATE SCRIPT FUNCTION ACL CLIENT CLUSTER COMMAND DEBUG LATENCY MODULE
    PUBSUB SLOWLOG SENTINEL`,
  key: `GET SET SETEX PSETEX SETNX GETSET GETDEL GETEX APPEND STRLEN SETRANGE GETRANGE SUBSTR INCR INCRBY INCRBYFLOAT DECR
    DECRBY TYPE TTL PTTL EXPIRE PEXPIRE EXPIREAT PEXPIREAT EXPIRETIME PEXPIRETIME PERSIST DUMP RESTORE SORT SORT_RO MOVE
    LPUSH RPUSH LPUSHX RPUSHX LPOP RPOP LLEN LRANGE LINDEX LSET LINSERT LREM LTRIM LPOS
    SADD SREM SCARD SISMEMBER SMISMEMBER SMEMBERS SPOP SRANDMEMBER SSCAN
    ZADD ZREM ZCARD ZCOUNT ZINCRBY ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZREVRANGEBYLEX ZLEXCOUNT
    ZRANK ZREVRANK ZSCORE ZMSCORE ZPOPMIN ZPOPMAX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREMRANGEBYLEX ZRANDMEMBER ZSCAN
    HGETALL HKEYS HVALS HLEN HSCAN HRANDFIELD BITCOUNT BITPOS SETBIT GETBIT BITFIELD BITFIELD_RO PFADD
    GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEOSEARCH GEORADIUS_RO GEORADIUSBYMEMBER_RO
    KEYS HGETEX HGETDEL HSETEX HEXPIRE HPEXPIRE HEXPIREAT HPEXPIREAT HPERSIST HTTL HPTTL
    HEXPIRETIME HPEXPIRETIME XADD XLEN XRANGE XREVRANGE XDEL XTRIM XACK XPENDING XCLAIM XAUTOCLAIM XSETID PUBLISH SPUBLISH
    CONFIG OBJECT MEMORY XGROUP XINFO`,
  two: `RENAME RENAMENX COPY SMOVE LMOVE BLMOVE RPOPLPUSH BRPOPLPUSH ZRANGESTORE GEOSEARCHSTORE HINCRBY HINCRBYFLOAT`,
  keys: `DEL UNLINK EXISTS TOUCH MGET WATCH SINTER SUNION SDIFF SINTERSTORE SUNIONSTORE SDIFFSTORE PFCOUNT PFMERGE BITOP LCS
    SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUNSUBSCRIBE`,
  "keys-timeout": "BLPOP BRPOP BZPOPMIN BZPOPMAX",
  pairs: "MSET MSETNX",
  fields: "HGET HMGET HDEL HEXISTS HSTRLEN",
  "field-values": "HSET HMSET HSETNX",
  count: "ZUNION ZINTER ZDIFF ZINTERCARD SINTERCARD LMPOP ZMPOP",
  "value-count": "EVAL EVAL_RO BLMPOP BZMPOP",
  "key-count": "EVALSHA EVALSHA_RO FCALL FCALL_RO ZUNIONSTORE ZINTERSTORE ZDIFFSTORE",
  streams: "XREAD XREADGROUP",
};

const RULES = new Map<string, ArgumentRule>();
for (const rule of Object.keys(NAMES)) {
  // The keys of a literal are those of its type.
  for (const verb of NAMES[rule as ArgumentRule].split(/\s+/)) RULES.set(verb, rule as ArgumentRule);
}

/** Commands whose second word is part of their name. */
const CONTAINERS: ReadonlySet<string> = new Set(
  "ACL CLIENT CLUSTER COMMAND CONFIG DEBUG FUNCTION LATENCY MEMORY MODULE OBJECT PUBSUB SCRIPT SENTINEL SLOWLOG XGROUP XINFO".split(
    " ",
  ),
);

/** Commands that may wait for an answer as long as they like. */
const BLOCKING: ReadonlySet<string> = new Set(
  "BLPOP BRPOP BLMOVE BRPOPLPUSH BLMPOP BZPOPMIN BZPOPMAX BZMPOP XREAD XREADGROUP WAIT WAITAOF".split(" "),
);

/** Commands whose messages come whenever they like, from then on. */
const SUBSCRIBING: ReadonlySet<string> = new Set(
  "SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUNSUBSCRIBE".split(" "),
);

/** Scripts and functions that a command runs by name. */
const STORED: ReadonlySet<string> = new Set(["EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"]);

const VERB_CHARS_MAX = 32;
const SECOND_WORD_CHARS_MAX = 24;
/** Letters, and what modules put between them: `JSON.GET`, `FT.SEARCH`. What has more digits is likely a password. */
const VERB = /^[A-Z][A-Z._-]*[0-9]{0,2}$/;
const SECOND_WORD = /^[A-Z][A-Z-]*$/;
/** Verbs and second words that no table here knows and that were shown; later ones share one name. */
const STRANGERS_MAX = 256;
const strangers = new Set<string>();
/** Name of a command whose verb is none, or one too many. */
export const OTHER_COMMAND = "_OTHER";

/** Words of a command that are written; what follows them is `...`. */
const WORDS_SHOWN_MAX = 16;
const NAME_CHARS_MAX = 200;

/** How a command is called. */
export interface CommandName {
  /** The verb in capitals. */
  readonly verb: string;
  /** The verb, or for containers the verb and the second word. */
  readonly full: string;
}

/** Does a server have such a command? `verb` is in capitals. */
export function isVerbKnown(verb: string): boolean {
  return RULES.has(verb);
}

/** Names a command by its words. */
export function nameOfCommand(words: readonly string[]): CommandName {
  const verb = (words[0] ?? "").toUpperCase();
  if (RULES.has(verb)) {
    if (!CONTAINERS.has(verb)) return { verb, full: verb };
    const second = (words[1] ?? "").toUpperCase();
    const isWord = second.length <= SECOND_WORD_CHARS_MAX && SECOND_WORD.test(second);
    return { verb, full: isWord && isShown(`${verb} ${second}`) ? `${verb} ${second}` : verb };
  }
  const isVerb = verb.length <= VERB_CHARS_MAX && VERB.test(verb) && !looksSecretName(verb);
  if (!isVerb) return { verb: OTHER_COMMAND, full: OTHER_COMMAND };
  return { verb, full: isShown(verb) ? verb : OTHER_COMMAND };
}

/** Is this name, which no table has, one of the first that were met? */
function isShown(name: string): boolean {
  if (strangers.has(name)) return true;
  if (strangers.size >= STRANGERS_MAX) return false;
  strangers.add(name);
  return true;
}

/** May its answer take as long as it likes? */
export function isBlocking(verb: string): boolean {
  return BLOCKING.has(verb);
}

/** Is it one of the commands that begin or end a subscription? */
export function isSubscribing(verb: string): boolean {
  return SUBSCRIBING.has(verb);
}

/** The digest of the script or the name of the function that a command runs; empty for others. */
export function storedProcedure(verb: string, words: readonly string[]): string {
  const name = STORED.has(verb) ? (words[1] ?? "") : "";
  return name === "" || name.length > NAME_CHARS_MAX ? "" : safeName(name);
}

/**
 * The command as one would type it, with `?` for each value.
 *
 * @param count Words that the command has; `words` may be fewer.
 */
export function commandText(name: CommandName, words: readonly string[], count: number, redaction: boolean): string {
  const shown = Math.min(words.length, WORDS_SHOWN_MAX);
  const first = name.full.includes(" ") ? 2 : 1;
  let text = name.full;
  // The second word of a container that is no word of a name may be anything.
  const isName = first === 1 && CONTAINERS.has(name.verb) ? () => false : nameTest(name.verb, words, first);
  for (let at = first; at < shown; at++) {
    const word = words[at] ?? "";
    if (!redaction) text += ` ${printable(word)}`;
    else text += isName(at - first) ? ` ${safeName(word)}` : " ?";
  }
  return count > shown ? `${text} ...` : text;
}

/** Tells for the position of an argument, counted from 0, whether it is a name. */
function nameTest(verb: string, words: readonly string[], first: number): (at: number) => boolean {
  const args = words.length - first;
  const number = (at: number) => {
    const text = words[first + at] ?? "";
    return /^\d{1,9}$/.test(text) ? Number(text) : 0;
  };
  switch (RULES.get(verb)) {
    case "key":
      return (at) => at === 0;
    case "two":
      return (at) => at < 2;
    case "keys":
      return () => true;
    case "keys-timeout":
      return (at) => at < args - 1;
    case "pairs":
      return (at) => at % 2 === 0;
    case "fields":
      return () => true;
    case "field-values":
      return (at) => at === 0 || at % 2 === 1;
    case "count":
      return (at) => at > 0 && at <= number(0);
    case "value-count":
      return (at) => at > 1 && at <= 1 + number(1);
    case "key-count":
      return (at) => at === 0 || (at > 1 && at <= 1 + number(1));
    case "streams": {
      const streams = words.findIndex((word, at) => at >= first && word.toUpperCase() === "STREAMS") - first;
      const keys = Math.ceil((args - streams - 1) / 2);
      return (at) => streams >= 0 && at > streams && at <= streams + keys;
    }
    default:
      return () => false;
  }
}

/** A name, without what in it looks like a secret. */
function safeName(name: string): string {
  return looksSecretName(name) ? REDACTED : printable(name);
}

/** One word on one line: names with spaces or other signs are quoted, as Redis' own client does it. */
function printable(word: string): string {
  const cut = word.length > NAME_CHARS_MAX ? `${word.slice(0, NAME_CHARS_MAX)}...` : word;
  if (/^[!-~\u00a1-\uffff]+$/.test(cut) && !cut.includes('"')) return cut;
  return JSON.stringify(cut);
}
