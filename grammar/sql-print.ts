/** Prints a SELECT tree; parsing the text gives the same tree. */

import type {
  SqlCall,
  SqlExpression,
  SqlFrom,
  SqlItem,
  SqlJoin,
  SqlOrder,
  SqlQuery,
  SqlSelect,
  SqlSource,
  SqlType,
} from "./sql-tree.ts";

/** How to print. */
export interface SqlPrintOptions {
  /** Put every operation in parentheses, so that no reader's precedence matters. */
  readonly explicit: boolean;
  /** What stands for a parameter. */
  readonly parameter: (index: number) => string;
}

const CANONICAL: SqlPrintOptions = { explicit: false, parameter: (index) => `$${index}` };

/** One line of SQL. */
export function printSql(query: SqlQuery, options: SqlPrintOptions = CANONICAL): string {
  return new SqlPrinter(options).query(query);
}

/** `"name"`, quotes inside doubled. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** `'text'`, quotes inside doubled. */
export function quoteString(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** Holds the options while it walks. */
class SqlPrinter {
  readonly #options: SqlPrintOptions;

  constructor(options: SqlPrintOptions) {
    this.#options = options;
  }

  query(query: SqlQuery): string {
    let out = "";
    if (query.with.length > 0) {
      out += `WITH ${query.with.map((one) => `${quoteIdentifier(one.name)} AS (${this.query(one.query)})`).join(", ")} `;
    }
    out += this.#term(query.first);
    for (const { all, operand } of query.unions) out += ` UNION ${all ? "ALL " : ""}${this.#term(operand)}`;
    if (query.orderBy.length > 0) out += ` ORDER BY ${this.#orders(query.orderBy)}`;
    if (query.limit !== undefined) out += ` LIMIT ${this.#expression(query.limit)}`;
    if (query.offset !== undefined) out += ` OFFSET ${this.#expression(query.offset)}`;
    return out;
  }

  #term(term: SqlSelect | SqlQuery): string {
    return term.kind === "query" ? `(${this.query(term)})` : this.#select(term);
  }

  #select(select: SqlSelect): string {
    let out = `SELECT ${select.distinct ? "DISTINCT " : ""}${select.items.map((item) => this.#item(item)).join(", ")}`;
    if (select.from.length > 0) out += ` FROM ${select.from.map((from) => this.#from(from)).join(", ")}`;
    if (select.where !== undefined) out += ` WHERE ${this.#expression(select.where)}`;
    if (select.groupByAll) out += " GROUP BY ALL";
    else if (select.groupBy.length > 0) out += ` GROUP BY ${this.#list(select.groupBy)}`;
    if (select.having !== undefined) out += ` HAVING ${this.#expression(select.having)}`;
    return out;
  }

  #item(item: SqlItem): string {
    const alias = item.alias === "" ? "" : ` AS ${quoteIdentifier(item.alias)}`;
    return this.#expression(item.expression) + alias;
  }

  #from(from: SqlFrom): string {
    return this.#source(from.source) + from.joins.map((join) => this.#join(join)).join("");
  }

  #join(join: SqlJoin): string {
    const head = ` ${join.type} JOIN ${this.#source(join.source)}`;
    if (join.on !== undefined) return `${head} ON ${this.#expression(join.on)}`;
    return join.using.length > 0 ? `${head} USING (${join.using.map(quoteIdentifier).join(", ")})` : head;
  }

  #source(source: SqlSource): string {
    const alias = source.alias === "" ? "" : ` AS ${quoteIdentifier(source.alias)}`;
    if (source.kind === "derived") return `(${this.query(source.query)})${alias}`;
    if (source.kind === "engine") return `${source.text}${alias}`;
    const name =
      source.form === "string" ? quoteString(source.parts[0] ?? "") : source.parts.map(quoteIdentifier).join(".");
    const args = source.args.map(({ expression }) => this.#expression(expression)).join(", ");
    return `${name}${source.form === "call" ? `(${args})` : ""}${alias}`;
  }

  #orders(orders: readonly SqlOrder[]): string {
    return orders
      .map(({ expression, direction, nulls }) => {
        const order = direction === undefined ? "" : ` ${direction}`;
        return `${this.#expression(expression)}${order}${nulls === undefined ? "" : ` NULLS ${nulls}`}`;
      })
      .join(", ");
  }

  #list(list: readonly SqlExpression[]): string {
    return list.map((one) => this.#expression(one)).join(", ");
  }

  #group(text: string): string {
    return this.#options.explicit ? `(${text})` : text;
  }

  #expression(node: SqlExpression): string {
    switch (node.kind) {
      case "number":
        return node.text;
      case "string":
        return quoteString(node.value);
      case "constant":
        return node.name;
      case "typed":
        return `${printType(node.type)} ${quoteString(node.value)}`;
      case "parameter":
        return this.#options.parameter(node.index);
      case "engine":
        return node.text;
      case "star":
        return node.qualifier === "" ? "*" : `${quoteIdentifier(node.qualifier)}.*`;
      case "column":
        return (node.qualifier === "" ? "" : `${quoteIdentifier(node.qualifier)}.`) + quoteIdentifier(node.name);
      case "paren":
        return `(${this.#expression(node.operand)})`;
      case "list":
        return `[${this.#list(node.values)}]`;
      case "subquery":
        return `(${this.query(node.query)})`;
      case "call":
        return this.#call(node);
      case "cast":
        return `${node.lenient ? "TRY_CAST" : "CAST"}(${this.#expression(node.operand)} AS ${printType(node.type)})`;
      case "extract":
        return `EXTRACT(${node.field} FROM ${this.#expression(node.operand)})`;
      default:
        return this.#operation(node);
    }
  }

  #operation(node: Exclude<SqlExpression, { readonly kind: PlainKind }>): string {
    switch (node.kind) {
      case "chain": {
        const rest = node.rest.map(({ op, right }) => ` ${op} ${this.#expression(right)}`).join("");
        return this.#group(this.#expression(node.first) + rest);
      }
      case "not":
        return this.#group(`NOT ${this.#expression(node.operand)}`);
      case "sign":
        return this.#group(`${node.op} ${this.#expression(node.operand)}`);
      case "compare":
        return this.#group(`${this.#expression(node.left)} ${node.op} ${this.#expression(node.right)}`);
      case "is": {
        const what =
          typeof node.what === "string" ? node.what : `DISTINCT FROM ${this.#expression(node.what.distinctFrom)}`;
        return this.#group(`${this.#expression(node.operand)} IS ${node.not ? "NOT " : ""}${what}`);
      }
      case "between": {
        const bounds = `${this.#expression(node.low)} AND ${this.#expression(node.high)}`;
        return this.#group(`${this.#expression(node.operand)} ${node.not ? "NOT " : ""}BETWEEN ${bounds}`);
      }
      case "like": {
        const escaped = node.escape === undefined ? "" : ` ESCAPE ${this.#expression(node.escape)}`;
        const pattern = `${node.not ? "NOT " : ""}${node.op} ${this.#expression(node.pattern)}${escaped}`;
        return this.#group(`${this.#expression(node.operand)} ${pattern}`);
      }
      case "in": {
        const list = "kind" in node.list ? this.query(node.list) : this.#list(node.list);
        return this.#group(`${this.#expression(node.operand)} ${node.not ? "NOT " : ""}IN (${list})`);
      }
      case "interval":
        return this.#interval(node);
      case "postfix": {
        let out = this.#expression(node.base);
        for (const step of node.steps) {
          out += step.kind === "cast" ? `::${printType(step.type)}` : `[${this.#expression(step.index)}]`;
        }
        return this.#group(out);
      }
      case "case": {
        const operand = node.operand === undefined ? "" : ` ${this.#expression(node.operand)}`;
        const branches = node.branches.map(
          (one) => ` WHEN ${this.#expression(one.when)} THEN ${this.#expression(one.result)}`,
        );
        const otherwise = node.otherwise === undefined ? "" : ` ELSE ${this.#expression(node.otherwise)}`;
        return `CASE${operand}${branches.join("")}${otherwise} END`;
      }
    }
  }

  #interval(node: SqlExpression & { readonly kind: "interval" }): string {
    const { amount, unit } = node;
    if (unit === "") return `INTERVAL ${this.#expression(amount)}`;
    const bare = amount.kind === "number" || amount.kind === "string";
    return `INTERVAL ${bare ? this.#expression(amount) : `(${this.#expression(amount)})`} ${unit}`;
  }

  #call(node: SqlCall): string {
    const order = node.orderBy.length === 0 ? "" : ` ORDER BY ${this.#orders(node.orderBy)}`;
    const filter = node.filter === undefined ? "" : ` FILTER (WHERE ${this.#expression(node.filter)})`;
    return `${node.name}(${node.distinct ? "DISTINCT " : ""}${this.#list(node.args)}${order})${filter}`;
  }
}

/** Kinds that print without an operator. */
type PlainKind =
  | "number"
  | "string"
  | "constant"
  | "typed"
  | "parameter"
  | "engine"
  | "star"
  | "column"
  | "paren"
  | "list"
  | "subquery"
  | "call"
  | "cast"
  | "extract";

function printType(type: SqlType): string {
  const sizes = type.sizes.length === 0 ? "" : `(${type.sizes.join(", ")})`;
  return type.name + sizes + "[]".repeat(type.lists);
}
