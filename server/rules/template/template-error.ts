/** What is wrong with a template, in the words of Go's text/template. */

/** A template that cannot be read or run. */
export class TemplateError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "TemplateError";
  }
}
