/** The tree of a Go template: plain data. Positions are UTF-16 offsets into the template. */

/** Part of a template that gives text. */
export type TemplateNode =
  | { readonly kind: "text"; readonly text: string }
  /** Its value is printed, unless it declares or sets variables. */
  | { readonly kind: "action"; readonly pipe: TemplatePipe }
  | TemplateBranch
  | { readonly kind: "break" | "continue" }
  | { readonly kind: "template"; readonly name: string; readonly pipe: TemplatePipe | undefined; readonly at: number };

/** `if`, `with` or `range`. */
export interface TemplateBranch {
  readonly kind: "if" | "with" | "range";
  readonly pipe: TemplatePipe;
  readonly body: readonly TemplateNode[];
  readonly otherwise: readonly TemplateNode[];
}

/** `$x := command | command`. */
export interface TemplatePipe {
  /** Names with their `$`; two only in `range`. */
  readonly variables: readonly string[];
  readonly assigns: boolean;
  readonly commands: readonly TemplateCommand[];
  readonly at: number;
  readonly text: string;
}

/** An operand, or a function or field with arguments. */
export interface TemplateCommand {
  readonly operands: readonly TemplateOperand[];
  readonly at: number;
  readonly text: string;
}

/** What a command is made of; `text` is as written, for messages. */
export type TemplateOperand = { readonly at: number; readonly text: string } & (
  | { readonly kind: "function"; readonly name: string }
  | { readonly kind: "dot" }
  | { readonly kind: "nil" }
  | { readonly kind: "bool"; readonly value: boolean }
  | { readonly kind: "string"; readonly value: string }
  /** A bigint is Go's int, a number its float64; undefined where it fits neither. */
  | { readonly kind: "number"; readonly value: number | bigint | undefined }
  /** `.A.B` */
  | { readonly kind: "field"; readonly fields: readonly string[] }
  /** `$x.A.B` */
  | { readonly kind: "variable"; readonly name: string; readonly fields: readonly string[] }
  | { readonly kind: "pipe"; readonly pipe: TemplatePipe }
  /** `(pipe).A.B` */
  | { readonly kind: "chain"; readonly base: TemplateOperand; readonly fields: readonly string[] }
);

/** A template and those that it defines. */
export interface Template {
  readonly name: string;
  readonly text: string;
  readonly root: readonly TemplateNode[];
  readonly defined: ReadonlyMap<string, readonly TemplateNode[]>;
}
