/** Lines that tell why a view shows nothing, or nothing fresh. */

/** Nothing to show is an answer too, with what to try. */
export function EmptyNote({ what }: { readonly what: string }) {
  return (
    <p class="note">
      {what} Send a request to any HTTP service on this machine, or run <code>npm run demo</code>.
    </p>
  );
}

/** What went wrong with the last question; nothing where all is well. */
export function TroubleNote({ trouble }: { readonly trouble: string }) {
  if (trouble === "") return null;
  return (
    <p class="note bad" role="alert">
      The server did not answer: {trouble}
    </p>
  );
}

/** Marks what a recording from elsewhere gave, also after it stopped. */
export function RecordedMark({ recorded }: { readonly recorded: boolean }) {
  if (!recorded) return null;
  return (
    <span class="recorded" title="From a recording made elsewhere, not from this machine">
      recorded
    </span>
  );
}
