/** The demo page as a visitor uses it: the real model, in a worker, while the page stays alive. */

import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert } from "chai";
import { build, preview } from "vite";
import { browsers, missing } from "./support/browsers.mjs";

const root = fileURLToPath(new URL("../../www", import.meta.url));
let server;
let address;
before(async () => {
  await build({ root, logLevel: "warn" });
  server = await preview({ root, logLevel: "warn", preview: { host: "127.0.0.1", port: 0 } });
  address = server.resolvedUrls.local[0];
});
after(() => server.close());

for (const [name, browser] of Object.entries(browsers)) {
  describe(name, { skip: missing(browser) }, () => {
    let opened;
    let page;
    before(async () => {
      opened = await browser.open(address);
      page = opened.page;
    });
    after(() => opened?.close());

    const text = (selector) => page.evaluate((s) => document.querySelector(s).textContent, selector);

    test("a model that is not there is explained", async () => {
      await page.evaluate(() => {
        document.querySelector("#model").value = new URL("models/no/such/", document.baseURI).href;
      });
      await page.click("#load-button");
      await page.waitForSelector("#message:not([hidden])");
      assert.include(await text("#message"), "not_found");
      assert.isTrue(await page.evaluate(() => document.querySelector("#embed-button").disabled));
    });

    test("loads the default model and says what it is", async () => {
      await page.evaluate(() => {
        document.querySelector("#model").value = "sentence-transformers/all-MiniLM-L6-v2";
      });
      await page.click("#load-button");
      await page.waitForSelector("#embed-button:not([disabled])");
      const info = await text("#info");
      for (const part of ["bert", "384", "256 tokens", "q8"]) assert.include(info, part);
      assert.isTrue(await page.evaluate(() => document.querySelector("#message").hidden));
    });

    test("shows how alike the texts are, and the page goes on meanwhile", async () => {
      const frames = await page.evaluate(async () => {
        const texts = document.querySelector("#texts");
        // Enough work for many frames.
        texts.value = Array.from({ length: 10 }, () => texts.value).join("\n");
        let frames = 0;
        let done = false;
        const count = () => {
          frames += 1;
          if (!done) requestAnimationFrame(count);
        };
        requestAnimationFrame(count);
        document.querySelector("#embed-button").click();
        while (document.querySelector("#results").hidden) await new Promise(requestAnimationFrame);
        done = true;
        return frames;
      });
      assert.isAbove(frames, 5);
      assert.match(await text("#timing"), /^70 texts in \d+ ms/);
      const similarity = await page.evaluate(() =>
        [...document.querySelectorAll("#heatmap tbody tr")].map((row) =>
          [...row.querySelectorAll("td")].map((cell) => Number(cell.textContent)),
        ),
      );
      assert.lengthOf(similarity, 70);
      similarity.forEach((row, i) => {
        assert.lengthOf(row, 70);
        assert.equal(row[i], 1);
      });
      // Two cats, two markets, two loaves; and a cat is no market.
      for (const i of [0, 2, 4]) assert.isAbove(similarity[i][i + 1], 0.35);
      assert.isBelow(similarity[0][2], 0.2);
      assert.include(await text("#vectors"), "A cat sleeps on the warm window sill.");
    });

    test("asks nobody but its own host", async () => {
      const hosts = await page.evaluate(() =>
        performance.getEntriesByType("resource").map((entry) => new URL(entry.name).origin),
      );
      assert.deepEqual([...new Set(hosts)], [new URL(address).origin]);
    });
  });
}
