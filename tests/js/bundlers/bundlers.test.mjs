/**
 * Apps as their authors would write them, with the packed tarball and each bundler as it comes:
 * none is configured for this package. They are in target/bundlers, beside what they are built
 * with.
 */

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { preview } from "vite";
import { browsers, missing } from "../support/browsers.mjs";
import { launch, run } from "../support/child.mjs";
import { TINY } from "../support/models.mjs";
import { root } from "../support/server.mjs";
import { pack, tools, unpack } from "../support/tarball.mjs";

const apps = join(tools, "apps");
const installed = join(apps, "node_modules/gossamer-embed");
const templates = `${root}tests/js/bundlers`;
const require = createRequire(join(tools, "package.json"));
/** A bundler's API, as installed for these tests. */
const api = (name) => import(pathToFileURL(require.resolve(name)));

let expected;
before(async () => {
  const embedder = await load(root + TINY);
  expected = [...(await embedder.encode(["a cat", "the dog sat"])).data];
  embedder.dispose();
  await rm(apps, { recursive: true, force: true });
  await mkdir(installed, { recursive: true });
  await unpack(await pack(apps), installed);
});

/** A copy of a template, as an app of its own with a model in `model`. */
async function scaffold(name, template, model = "model") {
  const app = join(apps, name);
  await cp(join(templates, template), app, { recursive: true });
  await writeFile(join(app, "package.json"), JSON.stringify({ name: "app", private: true }));
  await cp(root + TINY, join(app, model), { recursive: true });
  return app;
}

/** Serves a folder as any static server does. */
async function serve(outDir) {
  const options = { appType: "mpa", logLevel: "warn", configFile: false, build: { outDir } };
  const server = await preview({ root: apps, ...options, preview: { host: "127.0.0.1", port: 0 } });
  return { address: server.resolvedUrls.local[0], close: () => server.close() };
}

/** A new tab's page: each of its answers is right. */
async function checkPage(page, address, answers) {
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  await page.goto(address);
  const found = page.waitForFunction(() => "outcome" in globalThis, undefined, { timeout: 20_000 });
  await found.catch((error) => assert.fail(`${error}: ${problems.join("\n")}`));
  const outcome = await page.evaluate(() => globalThis.outcome);
  assert.deepEqual(outcome, Array(answers).fill(expected), problems.join("\n"));
}

/** The wasm files that a page or a browser asks for. */
function downloads(asker) {
  const files = [];
  asker.on("request", (request) => request.url().includes(".wasm") && files.push(request.url()));
  return files;
}

/** The common builds of the wasm, which suffice for these apps' model. */
const common = Promise.all(
  ["relaxed", "simd128"].map((name) => readFile(`${root}pkg/dist/wasm/common-${name}.wasm`)),
);

/** A page answers right, and downloads one wasm file, once. */
async function check(address, { answers = 2, files = 1 } = {}) {
  const { page, close } = await browsers.Chromium.open("about:blank");
  const wasm = downloads(page.context());
  try {
    await checkPage(page, address, answers);
    assert.lengthOf(wasm, files, wasm.join(" "));
    // Bundlers give files other names.
    for (const url of wasm) {
      const bytes = Buffer.from(await (await fetch(url)).arrayBuffer());
      assert.isTrue(
        (await common).some((build) => build.equals(bytes)),
        `${url} is no common build`,
      );
    }
  } finally {
    await close();
  }
}

/** A folder as a static server has it: its page answers right. */
async function checkServed(folder, expectations) {
  const server = await serve(folder);
  try {
    await check(server.address, expectations);
  } finally {
    await server.close();
  }
}

const CLASSIC = '<script defer src="./main.js"></script>';
const MODULE = '<script type="module" src="./main.js"></script>';

/** What is built in `dist`; `script` is for those that build no page. */
async function checkBuilt(app, script, expectations) {
  const dist = join(app, "dist");
  if (script) await writeFile(join(dist, "index.html"), `<!doctype html><meta charset="utf-8" />${script}`);
  await cp(join(app, "model"), join(dist, "model"), { recursive: true });
  await checkServed(dist, expectations);
}

/** The module that an app imports, changed in one of its files. */
async function importFrom(file, specifier) {
  const text = await readFile(file, "utf8");
  assert.include(text, '"gossamer-embed"');
  await writeFile(file, text.replace('"gossamer-embed"', JSON.stringify(specifier)));
}

/** An app for bundlers that leave the package's files where they are. */
async function inlined(name) {
  const app = await scaffold(name, "inline");
  const outcome = join(app, "src/outcome.js");
  await cp(join(templates, "page/src/outcome.js"), outcome);
  await importFrom(outcome, "gossamer-embed/inline");
  return app;
}

/**
 * webpack, or Rspack, without a configuration; what it makes goes where it would go if started in
 * the app's folder.
 */
async function compile(name, context) {
  const { rspack, default: webpack } = await api(name);
  const output = { path: join(context, "dist") };
  const compiler = (rspack ?? webpack)({ context, mode: "production", output });
  const stats = await promisify(compiler.run.bind(compiler))();
  await promisify(compiler.close.bind(compiler))();
  assert.isFalse(stats.hasErrors(), stats.toString());
}

describe("an app made with", { skip: missing(browsers.Chromium) }, () => {
  test("Vite's development server", async () => {
    const root = await scaffold("vite-dev", "page", "public/model");
    const { createServer } = await api("vite");
    const server = await createServer({ root, logLevel: "warn", server: { host: "127.0.0.1", port: 0 } });
    await server.listen();
    try {
      await check(server.resolvedUrls.local[0]);
    } finally {
      await server.close();
    }
  });

  test("Vite", async () => {
    const { build } = await api("vite");
    const root = await scaffold("vite", "page");
    await build({ root, logLevel: "warn" });
    await checkBuilt(root);
  });

  test("Vite, with the entry lean", async () => {
    const { build } = await api("vite");
    const root = await scaffold("vite-lean", "page");
    await importFrom(join(root, "src/outcome.js"), "gossamer-embed/lean");
    await build({ root, logLevel: "warn" });
    await checkBuilt(root);
  });

  for (const name of ["webpack", "@rspack/core"]) {
    test(name, async () => {
      const app = await scaffold(name.replace("/", "-"), "page");
      await compile(name, app);
      await checkBuilt(app, CLASSIC);
    });

    test(`${name}, in a service worker`, async () => {
      const app = await scaffold(`${name.replace("/", "-")}-service-worker`, "service-worker");
      await compile(name, app);
      await checkBuilt(app, CLASSIC, { answers: 1 });
    });
  }

  test("Parcel", async () => {
    const app = await scaffold("parcel", "page");
    const parcel = require.resolve("parcel/lib/bin.js");
    await run(process.execPath, [parcel, "build", "index.html", "--no-cache"], { cwd: app });
    await checkBuilt(app);
  });

  test("esbuild", async () => {
    const app = await inlined("esbuild");
    const { build } = await api("esbuild");
    const entryPoints = { main: join(app, "src/index.js"), worker: join(installed, "dist/worker.js") };
    await build({ entryPoints, bundle: true, format: "esm", outdir: join(app, "dist") });
    await checkBuilt(app, MODULE, { files: 0 });
  });

  test("Rollup", async () => {
    const app = await inlined("rollup");
    const { rollup } = await api("rollup");
    const { nodeResolve } = await api("@rollup/plugin-node-resolve");
    const input = { main: join(app, "src/index.js"), worker: join(installed, "dist/worker.js") };
    const bundle = await rollup({ input, plugins: [nodeResolve()] });
    await bundle.write({ dir: join(app, "dist") });
    await bundle.close();
    await checkBuilt(app, MODULE, { files: 0 });
  });

  test("Next.js: a client component, and a route handler", async () => {
    const app = await scaffold("next", "next", "public/model");
    await cp(join(templates, "page/src/outcome.js"), join(app, "app/outcome.js"));
    const next = require.resolve("next/dist/bin/next");
    const env = { ...process.env, NODE_ENV: "production", NEXT_TELEMETRY_DISABLED: "1" };
    const options = { cwd: app, env };
    await run(process.execPath, [next, "build"], options);
    const server = launch(process.execPath, [next, "start", "-p", "0", "-H", "127.0.0.1"], options);
    try {
      const [address] = await server.printed(/http:\/\/127\.0\.0\.1:\d+/);
      await check(address);
      const request = { method: "POST", body: JSON.stringify({ input: ["a cat", "the dog sat"] }) };
      const answer = await (await fetch(`${address}/api/embed`, request)).json();
      assert.deepEqual(
        answer.data?.flatMap(({ embedding }) => embedding),
        expected,
        JSON.stringify(answer),
      );
    } finally {
      await server.stop();
    }
  });

  test("no bundler: the package's files as they are", async () => {
    const app = await scaffold("static", "page");
    await cp(installed, join(app, "gossamer-embed"), { recursive: true });
    const imports = { "gossamer-embed": "./gossamer-embed/dist/web.js" };
    const map = `<script type="importmap">${JSON.stringify({ imports })}</script>`;
    const page = await readFile(join(app, "index.html"), "utf8");
    await writeFile(join(app, "index.html"), page.replace("<script", `${map}\n<script`));
    await checkServed(app);
  });

  test("no bundler, in a service worker", async () => {
    const app = await scaffold("static-service-worker", "service-worker", "src/model");
    await cp(installed, join(app, "src/gossamer-embed"), { recursive: true });
    await importFrom(join(app, "src/sw.js"), "./gossamer-embed/dist/web.js");
    await writeFile(join(app, "src/index.html"), '<script type="module" src="./index.js"></script>');
    await checkServed(join(app, "src"), { answers: 1 });
  });

  test("Chrome's extensions: a page, and the service worker", async () => {
    const app = await scaffold("extension", "extension");
    await cp(installed, join(app, "gossamer-embed"), { recursive: true });
    const profile = await mkdtemp(join(tmpdir(), "gossamer-"));
    const context = await browsers.Chromium.openWithExtension(profile, app);
    try {
      const all = downloads(context);
      const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent("serviceworker"));
      assert.deepEqual(await worker.evaluate(() => globalThis.outcome), [expected]);
      const page = await context.newPage();
      // The worker may have asked for its own before anybody listened.
      const wasm = downloads(page);
      await checkPage(page, new URL("page.html", worker.url()).href, 2);
      assert.lengthOf(wasm, 1, wasm.join(" "));
      assert.isAtMost(all.length, 2, all.join(" "));
    } finally {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    }
  });
});
