/** Regular expressions as templates of rules use them: not anchored, and `.` does not match newlines. */

import { RE2JS } from "re2js";
import { expandTemplate } from "./label-functions.ts";

/** Whether an expression matches any part of a text. @throws Error in Prometheus' words where it is none. */
export function testByRegex(text: string, pattern: string): boolean {
  return RE2JS.compile(pattern).matcher(text).find();
}

/** Replaces every match; `$1`, `${name}` and `$$` in the replacement as in Go. @throws Error as `testByRegex`. */
export function replaceByRegex(text: string, pattern: string, replacement: string): string {
  const regex = RE2JS.compile(pattern);
  const names = regex.namedGroups();
  const matcher = regex.matcher(text);
  let out = "";
  let from = 0;
  while (matcher.find()) {
    const value = expandTemplate(replacement, (name) => {
      const index = /^\d+$/.test(name) ? Number(name) : names[name];
      return index === undefined || index > regex.groupCount() ? "" : (matcher.group(index) ?? "");
    });
    out += text.slice(from, matcher.start()) + value;
    from = matcher.end();
  }
  return out + text.slice(from);
}
