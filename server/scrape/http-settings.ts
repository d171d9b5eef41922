/** The part of a configuration that says how to ask over HTTP: authentication, TLS, headers. */

import { isAbsolute, join } from "node:path";
import type { Fields, YamlFields } from "../rules/yaml-fields.ts";
import type { HttpHeader, HttpSettings, Secret, TlsSettings } from "./scrape-job.ts";

/** Keys of a job or a discovery that this file reads. */
export const HTTP_KEYS = [
  "basic_auth",
  "authorization",
  "bearer_token",
  "bearer_token_file",
  "follow_redirects",
  "enable_http2",
  "tls_config",
  "http_headers",
];

/** Keys whose values are secrets, as Prometheus names them. */
const SECRET_KEYS: ReadonlySet<string> = new Set(["password", "credentials", "bearer_token", "key", "secrets"]);
/** Mappings whose keys are names that a person chose. */
const NAMED: ReadonlySet<string> = new Set(["labels", "params"]);

/** What is shown of a text in a job: secrets, and passwords in addresses, never. */
export function shownOf(keys: readonly string[], text: string): string {
  const key = keys.at(-1) ?? "";
  if (SECRET_KEYS.has(key) && !NAMED.has(keys.at(-2) ?? "")) return "<secret>";
  return text.replace(/^(\w+:\/\/[^/?#@:]*):[^/?#]*@/, "$1:xxxxx@");
}

/** Reads the settings; what is wrong becomes a fault of `yaml`. */
export function readHttpSettings(yaml: YamlFields, fields: Fields, directory: string): HttpSettings {
  const secret = (from: Fields, name: string): Secret | undefined => {
    const file = yaml.text(from, `${name}_file`);
    const text = yaml.text(from, name);
    if (file !== "" && text !== "")
      yaml.fault(from.get(name), `at most one of ${name} & ${name}_file must be configured`);
    if (file !== "") return { file: isAbsolute(file) ? file : join(directory, file) };
    return from.has(name) ? { text } : undefined;
  };
  const basicFields = yaml.fields(
    fields.get("basic_auth"),
    ["username", "username_file", "password", "password_file"],
    "basic_auth",
  );
  const basic = fields.has("basic_auth")
    ? {
        username: secret(basicFields, "username") ?? { text: "" },
        password: secret(basicFields, "password") ?? { text: "" },
      }
    : undefined;
  const authorizationFields = yaml.fields(
    fields.get("authorization"),
    ["type", "credentials", "credentials_file"],
    "authorization",
  );
  const token = secret(fields, "bearer_token");
  const credentials = secret(authorizationFields, "credentials") ?? token;
  const scheme = yaml.text(authorizationFields, "type") || "Bearer";
  if ([basic, token, fields.get("authorization")].filter((each) => each !== undefined).length > 1) {
    yaml.fault(
      fields.get("basic_auth"),
      "at most one of basic_auth, authorization, bearer_token & bearer_token_file must be configured",
    );
  }
  return {
    basic,
    authorization: credentials === undefined ? undefined : { scheme, credentials },
    headers: readHeaders(yaml, fields),
    followRedirects: yaml.text(fields, "follow_redirects").toLowerCase() !== "false",
    tls: readTls(yaml, fields, secret),
  };
}

function readHeaders(yaml: YamlFields, fields: Fields): HttpHeader[] {
  return yaml.entries(fields.get("http_headers"), "http_headers").flatMap(([name, node]) => {
    const header = yaml.fields(node, ["values", "secrets", "files"], "http_headers");
    const texts = [...yaml.items(header.get("values"), "values"), ...yaml.items(header.get("secrets"), "secrets")];
    const files = yaml.items(header.get("files"), "files");
    return [
      ...texts.map((each) => ({ name, value: { text: yaml.textOf(each) } })),
      ...files.map((each) => ({ name, value: { file: yaml.textOf(each) } })),
    ];
  });
}

function readTls(
  yaml: YamlFields,
  fields: Fields,
  secret: (from: Fields, name: string) => Secret | undefined,
): TlsSettings {
  const tls = yaml.fields(
    fields.get("tls_config"),
    [
      "ca",
      "ca_file",
      "cert",
      "cert_file",
      "key",
      "key_file",
      "server_name",
      "insecure_skip_verify",
      "min_version",
      "max_version",
    ],
    "tls_config",
  );
  return {
    ca: secret(tls, "ca"),
    cert: secret(tls, "cert"),
    key: secret(tls, "key"),
    serverName: yaml.text(tls, "server_name"),
    insecureSkipVerify: yaml.text(tls, "insecure_skip_verify").toLowerCase() === "true",
  };
}
