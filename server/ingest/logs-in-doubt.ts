/**
 * Commits of log records whose outcome is open while the store opens its files again.
 *
 * Their senders are refused at once and send again. Log records have no identity by which a repeat would be known, so the
 * content of those that turn out to be stored is remembered: when it comes again it is acknowledged and not stored twice.
 */

import { createHash } from "node:crypto";
import { releaseBatch, retainBatch } from "../model/batch-lease.ts";
import { ThalwegError } from "../model/errors.ts";
import type { LogBatch } from "../model/log-batch.ts";
import type { LogReceipt, StoreWriter } from "../store/writer.ts";

/** Batches that are remembered; the oldest are forgotten. */
const REMEMBERED_MAX = 1_000;

interface UnderWay {
  readonly batch: LogBatch;
  readonly commit: Promise<LogReceipt>;
  readonly refuse: (error: ThalwegError) => void;
}

/** A way to the store that answers in time. */
export class LogCommits {
  readonly #writer: Pick<StoreWriter, "commitLogs">;
  readonly #underWay = new Set<UnderWay>();
  /** Digests of batches in doubt. */
  readonly #doubtful = new Set<string>();
  /** Receipts of batches that were refused and turned out to be stored, by digest. */
  readonly #stored = new Map<string, LogReceipt>();

  constructor(writer: Pick<StoreWriter, "commitLogs" | "onReopening">) {
    this.#writer = writer;
    writer.onReopening((state) => {
      if (state === "broken") this.#refuseAll();
    });
  }

  /** As `StoreWriter.commitLogs`. */
  async commitLogs(batch: LogBatch): Promise<LogReceipt> {
    if (this.#doubtful.size + this.#stored.size > 0) {
      const digest = digestOf(batch);
      const receipt = this.#stored.get(digest);
      this.#stored.delete(digest);
      if (receipt !== undefined) return receipt;
      if (this.#doubtful.has(digest)) throw inDoubt();
    }
    const commit = this.#writer.commitLogs(batch);
    // Who is refused meanwhile lets go of it, and the store still reads it.
    retainBatch(batch);
    return new Promise((resolve, reject) => {
      const one: UnderWay = { batch, commit, refuse: reject };
      this.#underWay.add(one);
      const end = () => {
        this.#underWay.delete(one);
        releaseBatch(batch);
      };
      commit.then(resolve, reject).then(end, end);
    });
  }

  #refuseAll(): void {
    for (const { batch, commit, refuse } of this.#underWay) {
      const digest = digestOf(batch);
      this.#doubtful.add(digest);
      refuse(inDoubt());
      const end = () => this.#doubtful.delete(digest);
      commit.then((receipt) => this.#remember(digest, receipt)).then(end, end);
    }
    this.#underWay.clear();
  }

  #remember(digest: string, receipt: LogReceipt): void {
    this.#stored.set(digest, receipt);
    const [oldest] = this.#stored.keys();
    if (this.#stored.size > REMEMBERED_MAX && oldest !== undefined) this.#stored.delete(oldest);
  }
}

function inDoubt(): ThalwegError {
  return new ThalwegError("store_unavailable", { why: "its files are opened again" });
}

/** A digest of what the records say; the same for the same request, whatever else its texts lie among. */
function digestOf(batch: LogBatch): string {
  const hash = createHash("sha256");
  const columns = [
    batch.resource,
    batch.scope,
    batch.traceId,
    batch.spanId,
    batch.timeNs,
    batch.observedNs,
    batch.severityNumber,
    batch.bodyKind,
    batch.flags,
    batch.droppedAttributes,
    batch.attributeEnd,
    batch.attributeKind,
  ];
  for (const column of columns) hash.update(column);
  hash.update(
    JSON.stringify([batch.resources, batch.scopes], (_, value) => (typeof value === "bigint" ? `${value}` : value)),
  );
  const { bytes, starts, lengths } = batch.text;
  for (const texts of [batch.severityText, batch.body, batch.eventName, batch.attributeKey, batch.attributeValue]) {
    for (const text of texts) {
      const start = starts[text] ?? 0;
      const length = lengths[text] ?? 0;
      hash.update(`${length} `).update(bytes.subarray(start, start + length));
    }
  }
  return hash.digest("base64");
}
