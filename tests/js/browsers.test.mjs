/** The shared cases in browsers, and: every engine and both wasm builds give the same bits. */

import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert } from "chai";
import { topics } from "./cases/all.mjs";
import { browsers, missing } from "./support/browsers.mjs";
import { runJson, runtimes } from "./support/runtimes.mjs";
import { serve } from "./support/server.mjs";

let server;
before(async () => {
  server = await serve();
});
after(() => server.close());

/** What the first engine said; the others must say the same. */
let agreed;
function agree(digests) {
  assert.match(digests.q8, /^[\da-f]{64}$/);
  agreed ??= digests;
  assert.deepEqual(digests, agreed);
}

describe("the same bits in every runtime", () => {
  const script = fileURLToPath(new URL("support/digests.mjs", import.meta.url));
  for (const [name, command] of Object.entries(runtimes)) {
    // Node 20 has no relaxed SIMD.
    const old = name === `Node ${process.versions.node}` && Number.parseInt(process.versions.node, 10) < 22;
    for (const build of old ? ["simd128"] : ["simd128", "relaxed"]) {
      test(`${name}, ${build}`, { skip: command ? false : "not installed" }, async () => {
        const { simd, digests } = await runJson(command, script, [server.origin, build]);
        assert.equal(simd, build === "relaxed" ? "relaxed-simd" : "simd128");
        agree(digests);
      });
    }
  }
});

for (const [name, browser] of Object.entries(browsers)) {
  describe(name, { skip: missing(browser) }, () => {
    let opened;
    before(async () => {
      opened = await browser.open(`${server.origin}/tests/js/support/page.html`);
      await opened.page.waitForFunction(() => "runCase" in globalThis);
    });
    after(() => opened?.close());

    for (const [topic, cases] of Object.entries(topics)) {
      describe(topic, () => {
        for (const title of Object.keys(cases)) {
          test(title, async () => {
            const problem = await opened.page.evaluate(
              ([topic, title]) => runCase(topic, title),
              [topic, title],
            );
            if (problem) throw new Error(`in ${name}: ${problem}`);
          });
        }
      });
    }

    test("the same bits as elsewhere", async () => agree(await opened.page.evaluate(() => digests())));
  });
}
