/**
 * examples/service-worker in a browser: what its page asks for is answered on the machine, without
 * a network too.
 */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { build, preview } from "vite";
import { browsers, missing } from "../support/browsers.mjs";
import { MINILM } from "../support/models.mjs";
import { saveInto } from "../support/save.mjs";
import { root as repository } from "../support/server.mjs";

const root = `${repository}examples/service-worker`;

describe("examples/service-worker", { skip: missing(browsers.Chromium) }, () => {
  let folder;
  let server;
  let model;
  let browser;
  let page;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "gossamer-"));
    model = await load(repository + MINILM, { saveable: true });
    const publicDir = join(folder, "public");
    await mkdir(publicDir);
    await saveInto(join(publicDir, "models/minilm"), model);
    const outDir = join(folder, "dist");
    await build({ root, publicDir, logLevel: "warn", build: { outDir } });
    const options = { host: "127.0.0.1", port: 0 };
    server = await preview({ root, logLevel: "warn", build: { outDir }, preview: options });
    browser = await browsers.Chromium.open(server.resolvedUrls.local[0]);
    page = browser.page;
  });
  after(async () => {
    await browser?.close();
    await server?.close();
    model?.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  const post = (body) =>
    page.evaluate(async (body) => {
      const headers = { "content-type": "application/json" };
      const response = await fetch("v1/embeddings", { method: "POST", headers, body: JSON.stringify(body) });
      return { status: response.status, json: await response.json() };
    }, body);
  const vectors = async (input) => {
    const { status, json } = await post({ input });
    assert.equal(status, 200, JSON.stringify(json));
    return Float32Array.from(json.data.flatMap(({ embedding }) => embedding));
  };
  const expected = async (input) => (await model.encode(input)).data;

  /** Ends the service worker, as browsers do when it is idle. */
  async function stop() {
    const session = await page.context().newCDPSession(page);
    await session.send("ServiceWorker.enable");
    await session.send("ServiceWorker.stopAllWorkers");
    await session.detach();
  }

  test("answers the page that has installed it", async () => {
    await page.waitForSelector("button:not([disabled])");
    const texts = ["Ships at night", "A loaf of rye"];
    assert.deepEqual(await vectors(texts), await expected(texts));
    await page.click("button");
    await page.waitForFunction(() => document.querySelector("output").value !== "");
    const shown = await page.evaluate(() => document.querySelector("output").value);
    assert.deepEqual(Float32Array.from(shown.split(",").map(Number)), await expected("Ships at night"));
  });

  test("errors are OpenAI's", async () => {
    const { status, json } = await post({ input: [] });
    assert.deepEqual([status, json.error.code], [400, "empty_input"]);
  });

  test("without a network, the page loaded anew and the worker started again", async () => {
    // Not only said to be off.
    await server.close();
    await page.context().setOffline(true);
    await page.reload();
    await page.waitForSelector("button:not([disabled])");
    assert.deepEqual(await vectors("harbour lights"), await expected("harbour lights"));
    await stop();
    assert.deepEqual(await vectors("a cat"), await expected("a cat"));
  });
});
