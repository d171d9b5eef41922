/** Settings of HTTP as requests need them: secrets read from their files, headers made. */

import { type HttpTls, readSecretFile } from "../platform/http-get.ts";
import type { HttpSettings, Secret, TlsSettings } from "./scrape-job.ts";

/** Headers that authenticate, and those the configuration adds. @throws Error that names a file that cannot be read. */
export async function requestHeaders(settings: HttpSettings): Promise<Record<string, string | string[]>> {
  const headers: Record<string, string | string[]> = { "user-agent": "Thalweg" };
  for (const { name, value } of settings.headers) {
    const key = name.toLowerCase();
    const text = await secretText(value);
    const before = headers[key];
    headers[key] = before === undefined || key === "user-agent" ? text : [before, text].flat();
  }
  if (settings.basic !== undefined) {
    const user = await secretText(settings.basic.username);
    const password = await secretText(settings.basic.password);
    headers["authorization"] = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  } else if (settings.authorization !== undefined) {
    const { scheme, credentials } = settings.authorization;
    headers["authorization"] = `${scheme} ${await secretText(credentials)}`;
  }
  return headers;
}

/** TLS settings with their files read. @throws Error that names a file that cannot be read. */
export async function httpTls({ ca, cert, key, serverName, insecureSkipVerify }: TlsSettings): Promise<HttpTls> {
  const text = (secret: Secret | undefined) => (secret === undefined ? undefined : secretText(secret));
  return { ca: await text(ca), cert: await text(cert), key: await text(key), serverName, insecureSkipVerify };
}

async function secretText(secret: Secret): Promise<string> {
  return "text" in secret ? secret.text : readSecretFile(secret.file);
}
