/**
 * WebGPU in Chromium, where SwiftShader plays the GPU, and in Deno, where Mesa's lavapipe does; and
 * Node, which has none.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { topics } from "../cases/gpu.mjs";
import { browsers, missing } from "../support/browsers.mjs";
import { run } from "../support/child.mjs";
import { runJson, runtimes } from "../support/runtimes.mjs";
import { root, serve } from "../support/server.mjs";

let server;
before(async () => {
  server = await serve();
});
after(() => server.close());

const { Chromium } = browsers;

/** Runs all cases of a topic in a browser with some flags. */
function suite(title, topic, flags) {
  test(title, { skip: missing(Chromium) }, async (t) => {
    const { page, close } = await Chromium.open(`${server.origin}/tests/js/support/gpu.html`, flags);
    try {
      await page.waitForFunction(() => "runCase" in globalThis);
      for (const name of await page.evaluate((topic) => names(topic), topic)) {
        await t.test(name, async () => {
          const problem = await page.evaluate(([topic, name]) => runCase(topic, name), [topic, name]);
          if (problem) throw new Error(problem);
        });
      }
    } finally {
      await close();
    }
  });
}

/**
 * Why WebGPU cannot be tested in Deno, if it cannot; an error where browsers must be there, too.
 */
async function lacking(deno) {
  const ask = "console.log(Boolean(await navigator.gpu?.requestAdapter()))";
  const { stdout } = deno ? await run(deno[0], ["eval", ask]) : {};
  if (stdout?.trim() === "true") return false;
  const why = deno ? "Deno finds no adapter: install a Vulkan driver, such as Mesa's" : "there is no Deno";
  if (process.env.GOSSAMER_BROWSERS === "required") throw new Error(why);
  return why;
}

describe("a GPU", () => {
  suite("is there, in Chromium", "cases", ["--enable-unsafe-webgpu"]);
  suite("is not there, in Chromium", "without", []);

  test("is there, in Deno", async (t) => {
    const { Deno } = runtimes;
    const why = await lacking(Deno);
    if (why) return t.skip(why);
    // Its caches are emptied.
    const home = await mkdtemp(join(tmpdir(), "gossamer-"));
    try {
      const script = `${root}tests/js/support/run-cases.mjs`;
      const env = { ...process.env, HF_HOME: home, DENO_DIR: home };
      const cases = runJson(Deno, script, [server.origin, "gpu", "cases"], { env });
      // The driver's threads can bring the process down as it ends. By then all is said.
      const said = (error) => {
        if (!error.stdout) throw error;
        return JSON.parse(error.stdout);
      };
      const { passed, failures } = await cases.catch(said);
      assert.deepEqual(failures, {});
      assert.equal(passed, Object.keys(topics.cases).length);
    } finally {
      await rm(home, { recursive: true });
    }
  });

  for (const [name, run] of Object.entries(topics.without)) {
    test(`is not there, in Node: ${name}`, () => run(server));
  }
});
