/**
 * The examples for web apps and Node as a reader starts them, with the packed tarball, on the
 * tests' Hub. Those for edge workers and the service worker have tests in tests/js/package and
 * tests/js/browsers.
 */

import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { assert } from "chai";
import { load, topK } from "gossamer-embed";
import { preview } from "vite";
import { browsers, missing } from "../support/browsers.mjs";
import { launch, run } from "../support/child.mjs";
import { TINY } from "../support/models.mjs";
import { root, serve } from "../support/server.mjs";
import { pack, tools, unpack } from "../support/tarball.mjs";

const TESTED_HERE = ["extension", "html", "next-search", "node-cli", "vite-react-search"];
const TESTED_ELSEWHERE = [
  "cloudflare-indexer",
  "cloudflare-sparse-query",
  "cloudflare-static",
  "cloudflare-worker",
  "service-worker",
];
const HUB = "https://huggingface.co";

const apps = join(tools, "examples");
const installed = join(apps, "node_modules/gossamer-embed");
const require = createRequire(join(tools, "package.json"));

let server;
let embedder;
before(async () => {
  await rm(apps, { recursive: true, force: true });
  await mkdir(installed, { recursive: true });
  await unpack(await pack(apps), installed);
  server = await serve({ headers: { "access-control-allow-origin": "*" } });
  embedder = await load(root + TINY);
});
after(async () => {
  embedder?.dispose();
  await server?.close();
});

/** A copy of an example, beside the installed package. */
async function copy(name) {
  const app = join(apps, name);
  const own = (path) => !/node_modules|\.next|dist$/.test(path.slice(root.length));
  await cp(`${root}examples/${name}`, app, { recursive: true, filter: own });
  return app;
}

/**
 * What an example shows for a query: the tests' Hub has the tiny model under the real one's name.
 */
async function expected(query, passages, k = 3) {
  const [vector, index] = [await embedder.encode(query, { task: "query" }), await embedder.encode(passages)];
  return topK(vector, index, k).map(({ index, score }) => `${score.toFixed(2)} ${passages[index]}`);
}

/** Texts of the list, once it shows what is expected. */
async function shown(page, rows) {
  const texts = () => [...document.querySelectorAll("ol li")].map((row) => row.textContent.trim());
  const read = () => page.evaluate(`(${texts})()`);
  for (let tries = 0; tries < 200; tries++) {
    if (JSON.stringify(await read()) === JSON.stringify(rows)) return;
    await page.waitForTimeout(100);
  }
  assert.deepEqual(await read(), rows);
}

/** A page of Chromium, for which the Hub and the CDN are on this machine. */
async function open() {
  const opened = await browsers.Chromium.open("about:blank");
  const context = opened.page.context();
  const pass = async (route, url) => {
    const response = await route.fetch({ url, maxRetries: 3 });
    return route.fulfill({
      response,
      headers: { ...response.headers(), "access-control-allow-origin": "*" },
    });
  };
  await context.route(`${HUB}/**`, (route, request) =>
    pass(route, request.url().replace(HUB, `${server.origin}/hub`)),
  );
  const { version } = JSON.parse(await readFile(`${root}pkg/package.json`, "utf8"));
  const cdn = `https://cdn.jsdelivr.net/npm/gossamer-embed@${version}`;
  await context.route(`${cdn}/**`, (route, request) =>
    pass(route, request.url().replace(cdn, `${server.origin}/pkg`)),
  );
  const problems = [];
  opened.page.on("pageerror", (error) => problems.push(String(error)));
  return { ...opened, problems };
}

const environment = async () => ({
  ...process.env,
  HF_ENDPOINT: `${server.origin}/hub`,
  HF_HUB_CACHE: await mkdtemp(join(apps, "cache-")),
  NEXT_TELEMETRY_DISABLED: "1",
});

test("each example has a test", async () => {
  const entries = await readdir(`${root}examples`, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  assert.deepEqual(names.sort(), [...TESTED_HERE, ...TESTED_ELSEWHERE].sort());
});

test("examples/node-cli finds lines of a file", async () => {
  const app = await copy("node-cli");
  const lines = ["Ships sail at night", "A loaf of rye bread", "The harbour is lit after dark"];
  await writeFile(join(app, "notes.txt"), `${lines.join("\n\n")}\n`);
  const options = { cwd: app, env: await environment() };
  const args = ["find-lines.js", "notes.txt", "boats in", "the evening"];
  const { stdout, stderr } = await run(process.execPath, args, options);
  assert.deepEqual(stdout.trim().split("\n"), await expected("boats in the evening", lines));
  assert.include(stderr, "100 %");
  const usage = await run(process.execPath, ["find-lines.js"], options).catch((error) => error);
  assert.match(String(usage.stderr ?? usage), /usage: find-lines/);
});

describe("in Chromium", { skip: missing(browsers.Chromium) }, () => {
  test("examples/html is one file that imports from a CDN", async () => {
    const app = await copy("html");
    const site = await preview({
      root: apps,
      logLevel: "warn",
      configFile: false,
      build: { outDir: app },
      preview: { host: "127.0.0.1", port: 0 },
    });
    const { page, problems, close } = await open();
    try {
      await page.goto(site.resolvedUrls.local[0]);
      await page.waitForSelector("button:enabled");
      await page.click("button");
      const passages = ["Ships sail at night", "A loaf of rye bread", "The harbour is lit after dark"];
      await shown(page, await expected("boats in the evening", passages));
      assert.deepEqual(problems, []);
    } finally {
      await close();
      await site.close();
    }
  });

  test("examples/vite-react-search answers while one types", async () => {
    const app = await copy("vite-react-search");
    const { build } = await import(pathToFileURL(require.resolve("vite")));
    await build({ root: app, logLevel: "warn" });
    const options = { host: "127.0.0.1", port: 0 };
    const site = await preview({ root: app, logLevel: "warn", configFile: false, preview: options });
    const { page, problems, close } = await open();
    try {
      const { passages } = await import(pathToFileURL(join(app, "src/passages.js")));
      await page.goto(site.resolvedUrls.local[0]);
      await shown(page, await expected("boats in the evening", passages));
      await page.fill("input", "bread");
      await shown(page, await expected("bread", passages));
      await page.fill("input", "");
      await shown(page, []);
      assert.deepEqual(problems, []);
    } finally {
      await close();
      await site.close();
    }
  });

  test("examples/next-search answers in the browser, and on the server", async () => {
    const app = await copy("next-search");
    const next = require.resolve("next/dist/bin/next");
    const options = { cwd: app, env: { ...(await environment()), NODE_ENV: "production" } };
    await run(process.execPath, [next, "build"], options);
    const site = launch(process.execPath, [next, "start", "-p", "0", "-H", "127.0.0.1"], options);
    const { page, problems, close } = await open();
    try {
      const [address] = await site.printed(/http:\/\/127\.0\.0\.1:\d+/);
      await page.goto(address);
      await page.waitForSelector("button:enabled");
      await page.click("button");
      const passages = ["Ships sail at night", "A loaf of rye bread", "The harbour is lit after dark"];
      await shown(page, await expected("boats in the evening", passages));
      assert.deepEqual(problems, []);

      const ask = (input) =>
        fetch(`${address}/api/embeddings`, { method: "POST", body: JSON.stringify({ input }) });
      const { data } = await (await ask(passages)).json();
      const { data: values } = await embedder.encode(passages);
      assert.deepEqual(Float32Array.from(data.flatMap(({ embedding }) => embedding)), values);
      assert.equal((await ask([])).status, 400);
    } finally {
      await close();
      await site.stop();
    }
  });

  test("examples/extension finds bookmarks", async () => {
    const app = await realpath(await copy("extension"));
    await cp(installed, join(app, "node_modules/gossamer-embed"), { recursive: true });
    await run("npm", ["run", "build"], { cwd: app });
    await cp(root + TINY, join(app, "model"), { recursive: true });
    const profile = await mkdtemp(join(tmpdir(), "gossamer-"));
    const context = await browsers.Chromium.openWithExtension(profile, app);
    try {
      // Chrome makes the id of an unpacked extension of its path.
      const hash = createHash("sha256").update(app).digest("hex").slice(0, 32);
      const id = hash.replaceAll(/./g, (digit) => "abcdefghijklmnop"[Number.parseInt(digit, 16)]);
      const page = await context.newPage();
      const problems = [];
      page.on("pageerror", (error) => problems.push(String(error)));
      await page.goto(`chrome-extension://${id}/popup.html`);
      const titles = ["Ships sail at night", "A loaf of rye bread", "The harbour is lit after dark"];
      await page.evaluate(async (titles) => {
        for (const title of titles)
          await chrome.bookmarks.create({ title, url: `https://example.com/${title}` });
      }, titles);
      await page.reload();
      await page.waitForSelector("input:enabled");
      await page.fill("input", "boats in the evening");
      const rows = await expected("boats in the evening", titles);
      await shown(
        page,
        rows.map((row) => row.replace(/^\S+ /, "")),
      );
      assert.deepEqual(problems, []);
    } finally {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    }
  });
});
