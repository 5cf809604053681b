/** WebGPU in Chromium, where SwiftShader plays the GPU. */

import { after, before, describe, test } from "node:test";
import { browsers, missing } from "./support/browsers.mjs";
import { serve } from "./support/server.mjs";

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

describe("a GPU", () => {
  suite("is there", "cases", ["--enable-unsafe-webgpu"]);
  suite("is not there", "without", []);
});
