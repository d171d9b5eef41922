/**
 * Spans in the nesting that OTLP has: resource, scope, spans.
 */

import type { Attribute } from "../model/span-batch.ts";
import type { StoredSpan } from "../model/stored-span.ts";

/** Spans of one scope. */
export interface ScopeGroup {
  readonly name: string;
  readonly version: string;
  /** `Scope.rest`. */
  readonly rest: string;
  readonly spans: StoredSpan[];
}

/** Scopes of one resource. */
export interface ResourceGroup {
  readonly attributes: readonly Attribute[];
  /** `Resource.rest`. */
  readonly rest: string;
  readonly scopes: ScopeGroup[];
}

/** Groups spans by equal resource and scope, both in order of first appearance. */
export function groupSpans(spans: readonly StoredSpan[]): ResourceGroup[] {
  const groups = new Map<string, { group: ResourceGroup; scopes: Map<string, ScopeGroup> }>();
  const identities = new Map<readonly Attribute[], string>();
  for (const span of spans) {
    let identity = identities.get(span.resource);
    if (identity === undefined) {
      identity = JSON.stringify([span.resource, span.resourceRest]);
      identities.set(span.resource, identity);
    }
    let entry = groups.get(identity);
    if (entry === undefined) {
      entry = { group: { attributes: span.resource, rest: span.resourceRest, scopes: [] }, scopes: new Map() };
      groups.set(identity, entry);
    }
    const scopeIdentity = JSON.stringify([span.scopeName, span.scopeVersion, span.scopeRest]);
    let scope = entry.scopes.get(scopeIdentity);
    if (scope === undefined) {
      scope = { name: span.scopeName, version: span.scopeVersion, rest: span.scopeRest, spans: [] };
      entry.scopes.set(scopeIdentity, scope);
      entry.group.scopes.push(scope);
    }
    scope.spans.push(span);
  }
  return [...groups.values()].map((entry) => entry.group);
}

/**
 * Attributes of a span as the faces show them: its own, then where the span does not come from OTLP `thalweg.source`
 * (who saw it), and where Thalweg drew the parent `thalweg.link_reason` (why).
 */
export function shownAttributes(span: StoredSpan): readonly Attribute[] {
  if (span.source === "otlp" && span.linkReason === "") return span.attributes;
  const shown = [...span.attributes];
  if (span.source !== "otlp") shown.push({ key: "thalweg.source", kind: "s", value: span.source });
  if (span.linkReason !== "") shown.push({ key: "thalweg.link_reason", kind: "s", value: span.linkReason });
  return shown;
}
