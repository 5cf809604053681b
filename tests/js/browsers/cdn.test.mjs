/**
 * The package imported from another origin, as from a CDN, by a page whose policy allows no more
 * than docs/cdn.md says.
 */

import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { assert } from "chai";
import { load } from "gossamer-embed";
import { browsers, missing } from "../support/browsers.mjs";
import { TINY } from "../support/models.mjs";
import { root, serve } from "../support/server.mjs";

const TEXTS = ["a cat", "the dog sat"];

let cdn;
let expected;
before(async () => {
  // What jsDelivr and unpkg send.
  cdn = await serve({ headers: { "access-control-allow-origin": "*" } });
  const embedder = await load(root + TINY);
  expected = [...(await embedder.encode(TEXTS)).data];
  embedder.dispose();
});
after(() => cdn?.close());

/** The policy of docs/cdn.md, for this CDN, and for models of the page's own host. */
async function policy() {
  const guide = await readFile(`${root}docs/cdn.md`, "utf8");
  const [, stated] = /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(guide);
  for (const host of ["https://cdn.jsdelivr.net", "https://huggingface.co"]) assert.include(stated, host);
  return stated
    .replaceAll("https://cdn.jsdelivr.net", cdn.origin)
    .replace("https://huggingface.co", "'self'");
}

/** What a page of another origin computes with the package from the CDN. */
async function compute(browser, headers, workers) {
  const site = await serve({ headers });
  const { page, close } = await browser.open(`${site.origin}/tests/js/support/empty.html`);
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  try {
    const found = await page.evaluate(
      async ([cdn, model, texts, workers]) => {
        const { load } = await import(`${cdn}/pkg/dist/web.js`);
        const embedder = await load(model, { workers, cache: false });
        const { data } = await embedder.encode(texts);
        const { info } = embedder;
        embedder.dispose();
        return { data: [...data], workers: info.workers, isolated: globalThis.crossOriginIsolated };
      },
      [cdn.origin, `${site.origin}/${TINY}`, TEXTS, workers],
    );
    return { ...found, complaints };
  } finally {
    await close();
    await site.close();
  }
}

for (const [name, browser] of Object.entries(browsers)) {
  describe(`${name}: imported from another origin`, { skip: missing(browser) }, () => {
    for (const workers of [undefined, 1, 2]) {
      test(`with ${workers ?? "no"} workers, under the policy of the guide`, async () => {
        const found = await compute(browser, { "content-security-policy": await policy() }, workers);
        assert.deepEqual(found.data, expected);
        assert.equal(found.workers, workers ?? 0);
        assert.deepEqual(
          found.complaints.filter((text) => /Content.Security.Policy|violates/i.test(text)),
          [],
        );
      });
    }

    test("with workers, in a page that is isolated", async () => {
      const isolation = {
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-embedder-policy": "require-corp",
      };
      const found = await compute(browser, isolation, 1);
      assert.deepEqual([found.isolated, found.workers], [true, 1]);
      assert.deepEqual(found.data, expected);
    });

    test("a policy without blob workers is an error that says what to do", async () => {
      const strict = (await policy()).replace(/worker-src [^;]+/, "worker-src 'none'");
      const problem = await compute(browser, { "content-security-policy": strict }, 1).catch(String);
      assert.match(String(problem), /worker/i);
      assert.match(String(problem), /createWorker/);
    });
  });
}
