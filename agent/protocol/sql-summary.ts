/**
 * The operations of SQL and what they work on: `INSERT orders SELECT carts`.
 *
 * Fed with the tokens of a text one after the other. Each bracket has a frame of its own, so that `FROM` counts only
 * where a query stands at the same level, and not in `EXTRACT(day FROM x)`. Names of common table expressions are no
 * targets.
 *
 * @see OpenTelemetry semantic conventions for databases, "Generating a summary of the query"
 */

/** Longest summary; whole words are left out at its end. */
const SUMMARY_CHARS_MAX = 255;
const TARGET_CHARS_MAX = 120;
/** Brackets inside each other that are told apart. */
const FRAMES_MAX = 64;
const TARGETS_MAX = 64;

/** Statements by their first word; `true` where a target follows it at once. */
const OPERATIONS: ReadonlyMap<string, boolean> = new Map([
  ...words(
    "SELECT INSERT DELETE MERGE CREATE ALTER DROP BEGIN COMMIT ROLLBACK SAVEPOINT RELEASE SET SHOW RESET DECLARE FETCH MOVE CLOSE PREPARE DEALLOCATE DISCARD LISTEN UNLISTEN NOTIFY GRANT REVOKE CLUSTER COMMENT DO CHECKPOINT START END ABORT VALUES EXPLAIN REFRESH REINDEX IMPORT REASSIGN LOAD START_REPLICATION IDENTIFY_SYSTEM BASE_BACKUP CREATE_REPLICATION_SLOT DROP_REPLICATION_SLOT READ_REPLICATION_SLOT TIMELINE_HISTORY",
    false,
  ),
  ...words("UPDATE TRUNCATE COPY CALL EXECUTE VACUUM ANALYZE LOCK TABLE", true),
]);

/** First words of statements that only relatives of PostgreSQL know: CockroachDB, Redshift, Greenplum, PgBouncer. */
const FOREIGN: ReadonlySet<string> = new Set(
  "UPSERT BACKUP RESTORE EXPORT UNLOAD USE PAUSE RESUME CANCEL SECURITY KILL CONFIGURE EXPERIMENTAL SCRUB SPLIT UNSPLIT RELOAD SHUTDOWN SUSPEND RECONNECT ENABLE DISABLE WAIT_CLOSE".split(
    " ",
  ),
);

/** May a statement begin with this word, in capitals? */
export function beginsStatement(upper: string): boolean {
  return OPERATIONS.has(upper) || upper === "WITH" || FOREIGN.has(upper);
}

/** Operations that stand inside of statements, too. */
const INNER: ReadonlySet<string> = new Set(["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"]);

/** Kinds of things that are created and dropped; `false` where their names are those of people. */
const OBJECTS: ReadonlyMap<string, boolean> = new Map([
  ...words(
    "TABLE VIEW INDEX SEQUENCE SCHEMA DATABASE FUNCTION PROCEDURE TRIGGER TYPE DOMAIN EXTENSION POLICY PUBLICATION SUBSCRIPTION",
    true,
  ),
  ...words("ROLE USER", false),
]);
const DEFINING: ReadonlySet<string> = new Set(["CREATE", "ALTER", "DROP", "REFRESH", "REINDEX"]);

/** Words between an operation and its target. */
const BETWEEN: ReadonlySet<string> = new Set(
  "ONLY LATERAL IF NOT EXISTS TABLE CONCURRENTLY FULL VERBOSE ANALYZE FREEZE TEMP TEMPORARY UNLOGGED OR REPLACE".split(
    " ",
  ),
);

/** Words that end a list of tables. */
const LIST_ENDS: ReadonlySet<string> = new Set(
  "WHERE GROUP ORDER SET LIMIT OFFSET FETCH HAVING WINDOW FOR UNION INTERSECT EXCEPT RETURNING VALUES ON AS WITH".split(
    " ",
  ),
);

/** One bracket, or the statement itself. */
interface Frame {
  /** A query or a DELETE stands at this level: FROM names tables. */
  isQuery: boolean;
  /** The next comma is followed by another table. */
  inList: boolean;
  /** WITH was read: a name of a common table expression follows, or may. */
  inWith: boolean;
  expectsName: boolean;
}

/** Collects the operations and targets of one text. */
export class SqlSummary {
  #frames: Frame[] = [makeFrame()];
  readonly #parts: string[] = [];
  readonly #targets = new Set<string>();
  readonly #own = new Set<string>();
  #operation = "";
  #procedure = "";
  #statements = 0;
  /** No word of the statement was read yet. */
  #isStart = true;
  #expectsTarget = false;
  /** The target under way, which a dot may go on. */
  #target = "";
  #afterDot = false;
  /** Operation of the statement that defines something, whose kind follows. */
  #defining = false;
  #isCall = false;
  #last = "";
  #skipped = 0;

  /** A word, as it stands and in capitals; `upper` is empty for a quoted name. */
  word(name: string, upper: string): void {
    if (this.#target !== "") {
      if (this.#afterDot) {
        this.#target += `.${name}`;
        this.#afterDot = false;
        return;
      }
      this.#closeTarget();
    }
    const frame = this.#frame();
    if (frame.expectsName && upper !== "RECURSIVE") {
      frame.expectsName = false;
      this.#own.add(name.toLowerCase());
    } else if (this.#expectsTarget && !BETWEEN.has(upper) && !this.#isOperation(upper)) {
      this.#expectsTarget = false;
      this.#target = name;
    } else if (upper !== "") this.#keyword(upper, frame);
    this.#last = upper;
  }

  literal(): void {
    this.#closeTarget();
    this.#expectsTarget = false;
    this.#last = "";
  }

  sign(sign: string): void {
    if (sign === "." && this.#target !== "") {
      this.#afterDot = true;
      return;
    }
    this.#closeTarget();
    const frame = this.#frame();
    if (sign === "(" || sign === "[") this.#open();
    else if (sign === ")" || sign === "]") this.#close();
    else if (sign === ",") {
      if (frame.inList) this.#expectsTarget = true;
      else if (frame.inWith) frame.expectsName = true;
    } else if (sign === ";") this.#endStatement();
    else this.#expectsTarget = false;
    this.#last = sign;
  }

  /** What was found, once all tokens were given. */
  end(): { operation: string; collection: string; procedure: string; statements: number } {
    this.#closeTarget();
    this.#endStatement();
    const [collection] = this.#targets;
    const isOne = this.#targets.size === 1 && this.#statements === 1 && collection !== undefined;
    return {
      operation: this.#operation,
      collection: isOne && !this.#isCall ? collection : "",
      procedure: this.#procedure,
      statements: this.#statements,
    };
  }

  text(): string {
    let text = "";
    for (const part of this.#parts) {
      const longer = text === "" ? part : `${text} ${part}`;
      if (longer.length > SUMMARY_CHARS_MAX) break;
      text = longer;
    }
    return text;
  }

  #keyword(upper: string, frame: Frame): void {
    if (this.#isStart) {
      this.#begin(upper, frame);
      return;
    }
    if (this.#isOperation(upper)) this.#begin(upper, frame);
    else if (this.#defining && OBJECTS.has(upper)) this.#defined(upper);
    else if (upper === "WITH" && !frame.isQuery && this.#last !== ")" && this.#parts.length === 0) this.#with(frame);
    else if (upper === "FROM") this.#from(frame);
    else if (upper === "JOIN" || (upper === "INTO" && this.#last !== "")) this.#expectsTarget = true;
    else if (upper === "USING" && this.#isOneOf("DELETE", "MERGE")) this.#expectsTarget = true;
    else if (LIST_ENDS.has(upper)) {
      if (upper !== "ON" && upper !== "AS") frame.inList = false;
      this.#expectsTarget = false;
    }
  }

  #begin(upper: string, frame: Frame): void {
    if (upper === "WITH") {
      this.#isStart = false;
      this.#with(frame);
      return;
    }
    const hasTarget = OPERATIONS.get(upper);
    if (this.#isStart) this.#isStart = false;
    if (hasTarget === undefined) return;
    frame.inWith = false;
    frame.expectsName = false;
    frame.isQuery ||= upper === "SELECT" || upper === "DELETE";
    frame.inList = upper === "TRUNCATE" || upper === "LOCK" || upper === "VACUUM" || upper === "ANALYZE";
    if (this.#operation === "") this.#operation = upper;
    this.#defining = DEFINING.has(upper);
    this.#isCall = upper === "CALL";
    this.#expectsTarget = hasTarget;
    this.#add(upper);
  }

  /** Is it an operation here, and no word of a clause such as FOR UPDATE? */
  #isOperation(upper: string): boolean {
    if (!INNER.has(upper)) return this.#last === "EXPLAIN" && OPERATIONS.has(upper) && upper !== "ANALYZE";
    if (upper === "SELECT") return true;
    const last = this.#last;
    if (upper === "UPDATE")
      return !(last === "FOR" || last === "DO" || last === "ON" || last === "KEY" || last === "OR");
    if (upper === "DELETE" || upper === "INSERT")
      return !(
        last === "ON" ||
        last === "OR" ||
        last === "BEFORE" ||
        last === "AFTER" ||
        last === "THEN" ||
        last === "GRANT" ||
        last === ","
      );
    return last === "" || last === ")" || last === "(";
  }

  /** `CREATE TABLE` and the like are one operation. */
  #defined(upper: string): void {
    this.#defining = false;
    const at = this.#parts.length - 1;
    const verb = this.#parts[at] ?? "";
    this.#parts[at] = `${verb} ${upper}`;
    if (this.#operation === verb) this.#operation = `${verb} ${upper}`;
    this.#expectsTarget = OBJECTS.get(upper) === true;
    this.#frame().inList = verb === "DROP" && this.#expectsTarget;
  }

  #with(frame: Frame): void {
    frame.inWith = true;
    frame.expectsName = true;
  }

  #from(frame: Frame): void {
    if (!frame.isQuery || this.#last === "DISTINCT") return;
    frame.inList = true;
    this.#expectsTarget = true;
  }

  #isOneOf(...operations: string[]): boolean {
    for (let at = this.#parts.length - 1; at >= 0; at--) {
      const part = this.#parts[at] ?? "";
      if (OPERATIONS.has(part)) return operations.includes(part);
    }
    return false;
  }

  #open(): void {
    this.#expectsTarget = false;
    if (this.#frames.length >= FRAMES_MAX) this.#skipped++;
    else this.#frames.push(makeFrame());
  }

  #close(): void {
    this.#expectsTarget = false;
    if (this.#skipped > 0) this.#skipped--;
    else if (this.#frames.length > 1) this.#frames.pop();
  }

  #closeTarget(): void {
    const target = this.#target;
    if (target === "") return;
    this.#target = "";
    this.#afterDot = false;
    if (this.#own.has(target.toLowerCase()) || target.length > TARGET_CHARS_MAX) return;
    if (this.#isCall && this.#procedure === "") this.#procedure = target;
    if (this.#targets.size < TARGETS_MAX) this.#targets.add(target);
    this.#add(target);
  }

  #endStatement(): void {
    if (!this.#isStart) this.#statements++;
    this.#isStart = true;
    this.#expectsTarget = false;
    this.#defining = false;
    this.#frames = [makeFrame()];
    this.#skipped = 0;
    this.#own.clear();
  }

  #add(part: string): void {
    if (this.#parts.length < TARGETS_MAX) this.#parts.push(part);
  }

  #frame(): Frame {
    return this.#frames[this.#frames.length - 1] as Frame;
  }
}

function makeFrame(): Frame {
  return { isQuery: false, inList: false, inWith: false, expectsName: false };
}

function words(text: string, value: boolean): [string, boolean][] {
  return text.split(" ").map((word) => [word, value]);
}
