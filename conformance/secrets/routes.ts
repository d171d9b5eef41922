/** What services write of a target: its first segment, which holds no secret in any request of this suite. */
export function shortRoute(target: string): string {
  const [segment = ""] = target.replace(/^\//, "").split(/[/?;]/);
  return `/${segment}`;
}
