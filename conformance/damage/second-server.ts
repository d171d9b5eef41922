/** A second server on one directory: refused at once by the name of the holder, which goes on undisturbed. */

import { Program } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

const FLAGS = ["--capture", "off"];

/** Starts two programs on one directory, then a third when the holder was killed. */
export async function secondServer(report: SuiteReport): Promise<void> {
  const holder = await Program.start(FLAGS);
  let next: Program | undefined;
  try {
    let said = "";
    try {
      next = await Program.start(FLAGS, holder.dataDirectory);
    } catch (error) {
      said = String(error);
    }
    const named = said.includes("status 5") && new RegExp(`process ${holder.pid}\\b`).test(said);
    report.add("a second server ends with status 5 and names the holder", named ? "" : said || "it started");
    const rows = await holder.sql("SELECT count(*) FROM spans").catch((error: unknown) => String(error));
    report.add("the holder goes on", Array.isArray(rows) ? "" : String(rows));
    await holder.kill();
    next = await Program.start(FLAGS, holder.dataDirectory);
    report.add("the lock of a killed holder is nobody's", "");
  } finally {
    await holder.kill();
    await next?.discard();
  }
}
