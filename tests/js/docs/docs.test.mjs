/**
 * What the documentation shows does what it says: every fenced block is run, against a Hub on
 * loopback.
 */

import { chmod, cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { browsers, missing } from "../support/browsers.mjs";
import { listen, run } from "../support/child.mjs";
import { materialise } from "../support/fixtures.mjs";
import { runtimes } from "../support/runtimes.mjs";
import { root, serve } from "../support/server.mjs";
import { brokenLinks, pages, snippets } from "../support/snippets.mjs";

const TARGET = process.env.GOSSAMER_TARGET ?? `${root}target`;
const FIXTURES = `${root}tests/fixtures`;
const MINILM = `${FIXTURES}/tiny-bert`;

/** Under the repository, so that what is installed there is found. */
let scratch;
let server;
let browser;
let page;
before(async () => {
  scratch = await mkdtemp(join(root, "tests/js/snippets-"));
  await cp(MINILM, join(scratch, "models/all-MiniLM-L6-v2"), { recursive: true });
  await materialise(`${FIXTURES}/tiny-inference-free`, join(scratch, "splade"));
  await materialise(`${FIXTURES}/tiny-m3`, join(scratch, "bge-m3"));
  await standIns(join(scratch, "bin"));
  server = await serve();
});
after(async () => {
  await browser?.close();
  await server?.close();
  await rm(scratch, { recursive: true, force: true });
});

/** What a process sees of the world: the Hub is ours, and nothing is kept for the next one. */
const environment = (id) => ({
  ...process.env,
  HF_ENDPOINT: `${server.origin}/hub`,
  HF_HUB_CACHE: join(scratch, "cache", id),
});

/** What every block in JavaScript may use in its `before` and `after`. */
const prelude = (id) => `
import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { readdir } from "node:fs/promises";
import * as self from "./${id}.mjs";
const folder = ${JSON.stringify(MINILM)};
const MINILM = (await readdir(folder, { recursive: true })).filter((name) => /\\.\\w+$/.test(name));
const file = (name) => openAsBlob(folder + "/" + name);
`;

/** JavaScript in Node, or in a newer one if the block takes it. */
async function inNode({ code, before, after, node }, id) {
  await writeFile(join(scratch, `${id}.mjs`), [prelude(id), before, code, after].join("\n"));
  const [command] = node ? newerNode(node) : [process.execPath];
  await run(command, [`${id}.mjs`], { cwd: scratch, env: environment(id), timeout: 60_000 });
}

/** This Node, or an installed one, of that version or a newer one. */
function newerNode(version) {
  if (Number.parseInt(process.versions.node, 10) >= Number(version)) return [process.execPath];
  const found = Object.entries(runtimes).find(
    ([name]) => Number(/^Node (\d+)/.exec(name)?.[1]) >= Number(version),
  );
  assert.isDefined(found?.[1], `no Node ${version} is installed`);
  return found[1];
}

/** JavaScript in a page, whose own folder of models, and the Hub, are ours. */
async function inBrowser({ code, before, after }) {
  browser ??= await open();
  // What one has started is not there for the next.
  await page.goto(`${server.origin}/tests/js/support/page.html`);
  const file = (_, entry = "web") => `from "${server.origin}/pkg/dist/${entry}.js"`;
  const script = [before, code, after]
    .join("\n")
    .replaceAll(/from "gossamer-embed(?:\/(inline|lean))?"/g, file);
  const problem = await page.evaluate(async (script) => {
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    return import(url).then(
      () => undefined,
      (error) => String(error?.stack ?? error),
    );
  }, script);
  if (problem) throw new Error(problem);
}

/** A whole page, on a host of its own; the CDN has the package as it was built. */
async function asPage({ code, after }, id) {
  browser ??= await open();
  const address = `https://${id.toLowerCase()}.example/`;
  const fulfil = (route) => route.fulfill({ body: code, contentType: "text/html" });
  await page.context().route(address, fulfil);
  const complaints = [];
  const listen = (message) =>
    /Content.Security.Policy/i.test(message.text()) && complaints.push(message.text());
  page.on("console", listen);
  try {
    await page.goto(address);
    await page.evaluate(`(async () => { ${after} })()`);
    assert.deepEqual(complaints, []);
  } finally {
    page.off("console", listen);
    await page.context().unroute(address);
  }
}

/** A part of an example's file; the example has a test of its own. */
async function inExample({ code, example }) {
  assert.include(await readFile(join(root, example), "utf8"), code, `not in ${example}`);
}

async function open() {
  const opened = await browsers.Chromium.open("about:blank");
  page = opened.page;
  // A kept connection may be closed by the server just as it is used again: only that is retried.
  const pass = async (route, address) =>
    route.fulfill({ response: await route.fetch({ url: address, maxRetries: 3 }) });
  await page
    .context()
    .route("https://huggingface.co/**", (route, request) =>
      pass(route, request.url().replace("https://huggingface.co", `${server.origin}/hub`)),
    );
  const dist =
    /^https:\/\/(cdn\.jsdelivr\.net\/npm\/gossamer-embed@[\d.]+|[\w-]+\.example\/gossamer-embed)\/dist\//;
  await page.context().route(dist, async (route, request) => {
    const url = request.url().replace(dist, `${server.origin}/pkg/dist/`);
    const response = await route.fetch({ url, maxRetries: 3 });
    const headers = { ...response.headers(), "access-control-allow-origin": "*" };
    return route.fulfill({ response, headers });
  });
  return opened;
}

/**
 * Commands: those of this repository are its own builds, and `cargo xtask` is asked whether it has
 * the command and its options. The others reach beyond the machine.
 */
const STAND_INS = {
  cargo: `
    [ "$1" = xtask ] && [ -n "$2" ] || exit 0
    help=$("$XTASK" "$2" --help) || exit 1
    for option in "$@"; do case "$option" in --*) grep -q -- "$option" <<< "$help" || exit 1; esac; done`,
  curl: `
    case "$*" in *localhost*) exec "$CURL" --fail-with-body "$@"; esac`,
  // A server answers what comes next in the block, and ends with it.
  gossamer: `
    [ "$1" = serve ] || exec "$TARGET/debug/gossamer" "$@"
    "$TARGET/debug/gossamer" "$@" > served.log 2>&1 &
    echo $! >> servers
    until grep -q "^listening" served.log; do kill -0 $! || { cat served.log; exit 1; }; sleep 0.1; done`,
  hf: `
    [ "$1" = download ] && cp -r "$SCRATCH/splade/." "\${@: -1}"`,
  npm: `
    [ "$1" != run ] || grep -q "\\"$2\\":" "$HERE/package.json"`,
  // The package's own command is run as it was built.
  npx: `
    [ "$1" = gossamer-embed ] || exit 0
    shift
    exec "$NODE" "$CLI" "$@"`,
  // What it runs takes torch.
  python: `
    [ -f "$HERE/$1" ]`,
};

async function standIns(folder) {
  await mkdir(folder);
  for (const [name, script] of Object.entries(STAND_INS)) {
    const log = `echo "${name} $*" >> "$SCRATCH/commands"`;
    await writeFile(join(folder, name), `#!/usr/bin/env bash\n${log}\n${script}\n`);
    await chmod(join(folder, name), 0o755);
  }
}

/** Commands, in a folder of their own, which for an example's has its files. */
async function inShell({ code }, id, page, context) {
  const folder = join(scratch, id);
  await mkdir(folder);
  if (page.startsWith("examples/")) {
    const filter = (path) => !path.endsWith("node_modules");
    await cp(join(root, page, ".."), folder, { recursive: true, filter });
  }
  await cp(`${FIXTURES}/tiny-splade`, join(folder, "path/to/a-splade-model"), { recursive: true });
  const port = await freePort();
  const { stdout: curl } = await run("which", ["curl"]);
  const env = {
    ...environment(id),
    PATH: `${join(scratch, "bin")}:${process.env.PATH}`,
    SCRATCH: scratch,
    TARGET,
    NODE: process.execPath,
    CLI: join(root, "pkg/dist/cli.js"),
    XTASK: join(TARGET, "debug/xtask"),
    CURL: curl.trim(),
    HERE: page.startsWith("examples/") ? join(root, page, "..") : root,
    KEY: "a-key",
    ACCOUNT: "account",
  };
  await writeFile(join(scratch, "commands"), "");
  await writeFile(join(folder, "script.sh"), code.replaceAll("8080", port));
  const script =
    "set -eu; trap 'xargs --no-run-if-empty kill < servers' EXIT; touch servers; source ./script.sh";
  await run("bash", ["-c", script], { cwd: folder, env, timeout: 60_000 });
  const commands = (await readFile(join(scratch, "commands"), "utf8")).trim().split("\n");
  for (const command of commands.filter(
    (command) => !/^gossamer |^npx gossamer-embed |localhost/.test(command),
  ))
    context.diagnostic(`stand-in: ${command}`);
}

async function freePort() {
  const probe = createServer();
  const port = await listen(probe);
  await new Promise((done) => probe.close(done));
  return port;
}

/**
 * Python: what its packages are for takes torch, which fixtures are made with; here only that it is
 * Python.
 */
async function inPython({ code }, id) {
  await writeFile(join(scratch, `${id}.py`), code);
  await run("python3", ["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", `${id}.py`], {
    cwd: scratch,
  });
}

/** Rust is compiled and run by `cargo test`. */
async function inRust(_, __, page) {
  const crate = await readFile(`${root}src/lib.rs`, "utf8");
  assert.include(crate, `include_str!("../${page}")`);
}

const RUNNERS = { html: asPage, jsx: inExample, python: inPython, rust: inRust, sh: inShell, ts: inNode };

test("docs/errors.md has every code of an error", async () => {
  const documented = await readFile(`${root}docs/errors.md`, "utf8");
  const declared = (await readFile(`${root}pkg/src/errors.ts`, "utf8"))
    .split("export type ErrorCode =")[1]
    .split(";")[0];
  const native = await readFile(`${root}src/error.rs`, "utf8");
  const codes = [...declared.matchAll(/"(\w+)"/g), ...native.matchAll(/=> (?:\{\s*)?"(\w+)"/g)].map(
    ([, code]) => code,
  );
  assert.isAbove(codes.length, 50);
  assert.deepEqual(
    codes.filter((code) => !documented.includes(`\`${code}\``)),
    [],
  );
});

for (const path of pages) {
  describe(path, () => {
    test("its links lead somewhere", () => assert.deepEqual(brokenLinks(path), []));

    for (const snippet of snippets(path)) {
      const { line, language } = snippet;
      const id = `${path}-${line}`.replaceAll(/\W/g, "-");
      const runner = snippet.browser ? inBrowser : RUNNERS[language];
      const skip = (snippet.browser || language === "html") && missing(browsers.Chromium);
      test(`line ${line}: ${language}`, { skip }, async (context) => {
        assert.isDefined(runner, `nothing runs ${language || "a block without a language"}`);
        await runner(snippet, id, path, context);
      });
    }
  });
}
