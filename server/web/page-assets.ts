/** The page's files in memory, ready to be served. */

/** One file of the page. */
export interface PageAsset {
  readonly type: string;
  readonly body: Uint8Array;
}

const TYPES: Readonly<Record<string, string>> = {
  "app.css": "text/css; charset=utf-8",
  "app.js": "text/javascript; charset=utf-8",
  "icon.svg": "image/svg+xml",
  "index.html": "text/html; charset=utf-8",
};

/**
 * Paths such as `/` and `/assets/app.js` with their files.
 *
 * @param read Gives the bytes of a file of `assets/` by name: from disk, or from a bundle.
 */
export function pageAssets(read: (name: string) => Uint8Array): Map<string, PageAsset> {
  const assets = new Map<string, PageAsset>();
  for (const [name, type] of Object.entries(TYPES)) {
    assets.set(name === "index.html" ? "/" : `/assets/${name}`, { type, body: read(name) });
  }
  return assets;
}
