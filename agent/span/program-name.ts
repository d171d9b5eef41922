/**
 * The name of a program from its command line: script, module, jar or app rather than what runs it.
 *
 * Only names and paths of programs are taken; the other words of a command line may hold secrets.
 */

import type { ProcessSeen } from "../../server/model/capture-event.ts";

/** Names that hundreds of programs share; the directory tells more. */
const GENERIC_NAME =
  /^(index|server|main|app|application|start|run|www|web|api|cli|bin|wsgi|asgi|manage|__main__|__init__|program|launcher|jarlauncher|warlauncher|propertieslauncher|bootstrap|startup|boot|loader|launch|serve|entrypoint|default)$/i;

/** Directories that every project has. */
const GENERIC_DIRECTORY =
  /^(src|dist|build|lib|bin|out|output|target|app|apps|server|current|release|releases|code|source|public|www|html|js|ts|esm|cjs|site|root|home|tmp|opt|srv|usr|var|local|share|data|workspace|work|)$/i;

/** Flags of an interpreter whose value is the next word. */
const NODE_VALUE_FLAGS = new Set(
  "-r --require --import --loader --experimental-loader -C --conditions --title --inspect-port --env-file --input-type --icu-data-dir --openssl-config --redirect-warnings --diagnostic-dir".split(
    " ",
  ),
);
const PYTHON_VALUE_FLAGS = new Set(["-W", "-X", "--check-hash-based-pycs"]);
const JAVA_VALUE_FLAGS = new Set(
  "-cp -classpath --class-path -p --module-path --add-modules --add-opens --add-exports --add-reads --upgrade-module-path --source".split(
    " ",
  ),
);
const RUBY_VALUE_FLAGS = new Set(["-I", "-r", "-C", "-E"]);
const NO_FLAGS: ReadonlySet<string> = new Set();

/** Programs that start another one named by their words: `APP:object`, a script, or the project of the directory. */
const PYTHON_LAUNCHERS = new Set(
  "gunicorn uvicorn hypercorn daphne waitress-serve flask celery fastapi uwsgi granian".split(" "),
);
const NODE_LAUNCHERS = new Set(
  "npm npx yarn pnpm ts-node tsx nodemon pm2 next nuxt vite nest serve concurrently cross-env dotenv npm-cli npx-cli react-scripts ts-node-dev".split(
    " ",
  ),
);

/** The name; undefined where the command line says nothing better than the executable. */
export function programName(seen: ProcessSeen): string | undefined {
  const first = seen.cmdline[0] ?? "";
  const executable = stem(seen.exe === "" ? first : seen.exe.replace(/ \(deleted\)$/, ""));
  const titled = titleName(seen, first, executable);
  if (titled !== undefined) return titled;
  const words = seen.cmdline.slice(1);
  const interpreter = executable.toLowerCase().replace(/[\d.]+$/, "");
  switch (interpreter) {
    case "python":
    case "pypy":
      return pythonName(words, seen.cwd);
    case "node":
    case "nodejs":
      return nodeName(words, seen.cwd);
    case "bun":
    case "deno":
      return scriptName(words.slice(words[0] === "run" || words[0] === "serve" ? 1 : 0), NO_FLAGS, seen.cwd);
    case "java":
      return javaName(words, seen.cwd);
    case "ruby":
      return rubyName(words, seen.cwd);
    case "perl":
    case "php":
    case "bash":
    case "sh":
    case "dash":
    case "zsh":
      return words[0] === "-c" ? undefined : scriptName(words, NO_FLAGS, seen.cwd);
    case "dotnet":
      return scriptName(words[0] === "exec" || words[0] === "run" ? words.slice(1) : words, NO_FLAGS, seen.cwd);
    case "busybox":
      return base(first) === "busybox" ? words[0] : base(first);
    default:
      return PYTHON_LAUNCHERS.has(interpreter) ? launchedName(interpreter, words, seen.cwd) : undefined;
  }
}

/** Processes that write their own title: `nginx: worker process`, `gunicorn: master [shop:app]`, a bare `title`. */
function titleName(seen: ProcessSeen, first: string, executable: string): string | undefined {
  const title = /^([A-Za-z][\w.-]*):? /.exec(first);
  if (title !== null && !first.startsWith("/")) {
    const name = title[1] as string;
    const inBrackets = /\[([\w.-]+)(?::\w+)?\]/.exec(first);
    // PostgreSQL's backends write so who has come over a socket with a path.
    if (inBrackets !== null && inBrackets[1] !== "local") return appName(inBrackets[1] as string, seen.cwd);
    if (name === "npm" || name === "npx" || name === "yarn") return directoryName(seen.cwd);
    return name;
  }
  // Node's process.title overwrites the command line by one word that is no path and not the interpreter.
  const alone = seen.cmdline.length === 1 && first !== "" && !first.includes("/");
  return alone && executable === "node" && !/^node(js)?$/.test(first) ? first : undefined;
}

function pythonName(words: readonly string[], cwd: string): string | undefined {
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    const flags = /^-[A-Za-z]+$/.test(word) ? word : "";
    if (flags.endsWith("m")) return moduleName(words[at + 1], words.slice(at + 2), cwd);
    if (flags.endsWith("c") || word === "-") return undefined;
    if (PYTHON_VALUE_FLAGS.has(word)) at += 1;
    else if (!word.startsWith("-")) {
      const launcher = base(word);
      if (PYTHON_LAUNCHERS.has(launcher)) return launchedName(launcher, words.slice(at + 1), cwd);
      return scriptPathName(word, cwd);
    }
  }
  return undefined;
}

function moduleName(module: string | undefined, words: readonly string[], cwd: string): string | undefined {
  if (module === undefined) return undefined;
  if (PYTHON_LAUNCHERS.has(module)) return launchedName(module, words, cwd);
  return module.replace(/\.__main__$/, "");
}

/** What a launcher launches: the module of `module:object`, `--app`, `-A`, or the directory it runs in. */
function launchedName(launcher: string, words: readonly string[], cwd: string): string | undefined {
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    const named = /^(?:--app|-A|--module|-w)(?:=(.+))?$/.exec(word);
    if (named !== null) return appName((named[1] ?? words[at + 1] ?? "").split(":")[0] as string, cwd);
    if (/^[A-Za-z_][\w.]*:[A-Za-z_]\w*(\(.*\))?$/.test(word)) return appName(word.split(":")[0] as string, cwd);
  }
  if (launcher === "gunicorn") {
    const last = words.at(-1);
    if (last !== undefined && /^[A-Za-z_][\w.]*$/.test(last)) return appName(last, cwd);
  }
  return directoryName(cwd) ?? launcher;
}

/** Name of a dotted module or path of an app: its last part that says something, else the directory. */
function appName(path: string, cwd: string): string | undefined {
  const parts = path
    .replace(/\.py$/, "")
    .split(/[./]/)
    .filter((part) => part !== "");
  for (const part of parts.reverse()) if (!GENERIC_NAME.test(part) && !GENERIC_DIRECTORY.test(part)) return part;
  return directoryName(cwd) ?? parts[0];
}

function nodeName(words: readonly string[], cwd: string): string | undefined {
  const at = firstPlain(words, NODE_VALUE_FLAGS);
  if (at === undefined || words.slice(0, at).some((word) => /^(-[ep]+|--eval|--print)$/.test(word))) return undefined;
  const script = words[at] as string;
  const name = stem(script);
  const isTool = /(^|\/)node_modules\//.test(script) || NODE_LAUNCHERS.has(name);
  if (!isTool) return scriptPathName(script, cwd);
  const rest = words.slice(at + 1);
  const launched = rest.find((word) => /\.[cm]?[jt]sx?$/.test(word));
  if (launched !== undefined) return scriptPathName(launched, cwd);
  return NODE_LAUNCHERS.has(name) ? (directoryName(cwd) ?? name) : scriptPathName(script, cwd);
}

function javaName(words: readonly string[], cwd: string): string | undefined {
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    if (word === "-jar") return jarName(words[at + 1], cwd);
    if (word === "-m" || word === "--module") return className((words[at + 1] ?? "").split("/").pop() ?? "", cwd);
    if (JAVA_VALUE_FLAGS.has(word)) at += 1;
    else if (!word.startsWith("-") && !word.startsWith("@")) {
      return word.endsWith(".java") ? scriptPathName(word, cwd) : className(word, cwd);
    }
  }
  return undefined;
}

function jarName(jar: string | undefined, cwd: string): string | undefined {
  if (jar === undefined) return undefined;
  const name = stem(jar).replace(/[-_.]v?\d+(\.\d+)*([-.](snapshot|release|final|ga|all|fat|exec|rc\d*|m\d+))*$/i, "");
  return GENERIC_NAME.test(name) ? (directoryOf(jar, cwd) ?? name) : name;
}

function className(name: string, cwd: string): string | undefined {
  if (name === "") return undefined;
  return name.startsWith("org.springframework.boot.loader") ? directoryName(cwd) : appName(name, cwd);
}

function rubyName(words: readonly string[], cwd: string): string | undefined {
  const at = firstPlain(words, RUBY_VALUE_FLAGS);
  if (at === undefined || words.slice(0, at).includes("-e")) return undefined;
  const name = base(words[at] as string);
  if (/^(puma|rails|rackup|unicorn|bundle|rake|sidekiq|thin|passenger)$/.test(name)) return directoryName(cwd) ?? name;
  return scriptPathName(words[at] as string, cwd);
}

function scriptName(words: readonly string[], valueFlags: ReadonlySet<string>, cwd: string): string | undefined {
  const at = firstPlain(words, valueFlags);
  return at === undefined ? undefined : scriptPathName(words[at] as string, cwd);
}

function firstPlain(words: readonly string[], valueFlags: ReadonlySet<string>): number | undefined {
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string;
    if (valueFlags.has(word)) at += 1;
    else if (!word.startsWith("-")) return at;
  }
  return undefined;
}

function scriptPathName(path: string, cwd: string): string | undefined {
  const name = stem(path);
  if (name === "" || !/^[\w@.+-]+$/.test(name)) return undefined;
  return GENERIC_NAME.test(name) ? (directoryOf(path, cwd) ?? name) : name;
}

/** Nearest directory above `path` with a name of its own. */
function directoryOf(path: string, cwd: string): string | undefined {
  const whole = path.startsWith("/") ? path : `${cwd}/${path}`;
  return directoryName(whole.slice(0, Math.max(0, whole.lastIndexOf("/"))));
}

function directoryName(directory: string): string | undefined {
  const parts: string[] = [];
  for (const part of directory.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  for (const part of parts.reverse()) {
    if (!GENERIC_DIRECTORY.test(part) && !/^v?\d[\d.]*$/.test(part)) return part;
  }
  return undefined;
}

function base(path: string): string {
  return path.split("/").pop() ?? "";
}

/** Last part of a path without the extension of a program. */
function stem(path: string): string {
  return base(path).replace(/\.(py[cow]?|[cm]?[jt]sx?|jar|war|rb|pl|php|sh|bash|dll|exe|java)$/i, "");
}
